"""The queue's messages in, runs claimed and brought to an end or parked; a message is deleted only then."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import FrameType

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.errors import BadRecord, LockBusy, LostClaim, NotThere, TauError
from chalicelib.model import Message, Run, RunState, StepStatus, WaitingFor
from chalicelib.queue import BadMessage, Received, decode
from chalicelib.records.runs import MOST_ATTEMPTS
from chalicelib.reports.whom import recipients
from chalicelib.telling import notices, result_of, tell
from runner import leftovers
from runner.holding import Holding, hidden_s
from runner.run import Ended, Parked, Tools, enact

log = logging.getLogger("tau.agent")

_PAUSE_S = 5
_PAUSE_STEP_S = 0.1


@dataclass(frozen=True)
class Watched:
    """What a run that another runner holds looked like, by our own clock."""

    epoch: int
    beat: int
    since: float


class Stopped(BaseException):
    """SIGTERM while idle: leave the long poll. Not an Exception: nobody may mistake it for a failure."""


class Agent:
    """One runner: one run at a time, from one pool's queue.

    Args:
        tools: what every run needs.
        wait_s: length of a long poll.
    """

    def __init__(
        self, tools: Tools, pool: str, *, wait_s: int = 20, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._tools = tools
        self._edge = tools.edge
        self._pool = pool
        self._wait_s = wait_s
        self._clock = clock
        self._watched: dict[str, Watched] = {}
        self._idle = False
        self._told = False
        self.stopping = threading.Event()
        self.parked = threading.Event()

    # --- the loop ---------------------------------------------------------------------------------

    def serve(self) -> None:
        """Take messages until SIGTERM; the run in hand is finished first."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        leftovers.reap(self._tools.docker, self._edge.settings.system, self._edge.store.run)
        log.info("ready", extra={"runner": self._tools.runner, "pool": self._pool})
        # In the middle of a long poll nothing is in hand.
        with contextlib.suppress(Stopped):
            while not self.stopping.is_set():
                self.take_one()
        log.info("stopped", extra={"runner": self._tools.runner})

    def _stop(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        # A signal may come while the first one is being answered: Event's lock, and logging's, would wait for itself.
        if self._told:
            return
        self._told = True
        self.stopping.set()
        if self._idle:
            raise Stopped

    def take_one(self) -> None:
        """Wait for a message and answer it."""
        try:
            received = self._receive()
            if received:
                self.answer(received)
        except (ClientError, BotoCoreError, TauError) as error:
            # The message stays in the queue; a run in hand is taken over when its beat has stood still.
            log.warning("trying again soon", extra={"error": str(error)})
            self._pause()

    def _pause(self) -> None:
        """Not `stopping.wait`: a signal is answered in this very thread, and would wait for the lock that it holds."""
        until = self._clock() + _PAUSE_S
        while self._clock() < until and not self.stopping.is_set():
            time.sleep(_PAUSE_STEP_S)

    def _receive(self) -> Received | None:
        self._idle = True
        try:
            if self.stopping.is_set():
                return None
            return self._edge.queue.receive(
                self._pool, wait_s=self._wait_s, hidden_s=hidden_s(self._edge.settings.lease_s)
            )
        finally:
            self._idle = False

    # --- one message ------------------------------------------------------------------------------

    def answer(self, received: Received) -> None:
        """Do what a message asks for; leave it in the queue unless the record says that it has done its work."""
        try:
            message = decode(received.body)
            run = self._edge.store.run(message.run)
        except (BadMessage, NotThere, BadRecord) as error:
            # Perhaps a newer runner reads it; if nobody does, the queue moves it to its dead letters.
            log.warning("message left", extra={"error": str(error)})
            return
        if self._may_claim(run, message):
            self._claim(run, received)
        self._acknowledge(message, received)

    def _acknowledge(self, message: Message, received: Received) -> None:
        run = self._edge.store.run(message.run)
        if run.ended or run.state is RunState.WAITING or run.send > message.send:
            self._edge.queue.delete(received)
            self._watched.pop(run.id, None)

    def _may_claim(self, run: Run, message: Message) -> bool:
        if run.send > message.send:
            return False
        return run.state is RunState.QUEUED or (run.state is RunState.RUNNING and self._stands_still(run))

    def _stands_still(self, run: Run) -> bool:
        """Whether a run's beat has not moved for one lease of our own clock; begins to watch it otherwise."""
        seen = self._watched.get(run.id)
        if seen is None or (seen.epoch, seen.beat) != (run.epoch, run.beat):
            self._watched[run.id] = Watched(run.epoch, run.beat, self._clock())
            return False
        return self._clock() - seen.since >= self._edge.settings.lease_s

    def _claim(self, run: Run, received: Received) -> None:
        now = self._tools.now()
        claim = self._edge.store.claim if run.state is RunState.QUEUED else self._edge.store.take_over
        try:
            claimed = claim(run, self._tools.runner, now)
        except LostClaim:
            return
        except LockBusy:
            if not self._edge.store.park_for_lock(run, now):
                # It came free in between; the message comes back at once.
                self._edge.queue.hide(received, 0)
            return
        self._watched.pop(run.id, None)
        log.info("claimed", extra={"run": run.id, "epoch": claimed.epoch, "attempts": claimed.attempts})
        self._hold(claimed, received)

    # --- one run ----------------------------------------------------------------------------------

    def _hold(self, run: Run, received: Received) -> None:
        try:
            with Holding(run, received, self._edge, self._tools.now) as holding:
                outcome = self._outcome(run, holding.lost.is_set)
                self._settle(run, outcome)
        except LostClaim as error:
            log.warning("claim lost", extra={"run": run.id, "error": str(error)})
            return
        if isinstance(outcome, Ended):
            self._after_the_end(run)
        else:
            self.parked.set()

    def _outcome(self, run: Run, lost: Callable[[], bool]) -> Ended | Parked:
        if run.attempts >= MOST_ATTEMPTS:
            reason = f"its runner died {run.attempts} times while it held this run"
            return Ended(RunState.ERRORED, reason, tuple(run.results.values()))
        if run.epoch > 1:
            try:
                leftovers.reap(self._tools.docker, self._edge.settings.system, self._edge.store.run)
            except (TauError, ClientError, BotoCoreError) as error:
                # They are in nobody's way, and an engine that is gone is the next step's to tell.
                log.warning("leftovers stay", extra={"run": run.id, "error": str(error)})
        return enact(run, self._tools, lost)

    def _settle(self, run: Run, outcome: Ended | Parked) -> None:
        """The claim's last write: parked, or ended with whom to tell."""
        store, now = self._edge.store, self._tools.now()
        if isinstance(outcome, Parked):
            park = outcome.park
            store.park(run, park.waiting_for, park.due_at, park.reason, outcome.entries)
            log.info("parked", extra={"run": run.id, "waiting_for": park.waiting_for, "reason": park.reason})
            return
        result = replace(result_of(run, outcome.state, outcome.reason, now), steps=outcome.steps)
        addresses = recipients(result, self._previous(run))
        store.end(run, outcome.state, reason=outcome.reason, tell=notices(addresses), now=now)
        log.info("ended", extra={"run": run.id, "state": outcome.state, "reason": outcome.reason})

    def _previous(self, run: Run) -> RunState | None:
        """How the run before this one, of the same pipeline and ref, ended with a verdict."""
        event = run.job.event
        runs = self._edge.store.runs_of_ref(event.forge, event.repository or "", event.ref or "", most=50)
        verdicts = {RunState.PASSED, RunState.FAILED, RunState.ERRORED}
        return next(
            (
                other.state
                for other in runs
                if other.id < run.id and other.job.pipeline == run.job.pipeline and other.state in verdicts
            ),
            None,
        )

    def _after_the_end(self, run: Run) -> None:
        """What may be done by anybody, and is done by us first: wake who waited, tell, tidy up."""
        store, now = self._edge.store, self._tools.now()
        for waiter in store.waiters(run.job.lock):
            message = store.wake(waiter, WaitingFor.LOCK, now)
            if message:
                job = store.run(waiter).job
                self._edge.queue.send(message, pool=job.pool, group=job.source.repository)
                break
        ended = store.run(run.id)
        if ended.tell and store.take_telling(ended, now):
            tell(ended, self._edge, now)
        self._tidy(ended)

    def _tidy(self, run: Run) -> None:
        """What this run and its dead claims left in the engine; it is in nobody's way, and may wait."""
        docker, system = self._tools.docker, self._edge.settings.system
        try:
            if run.epoch > 1:
                leftovers.reap(docker, system, self._edge.store.run)
            if any(result.action == "build" for result in run.results.values() if result.status is StepStatus.PASSED):
                leftovers.forget_older_images(docker, system, run.job.lock, run.id)
        except (TauError, ClientError, BotoCoreError) as error:
            log.warning("leftovers stay", extra={"run": run.id, "error": str(error)})
