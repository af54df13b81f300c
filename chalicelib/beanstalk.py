"""A deployment and what Elastic Beanstalk says of it in; its next state, and perhaps one call to make, out."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from chalicelib import creating, rollback, wishes
from chalicelib.environment import (
    CLOCKS_DIFFER,
    LONGEST_PAUSE,
    LOOK_EVERY,
    LOST_AFTER,
    Call,
    Seen,
    first_error,
    newest,
    since,
)
from chalicelib.model import DEPLOYMENT_ENDS, Deployment, DeploymentState, Job, Live
from chalicelib.reports.words import duration
from chalicelib.verifying import asks_first, has_time, judged, wanted

Next = tuple[Deployment, Call | None]


def advance(record: Deployment, seen: Seen, now: datetime) -> Next:
    """The record as it is to be written, and the call that whoever has written it then makes.

    A record that came to its end stays due until its lock is free and its run was woken.
    """
    if record.state in DEPLOYMENT_ENDS:
        return record, None
    said = wishes.heard(record, now)
    if said:
        return said, None
    asked = replace(record, reason=None, unseen=0)
    moved, call = wishes.stopped(record, *_look(asked, seen, now), seen, now)
    late = now >= moved.deadline_at and not _may_arrive(asked, now) and not has_time(moved, now)
    if moved.state not in DEPLOYMENT_ENDS and late:
        if call is None:
            moved, call = _give_up(moved, seen, now)
        elif record.state is DeploymentState.ROLLING_BACK:
            # One more call would not be the last: it is made as long as it is refused, or not heard.
            moved, call = _give_up(asked, seen, now)
    return _due(moved, now), call


def answered(record: Deployment, now: datetime) -> Deployment:
    """The call was accepted."""
    moved = _enter(record, DeploymentState.VERIFYING, now) if record.state is DeploymentState.UPDATING else record
    return _due(replace(moved, called=True), now)


def refused(record: Deployment, reason: str, now: datetime) -> Deployment:
    """The call was refused for now, surely without effect: wait again, under the deadline that runs."""
    if record.state is DeploymentState.ROLLING_BACK:
        return _due(replace(record, called=False, undoing=False, reason=reason), now)
    again = replace(record, state=DeploymentState.WAITING_READY, called=False, ready_at=None, well_at=None)
    return _due(replace(again, reason=reason), now)


def outrun(deployment: Deployment, by: str, now: datetime) -> Deployment:
    """It never began: a newer run, `by`, deploys to the same environment."""
    reason = f"run {by}, a newer one, deploys to {deployment.environment}"
    return replace(deployment, state=DeploymentState.SUPERSEDED, reason=reason, outrun_by=by, due_at=now)


def failed(record: Deployment, reason: str, now: datetime, *, ours: bool = False) -> Deployment:
    """The end, for a reason from outside; `ours` = no version is to blame, the operators have to act."""
    if record.state is DeploymentState.ROLLING_BACK:
        return _due(rollback.failed(record, reason), now)
    return _due(replace(_fail(record, reason), ours=ours), now)


def in_line(record: Deployment, before: Deployment, now: datetime) -> Deployment:
    """Another deployment to the same environment goes first: its own deadlines end the waiting for it.

    Only where it stands still, and nobody ends it, that counts as too long.
    """
    first = f"{before.label} of run {before.run}"
    deadline_at = max(record.deadline_at, before.deadline_at + timedelta(seconds=record.timeout_s))
    if now >= deadline_at:
        over = duration(now - before.deadline_at)
        late = f"{first} goes first, and is {before.state} though its time was over {over} ago: nothing was deployed"
        return failed(record, late, now)
    waits = f"{record.label} waits for {first}, which is {before.state}"
    # What happens there meanwhile is another's.
    return _due(replace(record, deadline_at=deadline_at, mark_at=now - CLOCKS_DIFFER, reason=waits), now)


def unseen(record: Deployment, reason: str, now: datetime) -> Deployment:
    """Elastic Beanstalk did not say how it stands: it is asked again after a pause that doubles."""
    has_time_left = _may_arrive(record, now) or has_time(record, now, LONGEST_PAUSE)
    if now >= record.deadline_at and not has_time_left:
        return failed(record, f"{_waited(record)}: {reason}", now, ours=True)
    # It has doubled beyond the longest by then; a power that grows on is soon more than a time can hold.
    doubled = LOOK_EVERY * 2 ** min(record.unseen + 1, 4)
    pause = min(doubled, LONGEST_PAUSE, max(record.deadline_at - now, LOOK_EVERY))
    again = replace(record, reason=reason, unseen=record.unseen + 1, number=record.number + 1)
    return replace(again, due_at=now + pause)


def live(record: Deployment, before: str | None, now: datetime) -> Live:
    """What is live once a deployment is, and the version that was live and well there `before`."""
    return Live(
        region=record.region,
        application=record.application,
        environment=record.environment,
        label=record.label,
        deployment=record.id,
        since=now,
        health=record.health,
        url=record.url,
        repository=record.repository,
        tag=record.tag,
        commit=record.commit,
        image=record.image,
        by=record.by,
        good_label=before,
        built_from=record.built_from,
    )


def lock_name(record: Deployment) -> str:
    """One environment, one deployment at a time."""
    return environment_lock(record.region, record.environment)


def environment_lock(region: str, environment: str) -> str:
    return f"eb/{region}/{environment}"


def rollback_lock(region: str, environment: str) -> str:
    """The lock of a run that only tells of the way back that somebody asked for."""
    return f"rollback/{environment_lock(region, environment)}"


def brought_back(job: Job) -> tuple[str, str] | None:
    """The environment, and its region, where a run is the way back that somebody asked for; None of any other run."""
    settings = job.steps[-1].settings if job.steps else {}
    place = str(settings.get("environment")), str(settings.get("region"))
    return place if job.lock == rollback_lock(place[1], place[0]) else None


def _look(record: Deployment, seen: Seen, now: datetime) -> Next:
    if record.state is DeploymentState.ROLLING_BACK:
        return rollback.go_on(record, seen, now)
    ended_or_made = creating.look(record, seen, now) if creating.concerns(record, seen) else _gone(record, seen)
    if ended_or_made:
        return ended_or_made
    match record.state:
        case DeploymentState.PREPARED:
            return _prepared(record, seen, now)
        case DeploymentState.WAITING_READY:
            return _waiting_ready(record, seen, now)
        case DeploymentState.UPDATING:
            return _updating(record, seen, now)
        case _:
            return _verifying(record, seen, now)


def _give_up(record: Deployment, seen: Seen, now: datetime) -> Next:
    """It took too long: what has begun is undone."""
    reason = _too_late(record, seen, now)
    if record.state is DeploymentState.ROLLING_BACK:
        return rollback.failed(record, reason), None
    if record.state is DeploymentState.VERIFYING:
        return rollback.begin(record, seen, reason, now)
    return _fail(record, reason), None


def _prepared(record: Deployment, seen: Seen, now: datetime) -> Next:
    # AWS's model says Processed, its answers say PROCESSED.
    status = (seen.version_status or "").upper()
    if status == "FAILED":
        why = first_error(seen.notices) or "it gives no reason"
        return _fail(record, f"Elastic Beanstalk could not process the version {record.label}: {why}"), None
    if status != "PROCESSED":
        return record, None
    if record.approvers and not record.approved_by:
        return wishes.ask(record, now), None
    return _waiting_ready(_enter(record, DeploymentState.WAITING_READY, now), seen, now)


def _waiting_ready(record: Deployment, seen: Seen, now: datetime) -> Next:
    if not seen.ready:
        return record, None
    if seen.label == record.label:
        # A repeat of what runs already: nothing to call.
        again = replace(record, previous_label=seen.label, previous_health=seen.condition)
        return _verifying(_enter(again, DeploymentState.VERIFYING, now), seen, now)
    if record.intended_at and now >= record.deadline_at:
        return record, None
    record, asks = asks_first(record, seen)
    # At its deadline nobody is asked first any more: what the way back leads to is then held to less.
    if asks and now < record.deadline_at:
        return record, None
    # Where none stood there for so long, what comes is newer than that.
    mark_at = newest(seen.notices) or record.mark_at or now - CLOCKS_DIFFER
    return _intend(replace(record, mark_at=mark_at), seen, now)


def _updating(record: Deployment, seen: Seen, now: datetime) -> Next:
    if not seen.ready or seen.label == record.label:
        return _verifying(_enter(record, DeploymentState.VERIFYING, now), seen, now)
    if _another_label(record, seen, now):
        return _not_ours(record, seen, now)
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
    return intent, Call.UPDATE


def _verifying(record: Deployment, seen: Seen, now: datetime) -> Next:
    if not seen.ready:
        return replace(record, ready_at=None, well_at=None), None
    if seen.label != record.label:
        known = _another_label(record, seen, now)
        return _not_ours(record, seen, now) if known else (replace(record, well_at=None), None)
    record, obstacle = judged(record, seen, now)
    if obstacle is None:
        return replace(record, state=DeploymentState.LIVE, health=seen.condition, reason=_despite(record, seen)), None
    if obstacle.final:
        return rollback.begin(record, seen, f"{record.environment} runs {seen.label}, {obstacle.what}", now)
    return record, None


def _not_ours(record: Deployment, seen: Seen, now: datetime) -> Next:
    """Another version runs: the one before, to which Elastic Beanstalk went back, or somebody else's."""
    if seen.label != record.previous_label:
        return _fail(
            record, f"{record.environment} runs {seen.label}, not {record.label}: somebody else deployed it"
        ), None
    why = first_error(since(record.mark_at, seen.notices)) or "it gives no reason; its events stand in the log"
    reason = f"Elastic Beanstalk rolled back to {seen.label or 'no version at all'}: {why}"
    return rollback.begin(record, seen, reason, now) if seen.label else (_fail(record, reason), None)


