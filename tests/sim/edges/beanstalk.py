"""Elastic Beanstalk in memory: it takes its time, and remembers what was asked of it and what ran when."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from infra.local.eb_faults import Fault
from tests.sim.edges.eb_fates import (
    COLOURS,
    KEEPS_THE_OLD,
    NEVER_ENDS,
    NO_WAY_BACK,
    RED_LATER,
    ROLLED_BACK,
    Fate,
    Fates,
)
from tests.sim.edges.point import at_once, refused

_FOR_EVER_S = 10**7
_STATUSES = {"Green": "Ok", "Yellow": "Warning", "Red": "Severe", "Grey": "Pending"}
_GOING_S = 30
_SEVERITIES = ("INFO", "WARN", "ERROR")


@dataclass
class Environment:
    """One environment.

    Args:
        takes_s: how long an update takes.
        goal: the version that is on its way, to which `met` is what befalls it.
        ready_at: when the present operation ends.
        ill_at: when the version that runs turns red.
        gone_at: when the environment, which is being terminated, is there no more.
        behind: the version of a second instance, which an update left on it.
        history: (when, label) of everything that ever ran.
    """

    application: str
    label: str | None = "v0"
    health: str = "Green"
    takes_s: float = 60
    status: str = "Ready"
    goal: str | None = None
    met: Fate = field(default_factory=Fate)
    ready_at: datetime | None = None
    ill_at: datetime | None = None
    gone_at: datetime | None = None
    behind: str | None = None
    history: list[tuple[datetime, str | None]] = field(default_factory=list)


class MemoryBeanstalk:
    """A client with applications that exist as soon as one of their environments does.

    Args:
        clock: the time of day, UTC.
        processing_s: how long a new version is PROCESSING.
        page: so many events come at once.

    `fates` says what befalls which version. `gone` holds the environments that were terminated, `updates` counts the
    UpdateEnvironment that began, by (environment, label), `aborted` those that were; `versions` holds each version
    that was made, by (application, label), `made` how often.
    """

    def __init__(self, clock, *, point=at_once, processing_s=5, page=100):
        self._clock, self._point = clock, point
        self._processing_s, self._page = processing_s, page
        self.fates = Fates(lambda _: Fate())
        self.environments, self.gone = {}, {}
        self.versions, self._applications = {}, set()
        self.made = Counter()
        self.updates = Counter()
        self.aborted = Counter()
        self.events = []

    # --- what a simulator does --------------------------------------------------------------------

    def add_environment(self, name, application, **changes):
        environment = self.environments[name] = Environment(application, **changes)
        self._applications.add(application)
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
        place = {"ApplicationName": environment.application, "EnvironmentName": name}
        self._happens(self._clock(), "INFO", "Environment update is starting.", place)

    def settle(self):
        """Let everything happen that is over by now, though nobody looks."""
        for name in list(self.environments):
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
        found = [(name, self._now(name)) for name in asked["EnvironmentNames"]]
        return {
            "Environments": [
                self._described(name, environment)
                for name, environment in found
                if environment and asked.get("ApplicationName") in {None, environment.application}
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
        # During an update it is the new one already, as at AWS; where that is aborted too, until it has ended.
        label = environment.goal or environment.label
        return {**described, "VersionLabel": label} if label else described

    def _instances(self, asked):
        """One with the version that it was given last, and one that an update left behind."""
        name = asked["EnvironmentName"]
        environment = self._now(name)
        if environment is None:
            raise _wrong("DescribeInstancesHealth", f"No Environment found for EnvironmentName = '{name}'.")
        told = [
            {"InstanceId": f"i-{name}-{number}", "Deployment": {"VersionLabel": label, "Status": "Deployed"}}
            for number, label in enumerate(filter(None, (environment.label, environment.behind)))
        ]
        return {"InstanceHealthList": told or [{"InstanceId": f"i-{name}-0"}]}

    def _versions(self, asked):
        application, labels = asked.get("ApplicationName"), asked["VersionLabels"]
        found = [place for place in self.versions if application in {None, place[0]} and place[1] in labels]
        return {"ApplicationVersions": [self._version(place) for place in found]}

    def _version(self, place):
        fields, processed_at = self.versions[place]
        fields = {**fields, "ApplicationName": place[0]}
        if processed_at is None:
            return {**fields, "Status": "UNPROCESSED"}
        if self._clock() < processed_at:
            return {**fields, "Status": "PROCESSING"}
        failed = self.fates(place[1]).what == Fault.CANNOT_PROCESS
        return {**fields, "Status": "FAILED" if failed else "PROCESSED"}

    def _create(self, asked):
        application, label = asked["ApplicationName"], asked["VersionLabel"]
        refusal = self.fates.refusal("CreateApplicationVersion", label, None, Fault.QUOTA, Fault.OTHER_REGION)
        if refusal:
            raise refusal
        if application not in self._applications:
            raise _wrong("CreateApplicationVersion", f"No Application named '{application}' found.")
        if (application, label) not in self.versions and (fate := self.fates.meets(label, Fault.LABEL_EXISTS)):
            self._somebody_was_faster(application, label, asked["SourceBundle"], fate)
        if (application, label) in self.versions:
            raise _wrong("CreateApplicationVersion", f"Application Version {label} already exists.")
        fields = {name: value for name, value in asked.items() if name not in {"Process", "AutoCreateApplication"}}
        processed_at = self._clock() + timedelta(seconds=self._processing_s) if asked.get("Process") else None
        if processed_at and (fate := self.fates.meets(label, Fault.NEVER_PROCESS, Fault.CANNOT_PROCESS)):
            if fate.what == Fault.NEVER_PROCESS:
                processed_at += timedelta(seconds=_FOR_EVER_S)
            else:
                why = f"Failed to process application version {label}: so it was ordered"
                self._happens(processed_at, "ERROR", why, {"ApplicationName": application, "VersionLabel": label})
        self.versions[application, label] = fields, processed_at
        self.made[application, label] += 1
        return {"ApplicationVersion": self._version((application, label))}

    def _somebody_was_faster(self, application, label, bundle, fate):
        place = bundle if fate.same_bundle else {**bundle, "S3Key": f"another/{label}.zip"}
        self.versions[application, label] = {"VersionLabel": label, "SourceBundle": place}, self._clock()

    def _events(self, asked):
        """Newest first."""
        self.settle()
        wanted = {name: asked[name] for name in ("ApplicationName", "EnvironmentName", "VersionLabel") if name in asked}
        worst = _SEVERITIES[_SEVERITIES.index(asked.get("Severity", "INFO")) :]
        start = int(asked.get("NextToken", "0"))
        found = [
            event
            for event in reversed(self.events)
            if asked["StartTime"] <= event["EventDate"] <= self._clock()
            and event["Severity"] in worst
            and wanted.items() <= event.items()
        ]
        more = {"NextToken": str(start + self._page)} if len(found) > start + self._page else {}
        return {"Events": found[start : start + self._page], **more}

    def _update(self, asked):
        name, label = asked["EnvironmentName"], asked["VersionLabel"]
        environment = self._now(name)
        if environment is None or environment.application != asked["ApplicationName"]:
            raise _wrong("UpdateEnvironment", f"No Environment found for EnvironmentName = '{name}'.")
        refusal = self.fates.refusal("UpdateEnvironment", label, name, Fault.REFUSE, Fault.DENY)
        refusal = refusal or self.fates.refusal("UpdateEnvironment", environment.label, name, NO_WAY_BACK)
        if refusal:
            raise refusal
        if (environment.application, label) not in self.versions:
            raise _wrong("UpdateEnvironment", f"No Application Version named '{label}' found.")
        status = self._version((environment.application, label))["Status"]
        if status in {"PROCESSING", "FAILED"}:
            text = f"Application version {label} cannot be deployed: its status is {status}."
            raise _wrong("UpdateEnvironment", text)
        if environment.status != "Ready":
            text = f"Environment named {name} is in an invalid state for this operation. Must be Ready."
            raise _wrong("UpdateEnvironment", text)
        self.updates[name, label] += 1
        environment.met = self.fates.begins(label)
        self.occupy(name, _FOR_EVER_S if environment.met.what in NEVER_ENDS else environment.takes_s, goal=label)
        return self._described(name, environment)

    def _abort(self, asked):
        name = asked["EnvironmentName"]
        environment = self._now(name)
        if environment is None:
            raise _wrong("AbortEnvironmentUpdate", f"No Environment found for EnvironmentName = '{name}'.")
        if environment.status != "Updating":
            text = f"Environment named {name} is in an invalid state for this operation. Must be pending deployment."
            raise _wrong("AbortEnvironmentUpdate", text)
        self.aborted[name, environment.goal] += 1
        environment.status = "Aborting"
        if environment.met.what != Fault.STUCK_FOR_GOOD:
            environment.ready_at = self._clock() + timedelta(seconds=environment.takes_s)

    def _now(self, name):
        """The environment as it is by now; None where there is none, or none any more."""
        environment, now = self.environments.get(name), self._clock()
        if environment is None:
            return None
        if environment.ready_at and now >= environment.ready_at:
            self._end(name, environment, environment.ready_at)
        if environment.ill_at and now >= environment.ill_at:
            environment.health, environment.ill_at = "Red", None
        if environment.gone_at and now >= environment.gone_at:
            self.gone[name] = self.environments.pop(name)
            return None
        return environment

    def _end(self, name, environment, at):
        """What was under way is over."""
        place = {"ApplicationName": environment.application, "EnvironmentName": name}
        goal, fate, aborted = environment.goal, environment.met, environment.status == "Aborting"
        environment.status, environment.ready_at, environment.goal = "Ready", None, None
        if goal and not aborted:
            if fate.what == Fault.TERMINATE:
                environment.status, environment.gone_at = "Terminating", at + timedelta(seconds=_GOING_S)
                self._happens(at, "INFO", "terminateEnvironment is starting.", place)
                return
            if fate.what == ROLLED_BACK:
                self._happens(at, "ERROR", "Failed to deploy application.", place)
            if fate.what not in KEEPS_THE_OLD:
                self._runs(environment, goal, fate, at)
        self._happens(at, "INFO", "Environment update completed.", place)

    @staticmethod
    def _runs(environment, label, fate, at):
        environment.behind = environment.label if fate.what == Fault.MIXED else None
        environment.label, environment.health = label, COLOURS.get(fate.what, "Green")
        environment.ill_at = at + timedelta(seconds=fate.after_s) if fate.what == RED_LATER else None
        environment.history.append((at, label))

    def _happens(self, at, severity, message, of):
        self.events.append({"EventDate": at, "Severity": severity, "Message": message, **of})


def _wrong(operation, message):
    return refused(operation, "InvalidParameterValue", message)
