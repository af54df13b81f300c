"""Runs that end: the end, whom to tell, and the lock's release are one transaction; then the telling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from types import MappingProxyType

from boto3.dynamodb.conditions import Attr, ConditionBase

from chalicelib import wire
from chalicelib.errors import LostClaim
from chalicelib.graph import announced
from chalicelib.model import ENDS, Handed, Json, Run, RunState, StepResult
from chalicelib.records.due import due_values
from chalicelib.records.locks import LockRecords, freed, left
from chalicelib.records.run_items import may_become, run_of, run_place
from chalicelib.records.table import Cancelled, Change, Put, Table

UNTOLD_AFTER = timedelta(seconds=60)
"""Who tells has so long before another one tries."""

Tell = Mapping[str, Mapping[str, Json]]


class EndRecords(LockRecords):
    """Writes of ends and of what was told; a run's lock goes with its end."""

    table: Table

    def end(
        self,
        run: Run,
        state: RunState,
        *,
        reason: str | None,
        tell: Tell,
        now: datetime,
        results: Mapping[int, StepResult] = MappingProxyType({}),
        also: Sequence[Put | Change] = (),
    ) -> Run | None:
        """The holder's last write.

        Args:
            results: by the step's index, what came of the steps that were not written yet.
            also: what joins the transaction.

        Returns:
            None when it was written. Else the run as it stands: still ours, but a superseded run handed its people
            on to it since it was read, or somebody asked it to stop; whom to tell must be said anew.

        Raises:
            LostClaim: the run is not ours any more.
        """
        inside = {("results", str(index)): wire.dumps(result) for index, result in results.items()}
        tell = {**tell, **announced(run, {str(index): result for index, result in results.items()})}
        ending = replace(_ending(run, _held_as_read(run), state, reason, tell, now), inside=inside)
        return self._end(run, ending, [freed(run.job.lock, run.id), *also])

    def supersede(self, run: Run, successor: Run, *, handed: Mapping[str, Handed], reason: str, now: datetime) -> bool:
        """The holder's last write when a newer run takes its place: nobody is told of it, its people are handed on.

        What it had pushed by then is announced all the same.

        Args:
            handed: by run id; this run, and those that it had been handed itself.

        Returns:
            False when the successor has ended meanwhile, or one of the two was handed more people: nothing was written.

        Raises:
            LostClaim: the run is not ours any more.
        """
        heir = Change(
            run_place(successor.id),
            when=Attr("state").is_in([str(state) for state in RunState if state not in ENDS])
            & _handed_the_same(successor),
            values={"handed": wire.to_json({**successor.handed, **handed})},
            add={"hands": len(handed)},
        )
        ending = _ending(run, _held_as_read(run), RunState.SUPERSEDED, reason, announced(run), now)
        try:
            return self._end(run, ending, [freed(run.job.lock, run.id), heir]) is None
        except _OthersFailed:
            return False

    def end_unclaimed(
        self,
        run: Run,
        state: RunState,
        *,
        reason: str,
        tell: Tell,
        now: datetime,
        also: Sequence[Put | Change] = (),
    ) -> None:
        """End a queued or waiting run that nobody holds.

        Raises:
            LostClaim: it has moved since it was read.
        """
        when = (
            Attr("state").eq(run.state)
            & Attr("epoch").eq(run.epoch)
            & Attr("send").eq(run.send)
            & _handed_the_same(run)
        )
        change = _ending(run, when, state, reason, {**tell, **announced(run)}, now)
        # A run that was parked keeps its lock, one that was never claimed has none; only the first of them frees it.
        holds = self.lock_holder(run.job.lock) == run.id
        lock = freed(run.job.lock, run.id) if holds else left(run.job.lock, run.id)
        try:
            self.table.transact([change, lock, *also])
        except Cancelled as cancelled:
            raise LostClaim(f"run {run.id} has moved on since it was read") from cancelled

    def _end(self, run: Run, ending: Change, also: Sequence[Put | Change]) -> Run | None:
        try:
            self.table.transact([ending, *also])
        except Cancelled as cancelled:
            if 0 in cancelled.failed:
                return _still_ours(run, cancelled.failed[0], cancelled)
            if 1 in cancelled.failed:
                # Who holds a run holds its lock.
                raise LostClaim(f"run {run.id} does not hold its lock any more") from cancelled
            raise _OthersFailed from cancelled
        return None

    # --- telling ----------------------------------------------------------------------------------

    def take_telling(self, run: Run, now: datetime) -> bool:
        """Be the one who tells of an end that is due; False when somebody else was quicker.

        Who dies over it leaves it due again after `UNTOLD_AFTER`.
        """
        due_at = due_values(run.due_at)["due_at"]
        change = Change(
            run_place(run.id), when=Attr("due_at").eq(Decimal(str(due_at))), values=dict(due_values(now + UNTOLD_AFTER))
        )
        return self.table.write(change) is not None

    def all_told(self, run_id: str) -> None:
        """Nobody is left to tell: the run is due no more."""
        self.table.write(Change(run_place(run_id), when=Attr("pk").exists(), remove=("due_shard", "due_at")))

    def told(self, run_id: str, whom: str, outcome: Mapping[str, Json], due_at: datetime | None) -> None:
        """Write down that somebody was told, or why not; `due_at` is None when nobody is left to tell."""
        due = due_values(due_at)
        self.table.write(
            Change(
                run_place(run_id),
                when=Attr("pk").exists(),
                values={name: value for name, value in due.items() if value is not None},
                inside={("tell", whom): outcome},
                remove=[name for name, value in due.items() if value is None],
            )
        )


class _OthersFailed(Exception):
    """What joined the transaction was in its way."""


def _held_as_read(run: Run) -> ConditionBase:
    """Ours, and nobody handed it people since; a run that was asked to stop may end in any way."""
    return Attr("epoch").eq(run.epoch) & Attr("state").eq(RunState.RUNNING) & _handed_the_same(run)


def _handed_the_same(run: Run) -> ConditionBase:
    hands = Attr("hands").eq(run.hands)
    # An older program wrote runs without it.
    return hands if run.hands else hands | Attr("hands").not_exists()


def _still_ours(run: Run, item: Mapping[str, Json], cancelled: Cancelled) -> Run:
    now = run_of(item) if item else None
    if now is None or now.epoch != run.epoch or now.state is not RunState.RUNNING:
        raise LostClaim(f"run {run.id} was ended or taken over by another runner") from cancelled
    return now


def _ending(run: Run, when: ConditionBase, state: RunState, reason: str | None, tell: Tell, now: datetime) -> Change:
    values: dict[str, Json] = {
        "state": state,
        "reason": reason,
        "tell": tell,
        "ended_at": wire.time_text(now),
        **due_values(now + UNTOLD_AFTER if tell else None),
    }
    return Change(
        run_place(run.id),
        when=when & may_become(state),
        values={name: value for name, value in values.items() if value is not None},
        remove=[name for name, value in values.items() if value is None] + ["waiting_for"],
    )