def _another_label(record: Deployment, seen: Seen, now: datetime) -> bool:
    """Ready with a label that is not ours: whether that is the outcome, not the time before it has begun."""
    if seen.label != record.previous_label:
        return True
    began = any("update is starting" in notice.message.lower() for notice in since(record.mark_at, seen.notices))
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


def _since_intent(record: Deployment, now: datetime) -> timedelta:
    return now - record.intended_at if record.intended_at else LOST_AFTER


def _may_arrive(record: Deployment, now: datetime) -> bool:
    """Whether a call may still be on its way: until then its environment is free for nobody else."""
    unanswered = record.state is DeploymentState.UPDATING or (record.undoing and not record.called)
    calls = (record.intended_at if unanswered else None, record.aborted_at)
    return any(at is not None and now - at < LOST_AFTER for at in calls)


def _gone(record: Deployment, seen: Seen) -> Next | None:
    if not seen.missing and not seen.going:
        return None
    if record.intended_at:
        reason = f"{record.environment} was terminated while {record.label} was on its way to it"
    elif seen.missing:
        reason = creating.missing(record.environment, record.application, record.region)
    else:
        reason = f"{record.environment} is being terminated: nothing was deployed"
    return _fail(record, reason), None


def _despite(record: Deployment, seen: Seen) -> str | None:
    """What went wrong on the way to a version that runs all the same."""
    errors = [notice for notice in since(record.mark_at, seen.notices) if notice.severity in {"ERROR", "FATAL"}]
    return f"live, although Elastic Beanstalk reported: {errors[0].message}" if errors and record.intended_at else None


