"""Elastic Beanstalk as a client with a memory: it takes time, rolls back, throttles and loses answers as told."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from botocore.exceptions import ClientError, ConnectTimeoutError, ReadTimeoutError

STATUSES = {"Green": "Ok", "Yellow": "Warning", "Red": "Severe", "Grey": "NoData"}
SEVERITIES = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"]


@dataclass
class Environment:
    """One environment; `instances`: by id, what each says of its Deployment; None = nobody may ask them."""

    label: str | None = "v1"
    status: str = "Ready"
    health: str = "Green"
    goal: str | None = None
    ready_at: datetime | None = None
    instances: dict[str, dict | None] | None = None
    enhanced: bool = False
    platform: str = "64bit Amazon Linux 2023 v4.3.0 running Docker"


@dataclass
class FakeBeanstalk:
    """The application `crm` with the environment `crm-production`.

    Args:
        takes_s: how long an update takes.
        fate: of the updates to a version that is not `well`: "good", "rolled back", or the health that follows.
        back: of those to one that is.
        aborts_in_s: how long an aborted update takes to end.
        lost: so many UpdateEnvironment are done, but their answers never come.
        dropped: so many never arrive.
        refusals: operation -> error codes, one for each call, first come first.
    """

    clock: Callable[[], datetime]
    takes_s: float = 60
    fate: str = "good"
    back: str = "good"
    well: set[str] = field(default_factory=lambda: {"v1"})
    lost: int = 0
    dropped: int = 0
    page: int = 2
    environments: dict[str, Environment] = field(default_factory=lambda: {"crm-production": Environment()})
    versions: dict[str, dict] = field(default_factory=dict)
    events: list[dict] = field(default_factory=list)
    updates: list[str] = field(default_factory=list)
    refusals: dict[str, list[str]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    processed: str = "PROCESSED"
    aborted: int = 0
    aborts_in_s: float = 20

    # --- what boto3's client has ------------------------------------------------------------------

    def describe_environments(self, **asked):
        self._begin("DescribeEnvironments")
        assert asked["IncludeDeleted"] is False
        found = [self._described(name) for name in asked["EnvironmentNames"] if name in self.environments]
        return {"Environments": found if asked.get("ApplicationName", "crm") == "crm" else []}

    def describe_instances_health(self, **asked):
        self._begin("DescribeInstancesHealth")
        assert asked["AttributeNames"] == ["Deployment"]
        found = self.environments[asked["EnvironmentName"]].instances
        if found is None:
            text = "DescribeInstancesHealth is not supported."
            raise self.error("DescribeInstancesHealth", "InvalidRequestException", text)
        listed = [{"InstanceId": name, **({"Deployment": said} if said else {})} for name, said in found.items()]
        start = int(asked.get("NextToken", "0"))
        more = {"NextToken": str(start + self.page)} if len(listed) > start + self.page else {}
        return {"InstanceHealthList": listed[start : start + self.page], **more}

    def describe_application_versions(self, **asked):
        self._begin("DescribeApplicationVersions")
        assert asked.get("ApplicationName", "crm") == "crm"
        return {"ApplicationVersions": [self.versions[one] for one in asked["VersionLabels"] if one in self.versions]}

    def create_application_version(self, **asked):
        self._begin("CreateApplicationVersion")
        if asked.pop("ApplicationName") != "crm":
            raise self.error("CreateApplicationVersion", "InvalidParameterValue", "No Application named 'x' found.")
        label = asked.pop("VersionLabel")
        if label in self.versions:
            text = f"Application Version {label} already exists."
            raise self.error("CreateApplicationVersion", "InvalidParameterValue", text)
        self.add_version(label, asked.pop("SourceBundle"), **asked)
        return {}

    def describe_events(self, **asked):
        self._begin("DescribeEvents")
        assert asked.pop("MaxRecords", 1) <= 1000
        worst = SEVERITIES[SEVERITIES.index(asked.pop("Severity", "TRACE")) :]
        since, start = asked.pop("StartTime"), int(asked.pop("NextToken", "0"))
        found = [
            event
            for event in reversed(self.events)
            if event["EventDate"] >= since
            and event["Severity"] in worst
            and all(event.get(name) == value for name, value in asked.items())
        ]
        more = {"NextToken": str(start + self.page)} if len(found) > start + self.page else {}
        return {"Events": found[start : start + self.page], **more}

    def update_environment(self, **asked):
        self._begin("UpdateEnvironment")
        assert asked["ApplicationName"] == "crm"
        name, label = asked["EnvironmentName"], asked["VersionLabel"]
        if self.dropped:
            self.dropped -= 1
            raise ConnectTimeoutError(endpoint_url="https://elasticbeanstalk")
        environment = self.environments[name]
        if environment.status != "Ready":
            text = f"Environment named {name} is in an invalid state for this operation. Must be Ready."
            raise self.error("UpdateEnvironment", "InvalidParameterValue", text)
        assert label in self.versions
        self.updates.append(label)
        self.occupy(name, self.takes_s, goal=label)
        if self.lost:
            self.lost -= 1
            raise ReadTimeoutError(endpoint_url="https://elasticbeanstalk")
        return {"Status": "Updating"}

    def abort_environment_update(self, **asked):
        self._begin("AbortEnvironmentUpdate")
        environment = self.environments[asked["EnvironmentName"]]
        self.aborted += 1
        environment.goal, environment.ready_at = None, self.clock() + timedelta(seconds=self.aborts_in_s)
        self.happens("INFO", "Environment update is aborting.", EnvironmentName=asked["EnvironmentName"])

    # --- what a test does -------------------------------------------------------------------------

    def add_version(self, label, source=None, status=None, **rest):
        self.versions[label] = {
            **rest,
            "ApplicationName": "crm",
            "VersionLabel": label,
            "SourceBundle": source or {},
            "Status": status or self.processed,
        }

    def occupy(self, name, takes_s, goal=None):
        """Another update, or ours, is under way."""
        environment = self.environments[name]
        environment.status, environment.goal = "Updating", goal
        environment.ready_at = self.clock() + timedelta(seconds=takes_s)
        self.happens("INFO", "Environment update is starting.", EnvironmentName=name)

    def happens(self, severity, message, **of):
        told = {"EventDate": self.clock(), "Severity": severity, "Message": message, "ApplicationName": "crm"}
        self.events.append({**told, **of})

    @staticmethod
    def error(operation, code, message="", status=400, retries=0):
        return ClientError(
            {
                "Error": {"Code": code, "Message": message},
                "ResponseMetadata": {"HTTPStatusCode": status, "RetryAttempts": retries},
            },
            operation,
        )

    def _begin(self, operation):
        self.calls.append(operation)
        for name in self.environments:
            self._go_on(name)
        codes = self.refusals.get(operation)
        if codes:
            code = codes.pop(0)
            raise self.error(operation, code, f"{code} was ordered", 500 if code == "InternalFailure" else 400)

    def _go_on(self, name):
        environment = self.environments[name]
        if environment.ready_at is None or self.clock() < environment.ready_at:
            return
        environment.status, environment.ready_at = "Ready", None
        fate = self.back if environment.goal in self.well else self.fate
        if environment.goal and fate == "rolled back":
            self.happens("ERROR", "Failed to deploy application.", EnvironmentName=name)
        elif environment.goal:
            environment.label = environment.goal
            environment.health = "Green" if fate == "good" else fate
        self.happens("INFO", "Environment update completed.", EnvironmentName=name)

    def _described(self, name):
        environment = self.environments[name]
        described = {
            "ApplicationName": "crm",
            "EnvironmentName": name,
            "Status": environment.status,
            "Health": "Grey" if environment.status == "Updating" else environment.health,
            "CNAME": f"{name}.example",
            "SolutionStackName": environment.platform,
        }
        if environment.enhanced:
            described["HealthStatus"] = STATUSES[described["Health"]]
        return {**described, "VersionLabel": environment.label} if environment.label else described
