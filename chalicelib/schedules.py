"""The schedules of ci.yml and the time in; the moments that fell due since the last look out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from chalicelib import wire
from chalicelib.config import Config, Pipeline, Trigger, TriggerKind
from chalicelib.errors import BadConfig

_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Due:
    """A moment of a pipeline's schedule that has come.

    Args:
        at: UTC.
        missed: the one before it, where that came since the last look too; it is not made up for.
    """

    pipeline: Pipeline
    trigger: Trigger
    at: datetime
    missed: datetime | None = None


def key(pipeline: Pipeline, trigger: Trigger) -> str:
    """What a schedule is known by. One that is changed is a new one."""
    return wire.key(pipeline.name, trigger.cron or "", trigger.timezone, trigger.ref or "")


def scheduled(config: Config) -> dict[str, tuple[Pipeline, Trigger]]:
    """Every schedule of ci.yml, by its key."""
    found = [
        (one, one.triggers[TriggerKind.SCHEDULE]) for one in config.pipelines if TriggerKind.SCHEDULE in one.triggers
    ]
    return {key(pipeline, trigger): (pipeline, trigger) for pipeline, trigger in found}


def due(pipeline: Pipeline, trigger: Trigger, since: datetime, now: datetime) -> Due | None:
    """The newest moment after `since`, up to `now`; None where there is none.

    Raises:
        BadConfig: no clock could follow this schedule.
    """
    try:
        newest, before = (*islice(_moments(trigger, now), 2), None, None)[:2]
    except (CronSimError, ZoneInfoNotFoundError, ValueError) as error:
        raise BadConfig(f"the schedule of {pipeline.name} cannot be followed: {error}") from error
    if newest is None or newest <= since:
        return None
    return Due(pipeline, trigger, newest, before if before and before > since else None)


def _moments(trigger: Trigger, now: datetime) -> Iterator[datetime]:
    """Its moments up to `now`, newest first.

    As Debian's cron has it: a time that the change to summer time leaves out comes right after it, and one that the
    change back repeats comes once; what comes every hour or minute goes by the time that passes.
    """
    start = (now + _MINUTE).astimezone(ZoneInfo(trigger.timezone))
    for moment in CronSim(trigger.cron or "", start, reverse=True):
        if moment <= now:
            yield moment.astimezone(UTC)
