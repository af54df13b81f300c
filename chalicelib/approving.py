"""A run whose deployment waits for its approval, and an approver's answer, in; what follows from it out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib import wishes
from chalicelib.aborting import concluded
from chalicelib.approvers import approvers
from chalicelib.edge import Edge
from chalicelib.errors import TauError
from chalicelib.model import DEPLOYMENT_ENDS, Deployment, DeploymentState, Run, WaitingFor
from chalicelib.reports.words import clean

log = logging.getLogger("tau.approving")

_TRIES = 10


class NotAsked(TauError):
    """Nobody waits for this answer."""


class NotAnApprover(TauError):
    """Who answers is not among those whom ci.yml names."""


def approve(run_id: str, by: str, edge: Edge, now: datetime, *, yes: bool) -> str:
    """Give an approver's answer; a second time changes nothing.

    Args:
        by: the approver's address.

    Raises:
        NotThere: there is no such run.
        NotAsked: it waits for no approval, not yet, or not any more.
        NotAnApprover: the answer is not his to give, by the ci.yml of today.
    """
    run = edge.store.run(run_id)
    for _ in range(_TRIES):
        record = _asked(run, edge)
        his = _his(by, record, run, edge)
        before = _before(record, yes=yes)
        if before:
            return before
        answered = wishes.answer(record, his, now, yes=yes)
        if edge.store.move_deployment(record, answered):
            log.info("answered", extra={"deployment": record.id, "by": his, "yes": yes})
            _wake(run, edge, now)
            return _stands(concluded(answered, edge))
    raise NotAsked(f"the deployment of run {run_id} moves on just now: try again")


def _asked(run: Run, edge: Edge) -> Deployment:
    """The deployment of a run that waits for an answer, else the last one that did."""
    steps = [index for index, step in enumerate(run.job.steps) if step.action == "deploy_eb"]
    found = [record for index in steps if (record := edge.store.deployment(f"{run.id}.{index}")) and record.approvers]
    if not found:
        raise NotAsked(f"run {run.id} waits for no approval")
    return next((one for one in found if one.state is DeploymentState.WAITING_APPROVAL), found[-1])


def _his(by: str, record: Deployment, run: Run, edge: Edge) -> str:
    """The approver's address, as it is spelled where it is named.

    Raises:
        NotAnApprover: it is not named.
    """
    today = approvers(record, run, edge)
    his = _spelled(by, today)
    if his:
        return his
    label, who = clean(record.label), wishes.who(today) or "nobody who was asked"
    if _spelled(by, record.approvers):
        raise NotAnApprover(f"{clean(by)} may not approve {label} any more: ci.yml names {who} now")
    raise NotAnApprover(f"{clean(by)} may not approve {label}, {who} may: --by says who you are")


def _spelled(by: str, addresses: Sequence[str]) -> str | None:
    return next((one for one in addresses if one.casefold() == by.casefold()), None)


def _before(record: Deployment, *, yes: bool) -> str | None:
    """What is said of an answer that changes nothing; None where it does.

    Raises:
        NotAsked: it would change something, and cannot.
    """
    label = clean(record.label)
    if record.approved_by:
        if yes:
            return f"{label} was approved before, by {clean(record.approved_by)}: it is {record.state}"
        raise NotAsked(
            f"{label} was approved by {clean(record.approved_by)}, and is {record.state}: "
            f"`tau abort {clean(record.environment)}` stops what has not ended"
        )
    if record.refused_by and not yes:
        return f"{label} was refused before, by {clean(record.refused_by)}"
    if record.state in DEPLOYMENT_ENDS:
        raise NotAsked(f"{label} is {record.state}: {clean(record.reason or '', 500)}")
    if record.state is DeploymentState.PREPARED:
        raise NotAsked(f"{label} is being prepared by Elastic Beanstalk: answer when the mail has come")
    return None


def _wake(run: Run, edge: Edge, now: datetime) -> None:
    """Its log goes on; should that fail, the end wakes it."""
    try:
        message = edge.store.wake(run.id, WaitingFor.APPROVAL, now)
        if message:
            edge.queue.call(message, run.job)
    except (ClientError, BotoCoreError) as error:
        log.warning("not woken", extra={"run": run.id, "error": str(error)})


def _stands(record: Deployment) -> str:
    label, environment = clean(record.label), clean(record.environment)
    if record.state in DEPLOYMENT_ENDS:
        return f"{label} is {record.state}: {clean(record.reason or '', 500)}"
    return f"{label} is approved by {clean(record.approved_by or '')}, and on its way to {environment}"
