"""Runs: every change of state is one conditional write, and each stands here once."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from boto3.dynamodb.conditions import Attr, ConditionBase, Key

from chalicelib import wire
from chalicelib.errors import BadRecord, LockBusy, LostClaim, NotThere
from chalicelib.model import (
    VERSION,
    Json,
    Message,
    Run,
    RunState,
    StepResult,
    WaitingFor,
    may_come_from,
)
from chalicelib.records.due import due_values
from chalicelib.records.locks import awaited, freed, taken
from chalicelib.records.table import Cancelled, Change, Place, Put, Table

SILENT_AFTER = timedelta(minutes=5)
"""A running run falls due when its holder has not moved `due_at` for so long; only a wake-up follows."""
MOST_ATTEMPTS = 5
"""Claims that died before a run is ended instead of tried again."""
LOCK_AGAIN_AFTER = timedelta(seconds=60)
"""A parked run is woken for another try when nobody told it that its lock is free."""
UNSENT_AFTER = timedelta(seconds=60)
"""A queued run that nobody claimed is woken again."""
UNTOLD_AFTER = timedelta(seconds=60)
"""Who tells has so long before another one tries."""


def run_place(run_id: str) -> Place:
    return f"run#{run_id}", "run"


def ref_key(forge: str, repository: str, ref: str) -> str:
    return wire.key(forge, repository.lower(), ref)


def new_run(run: Run) -> Put:
    """A run's first write."""
    pk, sk = run_place(run.id)
    event = run.job.event
    return Put(
        {
            **_scalars(run),
            "pk": pk,
            "sk": sk,
            "job": wire.dumps(run.job),
            "config": run.job.config,
            "pool": run.job.pool,
            "pipeline": run.job.pipeline,
            "ref_key": ref_key(event.forge, event.repository or "", event.ref or ""),
            "commit": event.commit,
            "day": wire.time_text(run.created_at)[:10],
            "journal": [],
            "tell": {},
            "results": {},
            **due_values(run.created_at + UNSENT_AFTER),
        }
    )


