"""What the local Elastic Beanstalk remembers: applications, versions, environments and events, in memory."""

from __future__ import annotations

import itertools
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from infra.local.eb_protocol import Refused


class Status(StrEnum):
    """What an environment is doing. An operation needs Ready."""

    LAUNCHING = "Launching"
    UPDATING = "Updating"
    ABORTING = "Aborting"
    READY = "Ready"
    TERMINATING = "Terminating"
    TERMINATED = "Terminated"


class Health(StrEnum):
    """How an environment fares: `HealthStatus`; `Health` is its colour.

    Source: https://docs.aws.amazon.com/elasticbeanstalk/latest/dg/health-enhanced-status.html
    """

    NO_DATA = "NoData"
    PENDING = "Pending"
    OK = "Ok"
    WARNING = "Warning"
    SEVERE = "Severe"


COLOURS: Mapping[Health, str] = {
    Health.NO_DATA: "Grey",
    Health.PENDING: "Grey",
    Health.OK: "Green",
    Health.WARNING: "Yellow",
    Health.SEVERE: "Red",
}


class VersionStatus(StrEnum):
    """Where a version stands. The service sends capitals, whatever the model's list of values says.

    Source: https://github.com/aws/aws-elastic-beanstalk-cli/blob/master/ebcli/operations/commonops.py
    """

    UNPROCESSED = "UNPROCESSED"
    PROCESSING = "PROCESSING"
    PROCESSED = "PROCESSED"
    FAILED = "FAILED"


class Severity(StrEnum):
    """How bad an event is, mildest first."""

    TRACE = "TRACE"
    DEBUG = "DEBUG"
    INFO = "INFO"
    WARN = "WARN"
    ERROR = "ERROR"
    FATAL = "FATAL"


@dataclass(frozen=True)
class Application:
    """A name that versions and environments belong to."""

    number: int
    name: str
    description: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class Version:
    """A bundle in S3 under a label."""

    number: int
    application: str
    label: str
    description: str | None
    bucket: str
    key: str
    status: VersionStatus
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class Template:
    """A saved configuration: what an environment can be made from; `options` by (namespace, name)."""

    application: str
    name: str
    description: str | None
    stack: str
    options: Mapping[tuple[str, str], str]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class Deployed:
    """The version that answers, and since when."""

    label: str
    deployment: int
    at: datetime


@dataclass(frozen=True)
class Environment:
    """A stable address, and the version behind it.

    Args:
        port: of the address on loopback.
        live: what answers now; None until a version has answered.
        behind: what a second instance runs that did not take the last update; None = there is no such instance.
        target: the label on its way; None while nothing is.
        health: how it fares apart from an operation under way: a failed update leaves it as it was.
        options: settings by (namespace, name).
        deployments: how many were begun.
        abortable: the operation under way is an update, which can be aborted.
    """

    number: int
    id: str
    application: str
    name: str
    description: str | None
    prefix: str
    stack: str
    port: int
    status: Status
    created_at: datetime
    updated_at: datetime
    live: Deployed | None = None
    behind: Deployed | None = None
    target: str | None = None
    health: Health = Health.SEVERE
    options: Mapping[tuple[str, str], str] = field(default_factory=dict)
    deployments: int = 0
    abortable: bool = False

    @property
    def label(self) -> str | None:
        """The label that a description shows: during an update it is already the new one.

        Source: https://docs.aws.amazon.com/cli/latest/reference/elasticbeanstalk/update-environment.html#examples
        """
        return self.target or (self.live.label if self.live else None)

    def runs(self, label: str) -> bool:
        """Whether this version answers here, or is on its way."""
        return label in {self.target, self.live.label if self.live else None}

    @property
    def busy(self) -> bool:
        return self.status not in {Status.READY, Status.TERMINATED}

    @property
    def shown_health(self) -> Health:
        return Health.PENDING if self.busy or self.status is Status.TERMINATED else self.health

    @property
    def enhanced(self) -> bool:
        """Whether it tells of its instances, and of its health by more than a colour: unless it is set to basic.

        Source: https://docs.aws.amazon.com/elasticbeanstalk/latest/dg/command-options-general.html
        """
        return self.options.get(("aws:elasticbeanstalk:healthreporting:system", "SystemType")) != "basic"

    @property
    def instance(self) -> str:
        """The id of its one instance, to which its address leads."""
        return f"i-{self.id.removeprefix('e-'):0>17}"

    @property
    def instances(self) -> dict[str, Deployed | None]:
        """What each of them runs, by its id."""
        other = {f"i-{self.id.removeprefix('e-'):1>17}": self.behind} if self.behind else {}
        return {self.instance: self.live, **other}