def _waited(record: Deployment) -> str:
    minutes, seconds = divmod(record.timeout_s, 60)
    return "waited " + " ".join(part for part in (minutes and f"{minutes}m", seconds and f"{seconds}s") if part)


def _too_late(record: Deployment, seen: Seen, now: datetime) -> str:
    label, environment = wanted(record), record.environment
    if never_made := creating.too_late(record):
        return _waited(record) + never_made
    match record.state:
        case DeploymentState.PREPARED:
            what = f" for Elastic Beanstalk to process {label}: it is {seen.version_status or 'not known there'}"
        case DeploymentState.WAITING_READY if record.intended_at:
            what = f" for {environment} to accept an update: it refuses, and is {seen.status}"
        case DeploymentState.WAITING_READY:
            what = f" for {environment} to be Ready: it is {seen.status}. Nothing was deployed"
        case DeploymentState.UPDATING:
            what = f" for {environment} to begin the update to {label}: it shows no trace of it"
        case DeploymentState.ROLLING_BACK if seen.ready and seen.label != label:
            what = f" for {environment} to begin the update to {label}: it still runs {seen.label}"
        case _ if not seen.ready:
            what = f" for {environment} to be Ready with {label}: it is still {seen.status}"
        case _:
            _, obstacle = judged(record, seen, now)
            what = f"; {environment} runs {seen.label}" + (f", {obstacle.what}" if obstacle else "")
    return _waited(record) + what
