"""A deployment and what people said of it in; what follows from that, out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from chalicelib import rollback
from chalicelib.environment import CLOCKS_DIFFER, LOOK_EVERY, Call, Seen
from chalicelib.model import Deployment, DeploymentState
from chalicelib.reports.words import clean, duration

Next = tuple[Deployment, Call | None]

APPROVAL_EVERY = timedelta(seconds=60)
"""How often somebody looks whether a newer version has taken the place of one that waits for its approval."""
_BEFORE_THE_CALL = frozenset(
    {DeploymentState.PREPARED, DeploymentState.WAITING_APPROVAL, DeploymentState.WAITING_READY}
)


def waits(record: Deployment) -> bool:
    """Whether nothing of it has reached its environment, or surely had no effect there."""
    return record.state in _BEFORE_THE_CALL or (
        record.state is DeploymentState.VERIFYING and record.intended_at is None
    )


def is_decided(record: Deployment) -> bool:
    """Whether people alone say what becomes of it now: Elastic Beanstalk is not asked."""
    return record.state is DeploymentState.WAITING_APPROVAL or (record.stopped_by is not None and waits(record))


def is_open(record: Deployment) -> bool:
    """Whether it waits for an approval, and nobody has said anything yet."""
    said = record.approved_by or record.refused_by or record.stopped_by
    return record.state is DeploymentState.WAITING_APPROVAL and not said


def heard(record: Deployment, now: datetime) -> Deployment | None:
    """What becomes of a deployment of which `is_decided` is true; None of any other."""
    if record.stopped_by and waits(record):
        return _cancelled(record, _cancelled_by(record), now)
    if record.state is not DeploymentState.WAITING_APPROVAL:
        return None
    if record.refused_by:
        return _cancelled(record, f"refused by {record.refused_by}", now)
    if record.approved_by:
        again = replace(record, state=DeploymentState.PREPARED, reason=None)
        # Its time begins, and what happened there while it waited was another's.
        deadline_at, mark_at = now + timedelta(seconds=record.timeout_s), now - CLOCKS_DIFFER
        return _written(replace(again, deadline_at=deadline_at, mark_at=mark_at), now)
    if now >= record.deadline_at:
        within = duration(record.approve_within_s)
        return _cancelled(record, f"nobody approved it within {within} ({who(record.approvers)} could have)", now)
    due_at = min(now + APPROVAL_EVERY, record.deadline_at)
    return replace(_written(record, now), due_at=due_at, reason=_asks(record))


def ask(record: Deployment, now: datetime) -> Deployment:
    """Its version stands ready: from now on it waits for one of its approvers."""
    until = now + timedelta(seconds=record.approve_within_s)
    return replace(record, state=DeploymentState.WAITING_APPROVAL, deadline_at=until, reason=_asks(record))


def stopped(record: Deployment, moved: Deployment, call: Call | None, seen: Seen, now: datetime) -> Next:
    """What was decided by what is seen, unless somebody wants it to go no further: then it is undone.

    Args:
        record: as it stood; `moved` and `call`: as was decided without that wish.
    """
    if not record.stopped_by or record.state is DeploymentState.ROLLING_BACK:
        return moved, call
    if call in {Call.UPDATE, Call.CREATE}:
        # The call was never made, or is lost; nobody makes it again.
        return replace(record, state=DeploymentState.CANCELLED, reason=_nothing(record, _cancelled_by(record))), None
    ours = not seen.ready or seen.label == record.label
    if moved.state not in {DeploymentState.VERIFYING, DeploymentState.LIVE} or not ours or not may_be_undone(record):
        return moved, call
    under_way = replace(moved, state=DeploymentState.VERIFYING, rolls_back=True, reason=None)
    return rollback.begin(under_way, seen, f"aborted by {record.stopped_by}", now)


def may_be_undone(record: Deployment) -> bool:
    """Whether there is a version to go back to."""
    return rollback.target_of(record) is not None


def stop(record: Deployment, by: str, now: datetime) -> Deployment:
    """Somebody wants it to go no further; who said so first is remembered."""
    return replace(record, stopped_by=record.stopped_by or by, due_at=now)


def answer(record: Deployment, by: str, now: datetime, *, yes: bool) -> Deployment:
    """An approver's answer."""
    said = replace(record, approved_by=by) if yes else replace(record, refused_by=by)
    return replace(said, due_at=now)


def who(approvers: Sequence[str]) -> str:
    """Approvers, as a sentence names them."""
    return " or ".join(clean(one) for one in approvers)


def _asks(record: Deployment) -> str:
    lost = "".join(f"; the mail to {to} was not taken: {why}" for to, why in sorted(record.asked.items()) if why)
    return f"{record.label} waits for the approval of {who(record.approvers)}{lost}"


def _cancelled(record: Deployment, why: str, now: datetime) -> Deployment:
    reason = _nothing(record, why)
    return _written(replace(record, state=DeploymentState.CANCELLED, reason=reason), now)


def _cancelled_by(record: Deployment) -> str:
    return f"cancelled by {record.stopped_by}"


def _nothing(record: Deployment, why: str) -> str:
    runs = f"{record.environment} runs {record.label} already"
    if record.state is DeploymentState.VERIFYING and record.intended_at is None:
        return f"{why}: nothing was changed, {runs}"
    if record.good_label == record.label and record.intended_at is None and record.template is None:
        return f"{why}: nothing was changed, {runs}, as Tau left it"
    return f"{why}: {record.label} was not deployed to {record.environment}"


def _written(record: Deployment, now: datetime) -> Deployment:
    return replace(record, number=record.number + 1, due_at=now + LOOK_EVERY)
