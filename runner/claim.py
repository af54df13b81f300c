"""A claimed run in; its steps enacted while its beat moves, then the claim's last write: an end or a parking."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib import superseding
from chalicelib.announcing import left_behind
from chalicelib.cancelling import ending_notices, wake_next
from chalicelib.cancelling import reason as cancelled_by
from chalicelib.errors import LostClaim, TauError
from chalicelib.graph import announced
from chalicelib.model import Run, RunState, StepResult, StepStatus, WaitingFor
from chalicelib.queue import Received
from chalicelib.records import dead
from chalicelib.records.runs import MOST_ATTEMPTS
from chalicelib.reports.whom import recipients
from chalicelib.reports.words import duration
from chalicelib.telling import notices, result_of, tell
from runner import leftovers
from runner.context import Park
from runner.holding import LONGEST_S, Holding
from runner.outcome import Ended, Halted, Outcome, Parked, Replaced
from runner.run import enact, replaced
from runner.stopping import Stopping, Why
from runner.tools import Tools

log = logging.getLogger("tau.claim")

_HANDED_BACK = "its runner was stopped; another one goes on"
_TOO_LONG = f"stopped after {duration(LONGEST_S)}: its step heeded no time limit, and SQS keeps a message for 12 hours"
# More would not fit into a record, which holds 400 KB.
_MOST_HANDED = 100
# Half the minute after which others do it.
_TELL_WITHIN_S = 30
_VERDICTS = frozenset({RunState.PASSED, RunState.FAILED, RunState.ERRORED})


class Claim:
    """One claim of one run, from the first step to the last write.

    Args:
        run: as it was claimed.
        tried_again: its repository was left alone for a while; a good end says that all is well again.
    """

    def __init__(self, run: Run, received: Received, tools: Tools, *, tried_again: bool = False) -> None:
        self._run = run
        self._received = received
        self._tools = tools
        self._tried_again = tried_again
        self._edge = tools.edge
        self._considering = False
        self._newer: Replaced | None = None
        self._ended_at = tools.pace.monotonic()
        self._has_built = False
        self.run_id = run.id
        self.stopping = Stopping()

    def enact(self) -> bool:
        """Do it; whether the record says now that its message has done its work."""
        try:
            holding = Holding(
                self._run, self._received, self._edge, self._tools.pace, self.stopping, asked=self._consider
            )
            with holding:
                if self._run.stop:
                    self._consider(self._run)
                self._settle(self._outcome(holding))
        except LostClaim as error:
            log.warning("claim lost", extra={"run": self._run.id, "error": str(error)})
            return False
        finally:
            self._tools.storage.leave(self._run)
        return self._follow_up()

    # --- before and while ---------------------------------------------------------------------------

    def _outcome(self, holding: Holding) -> Outcome:
        run = self._run
        if run.attempts >= MOST_ATTEMPTS:
            reason = f"its runner died {run.attempts} times while it held this run"
            return Ended(RunState.ERRORED, reason, _in_order(run))
        if run.epoch > 1:
            self._reap()
        return enact(run, self._tools, self.stopping, holding.followed)

    def _consider(self, run: Run) -> None:
        """Somebody asks this run to stop. A person is obeyed; a newer run only where its commit is newer indeed."""
        if run.stop is None or run.must_finish:
            return
        if run.stop.state is RunState.CANCELLED:
            self.stopping.ask(Why.ASKED)
        elif not (self._considering or run.has_acted):
            self._considering = True
            self._tools.pace.start(lambda: self._compare(run), f"compare-{run.id}")

    def _compare(self, run: Run) -> None:
        try:
            self._newer = replaced(run, self._tools)
            if self._newer:
                self.stopping.ask(Why.SUPERSEDED)
                return
            self._edge.store.obey_no_more(run)
        except (TauError, ClientError, BotoCoreError) as error:
            log.warning("goes on, though asked to stop", extra={"run": run.id, "error": str(error)})
        self._considering = False

    # --- the claim's last write -----------------------------------------------------------------------

    def _settle(self, outcome: Outcome) -> None:
        """Write the outcome down; where the run has changed under us, whatever follows from that instead.

        Raises:
            LostClaim: the run is not ours any more.
        """
        while not self._settled(outcome):
            # More people to tell, or asked to stop, since it was read.
            outcome = self._anew(outcome)

    def _settled(self, outcome: Outcome) -> bool:
        if isinstance(outcome, Halted):
            return self._settled(self._of_halted(outcome))
        if isinstance(outcome, Parked):
            return self._park(outcome)
        if isinstance(outcome, Replaced):
            return self._give_way(outcome)
        return self._end(outcome)

    def _anew(self, outcome: Outcome) -> Outcome:
        run = self._edge.store.run(self._run.id)
        if run.epoch != self._run.epoch or run.state is not RunState.RUNNING:
            raise LostClaim(f"run {run.id} is another runner's now")
        self._run = run
        if isinstance(outcome, Parked) and run.stop and not run.must_finish:
            if run.stop.state is RunState.CANCELLED:
                return Halted(Why.ASKED)
            self._newer = None if run.has_acted else replaced(run, self._tools)
            if self._newer is None:
                self._edge.store.obey_no_more(run)
                self._run = replace(run, stop=None)
            return self._newer or outcome
        return outcome

    def _of_halted(self, halted: Halted) -> Ended | Parked | Replaced:
        """What becomes of a run that was stopped: as its record says, or another runner's."""
        run = self._edge.store.run(self._run.id)
        if run.must_finish:
            # It may have begun after it was asked: what is begun is finished.
            return self._handed_back()
        if run.stop and run.stop.state is RunState.CANCELLED:
            reason = "; ".join(filter(None, (cancelled_by(run.stop.by), halted.note)))
            return Ended(RunState.CANCELLED, reason, _in_order(run))
        if halted.why is Why.TOO_LONG:
            return Ended(RunState.ERRORED, "; ".join(filter(None, (_TOO_LONG, halted.note))), _in_order(run))
        if halted.why is Why.SUPERSEDED and self._newer and not run.has_acted:
            return self._newer
        return self._handed_back()

    def _handed_back(self) -> Parked:
        entry = {"kind": "handed_back", "step": -1, "key": "", "epoch": self._run.epoch}
        return Parked(Park(WaitingFor.RUNNER, self._tools.now(), _HANDED_BACK), (entry,))

    def _park(self, parked: Parked) -> bool:
        park = parked.park
        if not self._edge.store.park(self._run, park.waiting_for, park.due_at, park.reason, parked.entries):
            return False
        log.info("parked", extra={"run": self._run.id, "waiting_for": park.waiting_for, "reason": park.reason})
        self._run = replace(self._run, state=RunState.WAITING, waiting_for=park.waiting_for)
        return True

    def _give_way(self, outcome: Replaced) -> bool:
        run, now = replace(self._run, results=self._results()), self._tools.now()
        successor = self._edge.store.run(outcome.by)
        if successor.state in superseding.GAVE_UP and not outcome.for_good:
            # It will not build what this one would have built. The index may lag behind, and name it once more.
            newer = replaced(run, self._tools)
            return self._give_way(newer) if newer and newer.by != outcome.by else self._park(self._handed_back())
        people = superseding.handed(run)
        if successor.ended or len({**successor.handed, **people}) > _MOST_HANDED:
            # Its mail is written already, or names enough people: this one's hear of it themselves.
            return self._end(Ended(RunState.SUPERSEDED, outcome.reason, _in_order(run)))
        if not self._edge.store.supersede(run, successor, handed=people, reason=outcome.reason, now=now):
            return False
        log.info("ended", extra={"run": run.id, "state": RunState.SUPERSEDED, "reason": outcome.reason})
        self._run = replace(run, state=RunState.SUPERSEDED, tell=announced(run))
        return True

    def _end(self, ended: Ended) -> bool:
        run, now = self._run, self._tools.now()
        self._ended_at = self._tools.pace.monotonic()
        poison = run.attempts >= MOST_ATTEMPTS and ended.state is RunState.ERRORED
        also = dead.buried_run(run, ended.reason or "", now) if poison else ()
        results = {
            index: step
            for index, step in enumerate(ended.steps)
            if step.status is not StepStatus.SKIPPED and run.results.get(str(index)) != step
        }
        held = {**self._results(), **{str(index): step for index, step in results.items()}}
        left = left_behind(run, ended.state, held, self._edge)
        if left:
            ended = replace(ended, reason="; ".join(filter(None, (ended.reason, left))))
        notices_due = {**self._whom_to_tell(ended), **announced(run, held)}
        if self._edge.store.end(
            run, ended.state, reason=ended.reason, tell=notices_due, now=now, results=results, also=also
        ):
            return False
        log.info("ended", extra={"run": run.id, "state": ended.state, "reason": ended.reason})
        if run.job.event.commit is None:
            # Which one it built was written down while it was held, and its mail says it.
            run = replace(run, journal=self._edge.store.run(run.id).journal)
        self._run = replace(run, state=ended.state, reason=ended.reason, tell=notices_due, ended_at=now, results=held)
        self._has_built = any(_built(step) for step in ended.steps)
        return True

    def _results(self) -> Mapping[str, StepResult]:
        """What came of the steps; where that is announced, also of those that this claim has written down since."""
        run = self._run
        return self._edge.store.run(run.id).results if run.job.announces else run.results

    def _whom_to_tell(self, ended: Ended) -> Mapping[str, Mapping[str, object]]:
        run, now = self._run, self._tools.now()
        if ended.state not in _VERDICTS:
            return ending_notices(run, ended.state, ended.reason or "", now)
        result = replace(result_of(run, ended.state, ended.reason, now), steps=ended.steps)
        previous = self._previous() if run.job.notify.on == "change" else None
        return notices(recipients(result, previous))

    def _previous(self) -> RunState | None:
        """How the run before this one, of the same pipeline and ref, ended with a verdict."""
        run = self._run
        return next(
            (
                other.state
                for other in superseding.others_of(run, self._edge)
                if other.id < run.id and other.job.pipeline == run.job.pipeline and other.state in _VERDICTS
            ),
            None,
        )

    # --- afterwards -----------------------------------------------------------------------------------

    def _follow_up(self) -> bool:
        """What may be done by anybody, and is done by us first. The last write stands, so the message may go."""
        run, now = self._run, self._tools.now()
        try:
            if run.state is RunState.WAITING and run.waiting_for is WaitingFor.RUNNER:
                message = self._edge.store.wake(run.id, WaitingFor.RUNNER, now)
                if message:
                    self._edge.queue.call(message, run.job)
            elif run.ended:
                # Our own write made it due in a minute, and until then it is ours to tell.
                wake_next(run, self._edge, now)
                if run.tell and self._tools.pace.monotonic() - self._ended_at < _TELL_WITHIN_S:
                    tell(run, self._edge, now)
                if self._tried_again and run.state is RunState.PASSED:
                    self._edge.store.close_breaker(run.job.source.name)
                if run.epoch > 1:
                    self._reap()
                if self._has_built:
                    self._tools.storage.built(run.job.lock)
        except (TauError, ClientError, BotoCoreError) as error:
            log.warning("left to the ticker", extra={"run": run.id, "error": str(error)})
        return True

    def _reap(self) -> None:
        try:
            leftovers.reap(self._tools.docker, self._edge.settings.system, self._edge.store.run)
        except (TauError, ClientError, BotoCoreError) as error:
            # They are in nobody's way, and an engine that is gone is the next step's to tell.
            log.warning("leftovers stay", extra={"run": self._run.id, "error": str(error)})


def _built(step: StepResult) -> bool:
    return step.action == "build" and step.status is StepStatus.PASSED


def _in_order(run: Run) -> tuple[StepResult, ...]:
    """Each step's result in its place, up to the last one that there is; what was left out before it as skipped.

    A map comes out of the table in any order.
    """
    places = range(max(map(int, run.results), default=-1) + 1)
    at = run.started_at or run.created_at
    return tuple(
        run.results.get(str(place)) or StepResult(run.job.steps[place].action, StepStatus.SKIPPED, at, at)
        for place in places
    )
