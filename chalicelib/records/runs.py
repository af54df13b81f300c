"""Runs that are read, claimed, held, parked and woken: every change of state is one conditional write."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from boto3.dynamodb.conditions import Attr, ConditionBase, Key

from chalicelib import wire
from chalicelib.errors import BadRecord, LockBusy, LostClaim, NotThere
from chalicelib.model import Json, Message, Run, RunState, StepResult, Stop, WaitingFor
from chalicelib.records.due import due_values
from chalicelib.records.locks import awaited, taken
from chalicelib.records.run_items import UNSENT_AFTER, may_become, new_run, ref_key, run_of, run_place
from chalicelib.records.table import Cancelled, Change, Table

__all__ = ["MOST_ATTEMPTS", "RunRecords", "held_by", "new_run", "ref_key", "run_place"]

SILENT_AFTER = timedelta(minutes=5)
"""A running run falls due when its holder has not moved `due_at` for so long; only a wake-up follows."""
MOST_ATTEMPTS = 5
"""Claims that died before a run is ended instead of tried again."""
LOCK_AGAIN_AFTER = timedelta(seconds=60)
"""A parked run is woken for another try when nobody told it that its lock is free; the longer it waits, the rarer."""
_LOCK_AGAIN_AT_MOST = timedelta(minutes=10)


class RunRecords:
    """Reads and writes of runs, up to their end."""

    table: Table

    # --- reading ----------------------------------------------------------------------------------

    def run(self, run_id: str) -> Run:
        """The run as it stands.

        Raises:
            NotThere: no such run.
            BadRecord: a newer program's.
        """
        item = self.table.get(run_place(run_id))
        if item is None:
            raise NotThere(f"there is no run {run_id}")
        return run_of(item)

    def runs_of_day(self, day: str, most: int) -> Iterator[Run]:
        """The runs of a UTC day (`2026-11-23`), newest first."""
        return self._runs("by_day", Key("day").eq(day), most)

    def runs_of_ref(self, forge: str, repository: str, ref: str, most: int) -> Iterator[Run]:
        """The runs of a branch or tag, newest first."""
        return self._runs("by_ref", Key("ref_key").eq(ref_key(forge, repository, ref)), most)

    def runs_of_commit(self, commit: str, most: int) -> Iterator[Run]:
        return self._runs("by_commit", Key("commit").eq(commit), most)

    def _runs(self, index: str, condition: ConditionBase, most: int) -> Iterator[Run]:
        for item in self.table.query(index, condition, most=most, newest_first=True):
            with contextlib.suppress(BadRecord):
                yield run_of(item)

    # --- claiming ---------------------------------------------------------------------------------

    def claim(self, run: Run, runner: str, now: datetime) -> Run:
        """Queued to running, the lock free to ours, in one transaction.

        Raises:
            LostClaim: somebody else was quicker.
            LockBusy: another run holds the lock.
        """
        change = Change(
            run_place(run.id),
            when=_as_read(run, RunState.QUEUED) & may_become(RunState.RUNNING),
            values=self._held(run, runner, now),
            remove=("waiting_for",),
        )
        self._take(run, change)
        # Nobody but a holder writes what a run has done, and it had none: what was read still stands.
        return replace(
            run,
            state=RunState.RUNNING,
            epoch=run.epoch + 1,
            beat=run.beat + 1,
            runner=runner,
            started_at=run.started_at or now,
            waiting_for=None,
            due_at=now + SILENT_AFTER,
        )

    def take_over(self, run: Run, runner: str, now: datetime) -> Run:
        """A running run whose beat has stood still while we watched: the next epoch is ours.

        Raises:
            LostClaim: it moved after all, or another watcher was quicker.
        """
        change = Change(
            run_place(run.id),
            when=_as_read(run, RunState.RUNNING) & may_become(RunState.RUNNING) & Attr("beat").eq(run.beat),
            values={**self._held(run, runner, now), "attempts": run.attempts + 1},
        )
        self._take(run, change)
        ours = self.run(run.id)
        if (ours.epoch, ours.runner) != (run.epoch + 1, runner):
            # We were frozen since, for so long that somebody has taken it over from us.
            raise LostClaim(f"run {run.id} was taken over by another runner")
        return ours

    def _take(self, run: Run, change: Change) -> None:
        try:
            self.table.transact([change, taken(run.job.lock, run.id, run.epoch + 1)])
        except Cancelled as cancelled:
            if 0 in cancelled.failed:
                raise LostClaim(f"run {run.id} was claimed by another runner") from cancelled
            raise LockBusy(f"{run.job.lock} is held by run {cancelled.failed[1].get('holder')}") from cancelled

    @staticmethod
    def _held(run: Run, runner: str, now: datetime) -> Mapping[str, Json]:
        return {
            "state": RunState.RUNNING,
            "epoch": run.epoch + 1,
            "beat": run.beat + 1,
            "runner": runner,
            "started_at": wire.time_text(run.started_at or now),
            **due_values(now + SILENT_AFTER),
        }

    # --- holding ----------------------------------------------------------------------------------

    def beat(self, run: Run, now: datetime) -> Run:
        """The holder's sign of life; the run as it stands, with what others have asked of its holder.

        Raises:
            LostClaim: the run is not ours any more.
        """
        return run_of(self._write_held(run, values=dict(due_values(now + SILENT_AFTER)), add={"beat": 1}))

    def note(self, run: Run, entry: Mapping[str, Json]) -> None:
        """Append to the journal.

        Raises:
            LostClaim: the run is not ours any more; nothing was written, do nothing.
        """
        self._write_held(run, append={"journal": [dict(entry)]})

    def pin(self, run: Run, line: Mapping[str, Json], commit: str) -> None:
        """Write down which commit a run builds of which nobody knew it; it is found by that commit from now on.

        Raises:
            LostClaim: the run is not ours any more.
        """
        self._write_held(run, append={"journal": [dict(line)]}, values={"commit": commit})

    def finish_step(self, run: Run, index: int, result: StepResult) -> None:
        """Write down what came of a step.

        Raises:
            LostClaim: the run is not ours any more.
        """
        self._write_held(run, inside={("results", str(index)): wire.dumps(result)})

    def _write_held(self, run: Run, **what: object) -> Mapping[str, Json]:
        change = Change(run_place(run.id), when=held_by(run), **what)  # type: ignore[arg-type] # Change's own fields
        item = self.table.write(change)
        if item is None:
            raise LostClaim(f"run {run.id} is not held under epoch {run.epoch} any more")
        return item

    # --- asking the holder ------------------------------------------------------------------------

    def ask_to_stop(self, run: Run, stop: Stop) -> bool:
        """Ask whoever holds a run to stop it, instead of what was asked when the run was read.

        Returns:
            False when it is not the claim that was read, or somebody has asked for something since.
        """
        when = held_by(run) & _asked_the_same(run)
        return self.table.write(Change(run_place(run.id), when=when, values={"stop": wire.to_json(stop)})) is not None

    def obey_no_more(self, run: Run) -> None:
        """The holder has looked and goes on: a newer run was no successor after all. What was asked since stays."""
        self.table.write(Change(run_place(run.id), when=held_by(run) & _asked_the_same(run), remove=("stop",)))

    def follow(self, run_id: str, until: datetime) -> None:
        """Somebody reads the log while it is written."""
        values = {"followed_until": wire.time_text(until)}
        self.table.write(Change(run_place(run_id), when=Attr("pk").exists(), values=values))

    # --- parking and waking -----------------------------------------------------------------------

    def park(
        self,
        run: Run,
        waiting_for: WaitingFor,
        due_at: datetime,
        reason: str,
        entries: Sequence[Mapping[str, Json]] = (),
    ) -> bool:
        """Running to waiting: the claim ends, the run does not, and it keeps its lock.

        Args:
            entries: the journal's last ones, in the same write.

        Returns:
            False when somebody has asked the run to stop since it was read: nothing was written.

        Raises:
            LostClaim: the run is not ours any more.
        """
        change = Change(
            run_place(run.id),
            when=held_by(run) & may_become(RunState.WAITING) & _asked_the_same(run),
            values=_parked(waiting_for, due_at, reason),
            append={"journal": list(entries)} if entries else {},
        )
        if self.table.write(change) is not None:
            return True
        if _is_held(self.run(run.id), run):
            return False
        raise LostClaim(f"run {run.id} is not held under epoch {run.epoch} any more")

    def park_queued(self, run: Run, waiting_for: WaitingFor, due_at: datetime, reason: str) -> bool:
        """Queued to waiting without a claim; False when the run moved."""
        when = _as_read(run, RunState.QUEUED) & may_become(RunState.WAITING)
        return self.table.write(Change(run_place(run.id), when, _parked(waiting_for, due_at, reason))) is not None

    def park_for_lock(self, run: Run, now: datetime) -> bool:
        """Queued to waiting in the lock's line; False when the lock came free meanwhile, or the run moved."""
        pause = min(max(LOCK_AGAIN_AFTER, (now - run.created_at) / 4), _LOCK_AGAIN_AT_MOST)
        change = Change(
            run_place(run.id),
            when=_as_read(run, RunState.QUEUED) & may_become(RunState.WAITING),
            values=_parked(WaitingFor.LOCK, now + pause, f"another run holds {run.job.lock}"),
        )
        try:
            self.table.transact([change, awaited(run.job.lock, run.id)])
        except Cancelled:
            return False
        return True

    def wake(self, run_id: str, waiting_for: WaitingFor | None, now: datetime) -> Message | None:
        """Waiting to queued, with the number of the message that is to be sent now.

        Args:
            waiting_for: only if it waits for this; None = whatever it waits for.

        Returns:
            None when it was not waiting (for this): nothing is to be sent.
        """
        when = Attr("state").eq(RunState.WAITING) & may_become(RunState.QUEUED)
        if waiting_for:
            when = when & Attr("waiting_for").eq(waiting_for)
        values: dict[str, Json] = {"state": RunState.QUEUED, **due_values(now + UNSENT_AFTER)}
        item = self.table.write(
            Change(run_place(run_id), when=when, values=values, remove=("waiting_for",), add={"send": 1})
        )
        return Message(run_id, item["send"]) if item else None

    def call_again(self, run: Run, now: datetime) -> Message | None:
        """A new message for a queued or silent run whose message may be lost; None when it has moved on."""
        # The longer nobody came, the rarer the calls: a week without a runner is no pile of messages.
        pause = max(5 * UNSENT_AFTER, (now - run.created_at) / 4)
        again_at = now + (SILENT_AFTER if run.state is RunState.RUNNING else pause)
        change = Change(
            run_place(run.id),
            when=_as_read(run, run.state) & Attr("send").eq(run.send) & Attr("beat").eq(run.beat),
            values={**due_values(again_at)},
            add={"send": 1},
        )
        item = self.table.write(change)
        return Message(run.id, item["send"]) if item else None


def held_by(run: Run) -> ConditionBase:
    """Whether the claim that was read still holds the run."""
    return _as_read(run, RunState.RUNNING)


def _as_read(run: Run, state: RunState) -> ConditionBase:
    return Attr("epoch").eq(run.epoch) & Attr("state").eq(state)


def _asked_the_same(run: Run) -> ConditionBase:
    return Attr("stop").eq(wire.to_json(run.stop)) if run.stop else Attr("stop").not_exists()


def _is_held(now: Run, run: Run) -> bool:
    return now.epoch == run.epoch and now.state is RunState.RUNNING


def _parked(waiting_for: WaitingFor, due_at: datetime, reason: str) -> dict[str, Json]:
    return {"state": RunState.WAITING, "waiting_for": waiting_for, "reason": reason, **due_values(due_at)}
