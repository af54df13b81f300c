"""The queue's messages in, runs claimed and brought to an end or parked; a message is deleted only then."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from zlib import crc32

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib import burying
from chalicelib.errors import BadRecord, LockBusy, LostClaim, NotThere, TauError
from chalicelib.model import Message, Run, RunState, WaitingFor
from chalicelib.queue import BadMessage, NewerMessage, Received, decode
from chalicelib.records.breakers import Breaker
from runner import leftovers
from runner.claim import Claim
from runner.holding import hidden_s
from runner.slots import Slots
from runner.stopping import Why
from runner.tools import Tools

log = logging.getLogger("tau.agent")

_PAUSE_S = 5
# A repository that has its share of this runner: its message comes back soon, and others get their turn.
_TURN_S = 5
# Not all at once: a runner that has looked at each of many messages would then have none for a whole turn.
_TURNS_S = range(1, _TURN_S + 1)
_LONGEST_HIDDEN_S = 900
# The queue gives a message up that was received fifty times (infra/stack.yml).
_MOST_TURNS = 30
_MOST_WATCHED = 10
_SHORT_POLL_S = 2
# A repository that is let go has its runs woken, but for one that is parked in that very moment: it looks by itself.
_PARKED_LOOKS_AFTER = timedelta(minutes=10)


class Agent:
    """One runner: up to `jobs` runs at a time, from one pool's queue.

    Args:
        tools: what every run needs.
        wait_s: length of a long poll.
        on_drained: is called when it takes no more messages and the last run in hand is over: `serve` may still be in
            its long poll, and nobody has to wait for that.
    """

    def __init__(
        self,
        tools: Tools,
        pool: str,
        *,
        jobs: int = 1,
        wait_s: int = 20,
        on_drained: Callable[[], object] = lambda: None,
    ) -> None:
        self._tools = tools
        self._edge = tools.edge
        self._pace = tools.pace
        self._pool = pool
        self._wait_s = wait_s
        self._on_drained = on_drained
        self._slots = Slots(jobs, tools.pace)
        self._claims: set[Claim] = set()
        self._answering: set[str] = set()
        self._watched = 0
        self._rests_until = tools.pace.monotonic()
        self._handing_back = False
        self.stopping = tools.pace.flag()
        self.parked = tools.pace.flag()
        self.over = tools.pace.flag()

    @property
    def busy(self) -> bool:
        """Whether anything is in hand: not only the next long poll."""
        return bool(self._answering)

    @property
    def running(self) -> tuple[str, ...]:
        """The runs in hand."""
        return tuple(claim.run_id for claim in list(self._claims))

    # --- the loop ---------------------------------------------------------------------------------

    def serve(self) -> None:
        """Take messages until told to drain; return when the runs in hand are finished, or handed back."""
        leftovers.reap(self._tools.docker, self._edge.settings.system, self._edge.store.run)
        log.info("ready", extra={"runner": self._tools.runner, "pool": self._pool, "jobs": self._slots.most})
        while not self.stopping.is_set():
            self.take_one()
        self._slots.wait_until_idle()
        log.info("stopped", extra={"runner": self._tools.runner})

    def drain(self) -> None:
        """Take no more messages."""
        self.stopping.set()
        self._slots.wake()

    def hand_back(self) -> None:
        """Stop the runs in hand too, for another runner to go on with."""
        self._handing_back = True
        self.drain()
        for claim in list(self._claims):
            claim.stopping.ask(Why.HANDED_BACK)

    def take_one(self) -> None:
        """Wait for a free place and a message, and have it answered beside."""
        rest_s = self._rests_until - self._pace.monotonic()
        if rest_s > 0:
            self._slots.rest(rest_s)
        if not self._slots.take(self.stopping):
            return
        received = None
        try:
            received = self._receive()
        except (ClientError, BotoCoreError) as error:
            log.warning("no message can be fetched", extra={"error": str(error)})
            self.stopping.wait(_PAUSE_S)
        finally:
            if received is None:
                self._slots.give()
        if received:
            self._pace.start(lambda: self._answer_and_give(received), "answer")

    def _receive(self) -> Received | None:
        # Its place may be the one that a watcher lent, and who takes a run over should not wait for a long poll.
        wait_s = min(self._wait_s, _SHORT_POLL_S) if self._slots.wanted_back else self._wait_s
        received = self._edge.queue.receive(self._pool, wait_s=wait_s, hidden_s=hidden_s(self._edge.settings.lease_s))
        if received is None:
            return None
        # In this order: whoever has told us to stop and then finds nothing in hand may end the process.
        self._answering.add(received.receipt)
        if self.stopping.is_set():
            self._answering.discard(received.receipt)
            self._edge.queue.hide(received, 0)
            return None
        return received

    def _answer_and_give(self, received: Received) -> None:
        try:
            self.answer(received)
        except (ClientError, BotoCoreError, TauError) as error:
            # The message stays in the queue; a run in hand is taken over when its beat has stood still.
            log.warning("trying again soon", extra={"error": str(error)})
        finally:
            self._answering.discard(received.receipt)
            self._slots.give()
            if self.stopping.is_set() and not self._answering:
                self._on_drained()

    # --- one message ------------------------------------------------------------------------------

    def answer(self, received: Received) -> None:
        """Do what a message asks for; leave it in the queue unless the record says that it has done its work."""
        try:
            message = decode(received.body)
            run = self._edge.store.run(message.run)
        except (NewerMessage, BadRecord) as error:
            # A newer runner reads it; if none ever comes, the queue moves it to its dead letters.
            log.info("left to a newer runner", extra={"reason": str(error)})
            self._edge.queue.hide(received, hidden_s(self._edge.settings.lease_s))
        except (BadMessage, NotThere) as error:
            log.warning("message buried", extra={"reason": str(error)})
            burying.bury_message(received, str(error), self._edge, self._pace.now())
        else:
            self._answer(run, message, received)

    def _answer(self, run: Run, message: Message, received: Received) -> None:
        if _has_done_its_work(message, run):
            self._edge.queue.delete(received)
        elif run.state is RunState.RUNNING:
            self._watch(run, message, received)
        else:
            self._in_turn(run, received, self._edge.store.claim)

    def _watch(self, run: Run, message: Message, received: Received) -> None:
        """Look at a run that somebody holds for one lease of our own clock; take it over if its beat stood still."""
        lease_s = self._edge.settings.lease_s
        # A second copy of the message of a long run comes back ever more rarely, not 50 times in an hour.
        self._edge.queue.hide(received, hidden_s(min(2 * lease_s * (1 + received.receives // 5), _LONGEST_HIDDEN_S)))
        if self._watched >= _MOST_WATCHED:
            return
        self._watched += 1
        try:
            with self._slots.lent(self.stopping):
                self.stopping.wait(lease_s)
        finally:
            self._watched -= 1
        seen = self._edge.store.run(run.id)
        if _has_done_its_work(message, seen):
            # An end, and a parking, move no beat.
            self._edge.queue.delete(received)
        elif (seen.epoch, seen.beat) == (run.epoch, run.beat):
            self._in_turn(seen, received, self._edge.store.take_over)

    def _in_turn(self, run: Run, received: Received, how: Callable[..., Run]) -> None:
        """Claim a run, unless its repository has its share of this runner."""
        repository = run.job.source.name
        if not (self._slots.enter(repository) or self._slots.enter_soon(repository, _TURN_S, self.stopping)):
            self._give_back(run, received)
            return
        # What comes next may have its turn too.
        self._rests_until = self._pace.monotonic()
        try:
            if self.stopping.is_set():
                # Told so while this one waited for its turn.
                self._edge.queue.hide(received, 0)
            else:
                self._claim(run, received, how)
        finally:
            self._slots.leave(repository)

    def _give_back(self, run: Run, received: Received) -> None:
        # What comes next is most likely of the same repository.
        self._rests_until = self._pace.monotonic() + _TURN_S
        if received.receives < _MOST_TURNS:
            self._edge.queue.hide(received, 0 if self.stopping.is_set() else _turn_s(run, received))
            return
        # Nothing is wrong with it: a new message takes its place, before the queue gives this one up.
        message = self._edge.store.call_again(run, self._pace.now())
        if message:
            self._edge.queue.call(message, run.job)
            self._edge.queue.delete(received)

    def _claim(self, run: Run, received: Received, how: Callable[..., Run]) -> None:
        now = self._pace.now()
        breaker = self._edge.store.breaker(run.job.source.name)
        if breaker and breaker.until > now and run.state is RunState.QUEUED:
            self._leave_alone(run, breaker, received)
            return
        try:
            claimed = how(run, self._tools.runner, now)
        except LostClaim:
            return
        except LockBusy:
            if self._edge.store.park_for_lock(run, now):
                self._edge.queue.delete(received)
            else:
                # It came free in between; the message comes back at once.
                self._edge.queue.hide(received, 0)
            return
        log.info("claimed", extra={"run": run.id, "epoch": claimed.epoch, "attempts": claimed.attempts})
        self._hold(claimed, received, tried_again=breaker is not None)

    def _leave_alone(self, run: Run, breaker: Breaker, received: Received) -> None:
        """One of this repository's runs killed its runners: the others wait, and other repositories go on."""
        reason = f"run {breaker.run} of {breaker.repository} killed its runners again and again: `tau dead` shows it"
        due_at = min(breaker.until, self._pace.now() + _PARKED_LOOKS_AFTER)
        if self._edge.store.park_queued(run, WaitingFor.RUNNER, due_at, reason):
            self._edge.queue.delete(received)

    def _hold(self, run: Run, received: Received, *, tried_again: bool) -> None:
        claim = Claim(run, received, self._tools, tried_again=tried_again)
        self._claims.add(claim)
        if self._handing_back:
            # It was claimed while the others were asked.
            claim.stopping.ask(Why.HANDED_BACK)
        try:
            done = claim.enact()
        finally:
            self._claims.discard(claim)
        if done:
            self._edge.queue.delete(received)
        self.parked.set()
        self.over.set()


def _turn_s(run: Run, received: Received) -> int:
    """For how long a message steps aside: evenly spread over messages, and over one's own turns."""
    return _TURNS_S[crc32(f"{run.id} {received.receives}".encode()) % len(_TURNS_S)]


def _has_done_its_work(message: Message, run: Run) -> bool:
    return run.ended or run.state is RunState.WAITING or run.send > message.send
