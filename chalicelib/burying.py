"""Messages that nobody can act on in; dead letters in the records out, for people to redrive or to discard."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator
from datetime import datetime

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.config import Config
from chalicelib.edge import Edge
from chalicelib.errors import BadRecord, NotThere, TauError
from chalicelib.model import Run
from chalicelib.queue import BadMessage, NewerMessage, Received, decode, run_named
from chalicelib.records.dead import Letter, LetterKind
from chalicelib.reports.words import counted, short
from chalicelib.store import Store

log = logging.getLogger("tau.burying")

DEFAULT_POOL = "default"
_BODY_LIMIT = 1000


def pools_of(config: Config) -> tuple[str, ...]:
    """The pools that there are: those that ci.yml names, and the one that needs no name."""
    return tuple(sorted({DEFAULT_POOL, *(pipeline.pool for pipeline in config.pipelines)}))


def bury_message(received: Received, reason: str, edge: Edge, now: datetime) -> None:
    """Take a message that can never be acted on out of its queue: first into the records, then away.

    Done again after a death in between, it writes nothing new.
    """
    _bury(_letter(received, reason, now), received, edge)


def bury_dead(pools: Iterable[str], edge: Edge, now: datetime) -> None:
    """Move what SQS gave up on from the pools' dead queues into the records; one that fails stays for the next tick."""
    for pool in pools:
        with _left_for_later(pool=pool):
            for received in edge.queue.receive_dead(pool):
                with _left_for_later(pool=pool, letter=received.id):
                    _bury_dead(received, edge, now)


def letter_of(received: Received, found: Run | TauError, now: datetime) -> Letter | None:
    """The letter that a message from a dead queue is worth; None where its run is at its end: there is nobody to wake.

    Args:
        found: the run that it names, or why there is none.
    """
    if not isinstance(found, Run):
        return _letter(received, str(found), now)
    if found.ended:
        return None
    times = counted(received.receives, "time")
    return _letter(received, f"received {times}, and its run is still {found.state}", now, found)


def _letter(received: Received, reason: str, now: datetime, run: Run | None = None) -> Letter:
    return Letter(
        id=received.id,
        kind=LetterKind.MESSAGE,
        pool=received.pool,
        reason=reason,
        attempts=received.receives,
        at=now,
        body=short(received.body, _BODY_LIMIT),
        run=run.id if run else run_named(received.body),
        repository=run.job.source.name if run else None,
    )


def _bury_dead(received: Received, edge: Edge, now: datetime) -> None:
    letter = letter_of(received, _named(received, edge.store), now)
    if letter:
        _bury(letter, received, edge)
    else:
        edge.queue.delete(received)


def _named(received: Received, store: Store) -> Run | TauError:
    try:
        return store.run(decode(received.body).run)
    except (BadMessage, NewerMessage, NotThere, BadRecord) as error:
        return error


def _bury(letter: Letter, received: Received, edge: Edge) -> None:
    if edge.store.bury(letter):
        log.warning("buried", extra={"letter": letter.id, "run": letter.run, "reason": letter.reason})
    edge.queue.delete(received)


@contextlib.contextmanager
def _left_for_later(**what: str) -> Iterator[None]:
    try:
        yield
    except (TauError, ClientError, BotoCoreError) as error:
        log.warning("a dead letter is left for the next tick", extra={**what, "error": str(error)})