class RunRecords:
    """Reads and writes of runs."""

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
        return _run(item)

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
                yield _run(item)

    # --- claiming ---------------------------------------------------------------------------------

    def claim(self, run: Run, runner: str, now: datetime) -> Run:
        """Queued to running, the lock free to ours, in one transaction.

        Raises:
            LostClaim: somebody else was quicker.
            LockBusy: another run holds the lock.
        """
        change = Change(
            run_place(run.id),
            when=_may_become(RunState.RUNNING) & Attr("state").eq(RunState.QUEUED) & Attr("epoch").eq(run.epoch),
            values=self._held(run, runner, now),
            remove=("waiting_for",),
        )
        return self._take(run, change)

    def take_over(self, run: Run, runner: str, now: datetime) -> Run:
        """A running run whose beat has stood still while we watched: the next epoch is ours.

        Raises:
            LostClaim: it moved after all, or another watcher was quicker.
        """
        change = Change(
            run_place(run.id),
            when=_may_become(RunState.RUNNING)
            & Attr("state").eq(RunState.RUNNING)
            & Attr("epoch").eq(run.epoch)
            & Attr("beat").eq(run.beat),
            values={**self._held(run, runner, now), "attempts": run.attempts + 1},
        )
        return self._take(run, change)

    def _take(self, run: Run, change: Change) -> Run:
        try:
            self.table.transact([change, taken(run.job.lock, run.id, run.epoch + 1)])
        except Cancelled as cancelled:
            if 0 in cancelled.failed:
                raise LostClaim(f"run {run.id} was claimed by another runner") from cancelled
            raise LockBusy(f"{run.job.lock} is held by run {cancelled.failed[1].get('holder')}") from cancelled
        return self.run(run.id)

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

    def beat(self, run: Run, now: datetime) -> None:
        """The holder's sign of life.

        Raises:
            LostClaim: the run is not ours any more.
        """
        self._write_held(run, values=dict(due_values(now + SILENT_AFTER)), add={"beat": 1})

    def note(self, run: Run, entry: Mapping[str, Json]) -> None:
        """Append to the journal.

        Raises:
            LostClaim: the run is not ours any more; nothing was written, do nothing.
        """
        self._write_held(run, append={"journal": [dict(entry)]})

    def finish_step(self, run: Run, index: int, result: StepResult) -> None:
        """Write down what came of a step.

        Raises:
            LostClaim: the run is not ours any more.
        """
        self._write_held(run, inside={("results", str(index)): wire.dumps(result)})

    def _write_held(self, run: Run, then: RunState = RunState.RUNNING, **what: object) -> None:
        when = _held_by(run) & _may_become(then)
        if self.table.write(Change(run_place(run.id), when=when, **what)) is None:  # type: ignore[arg-type] # Change's own fields
            raise LostClaim(f"run {run.id} is not held under epoch {run.epoch} any more")

    # --- parking and waking -----------------------------------------------------------------------

    def park(
        self,
        run: Run,
        waiting_for: WaitingFor,
        due_at: datetime,
        reason: str,
        entries: Sequence[Mapping[str, Json]] = (),
    ) -> None:
        """Running to waiting: the claim ends, the run does not, and it keeps its lock.

        Args:
            entries: the journal's last ones, in the same write.

        Raises:
            LostClaim: the run is not ours any more.
        """
        append = {"journal": list(entries)} if entries else {}
        self._write_held(run, RunState.WAITING, values=_parked(waiting_for, due_at, reason), append=append)

    def park_for_lock(self, run: Run, now: datetime) -> bool:
        """Queued to waiting in the lock's line; False when the lock came free meanwhile, or the run moved."""
        change = Change(
            run_place(run.id),
            when=_may_become(RunState.WAITING) & Attr("state").eq(RunState.QUEUED) & Attr("epoch").eq(run.epoch),
            values=_parked(WaitingFor.LOCK, now + LOCK_AGAIN_AFTER, f"another run holds {run.job.lock}"),
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
        when = Attr("state").eq(RunState.WAITING) & _may_become(RunState.QUEUED)
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
            when=Attr("state").eq(run.state) & Attr("send").eq(run.send) & Attr("beat").eq(run.beat),
            values={**due_values(again_at)},
            add={"send": 1},
        )
        item = self.table.write(change)
        return Message(run.id, item["send"]) if item else None

    # --- ending -----------------------------------------------------------------------------------

    def end(
        self, run: Run, state: RunState, *, reason: str | None, tell: Mapping[str, Mapping[str, Json]], now: datetime
    ) -> None:
        """The end, whom to tell of it, and the lock's release, in one transaction.

        Raises:
            LostClaim: the run is not ours any more.
        """
        due_at = now + UNTOLD_AFTER if tell else None
        values: dict[str, Json] = {
            "state": state,
            "reason": reason,
            "tell": tell,
            "ended_at": wire.time_text(now),
            **due_values(due_at),
        }
        change = Change(
            run_place(run.id),
            when=_held_by(run) & _may_become(state),
            values={name: value for name, value in values.items() if value is not None},
            remove=[name for name, value in values.items() if value is None] + ["waiting_for"],
        )
        try:
            self.table.transact([change, freed(run.job.lock, run.id)])
        except Cancelled as cancelled:
            # Who holds a run holds its lock: both conditions fail together.
            raise LostClaim(f"run {run.id} was ended or taken over by another runner") from cancelled

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


def _parked(waiting_for: WaitingFor, due_at: datetime, reason: str) -> dict[str, Json]:
    return {"state": RunState.WAITING, "waiting_for": waiting_for, "reason": reason, **due_values(due_at)}


def _may_become(state: RunState) -> ConditionBase:
    return Attr("state").is_in([str(before) for before in may_come_from(state)])


def _held_by(run: Run) -> ConditionBase:
    return Attr("epoch").eq(run.epoch) & Attr("state").eq(RunState.RUNNING)


# Written in a form of their own, or by the index.
_ITEM_ONLY = {"job", "journal", "tell", "results", "due_at"}


def _scalars(run: Run) -> dict[str, Json]:
    return {name: wire.to_json(value) for name, value in vars(run).items() if name not in _ITEM_ONLY}


def _run(item: Mapping[str, Json]) -> Run:
    run_id = item["pk"].removeprefix("run#")
    if item.get("v", 0) > VERSION:
        raise BadRecord(f"run {run_id} is of version {item['v']}, and this program knows {VERSION}")
    results = {index: json.loads(text) for index, text in item.get("results", {}).items()}
    due_at = item.get("due_at")
    fields = {
        **item,
        "id": run_id,
        "job": json.loads(item.get("job", "null")),
        "results": results,
        "due_at": wire.time_text(datetime.fromtimestamp(due_at, UTC)) if due_at is not None else None,
    }
    return wire.from_json(Run, fields)
