"""What is due and nobody has done: woken, advanced, told, finished. The Lambda's schedule and idle runners call it."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timedelta

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib import intake, wire
from chalicelib.config import parse
from chalicelib.deployer import advance_deployment
from chalicelib.edge import Edge
from chalicelib.errors import NotThere, TauError
from chalicelib.model import Run, RunState
from chalicelib.records.deliveries import delivery_of
from chalicelib.records.due import Due
from chalicelib.telling import tell

log = logging.getLogger("tau.ticker")


def tick(edge: Edge, now: datetime, *, ahead: timedelta = timedelta(0), most: int = 100) -> list[Due]:
    """Do what is due now; one item that fails does not keep the others waiting.

    Returns:
        What was due, and what falls due within `ahead`.
    """
    found = edge.store.due(now + ahead, most)
    for due in (one for one in found if one.at <= now):
        try:
            _do(due, edge, now)
        except (TauError, ClientError, BotoCoreError) as error:
            log.warning("left for the next tick", extra={"kind": due.kind, "id": due.id, "error": str(error)})
    return found


def _do(due: Due, edge: Edge, now: datetime) -> None:
    if due.kind == "run":
        _do_run(edge.store.run(due.id), edge, now)
    elif due.kind == "deployment":
        advance_deployment(due.id, edge=edge, now=now)
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
        edge.queue.send(message, pool=run.job.pool, group=run.job.source.repository)
        log.info("woken", extra={"run": run.id, "state": run.state, "waiting_for": run.waiting_for})


def _finish_planning(delivery_id: str, edge: Edge) -> None:
    record = edge.store.delivery(delivery_id)
    if record is None:
        raise NotThere(f"there is no delivery {delivery_id}")
    body = record["body"]
    if body is None:
        body = wire.unzipped(edge.objects.get(record["body_key"]))
    received_at = wire.time_of(record["received_at"])
    config = parse(json.loads(edge.store.config(record["config"])))
    accepted = intake.accept(delivery_of(record, body), config, received_at, delivery_id)
    edge.store.finish_planning(accepted)
    for run in accepted.runs:
        intake.wake(run, edge)
