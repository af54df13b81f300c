"""A run that somebody wants to stop in; ended now, or its holder asked to."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from chalicelib.edge import Edge
from chalicelib.errors import LostClaim, TauError
from chalicelib.model import Json, Run, RunState, Stop, WaitingFor
from chalicelib.reports.whom import recipients
from chalicelib.telling import notices, result_of, tell

_TRIES = 10


class Answer(StrEnum):
    """What became of the wish."""

    ENDED = "ended"
    CANCELLED = "cancelled"
    ASKED = "asked"
    DEPLOYING = "deploying"


class Unsteady(TauError):
    """The run changed hands again and again while we asked. Ask once more."""


def cancel(run_id: str, by: str, edge: Edge, now: datetime) -> Answer:
    """Cancel a run; asking twice does no more than asking once.

    Args:
        by: who wants it, for the record and the mail.

    Raises:
        NotThere: there is no such run.
        Unsteady: it moved each time it was looked at.
    """
    for _ in range(_TRIES):
        run = edge.store.run(run_id)
        answer = _cancel(run, by, edge, now)
        if answer:
            return answer
    raise Unsteady(f"run {run_id} changes hands just now: try again")


def reason(by: str) -> str:
    return f"cancelled by {by}"


def ending_notices(run: Run, state: RunState, why: str, now: datetime) -> Mapping[str, Mapping[str, Json]]:
    """Who is told of an end that says nothing about the code."""
    return notices(recipients(result_of(run, state, why, now), None))


def _cancel(run: Run, by: str, edge: Edge, now: datetime) -> Answer | None:
    if run.ended:
        return Answer.ENDED
    if run.must_finish:
        return Answer.DEPLOYING
    if run.state is RunState.RUNNING:
        asked = run.stop is not None and run.stop.state is RunState.CANCELLED
        stop = Stop(RunState.CANCELLED, by, now)
        return Answer.ASKED if asked or edge.store.ask_to_stop(run, stop) else None
    try:
        why = reason(by)
        edge.store.end_unclaimed(
            run,
            RunState.CANCELLED,
            reason=why,
            tell=ending_notices(run, RunState.CANCELLED, why, now),
            now=now,
        )
    except LostClaim:
        return None
    after_the_end(run, edge, now)
    return Answer.CANCELLED


def after_the_end(run: Run, edge: Edge, now: datetime) -> None:
    """What may be done by anybody, and is done at once by whoever ended a run: wake who waited, and tell.

    Each part is found by the ticker where it stays undone.
    """
    wake_next(run, edge, now)
    ended = edge.store.run(run.id)
    if ended.tell and ended.due_at and edge.store.take_telling(ended, now):
        tell(ended, edge, now)


def wake_next(run: Run, edge: Edge, now: datetime) -> None:
    """Wake the run that has waited longest for an ended run's lock."""
    for waiter in edge.store.waiters(run.job.lock):
        message = edge.store.wake(waiter, WaitingFor.LOCK, now)
        if message:
            edge.queue.call(message, edge.store.run(waiter).job)
            return
