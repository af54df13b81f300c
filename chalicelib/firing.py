"""The schedules of ci.yml and the time in; a delivery of our own for each moment that came out.

The Lambda's ticker alone calls it: a runner, which ticks too, cannot start anything of a ci.yml that is not in force.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib import intake, schedules, starts
from chalicelib.config import Config, Pipeline, Trigger
from chalicelib.edge import Edge
from chalicelib.errors import BadConfig
from chalicelib.model import Origin
from chalicelib.providers import internal
from chalicelib.schedules import Due

log = logging.getLogger("tau.firing")


def fire(edge: Edge, config: Config, now: datetime, new_id: Callable[[datetime], str] = intake.ulid) -> int:
    """Start what fell due since the last look, each moment once however many look; how many there were.

    A schedule that is new, or changed, begins with its first moment after this look. After an outage the newest moment
    that was missed is made up for, and no older one. The ci.yml must have been kept before.

    Args:
        new_id: makes a delivery's ULID.
    """
    wanted, last = schedules.scheduled(config), edge.store.last_look()
    known = last.known if last else frozenset()
    since = last.at if last else now
    found = [due for key, one in wanted.items() if key in known and (due := _due(*one, since, now))]
    recorded = [_fire(due, edge, config, now, new_id(now)) for due in found]
    # The guard of the body knows a moment that was fired before: where one failed, all are looked at again in a minute.
    if all(recorded) and (wanted or known):
        edge.store.put_last_look(last, now, wanted)
    return len(found)


def _due(pipeline: Pipeline, trigger: Trigger, since: datetime, now: datetime) -> Due | None:
    try:
        return schedules.due(pipeline, trigger, since, now)
    except BadConfig as error:
        log.warning("not scheduled", extra={"pipeline": pipeline.name, "reason": str(error)})
        return None


def _fire(due: Due, edge: Edge, config: Config, now: datetime, delivery_id: str) -> bool:
    """Whether it is recorded, by us or by somebody who was quicker."""
    pipeline, about = due.pipeline, {"pipeline": due.pipeline.name, "moment": due.at.isoformat()}
    repository = starts.literal_repository(pipeline)
    if repository is None:
        log.warning("not scheduled", extra={**about, "reason": f"{pipeline.repository} is no single repository"})
        return True
    event = starts.scheduled(pipeline, due.trigger, repository, due.at, config)
    try:
        delivery = internal.delivery(Origin.SCHEDULE, event.forge, event.provider, [event])
        answer = intake.take(delivery, config, edge, now, delivery_id)
    except (ClientError, BotoCoreError) as error:
        log.warning("left for the next tick", extra={**about, "reason": str(error)})
        return False
    missed = due.missed.isoformat() if due.missed else None
    log.info("schedule fired", extra={**about, **answer.body, "missed": missed})
    return True