@dataclass(frozen=True)
class Event:
    """Something that happened, as DescribeEvents tells it."""

    number: int
    at: datetime
    severity: Severity
    message: str
    application: str
    environment: Environment | None
    label: str | None
    request: str | None


class Records:
    """Everything that is remembered. Hold `lock` around a look and the write that depends on it.

    Args:
        clock: the time of day, UTC.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.lock = threading.RLock()
        self.applications: dict[str, Application] = {}
        self.versions: dict[tuple[str, str], Version] = {}
        self.environments: dict[str, Environment] = {}
        self.templates: dict[tuple[str, str], Template] = {}
        self.events: list[Event] = []
        self._clock = clock
        self._numbers = itertools.count(1)

    def now(self) -> datetime:
        """This moment, to the millisecond that an answer can hold."""
        moment = self._clock()
        return moment.replace(microsecond=moment.microsecond // 1000 * 1000)

    def number(self) -> int:
        """A number greater than every one before: the order in which things were made."""
        return next(self._numbers)

    def application(self, name: str) -> Application:
        if name not in self.applications:
            raise Refused("InvalidParameterValue", f"No Application named '{name}' found.")
        return self.applications[name]

    def version(self, application: str, label: str) -> Version:
        if (application, label) not in self.versions:
            raise Refused("InvalidParameterValue", f"No Application Version named '{label}' found.")
        return self.versions[application, label]

    def template(self, application: str, name: str) -> Template:
        self.application(application)
        if (application, name) not in self.templates:
            raise Refused("InvalidParameterValue", f"No Configuration Template named '{application}/{name}' found.")
        return self.templates[application, name]

    def environment(self, params: Mapping[str, Any]) -> Environment:
        """The environment that a request names by id, by name, or both; a terminated one is gone.

        Raises:
            Refused: it names none, or there is none.
        """
        wanted = {key: params[key] for key in ("EnvironmentId", "EnvironmentName") if params.get(key)}
        if not wanted:
            raise Refused("MissingRequiredParameter", "You must specify either EnvironmentId or EnvironmentName.")
        application = params.get("ApplicationName")
        with self.lock:
            for environment in self.living():
                names = {"EnvironmentId": environment.id, "EnvironmentName": environment.name}
                if wanted.items() <= names.items() and application in {None, environment.application}:
                    return environment
        key, value = next(iter(wanted.items()))
        raise Refused("InvalidParameterValue", f"No Environment found for {key} = '{value}'.")

    def living(self) -> list[Environment]:
        """The environments that are not terminated."""
        return [one for one in self.environments.values() if one.status is not Status.TERMINATED]

    def ready(self, params: Mapping[str, Any], **changes: Any) -> Environment:
        """Change the environment that a request names, if it is Ready: the door to every operation.

        Raises:
            Refused: it is not Ready, or not there.
        """
        with self.lock:
            return self.change(self.require_ready(params).id, **changes)

    def require_ready(self, params: Mapping[str, Any]) -> Environment:
        """The environment that a request names.

        Raises:
            Refused: it is not Ready, or not there.
        """
        environment = self.environment(params)
        if environment.status is not Status.READY:
            raise must_be(environment, "Ready")
        return environment

    def change(self, environment_id: str, **changes: Any) -> Environment:
        """Write an environment's fields."""
        with self.lock:
            changed = replace(self.environments[environment_id], updated_at=self.now(), **changes)
            self.environments[environment_id] = changed
            return changed

    def tell(
        self,
        severity: Severity,
        message: str,
        application: str,
        *,
        environment: Environment | None = None,
        label: str | None = None,
        request: str | None = None,
    ) -> None:
        """Add an event; `request` is the id of the request that it came of."""
        with self.lock:
            event = Event(self.number(), self.now(), severity, message, application, environment, label, request)
            self.events.append(event)


def must_be(environment: Environment, state: str) -> Refused:
    """The refusal of an operation that the environment's state does not allow."""
    return Refused(
        "InvalidParameterValue",
        f"Environment named {environment.name} is in an invalid state for this operation. Must be {state}.",
    )


def new_id(prefix: str) -> str:
    """An id such as Elastic Beanstalk's: e-0a1b2c3d4e."""
    return f"{prefix}-{secrets.token_hex(5)}"
