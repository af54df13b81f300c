"""What is due in, done by a runner too: the ticker Lambda comes once a minute, a runner when the time has come."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib import leaving
from chalicelib.edge import Edge
from chalicelib.errors import TauError
from chalicelib.model import Json
from chalicelib.records.due import Due
from chalicelib.ticker import tick
from runner.pace import Flag, Pace

log = logging.getLogger("tau.helping")

# An idle runner's few calls a minute: three long polls, one look at what is due, one sign of life.
EVERY = timedelta(seconds=60)
_SIGN_OF_LIFE_S = 60
_SHORTEST_S = 0.5


def pause_s(found: Iterable[Due], now: datetime) -> float:
    """Seconds until somebody should look again: at the next time that is known, after `EVERY` at the latest."""
    nexts = [(due.at - now).total_seconds() for due in found if due.at > now]
    # What was due just now may well be due again soon: a deployment is looked at every few seconds.
    again = [5.0 for due in found if due.at <= now]
    return max(_SHORTEST_S, min([EVERY.total_seconds(), *nexts, *again]))


class Helper:
    """Ticks, and says that this runner lives, until it is told to stop.

    Args:
        facts: what the runner's record says of it at that moment.
        nudged: set by the agent when it has ended a claim: something new may be due before the pause is over.
    """

    def __init__(
        self,
        edge: Edge,
        runner: str,
        facts: Callable[[], Mapping[str, Json]],
        nudged: Flag,
        stopping: Flag,
        pace: Pace,
    ) -> None:
        self._edge = edge
        self._runner = runner
        self._facts = facts
        self._nudged = nudged
        self._stopping = stopping
        self._pace = pace
        self._said_s: float | None = None

    def run(self) -> None:
        """Until the runner stops."""
        while not self._stopping.is_set():
            now = self._pace.now()
            try:
                self._say_that_we_live(now)
                wait_s = pause_s(tick(self._edge, now, ahead=EVERY, bury=False), self._pace.now())
            except (TauError, ClientError, BotoCoreError) as error:
                log.warning("could not look for what is due", extra={"error": str(error)})
                wait_s = EVERY.total_seconds()
            except Exception as error:  # noqa: BLE001 - around one tick: nobody would start this thread again
                leaving.broke("runner", self._runner, error)
                wait_s = EVERY.total_seconds()
            self._nudged.wait(wait_s)
            self._nudged.clear()

    def _say_that_we_live(self, now: datetime) -> None:
        said = self._pace.monotonic()
        if self._said_s is None or said - self._said_s >= _SIGN_OF_LIFE_S:
            self._edge.store.put_runner(self._runner, self._facts(), now)
            self._said_s = said
