"""An environment of which somebody wants what is on its way there stopped in; that done or begun, in words, out."""

from __future__ import annotations

import logging
from datetime import datetime
from itertools import islice

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib import wishes
from chalicelib.beanstalk import environment_lock
from chalicelib.deployer import conclude
from chalicelib.edge import Edge
from chalicelib.errors import NotThere, TauError
from chalicelib.model import DEPLOYMENT_ENDS, Deployment, DeploymentState
from chalicelib.reports.words import clean

log = logging.getLogger("tau.aborting")

_TRIES = 10
_LOOK_BACK = 500


class CannotStop(TauError):
    """What is on its way there cannot be stopped, and why."""


def abort(environment: str, region: str, by: str, edge: Edge, now: datetime, *, waiting: bool = False) -> list[str]:
    """Stop what is under way to an environment; where nothing is, what waits. Asking twice does no more than once.

    Args:
        by: who wants it, for the records and the mail.
        waiting: only what waits, whatever is under way.

    Returns:
        A sentence for each deployment.

    Raises:
        NotThere: nothing is on its way there.
        CannotStop: there is no way back, or it moved each time it was looked at.
    """
    on_their_way = going_to(environment, region, edge)
    under_way = [one for one in on_their_way if not wishes.waits(one)]
    wait = [one for one in on_their_way if wishes.waits(one)]
    chosen = wait if waiting or not under_way else under_way
    if not chosen:
        return [_was_stopped(environment, region, edge)]
    said = [_stop(one, by, edge, now) for one in chosen]
    behind = [clean(one.label) for one in wait if one not in chosen]
    if behind:
        said.append(f"{' and '.join(behind)} waits behind it, and is not stopped: `tau abort {environment} --waiting`")
    return said


def going_to(environment: str, region: str, edge: Edge) -> list[Deployment]:
    """The deployments to an environment that have not ended, oldest first."""
    latest = deployments_to(environment, region, edge)
    holder = edge.store.lock_holder(environment_lock(region, environment))
    named = {one.id for one in latest if one.state not in DEPLOYMENT_ENDS} | ({holder} if holder else set())
    found = [edge.store.deployment(one) for one in sorted(named)]
    return [one for one in found if one and one.state not in DEPLOYMENT_ENDS]


def deployments_to(environment: str, region: str, edge: Edge) -> list[Deployment]:
    """The latest deployments to an environment, newest first."""
    latest = islice(edge.store.deployments(), _LOOK_BACK)
    return [one for one in latest if (one.environment, one.region) == (environment, region)]


def concluded(record: Deployment, edge: Edge) -> Deployment:
    """How it stands once what somebody said of it was written down; what is left is a runner's, or the ticker's.

    It was heard: whatever fails from then on is no failure of who said it.
    """
    try:
        conclude(record.id, edge)
        return edge.store.deployment(record.id) or record
    except (ClientError, BotoCoreError) as error:
        log.warning("left to the ticker", extra={"deployment": record.id, "error": str(error)})
        return record


def _was_stopped(environment: str, region: str, edge: Edge) -> str:
    last = next(iter(deployments_to(environment, region, edge)), None)
    if last and last.stopped_by:
        return f"{clean(last.label)} was stopped before, by {clean(last.stopped_by)}: it is {last.state}"
    raise NotThere(
        f"nothing is on its way to {clean(environment)} in {region}: `tau deploys` lists what was, and to where"
    )


def _stop(record: Deployment, by: str, edge: Edge, now: datetime) -> str:
    for _ in range(_TRIES):
        if record.state in DEPLOYMENT_ENDS or record.state is DeploymentState.ROLLING_BACK or record.stopped_by:
            return _stands(concluded(record, edge) if record.due_at else record)
        if not wishes.waits(record) and not wishes.may_be_undone(record):
            raise CannotStop(
                f"{clean(record.environment)} has no earlier version that is known to be well: "
                f"{clean(record.label)} goes on until it is live or has failed"
            )
        stopped = wishes.stop(record, by, now)
        if edge.store.move_deployment(record, stopped):
            log.info("deployment stopped", extra={"deployment": record.id, "by": by})
            return _stands(concluded(stopped, edge))
        record = edge.store.deployment(record.id) or record
    raise CannotStop(f"{clean(record.label)} moves on just now: try again")


def _stands(record: Deployment) -> str:
    label, environment = clean(record.label), clean(record.environment)
    asked = f", as {clean(record.stopped_by)} wants" if record.stopped_by else ""
    if record.state in DEPLOYMENT_ENDS:
        return f"{label} is {record.state}" + (f": {clean(record.reason, 500)}" if record.reason else "")
    if record.state is DeploymentState.ROLLING_BACK:
        back = clean(record.back_to or "")
        return f"{label} is undone{asked}: {environment} is on its way back to {back}; `tau deploys` shows its end"
    return f"{label} goes no further{asked}: a runner or the ticker takes it back; `tau deploys` shows its end"
