"""What is due and nobody has done: woken, advanced, told, finished. The Lambda's schedule and idle runners call it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from datetime import datetime, timedelta

from botocore.exceptions import ClientError

from chalicelib import intake
from chalicelib.burying import DEFAULT_POOL, bury_dead
from chalicelib.config import parse
from chalicelib.deployer import advance_deployments
from chalicelib.edge import Edge
from chalicelib.errors import LostClaim, NotThere
from chalicelib.leaving import left_for_the_next_tick
from chalicelib.model import Message, Run, RunState
from chalicelib.queue import no_such_queue
from chalicelib.records.due import Due
from chalicelib.reports.whom import recipients
from chalicelib.telling import notices, result_of, tell

log = logging.getLogger("tau.ticker")

QUEUE_WITHIN = timedelta(minutes=10)
"""A run for whose pool there is no queue waits so long for one: its stack may just be made."""


def tick(
    edge: Edge,
    now: datetime,
    *,
    ahead: timedelta = timedelta(0),
    most: int = 100,
    bury: bool = True,
    pools: Iterable[str] = (DEFAULT_POOL,),
) -> list[Due]:
    """Do what is due now; one item that fails does not keep the others waiting.

    Args:
        bury: False for those who have no right to the dead queues: everybody but the Lambda.
        pools: whose dead queues are read.

    Returns:
        What was due, and what falls due within `ahead`.
    """
    found = edge.store.due(now + ahead, most)
    due_now = [one for one in found if one.at <= now]
    for due in due_now:
        with left_for_the_next_tick(due.kind, due.id):
            _do(due, edge, now)
    # Together: Elastic Beanstalk is asked once for all of them.
    with left_for_the_next_tick("deployment", "all"):
        advance_deployments([due.id for due in due_now if due.kind == "deployment"], edge=edge, now=now)
    if bury:
        bury_dead(pools, edge, now)
    return found


def _do(due: Due, edge: Edge, now: datetime) -> None:
    if due.kind == "run":
        _do_run(edge.store.run(due.id), edge, now)
    elif due.kind == "delivery":
        _finish_planning(due.id, edge)


def _do_run(run: Run, edge: Edge, now: datetime) -> None:
    if run.due_at is None or run.due_at > now:
        return  # somebody was quicker: the index lags a moment behind
    if run.ended:
        # The Lambda and every runner wake at the same moment.
        if edge.store.take_telling(run, now):
            tell(run, edge, now)
        return
    if run.state is RunState.WAITING:
        message = edge.store.wake(run.id, run.waiting_for, now)
    else:
        message = edge.store.call_again(run, now)
    if message:
        _send(message, run, edge, now)


def _send(message: Message, run: Run, edge: Edge, now: datetime) -> None:
    try:
        edge.queue.call(message, run.job)
    except ClientError as error:
        if run.state is RunState.QUEUED and no_such_queue(error) and now - run.created_at > QUEUE_WITHIN:
            _end_without_queue(edge.store.run(run.id), edge, now)
            return
        raise
    log.info("woken", extra={"run": run.id, "state": run.state, "waiting_for": run.waiting_for})


def _end_without_queue(run: Run, edge: Edge, now: datetime) -> None:
    """Nobody can ever hear of this run: say so, instead of calling it for ever."""
    if run.state is not RunState.QUEUED:
        return  # somebody had an older message of it in hand
    reason = f"there is no queue for the pool {run.job.pool}: create it (infra/pool.yml), or correct runs_on in ci.yml"
    told = notices(recipients(result_of(run, RunState.ERRORED, reason, now), None))
    try:
        edge.store.end_unclaimed(run, RunState.ERRORED, reason=reason, tell=told, now=now)
    except LostClaim:
        return
    log.warning("ended", extra={"run": run.id, "state": RunState.ERRORED, "reason": reason})


def _finish_planning(delivery_id: str, edge: Edge) -> None:
    record = edge.store.delivery(delivery_id)
    if record is None:
        raise NotThere(f"there is no delivery {delivery_id}")
    body = intake.body_of(record, edge)
    config = parse(json.loads(edge.store.config(record["config"])))
    accepted = intake.accept_again(record, body, config)
    edge.store.finish_planning(accepted)
    for run in accepted.runs:
        intake.wake(run, edge)
