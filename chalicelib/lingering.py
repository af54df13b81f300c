"""Deployments that no runner looks at in; looked at every few seconds by the Lambda, as long as it may run, out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from chalicelib import wishes
from chalicelib.edge import Edge
from chalicelib.environment import LOOK_EVERY
from chalicelib.ticker import tick

SILENT_FOR = timedelta(seconds=150)
"""A runner that ticks says every minute that it lives: one that has not for so long does not look."""


def linger(edge: Edge, until: datetime, sleep: Callable[[float], None]) -> int:
    """Tick on while a deployment is under way and no runner is up: its end is then seen as soon as a runner saw it.

    Args:
        until: no tick begins later.

    Returns:
        How many ticks there were.
    """
    ticks = 0
    while at := _next(edge, until):
        if ticks == 0 and any(edge.now() - runner.seen_at < SILENT_FOR for runner in edge.store.runners(edge.now())):
            return 0
        pause = max(at - edge.now(), LOOK_EVERY)
        if edge.now() + pause > until:
            return ticks
        sleep(pause.total_seconds())
        tick(edge, edge.now(), bury=False)
        ticks += 1
    return ticks


def _next(edge: Edge, until: datetime) -> datetime | None:
    """When the first deployment that is under way falls due; None where none does until then.

    For what waits for an approval the schedule is enough: for days nothing comes of looking at it.
    """
    at = {due.id: due.at for due in edge.store.due(until) if due.kind == "deployment"}
    under_way = (one for one in edge.store.read_deployments(list(at)) if not wishes.is_open(one)) if at else ()
    return min((at[one.id] for one in under_way), default=None)
