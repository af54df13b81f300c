"""A CloudFormation template in, its outputs out: created or updated, waited for, failures told with their reason."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient

_LIMIT_S = 60.0
_DONE = frozenset({"CREATE_COMPLETE", "UPDATE_COMPLETE"})


class StackError(RuntimeError):
    """A resource was refused; says which, and why."""


def apply(
    cloudformation: CloudFormationClient, stack: str, template: str, parameters: Mapping[str, str]
) -> dict[str, str]:
    """Make a stack what its template says.

    Returns:
        The stack's outputs.

    Raises:
        StackError: the template was refused, or the stack ended in another state than complete.
    """
    values = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
    capabilities = ("CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND")
    asked = {"StackName": stack, "TemplateBody": template, "Parameters": values, "Capabilities": capabilities}
    try:
        try:
            cloudformation.create_stack(**asked)  # type: ignore[arg-type]  # one dict for two calls
        except cloudformation.exceptions.AlreadyExistsException:
            cloudformation.update_stack(**asked)  # type: ignore[arg-type]  # as above
    except ClientError as error:
        message = error.response["Error"]["Message"]
        if message != "No updates are to be performed.":
            raise StackError(f"the stack {stack} was refused: {message}") from error
    return _wait(cloudformation, stack)


def resource(cloudformation: CloudFormationClient, stack: str, name: str) -> str:
    """The name in AWS of what the template calls `name`."""
    answer = cloudformation.describe_stack_resource(StackName=stack, LogicalResourceId=name)
    return answer["StackResourceDetail"]["PhysicalResourceId"]


def _wait(cloudformation: CloudFormationClient, stack: str) -> dict[str, str]:
    deadline = time.monotonic() + _LIMIT_S
    while True:
        seen = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
        status = seen["StackStatus"]
        if status in _DONE:
            return {output["OutputKey"]: output["OutputValue"] for output in seen.get("Outputs", [])}
        if not status.endswith("_IN_PROGRESS") or time.monotonic() > deadline:
            raise StackError(f"the stack {stack} is {status}: {_failures(cloudformation, stack)}")
        time.sleep(0.05)


def _failures(cloudformation: CloudFormationClient, stack: str) -> str:
    reasons = [
        f"{event['LogicalResourceId']}: {event.get('ValidationStatusReason') or event.get('ResourceStatusReason')}"
        for event in cloudformation.describe_events(StackName=stack)["OperationEvents"]
        if event.get("ValidationStatus") == "FAILED" or event.get("ResourceStatus", "").endswith("_FAILED")
    ]
    return "; ".join(reasons) or "no resource says why"
