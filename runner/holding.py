"""While a run is held: its beat moves, its message stays hidden, and what others ask of its holder is heard."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import TracebackType
from typing import Self

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.edge import Edge
from chalicelib.errors import LostClaim
from chalicelib.model import Run
from chalicelib.queue import Received
from runner.pace import Pace, Work
from runner.stopping import Stopping, Why

log = logging.getLogger("tau.holding")

# Whoever cancels a run waits for the next beat: it must be over, with the step that it stops, within five seconds.
_BEAT_S = 4.8
_BEATS_IN_A_LEASE = 3
# A message is hidden for longer, and more rarely: it only has to come back when nobody holds its run any more.
_HIDDEN_LEASES = 3
_HIDE_AGAIN_LEASES = 2
# A look that took for too long, or after which we were frozen, says nothing: so many are tried.
_LOOKS = 3
LONGEST_S = 11.5 * 3600
"""A claim that lasts longer is ended: a run may take 11 hours (`tau check`), so a step of it has heeded no limit."""
# SQS hides a message for twelve hours after it was received, whatever is asked of it. A claim that does not end though
# it was told to is nobody's from then on: its beats stop, and another runner takes the run over.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html
_GIVEN_UP_S = 11.9 * 3600


class Holding:
    """Holds a run for as long as the block lasts.

    Args:
        stopping: is told when another epoch has the run.
        asked: is called, in the beat's thread, with the run as it stands, when its record asks us to stop.
    """

    def __init__(
        self,
        run: Run,
        received: Received,
        edge: Edge,
        pace: Pace,
        stopping: Stopping,
        asked: Callable[[Run], object] = bool,
    ) -> None:
        self._run = self.latest = run
        self._received = received
        self._edge = edge
        self._pace = pace
        self._stopping = stopping
        self._asked = asked
        self._over = pace.flag()
        self._began_at = self._beat_at = pace.monotonic()
        stopping.fresh = self._fresh
        # A message comes hidden for one lease; few runs are over before it must be hidden for longer.
        self._hide_at = pace.monotonic() + edge.settings.lease_s / 2
        self._hiding: Work | None = None

    def __enter__(self) -> Self:
        self._thread = self._pace.start(self._beat, f"beat-{self._run.id}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def followed(self) -> bool:
        """Whether somebody reads the log as it is written."""
        until = self.latest.followed_until
        return until is not None and until > self._pace.now()

    def _fresh(self) -> bool:
        """Whether a beat got through within half a lease, or gets through now: the other half is for the effect."""
        for _ in range(_LOOKS):
            if self._is_fresh():
                return True
            try:
                self._beat_once()
            except (LostClaim, ClientError, BotoCoreError):
                return False
        # A table that takes so long, or we are frozen again and again.
        return self._is_fresh()

    def _is_fresh(self) -> bool:
        return self._pace.monotonic() - self._beat_at < self._edge.settings.lease_s / 2

    def _beat_once(self) -> None:
        began = self._pace.monotonic()
        self.latest = self._edge.store.beat(self._run, self._pace.now())
        self._beat_at = began

    def _beat(self) -> None:
        lease_s = self._edge.settings.lease_s
        while not self._over.wait(min(_BEAT_S, lease_s / _BEATS_IN_A_LEASE)):
            if self._lasts_too_long():
                return
            try:
                self._beat_once()
                if self.latest.stop:
                    self._asked(self.latest)
                self._keep_hidden()
            except LostClaim:
                self._stopping.ask(Why.LOST)
                return
            except (ClientError, BotoCoreError) as error:
                # The next beat tries again; should none get through for a lease, another runner takes over and
                # our next write fails by its epoch.
                log.warning("sign of life not given", extra={"run": self._run.id, "error": str(error)})

    def _lasts_too_long(self) -> bool:
        """Ask a claim that has gone on for too long to end; whether it did not for so long that it is given up."""
        lasted_s = self._pace.monotonic() - self._began_at
        if lasted_s >= _GIVEN_UP_S:
            log.error("claim given up: it does not end", extra={"run": self._run.id, "lasted_s": round(lasted_s)})
            self._stopping.ask(Why.LOST)
            return True
        if lasted_s >= LONGEST_S:
            self._stopping.ask(Why.TOO_LONG)
        return False

    def _keep_hidden(self) -> None:
        """Beside the beats: a queue that does not answer, for minutes perhaps, must not hold them up."""
        if self._pace.monotonic() >= self._hide_at and not (self._hiding and self._hiding.is_alive()):
            self._hiding = self._pace.start(self._hide, f"hide-{self._run.id}")

    def _hide(self) -> None:
        lease_s = self._edge.settings.lease_s
        try:
            self._edge.queue.hide(self._received, hidden_s(lease_s * _HIDDEN_LEASES))
        except (ClientError, BotoCoreError) as error:
            # The next beat tries again. Should the message come back, whoever gets it sees the beat move.
            log.warning("message not hidden", extra={"run": self._run.id, "error": str(error)})
        else:
            self._hide_at = self._pace.monotonic() + lease_s * _HIDE_AGAIN_LEASES


def hidden_s(seconds: float) -> int:
    """SQS counts whole seconds."""
    return max(1, round(seconds))
