"""What can be run here, and how much of it: the platforms, and the account's quotas."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from infra.local.eb_protocol import Params, Refused

VERSION = "4.7.2"
STACK = f"64bit Amazon Linux 2023 v{VERSION} running Docker"
BRANCH = "Docker running on 64bit Amazon Linux 2023"
_SINCE = datetime(2025, 1, 1, tzinfo=UTC)
# https://docs.aws.amazon.com/general/latest/gr/elasticbeanstalk.html#limits_elastic_beanstalk
_QUOTAS = {
    "ApplicationQuota": 75,
    "ApplicationVersionQuota": 1000,
    "EnvironmentQuota": 200,
    "ConfigurationTemplateQuota": 2000,
    "CustomPlatformQuota": 50,
}


class PlatformOperations:
    """Each public method is the operation of its name. There is one platform: Docker on Amazon Linux 2023."""

    def __init__(self, region: str) -> None:
        self._arn = f"arn:aws:elasticbeanstalk:{region}::platform/{BRANCH}/{VERSION}"

    def list_available_solution_stacks(self, _: Params, __: str) -> Params:
        return {
            "SolutionStacks": [STACK],
            "SolutionStackDetails": [{"SolutionStackName": STACK, "PermittedFileTypes": ["zip"]}],
        }

    def list_platform_versions(self, params: Params, _: str) -> Params:
        about = {**self._about(), "PlatformVersion": VERSION}
        found = all(_passes(one, about) for one in params.get("Filters", []))
        return {"PlatformSummaryList": [about] if found else []}

    def describe_platform_version(self, params: Params, _: str) -> Params:
        if params.get("PlatformArn", self._arn) != self._arn:
            raise Refused("InvalidParameterValue", f"No Platform Version found for ARN '{params['PlatformArn']}'.")
        return {
            "PlatformDescription": {
                **self._about(),
                "PlatformName": BRANCH,
                "PlatformVersion": VERSION,
                "SolutionStackName": STACK,
                "DateCreated": _SINCE,
                "DateUpdated": _SINCE,
            }
        }

    def describe_account_attributes(self, _: Params, __: str) -> Params:
        return {"ResourceQuotas": {name: {"Maximum": most} for name, most in _QUOTAS.items()}}

    def _about(self) -> dict[str, Any]:
        return {
            "PlatformArn": self._arn,
            "PlatformOwner": "AWSElasticBeanstalk",
            "PlatformStatus": "Ready",
            "PlatformCategory": "Docker",
            "OperatingSystemName": "Amazon Linux",
            "OperatingSystemVersion": "2023",
            "SupportedTierList": ["WebServer/Standard"],
            "PlatformLifecycleState": "Recommended",
            "PlatformBranchName": BRANCH,
            "PlatformBranchLifecycleState": "Supported",
        }


def _passes(wanted: Mapping[str, Any], about: Mapping[str, Any]) -> bool:
    """Whether the platform is one of those that a filter lets through.

    Source: https://docs.aws.amazon.com/elasticbeanstalk/latest/api/API_PlatformFilter.html
    """
    kind, values = wanted.get("Type", ""), wanted.get("Values", [])
    said = str(BRANCH if kind == "PlatformName" else about.get(kind, ""))
    match wanted.get("Operator", "="):
        case "=" | "in":
            return said in values
        case "!=" | "not_in":
            return said not in values
        case "contains":
            return any(value in said for value in values)
        case "begins_with":
            return any(said.startswith(value) for value in values)
        case "ends_with":
            return any(said.endswith(value) for value in values)
        case other:
            raise Refused("InvalidParameterValue", f"The operator {other} is not served here.")
