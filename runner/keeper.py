"""A runner's disk, put in order again and again: at its start, after each claim, and once an hour."""

from __future__ import annotations

import logging

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.errors import TauError
from runner.pace import Flag, Pace
from runner.storage import KeptStorage

log = logging.getLogger("tau.keeper")

_HOUR_S = 3600


class Keeper:
    """Looks after the disk beside the runs, until it is told to stop.

    Args:
        over: set by the agent at the end of a claim.
    """

    def __init__(self, storage: KeptStorage, over: Flag, stopping: Flag, pace: Pace) -> None:
        self._storage = storage
        self._over = over
        self._stopping = stopping
        self._pace = pace

    def run(self) -> None:
        """Until the runner stops."""
        next_s = self._pace.monotonic()
        while not self._stopping.is_set():
            try:
                if self._pace.monotonic() >= next_s:
                    next_s = self._pace.monotonic() + _HOUR_S
                    self._storage.tend()
                else:
                    self._storage.tidy()
            except (TauError, ClientError, BotoCoreError, OSError) as error:
                # It is in nobody's way, and the next round comes.
                log.warning("the disk is not in order", extra={"error": str(error)})
            self._over.wait(next_s - self._pace.monotonic())
            self._over.clear()
