"""What stands in the dead letters, ended badly or is parked in; done again, or discarded, as a person says."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from datetime import datetime

from botocore.exceptions import BotoCoreError, ClientError
from ulid import ULID

from chalicelib import pinning, wire
from chalicelib.beanstalk import brought_back
from chalicelib.edge import Edge
from chalicelib.errors import BadRecord, NotThere, TauError
from chalicelib.model import Message, Run, RunState, WaitingFor
from chalicelib.records.breakers import LONGEST_PAUSE
from chalicelib.records.dead import Letter, LetterKind, LetterState, letter_of_run
from chalicelib.records.run_items import new_run
from chalicelib.reports.words import clean, counted

log = logging.getLogger("tau.redriving")

_AGAIN = frozenset({RunState.FAILED, RunState.ERRORED, RunState.CANCELLED})
_TIME_BYTES = 6
_MOST_PARKED = 1000


class NothingToRedrive(TauError):
    """What was named exists, and there is nothing to be done again."""


def redrive(named: str, by: str, edge: Edge, now: datetime) -> str:
    """Have it done again; a second time does no more than the first.

    Args:
        named: id of a dead letter or of a run, or a repository that is parked (`forge/owner/name`).
        by: who wants it, for the records.

    Returns:
        What was done, in words for whoever asked.

    Raises:
        NotThere: nothing bears that name.
        NothingToRedrive: it does, and nothing follows from it.
    """
    if "/" in named:
        return _redrive_repository(named, by, edge, now)
    letter = _letter(named, edge)
    if letter and letter.state is LetterState.REDRIVEN:
        return f"{_about(letter)} was redriven by {clean(letter.by or '')}: {_stand(letter.redriven_run or '', edge)}"
    run = _run_of(letter, named, edge)
    said = _run_again(letter, run, by, edge, now) if run.ended else _wake_run(letter, run, by, edge, now)
    _close_letters_about(run, by, edge, now)
    return said


def discard(named: str, by: str, edge: Edge, now: datetime) -> str:
    """Close a dead letter without doing anything; a second time changes nothing.

    Raises:
        NotThere: there is no such letter.
    """
    letter = _letter(named, edge)
    if letter is None:
        raise NotThere(f"there is no dead letter {clean(named)}: `tau dead` lists them")
    if edge.store.close_letter(letter, LetterState.DISCARDED, by, now):
        log.info("discarded", extra={"letter": letter.id, "by": by})
        return f"{_about(letter)} is discarded"
    there = edge.store.dead_letter(letter.id)
    return f"{_about(there)} was {there.state} before, by {clean(there.by or '')}"


def again(run: Run, by: str, now: datetime) -> Run:
    """The run that does an ended run's job once more; asked again it is the same one.

    It comes right after its original and before every later delivery: a newer push still takes its place, and an older
    tag never that of a newer one.
    """
    original = ULID.from_str(run.id)
    time_part = (int.from_bytes(original.bytes[:_TIME_BYTES], "big") + 1).to_bytes(_TIME_BYTES, "big")
    rest = hashlib.sha256(wire.key(run.id, "redrive").encode()).digest()[: len(original.bytes) - _TIME_BYTES]
    return Run(
        id=str(ULID(time_part + rest)),
        delivery=run.delivery,
        job=run.job,
        state=RunState.QUEUED,
        created_at=now,
        # It builds what the first one built, though the branch has moved on.
        journal=tuple(filter(None, [pinning.line_of(run)])),
        reason=f"run {run.id} again, for {by}",
    )


# --- what is named --------------------------------------------------------------------------------


def _letter(named: str, edge: Edge) -> Letter | None:
    try:
        return edge.store.dead_letter(_id(named))
    except NotThere:
        return None


def _id(named: str) -> str:
    """As it is written in the records: SQS's ids have hyphens and small letters, ours are ULIDs."""
    return named.lower() if "-" in named else named.upper()


def _close_letters_about(run: Run, by: str, edge: Edge, now: datetime) -> None:
    """Nobody has to decide any more about the messages that once called a run."""
    for letter in edge.store.dead_letters():
        if letter.run == run.id:
            new = again(run, by, now).id if run.ended else run.id
            edge.store.close_letter(letter, LetterState.REDRIVEN, by, now, run=new)


def _run_of(letter: Letter | None, named: str, edge: Edge) -> Run:
    if letter and letter.run is None:
        raise NothingToRedrive(f"{_about(letter)} names no run ({clean(letter.reason)}): `tau discard {letter.id}`")
    try:
        return edge.store.run(letter.run if letter and letter.run else _id(named))
    except NotThere as error:
        if letter:
            raise NothingToRedrive(f"{_about(letter)}: {error}: `tau discard {letter.id}`") from error
        raise NotThere(
            f"there is no dead letter and no run {clean(named)}: `tau dead --all` and `tau runs` list them"
        ) from error


