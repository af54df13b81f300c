"""Where a simulator takes hold: each call to the outside goes through one hook, in which it may fail.

A hook gets the call's name ("table.write", "queue.receive", …) and the call. It may switch to somebody else before and
after, raise instead of calling, raise after calling (the answer is lost, the effect is not), or call more than once, as
botocore does when an answer was lost. No call is interrupted in its middle.
"""

import requests.exceptions
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from chalicelib.errors import NotNow

OPERATIONS = {
    "table.get": "GetItem",
    "table.get_many": "BatchGetItem",
    "table.write": "UpdateItem",
    "table.transact": "TransactWriteItems",
    "table.query": "Query",
    "table.partition": "Query",
    "queue.url": "GetQueueUrl",
    "queue.send": "SendMessage",
    "queue.receive": "ReceiveMessage",
    "queue.hide": "ChangeMessageVisibility",
    "queue.delete": "DeleteMessage",
    "queue.attributes": "GetQueueAttributes",
    "s3.put_object": "PutObject",
    "s3.get_object": "GetObject",
    "s3.head_object": "HeadObject",
    "s3.list_objects": "ListObjectsV2",
    "ssm.get_parameter": "GetParameter",
    "ses.send_email": "SendEmail",
    "eb.describe_environments": "DescribeEnvironments",
    "eb.describe_instances_health": "DescribeInstancesHealth",
    "eb.describe_application_versions": "DescribeApplicationVersions",
    "eb.describe_events": "DescribeEvents",
    "eb.create_application_version": "CreateApplicationVersion",
    "eb.update_environment": "UpdateEnvironment",
    "eb.abort_environment_update": "AbortEnvironmentUpdate",
}
"""Every point that is a call to AWS -> AWS's name of it; those of the registry and of the engine are not here."""

_THROTTLED = {
    "table": ("ProvisionedThroughputExceededException", 400),
    "queue": ("RequestThrottled", 400),
    "s3": ("SlowDown", 503),
    "ssm": ("ThrottlingException", 400),
    "ses": ("TooManyRequestsException", 429),
    "eb": ("Throttling", 400),
}


def at_once(_name, do):
    """The hook where there is no simulator."""
    return do()


def refused(operation, code, message="", status=400):
    """AWS says no."""
    return ClientError(
        {
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": {"HTTPStatusCode": status, "RetryAttempts": 0},
        },
        operation,
    )


def invalid(operation, message):
    return refused(operation, "ValidationException", message)


def throttled(name):
    """Too many calls: surely without effect."""
    kind = name.partition(".")[0]
    if kind not in _THROTTLED:
        return NotNow("the registry answers 429") if kind == "registry" else _silent_engine()
    code, status = _THROTTLED[kind]
    return refused(OPERATIONS[name], code, "Rate exceeded", status)


def server_error(name):
    """A failure of theirs: with or without effect."""
    if name not in OPERATIONS:
        return NotNow("the registry answers 503") if name.startswith("registry.") else _silent_engine()
    return refused(OPERATIONS[name], "InternalFailure", "We encountered an internal error.", 500)


def no_answer(name, *, closed=False):
    """Silence until the client gave up, or (`closed`) a connection that broke: with or without effect."""
    if name not in OPERATIONS:
        return NotNow("the registry does not answer: ReadTimeout") if name.startswith("registry.") else _silent_engine()
    address = f"https://{name.partition('.')[0]}.invalid"
    return ConnectionClosedError(endpoint_url=address) if closed else ReadTimeoutError(endpoint_url=address)


def _silent_engine():
    return requests.exceptions.ConnectionError("the engine hung up")
