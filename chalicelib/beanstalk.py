"""A deployment and what Elastic Beanstalk says of it in; its next state, and perhaps one call to make, out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from chalicelib.model import DEPLOYMENT_ENDS, Deployment, DeploymentState

LOOK_EVERY = timedelta(seconds=5)
"""How soon somebody looks again while a deployment is under way."""
LOST_AFTER = timedelta(seconds=30)
"""An update that shows no trace after so long was never begun: longer than one call may take."""
HEALTH_GRACE = timedelta(seconds=60)
"""Health may lag behind Ready: a load balancer needs a few checks before an instance counts again."""


class Call(StrEnum):
    """What the winner of the conditional write does next."""

    UPDATE_ENVIRONMENT = "update_environment"


@dataclass(frozen=True)
class Notice:
    """One event of Elastic Beanstalk: `severity` is TRACE, DEBUG, INFO, WARN, ERROR or FATAL."""

    at: datetime
    severity: str
    message: str


@dataclass(frozen=True)
class Seen:
    """What Elastic Beanstalk says at one moment.

    Args:
        health: the colour: Green, Yellow, Red or Grey.
        health_status: the word of enhanced health (Ok, Warning, Severe, NoData), None without it.
        label: the version that runs; None where none was ever deployed.
        version_status: of our version, asked for only while it is being prepared; None = not known there.
        notices: the environment's, oldest first, from a little before the deployment was made.
        missing: there is no such environment.
    """

    status: str | None = None
    health: str | None = None
    health_status: str | None = None
    label: str | None = None
    version_status: str | None = None
    notices: tuple[Notice, ...] = ()
    url: str | None = None
    missing: bool = False

    @property
    def ready(self) -> bool:
        return self.status == "Ready"

    @property
    def condition(self) -> str | None:
        """The health in one word, the more exact one where both are known."""
        return next((word for word in (self.health_status, self.health) if word in _RANK), self.health)


# https://docs.aws.amazon.com/elasticbeanstalk/latest/dg/health-enhanced-status.html; Grey, NoData, Unknown, Pending
# and Suspended say nothing about the application.
_RANK = {"Green": 0, "Ok": 0, "Info": 0, "Yellow": 1, "Warning": 1, "Red": 2, "Degraded": 2, "Severe": 3}
_BAD = 2

Next = tuple[Deployment, Call | None]


def advance(record: Deployment, seen: Seen, now: datetime) -> Next:
    """The record as it is to be written, and the call that whoever has written it then makes.

    A record that came to its end stays due until its lock is free and its run was woken.
    """
    if record.state in DEPLOYMENT_ENDS:
        return record, None
    moved, call = _look(replace(record, reason=None), seen, now)
    if call is None and moved.state not in DEPLOYMENT_ENDS and now >= moved.deadline_at:
        moved = _fail(moved, _too_late(moved, seen))
    return _due(moved, now), call


def answered(record: Deployment, now: datetime) -> Deployment:
    """UpdateEnvironment was accepted."""
    moved = _enter(record, DeploymentState.VERIFYING, now) if record.state is DeploymentState.UPDATING else record
    return _due(replace(moved, called=True), now)


def refused(record: Deployment, reason: str, now: datetime) -> Deployment:
    """UpdateEnvironment was refused for now, surely without effect: wait again, under the deadline that runs."""
    again = replace(record, state=DeploymentState.WAITING_READY, called=False, ready_at=None, reason=reason)
    return _due(again, now)


def outrun(deployment: Deployment, by: str, now: datetime) -> Deployment:
    """It never began: a newer run, `by`, deploys to the same environment."""
    reason = f"run {by}, a newer one, deploys to {deployment.environment}"
    return replace(deployment, state=DeploymentState.SUPERSEDED, reason=reason, outrun_by=by, due_at=now)


def failed(record: Deployment, reason: str, now: datetime, *, ours: bool = False) -> Deployment:
    """The end, for a reason from outside; `ours` = no version is to blame, the operators have to act."""
    return _due(replace(_fail(record, reason), ours=ours), now)


def delayed(record: Deployment, reason: str, now: datetime, *, ours: bool = False) -> Deployment:
    """Nothing can be decided now; the deadline runs on."""
    if now >= record.deadline_at:
        return failed(record, f"{_waited(record)}: {reason}", now, ours=ours)
    return _due(replace(record, reason=reason), now + LOOK_EVERY)


def since(record: Deployment, notices: Sequence[Notice]) -> list[Notice]:
    """The notices that came after we called: newer than all that stood there before, by the same clock."""
    return [notice for notice in notices if record.mark_at is None or notice.at > record.mark_at]


def first_error(notices: Sequence[Notice]) -> str | None:
    """The text of the first error, else of the first warning."""
    for severities in (("ERROR", "FATAL"), ("WARN",)):
        for notice in notices:
            if notice.severity in severities:
                return notice.message
    return None


def lock_name(record: Deployment) -> str:
    """One environment, one deployment at a time."""
    return f"eb/{record.region}/{record.environment}"


def _look(record: Deployment, seen: Seen, now: datetime) -> Next:
    gone = _gone(record, seen)
    if gone:
        return _fail(record, gone), None
    match record.state:
        case DeploymentState.PREPARED:
            return _prepared(record, seen, now)
        case DeploymentState.WAITING_READY:
            return _waiting_ready(record, seen, now)
        case DeploymentState.UPDATING:
            return _updating(record, seen, now)
        case _:
            return _verifying(record, seen, now), None


def _prepared(record: Deployment, seen: Seen, now: datetime) -> Next:
    # AWS's model says Processed, its answers say PROCESSED.
    status = (seen.version_status or "").upper()
    if status == "FAILED":
        why = first_error(seen.notices) or "it gives no reason"
        return _fail(record, f"Elastic Beanstalk could not process the version {record.label}: {why}"), None
    if status != "PROCESSED":
        return record, None
    return _waiting_ready(_enter(record, DeploymentState.WAITING_READY, now), seen, now)


def _waiting_ready(record: Deployment, seen: Seen, now: datetime) -> Next:
    if not seen.ready:
        return record, None
    if seen.label == record.label:
        # A repeat of what runs already: nothing to call.
        again = replace(record, previous_label=seen.label, previous_health=seen.condition)
        return _verifying(_enter(again, DeploymentState.VERIFYING, now), seen, now), None
    if record.intended_at and now >= record.deadline_at:
        return record, None
    return _intend(replace(record, mark_at=_newest(seen.notices)), seen, now)


def _updating(record: Deployment, seen: Seen, now: datetime) -> Next:
    if not seen.ready or seen.label == record.label:
        return _verifying(_enter(record, DeploymentState.VERIFYING, now), seen, now), None
    if _another_label(record, seen, now):
        return _fail(record, _not_ours(record, seen)), None
    if _since_intent(record, now) >= LOST_AFTER and now < record.deadline_at:
        return _intend(record, seen, now)
    return record, None


def _intend(record: Deployment, seen: Seen, now: datetime) -> Next:
    """Written before the call: whoever finds it unanswered knows what to look for."""
    intent = replace(
        record,
        state=DeploymentState.UPDATING,
        intended_at=now,
        called=False,
        previous_label=seen.label,
        previous_health=seen.condition,
    )
    return intent, Call.UPDATE_ENVIRONMENT


def _verifying(record: Deployment, seen: Seen, now: datetime) -> Deployment:
    if not seen.ready:
        return replace(record, ready_at=None)
    if seen.label != record.label:
        return _fail(record, _not_ours(record, seen)) if _another_label(record, seen, now) else record
    record = replace(record, ready_at=record.ready_at or now, url=seen.url)
    rank, before = _RANK.get(seen.condition or ""), _RANK.get(record.previous_health or "", 0)
    if rank is None:
        return record
    if rank == 0 or (rank < _BAD and rank <= before):
        return replace(record, state=DeploymentState.LIVE, reason=_despite(record, seen))
    # A health that was as bad before may still become better: the deadline decides.
    if rank >= _BAD and rank > before and now - (record.ready_at or now) >= HEALTH_GRACE:
        return _fail(record, _unhealthy(record, seen))
    return record


def _another_label(record: Deployment, seen: Seen, now: datetime) -> bool:
    """Ready with a label that is not ours: whether that is the outcome, not the time before it has begun."""
    if seen.label != record.previous_label:
        return True
    began = any("update is starting" in notice.message.lower() for notice in since(record, seen.notices))
    # Answered, or seen at work: then a short silence is Elastic Beanstalk's own delay, a long one the outcome.
    known = record.called or record.state is DeploymentState.VERIFYING
    silence = _since_intent(record, now)
    return (began and silence >= LOOK_EVERY) or (known and silence >= LOST_AFTER)


def _enter(record: Deployment, state: DeploymentState, now: datetime) -> Deployment:
    return replace(record, state=state, deadline_at=now + timedelta(seconds=record.timeout_s))


def _due(record: Deployment, now: datetime) -> Deployment:
    return replace(record, number=record.number + 1, due_at=now + LOOK_EVERY)


def _fail(record: Deployment, reason: str) -> Deployment:
    return replace(record, state=DeploymentState.FAILED, reason=reason)


def _newest(notices: Sequence[Notice]) -> datetime | None:
    return max((notice.at for notice in notices), default=None)


def _since_intent(record: Deployment, now: datetime) -> timedelta:
    return now - record.intended_at if record.intended_at else LOST_AFTER


def missing(environment: str, application: str, region: str) -> str:
    """What somebody reads who deploys to an environment that is not there."""
    return (
        f"there is no environment {environment} of the application {application} in {region}: "
        "create it there, or correct deploy_eb in ci.yml"
    )


def _gone(record: Deployment, seen: Seen) -> str | None:
    if not seen.missing and seen.status not in {"Terminating", "Terminated"}:
        return None
    if record.intended_at:
        return f"{record.environment} was terminated while {record.label} was on its way to it"
    if seen.missing:
        return missing(record.environment, record.application, record.region)
    return f"{record.environment} is being terminated: nothing was deployed"


def _not_ours(record: Deployment, seen: Seen) -> str:
    why = first_error(since(record, seen.notices)) or "it gives no reason; its events stand in the log"
    if seen.label == record.previous_label:
        return f"Elastic Beanstalk rolled back to {seen.label or 'no version at all'}: {why}"
    return f"{record.environment} runs {seen.label}, not {record.label}: somebody else deployed it meanwhile"


def _unhealthy(record: Deployment, seen: Seen) -> str:
    before = f"it was {record.previous_health} before" if record.previous_health else "its health before is not known"
    error = first_error(since(record, seen.notices))
    return f"{record.environment} runs {record.label}, but its health is {seen.condition} ({before})" + (
        f": {error}" if error else ""
    )


def _despite(record: Deployment, seen: Seen) -> str | None:
    """What went wrong on the way to a version that runs all the same."""
    errors = [notice for notice in since(record, seen.notices) if notice.severity in {"ERROR", "FATAL"}]
    return f"live, although Elastic Beanstalk reported: {errors[0].message}" if errors and record.intended_at else None


def _waited(record: Deployment) -> str:
    minutes, seconds = divmod(record.timeout_s, 60)
    return "waited " + " ".join(part for part in (minutes and f"{minutes}m", seconds and f"{seconds}s") if part)


def _too_late(record: Deployment, seen: Seen) -> str:
    label, environment = record.label, record.environment
    match record.state:
        case DeploymentState.PREPARED:
            what = f" for Elastic Beanstalk to process {label}: it is {seen.version_status or 'not known there'}"
        case DeploymentState.WAITING_READY if record.intended_at:
            what = f" for {environment} to accept an update: it refuses, and is {seen.status}"
        case DeploymentState.WAITING_READY:
            what = f" for {environment} to be Ready: it is {seen.status}. Nothing was deployed"
        case DeploymentState.UPDATING:
            what = f" for {environment} to begin the update to {label}: it shows no trace of it"
        case _ if not seen.ready:
            what = f" for {environment} to be Ready with {label}: it is still {seen.status}"
        case _ if seen.condition in _RANK:
            what = f"; {_unhealthy(record, seen)}"
        case _:
            what = f"; {environment} runs {label}, but says nothing about its health ({seen.condition})"
    return _waited(record) + what
