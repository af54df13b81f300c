"""A Result and how the run before it ended in, who is told out; and for each of them, why."""

from __future__ import annotations

from collections.abc import Iterable

from chalicelib.model import ENDS, Event, Result, RunState
from chalicelib.reports.addresses import address
from chalicelib.reports.words import clean

VERDICTS = frozenset({RunState.PASSED, RunState.FAILED, RunState.ERRORED})
"""The ends that say something about the code or about us; the others (superseded, skipped …) say nothing new."""
_GIVEN_UP = frozenset({RunState.CANCELLED, RunState.SUPERSEDED})


def recipients(result: Result, previous: RunState | None) -> tuple[str, ...]:
    """Who is told of this end, each address once: `notify` of ci.yml, and the operators whenever we broke.

    Args:
        previous: how the run before it of the same pipeline and ref ended, or None where there was none.
            An end without a verdict counts as none; better give the one before it.
    """
    told = _named(result) if _is_due(result, previous) else ()
    operators = _operators(result) if result.state is RunState.ERRORED else ()
    return _each_once((*told, *operators))


def because(result: Result, to: str) -> str:
    """Why `to` got this mail, in one sentence, for its last line."""
    wanted = result.job.notify.to
    if "pusher" in wanted and _same(to, pusher(result.job.event)):
        return "You get this because the change is yours."
    if "pusher" in wanted and any(_same(to, handed.to) for handed in result.handed.values()):
        return "You get this because a change in it is yours."
    if is_operator(result, to) and (result.state is RunState.ERRORED or "operators" in wanted):
        return "You get this because ci.yml names you as an operator."
    if any(_same(to, named) for named in _named_without_operators(result)):
        return f"You get this because ci.yml names you at the pipeline {clean(result.job.pipeline)}."
    return "You get this as an operator: nobody who should be told has an address that mail can be sent to."


def is_operator(result: Result, to: str) -> bool:
    """Whether `to` keeps Tau running: such a mail says what broke, others that it was not their code."""
    return any(_same(to, operator) for operator in _operators(result))


def pusher(event: Event) -> str | None:
    """Where whoever made the change reads mail, as far as the payload says: the pusher, else an author."""
    said = (event.pusher.email, event.head_commit_author_email, *event.commit_author_emails[-1:])
    return next((found for text in said if (found := address(text))), None)


def _is_due(result: Result, previous: RunState | None) -> bool:
    on, state = result.job.notify.on, result.state
    if on == "always":
        return state in ENDS
    if state in _GIVEN_UP:
        # Says nothing about the code; but whoever waits for a verdict should know that none will come.
        return on == "change"
    if on == "never" or state not in VERDICTS:
        return False
    if state is RunState.ERRORED:
        # Not a matter of change: whoever pushed would go on waiting for a verdict that we did not reach.
        return True
    return state is RunState.FAILED if on == "failure" else state is not previous


def _named(result: Result) -> tuple[str, ...]:
    """Those whom `notify.to` names and mail can reach; the operators where that is nobody."""
    named = _named_without_operators(result)
    wants_operators = "operators" in result.job.notify.to or not named
    return (*named, *_operators(result)) if wants_operators else named


def _named_without_operators(result: Result) -> tuple[str, ...]:
    said = (
        each for word in result.job.notify.to for each in (_pushers(result) if word == "pusher" else [address(word)])
    )
    return _each_once(found for found in said if found)


def _pushers(result: Result) -> list[str | None]:
    """Whoever pushed this, and those whose superseded pushes it stands for."""
    return [pusher(result.job.event), *(handed.to for handed in result.handed.values())]


def _operators(result: Result) -> tuple[str, ...]:
    return _each_once(found for text in result.job.operators if (found := address(text)))


def _each_once(found: Iterable[str]) -> tuple[str, ...]:
    first: dict[str, str] = {}
    for text in found:
        first.setdefault(text.casefold(), text)
    return tuple(first.values())


def _same(one: str, other: str | None) -> bool:
    return other is not None and one.casefold() == other.casefold()