def _about(letter: Letter) -> str:
    return f"dead letter {letter.id}"


def _stand(run_id: str, edge: Edge) -> str:
    return f"run {run_id} is {edge.store.run(run_id).state}"


# --- a run that is under way ----------------------------------------------------------------------


def _wake_run(letter: Letter | None, run: Run, by: str, edge: Edge, now: datetime) -> str:
    if run.state is RunState.WAITING:
        message = edge.store.wake(run.id, run.waiting_for, now)
    else:
        message = edge.store.call_again(run, now)
    standing = f"waiting for {run.waiting_for}" if run.waiting_for else str(run.state)
    said = f"run {run.id} was {standing}"
    said += f": {_sent(message, run, edge)}" if message else f", and moves on by itself: {_stand(run.id, edge)}"
    if letter:
        edge.store.close_letter(letter, LetterState.REDRIVEN, by, now, run=run.id)
    log.info("redriven", extra={"letter": letter.id if letter else None, "run": run.id, "by": by})
    return f"{said}{_still_parked(run, edge, now)}"


def _sent(message: Message, run: Run, edge: Edge) -> str:
    try:
        edge.queue.call(message, run.job)
    except (ClientError, BotoCoreError) as error:
        return f"the ticker will wake a runner, the queue does not answer now ({error})"
    return f"a runner of the pool {run.job.pool} is woken"


# --- a run at its end -----------------------------------------------------------------------------


def _run_again(letter: Letter | None, run: Run, by: str, edge: Edge, now: datetime) -> str:
    if run.state not in _AGAIN:
        hint = f": `tau discard {letter.id}`" if letter else ""
        raise NothingToRedrive(f"run {run.id} is {run.state}, there is nothing to do again{hint}")
    back = brought_back(run.job)
    if back:
        environment, region = map(clean, back)
        raise NothingToRedrive(
            f"run {run.id} was a way back: `tau rollback {environment} --region {region}` asks for it again"
            + (f"; `tau discard {letter.id}` closes the letter" if letter else "")
        )
    new = again(run, by, now)
    closed = letter or letter_of_run(run, run.reason or str(run.state), now)
    if not edge.store.close_letter(closed, LetterState.REDRIVEN, by, now, run=new.id, also=[new_run(new)]):
        return _was_again(run, new, edge)
    log.info("redriven", extra={"letter": closed.id, "run": new.id, "again": run.id, "by": by})
    said = f"run {new.id} does run {run.id} again: {_sent(Message(new.id, new.send), new, edge)}"
    return f"{said}{_let_go(letter, new, by, edge, now)}"


def _was_again(run: Run, new: Run, edge: Edge) -> str:
    try:
        return f"run {run.id} was redriven before: {_stand(new.id, edge)}"
    except NotThere as error:
        raise NothingToRedrive(
            f"somebody else is at run {run.id} just now: look again with `tau dead --all`"
        ) from error


def _let_go(letter: Letter | None, new: Run, by: str, edge: Edge, now: datetime) -> str:
    """Who redrives a run that killed its runners says that this is over, for all of its repository's."""
    name = new.job.source.name
    if letter and letter.kind is LetterKind.RUN and edge.store.parked_until(name, now):
        return f"; {_redrive_repository(name, by, edge, now)}"
    return _still_parked(new, edge, now)


def _still_parked(run: Run, edge: Edge, now: datetime) -> str:
    name = run.job.source.name
    parked = edge.store.parked_until(name, now) is not None
    return f"; it will wait, as {name} is parked: `tau redrive {name}` lets it go" if parked else ""


# --- a repository that is parked ------------------------------------------------------------------


def _redrive_repository(name: str, by: str, edge: Edge, now: datetime) -> str:
    if not edge.store.had_breaker(name):
        raise NotThere(f"the repository {clean(name)} is not parked: `tau dead` lists those that are")
    closed = edge.store.close_breaker(name, by)
    woken = [_wake_parked(run, edge, now) for run in _parked_runs(name, edge, now)]
    log.info("repository let go", extra={"repository": name, "runs": woken, "by": by})
    return f"{name} {'is' if closed else 'was'} not parked any more, {counted(len(woken), 'run')} woken"


def _parked_runs(name: str, edge: Edge, now: datetime) -> Iterator[Run]:
    for due in edge.store.due(now + LONGEST_PAUSE, _MOST_PARKED):
        if due.kind != "run":
            continue
        try:
            run = edge.store.run(due.id)
        except (BadRecord, NotThere):
            continue
        if run.waiting_for is WaitingFor.RUNNER and run.job.source.name.lower() == name.lower():
            yield run


def _wake_parked(run: Run, edge: Edge, now: datetime) -> str:
    message = edge.store.wake(run.id, WaitingFor.RUNNER, now)
    if message:
        _sent(message, run, edge)
    return run.id
