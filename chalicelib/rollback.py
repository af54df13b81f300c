"""A deployment that did not do in; the way back to the version that did, once, and what came of it, out."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from chalicelib.creating import STAYS
from chalicelib.environment import BAD, LOST_AFTER, Call, Seen, rank
from chalicelib.model import Deployment, DeploymentState
from chalicelib.verifying import judged

Next = tuple[Deployment, Call | None]


def begin(record: Deployment, seen: Seen, reason: str, now: datetime) -> Next:
    """On its way back; or at its end, where it may not go back, or there is nothing to go back to.

    An update that does not end is aborted first: nothing else is accepted before.

    Args:
        reason: why it failed.
    """
    went_back = seen.ready and seen.label == record.previous_label != record.label
    target = record.previous_label if went_back else target_of(record)
    if target is None or not record.rolls_back:
        nowhere = "" if target else STAYS if record.creates else ". No earlier version is known to be well, so it stays"
        return replace(record, state=DeploymentState.FAILED, reason=f"{reason}{nowhere}"), None
    back = replace(
        record,
        state=DeploymentState.ROLLING_BACK,
        failure=reason,
        back_to=target,
        deadline_at=now + timedelta(seconds=record.timeout_s),
        called=went_back,
        undoing=False,
        ready_at=None,
        well_at=None,
    )
    # What answered at the probe a moment ago was the other version, or may have been.
    return go_on(back, replace(seen, answer=None), now)


def target_of(record: Deployment) -> str | None:
    """The version that was live and well here last; without one, what ran before, unless it was sick too."""
    if record.creates:
        return None  # what was live in another environment of that name says nothing about this one
    if record.good_label and record.good_label != record.label:
        return record.good_label
    sick = (rank(record.previous_health) or 0) >= BAD
    return None if sick or record.previous_label == record.label else record.previous_label


def go_on(record: Deployment, seen: Seen, now: datetime) -> Next:
    """The next step back."""
    if seen.missing or seen.going:
        return failed(record, f"{record.environment} was terminated meanwhile"), None
    if not seen.ready:
        return _abort(replace(record, ready_at=None, well_at=None), seen, now)
    if record.aborted_at and now - record.aborted_at < LOST_AFTER:
        # That call may still be on its way: whatever begins now could be hit by it.
        return record, None
    if seen.label == record.back_to:
        return _verified(record, seen, now), None
    return _call(record, seen, now)


def _abort(record: Deployment, seen: Seen, now: datetime) -> Next:
    """The update under way is to end: asked for once, and again as long as nothing shows that it was heard."""
    heard = record.aborted_at and now - record.aborted_at < LOST_AFTER
    if record.undoing or heard or seen.status != "Updating":
        return record, None
    return replace(record, aborted_at=now), Call.ABORT


def _call(record: Deployment, seen: Seen, now: datetime) -> Next:
    """Ready, and not with the version that is wanted: the call, once, and again only if it never arrived."""
    if record.called and seen.label != record.label:
        return failed(record, f"it runs {seen.label}: somebody else deployed it"), None
    if record.undoing and record.intended_at and now - record.intended_at < LOST_AFTER:
        return record, None
    if record.undoing and record.called:
        return failed(record, f"it still runs {seen.label}"), None
    return replace(record, undoing=True, intended_at=now, called=False), Call.ROLL_BACK


def failed(record: Deployment, why: str) -> Deployment:
    """The end that somebody has to look at."""
    reason = f"{record.failure}. The way back to {record.back_to} failed too: {why}"
    return replace(record, state=DeploymentState.ROLLBACK_FAILED, reason=reason)


def _verified(record: Deployment, seen: Seen, now: datetime) -> Deployment:
    """Back, and as well as before, by the same signs as a new version."""
    record, obstacle = judged(record, seen, now)
    if obstacle is None:
        by_whom = f". Tau rolled back to {record.back_to}" if record.undoing else ""
        return replace(record, state=DeploymentState.ROLLED_BACK, reason=f"{record.failure}{by_whom}")
    return failed(record, f"it runs again, {obstacle.what}") if obstacle.final else record
