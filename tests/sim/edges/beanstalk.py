"""Elastic Beanstalk in memory: it takes its time, and remembers what was asked of it and what ran when."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from tests.sim.edges.point import at_once, refused

_FOR_EVER_S = 10**7
_STATUSES = {"Green": "Ok", "Yellow": "Warning", "Red": "Severe", "Grey": "Pending"}
_SEVERITIES = ("INFO", "WARN", "ERROR")


@dataclass
class Environment:
    """One environment.

    Args:
        takes_s: how long an update takes.
        fate: of the next updates: "good", "rolled back", "stuck" (until it is aborted), or the health that follows
            (Yellow, Red).
        fates: the same by the version's label; it goes before.
        history: (when, label) of everything that ever ran.
    """

    application: str
    label: str | None = "v0"
    health: str = "Green"
    takes_s: float = 60
    fate: str = "good"
    fates: Callable[[str], str] | None = None
    status: str = "Ready"
    goal: str | None = None
    ready_at: datetime | None = None
    met: str = "good"
    history: list[tuple[datetime, str | None]] = field(default_factory=list)


class MemoryBeanstalk:
    """A client with applications that exist as soon as one of their environments does.

    Args:
        clock: the time of day, UTC.
        processing_s: how long a new version is PROCESSING.
        page: so many events come at once.

    `updates` counts the UpdateEnvironment that began, by (environment, label), `aborted` those that were; `versions`
    holds each version that was made, by (application, label), `made` how often.
    """

    def __init__(self, clock, *, point=at_once, processing_s=5, page=100):
        self._clock, self._point = clock, point
        self._processing_s, self._page = processing_s, page
        self.environments = {}
        self.versions = {}
        self.made = Counter()
        self.updates = Counter()
        self.aborted = Counter()
        self.events = []

    # --- what a simulator does --------------------------------------------------------------------

    def add_environment(self, name, application, **changes):
        environment = self.environments[name] = Environment(application, **changes)
        environment.history.append((self._clock(), environment.label))
        if environment.label:
            self.versions.setdefault(
                (application, environment.label), ({"VersionLabel": environment.label}, self._clock())
            )
        return environment

    def occupy(self, name, takes_s, goal=None):
        """An update is under way: ours with its label, or somebody else's."""
        environment = self._now(name)
        environment.status, environment.goal = "Updating", goal
        environment.ready_at = self._clock() + timedelta(seconds=takes_s)
        self._happens(self._clock(), "INFO", "Environment update is starting.", name)

    def settle(self):
        """Let everything happen that is over by now, though nobody looks."""
        for name in self.environments:
            self._now(name)

    # --- what boto3's client has ------------------------------------------------------------------

    def describe_environments(self, **asked):
        return self._point("eb.describe_environments", partial(self._environments, asked))

    def describe_instances_health(self, **asked):
        return self._point("eb.describe_instances_health", partial(self._instances, asked))

    def describe_application_versions(self, **asked):
        return self._point("eb.describe_application_versions", partial(self._versions, asked))

    def create_application_version(self, **asked):
        return self._point("eb.create_application_version", partial(self._create, asked))

    def describe_events(self, **asked):
        return self._point("eb.describe_events", partial(self._events, asked))

    def update_environment(self, **asked):
        return self._point("eb.update_environment", partial(self._update, asked))

    def abort_environment_update(self, **asked):
        return self._point("eb.abort_environment_update", partial(self._abort, asked))

    # --- what they do -----------------------------------------------------------------------------

    def _environments(self, asked):
        return {
            "Environments": [
                self._described(name, self._now(name))
                for name in asked["EnvironmentNames"]
                if name in self.environments
                and asked.get("ApplicationName") in {None, self.environments[name].application}
            ]
        }

    @staticmethod
    def _described(name, environment):
        health = environment.health if environment.status == "Ready" else "Grey"
        described = {
            "ApplicationName": environment.application,
            "EnvironmentName": name,
            "Status": environment.status,
            "Health": health,
            "HealthStatus": _STATUSES[health],
            "CNAME": f"{name}.example",
        }
        return {**described, "VersionLabel": environment.label} if environment.label else described

    def _instances(self, asked):
        """Of the only instance what was asked for: the version that it was given last."""
        name = asked["EnvironmentName"]
        if name not in self.environments:
            raise _wrong("DescribeInstancesHealth", f"No Environment found for EnvironmentName = '{name}'.")
        label = self._now(name).label
        deployment = {"Deployment": {"VersionLabel": label, "Status": "Deployed"}} if label else {}
        return {"InstanceHealthList": [{"InstanceId": f"i-{name}", **deployment}]}

    def _versions(self, asked):
        application, labels = asked.get("ApplicationName"), asked["VersionLabels"]
        found = [place for place in self.versions if application in {None, place[0]} and place[1] in labels]
        return {"ApplicationVersions": [self._version(place) for place in found]}

    def _version(self, place):
        fields, processed_at = self.versions[place]
        fields = {**fields, "ApplicationName": place[0]}
        if processed_at is None:
            return {**fields, "Status": "UNPROCESSED"}
        return {**fields, "Status": "PROCESSED" if self._clock() >= processed_at else "PROCESSING"}

    def _create(self, asked):
        application, label = asked["ApplicationName"], asked["VersionLabel"]
        if application not in {environment.application for environment in self.environments.values()}:
            raise _wrong("CreateApplicationVersion", f"No Application named '{application}' found.")
        if (application, label) in self.versions:
            raise _wrong("CreateApplicationVersion", f"Application Version {label} already exists.")
        fields = {name: value for name, value in asked.items() if name not in {"Process", "AutoCreateApplication"}}
        processed_at = self._clock() + timedelta(seconds=self._processing_s) if asked.get("Process") else None
        self.versions[application, label] = fields, processed_at
        self.made[application, label] += 1
        return {"ApplicationVersion": self._version((application, label))}

    def _events(self, asked):
        """Newest first."""
        self.settle()
        wanted = {name: asked[name] for name in ("ApplicationName", "EnvironmentName", "VersionLabel") if name in asked}
        worst = _SEVERITIES[_SEVERITIES.index(asked.get("Severity", "INFO")) :]
        start = int(asked.get("NextToken", "0"))
        found = [
            event
            for event in reversed(self.events)
            if event["EventDate"] >= asked["StartTime"]
            and event["Severity"] in worst
            and wanted.items() <= event.items()
        ]
        more = {"NextToken": str(start + self._page)} if len(found) > start + self._page else {}
        return {"Events": found[start : start + self._page], **more}

    def _update(self, asked):
        name, label = asked["EnvironmentName"], asked["VersionLabel"]
        if name not in self.environments or self.environments[name].application != asked["ApplicationName"]:
            raise _wrong("UpdateEnvironment", f"No Environment found for EnvironmentName = '{name}'.")
        environment = self._now(name)
        if (environment.application, label) not in self.versions:
            raise _wrong("UpdateEnvironment", f"No Application Version named '{label}' found.")
        if self._version((environment.application, label))["Status"] == "PROCESSING":
            text = f"Application version {label} cannot be deployed: its status is PROCESSING."
            raise _wrong("UpdateEnvironment", text)
        if environment.status != "Ready":
            text = f"Environment named {name} is in an invalid state for this operation. Must be Ready."
            raise _wrong("UpdateEnvironment", text)
        self.updates[name, label] += 1
        environment.met = environment.fates(label) if environment.fates else environment.fate
        self.occupy(name, _FOR_EVER_S if environment.met == "stuck" else environment.takes_s, goal=label)
        return self._described(name, environment)

    def _abort(self, asked):
        name = asked["EnvironmentName"]
        environment = self._now(name)
        if environment.status != "Updating":
            text = f"Environment named {name} is in an invalid state for this operation. Must be pending deployment."
            raise _wrong("AbortEnvironmentUpdate", text)
        self.aborted[name, environment.goal] += 1
        environment.status, environment.goal = "Aborting", None
        environment.ready_at = self._clock() + timedelta(seconds=environment.takes_s)

    def _now(self, name):
        environment = self.environments[name]
        if environment.ready_at and self._clock() >= environment.ready_at:
            self._end(name, environment, environment.ready_at)
        return environment

    def _end(self, name, environment, at):
        environment.status, environment.ready_at = "Ready", None
        if environment.goal and environment.met == "rolled back":
            self._happens(at, "ERROR", "Failed to deploy application.", name)
        elif environment.goal:
            environment.label = environment.goal
            environment.health = "Green" if environment.met == "good" else environment.met
            environment.history.append((at, environment.label))
        self._happens(at, "INFO", "Environment update completed.", name)

    def _happens(self, at, severity, message, name):
        application = self.environments[name].application
        told = {"EventDate": at, "Severity": severity, "Message": message}
        self.events.append({**told, "ApplicationName": application, "EnvironmentName": name})


def _wrong(operation, message):
    return refused(operation, "InvalidParameterValue", message)
