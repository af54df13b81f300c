"""What may happen to calls: their answer is lost, or they are refused."""

import json
from collections.abc import Callable

from tests.proof.interceptor import Answer, Call, Fault


def _error(status: int, name: str) -> Answer:
    body = json.dumps({"__type": name, "message": "made for the occasion"}).encode()
    return Answer(status, {"Content-Type": "application/x-amz-json-1.0"}, body)


# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html
THROTTLED = _error(400, "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException")
BROKEN = _error(500, "InternalError")


def calls(*operations: str) -> Callable[[Call], bool]:
    """The calls of these names."""
    return lambda call: call.operation in operations


def lost(hits: Callable[[Call], bool], times: int | None = 1) -> Fault:
    """The service does what it is asked, and nobody hears that it did."""
    return Fault(hits, times, after=True)


def refused(hits: Callable[[Call], bool], answer: Answer) -> Fault:
    """The service does nothing, and says so."""
    return Fault(hits, times=None, answer=answer)
