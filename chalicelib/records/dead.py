"""Dead letters: what nobody could act on, kept until a person has it done again or discards it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from boto3.dynamodb.conditions import Attr, ConditionBase

from chalicelib import wire
from chalicelib.errors import BadRecord, NotThere
from chalicelib.model import VERSION, Json, Run
from chalicelib.records.breakers import opened
from chalicelib.records.table import Cancelled, Change, Place, Put, Table

KEPT_FOR = timedelta(days=90)
"""A closed letter is forgotten after so long; an open one never."""
_PARTITION = "dead"


class LetterKind(StrEnum):
    """What died: a message that nobody could act on, or a run that killed its runners."""

    MESSAGE = "message"
    RUN = "run"


class LetterState(StrEnum):
    """*open*: somebody has to decide. *redriven*: done again. *discarded*: it was not worth it."""

    OPEN = "open"
    REDRIVEN = "redriven"
    DISCARDED = "discarded"


@dataclass(frozen=True)
class Letter:
    """Something that nobody could act on.

    Args:
        id: SQS's id of a message, which it keeps from queue to queue; a run's own id.
        attempts: how often a message was received; how many runners died over a run.
        body: a message's text, or the beginning of it.
        run: the run that it is about, if it names one.
        repository: `forge/owner/name`, if that is known.
        by: who closed it.
        redriven_run: the run that was woken, or made anew.
    """

    id: str
    kind: LetterKind
    pool: str
    reason: str
    attempts: int
    at: datetime
    body: str = ""
    run: str | None = None
    repository: str | None = None
    state: LetterState = LetterState.OPEN
    by: str | None = None
    closed_at: datetime | None = None
    redriven_run: str | None = None
    v: int = VERSION


def letter_of_run(run: Run, reason: str, now: datetime) -> Letter:
    """The letter of a run that is at its end."""
    return Letter(
        id=run.id,
        kind=LetterKind.RUN,
        pool=run.job.pool,
        reason=reason,
        attempts=run.attempts,
        at=now,
        run=run.id,
        repository=run.job.source.name,
    )


def buried_run(run: Run, reason: str, now: datetime) -> Sequence[Put | Change]:
    """What joins the end of a run over which its runners died: a letter, and its repository is left alone."""
    # Never in the way of the end: a letter about this very run is only written anew.
    own = Attr("pk").not_exists() | Attr("run").eq(run.id)
    return Put(_item(letter_of_run(run, reason, now)), when=own), opened(run.job.source.name, run.id, reason, now)


class DeadRecords:
    """Reads and writes of dead letters."""

    table: Table

    def bury(self, letter: Letter) -> bool:
        """Write a letter; False when it lay there already, in whatever state."""
        return self.table.write(Put(_item(letter))) is not None

    def dead_letter(self, letter_id: str) -> Letter:
        """The letter as it stands.

        Raises:
            NotThere: no such letter.
            BadRecord: a newer program's.
        """
        item = self.table.get(_place(letter_id))
        if item is None:
            raise NotThere(f"there is no dead letter {letter_id}")
        return _letter(item)

    def dead_letters(self, *, closed: bool = False) -> list[Letter]:
        """The open letters, oldest first.

        Args:
            closed: those too that were redriven or discarded.
        """
        found = []
        for item in self.table.partition(_PARTITION):
            with contextlib.suppress(BadRecord):
                found.append(_letter(item))
        wanted = [letter for letter in found if closed or letter.state is LetterState.OPEN]
        return sorted(wanted, key=lambda letter: letter.at)

    def close_letter(
        self,
        letter: Letter,
        state: LetterState,
        by: str,
        now: datetime,
        *,
        run: str | None = None,
        also: Sequence[Put | Change] = (),
    ) -> bool:
        """Close an open letter, or redrive one that was discarded; one that was never written is written closed.

        Args:
            run: what it was redriven as.
            also: what joins the transaction.

        Returns:
            False when somebody was quicker, or a condition of `also` was not met: nothing was written.
        """
        closed = replace(letter, state=state, by=by, closed_at=now, redriven_run=run)
        values = {name: value for name, value in _item(closed).items() if name not in {"pk", "sk"}}
        values["expires_at"] = int((now + KEPT_FOR).timestamp())
        try:
            self.table.transact([Change(_place(letter.id), when=_closable(state), values=values), *also])
        except Cancelled:
            return False
        return True


def _closable(state: LetterState) -> ConditionBase:
    if state is LetterState.DISCARDED:
        return Attr("state").eq(LetterState.OPEN)
    return Attr("pk").not_exists() | Attr("state").is_in([LetterState.OPEN, LetterState.DISCARDED])


def _place(letter_id: str) -> Place:
    return _PARTITION, letter_id


def _item(letter: Letter) -> dict[str, Json]:
    pk, sk = _place(letter.id)
    fields = {name: value for name, value in wire.to_json(letter).items() if value is not None}
    return {"pk": pk, "sk": sk, **fields}


def _letter(item: Mapping[str, Json]) -> Letter:
    if item.get("v", 0) > VERSION:
        raise BadRecord(f"dead letter {item['sk']} is of version {item['v']}, and this program knows {VERSION}")
    return wire.from_json(Letter, item)
