"""A delivery's events and what is known of their refs in; what is news, and what the refs become, out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ulid import ULID

from chalicelib.model import Event, Run, Verdict
from chalicelib.records.delivery_items import Accepted
from chalicelib.records.refs import Ref, Stand, heard, moved, ref_place
from chalicelib.records.table import Change, Place

_FOUND_BEFORE = "found at the forge before this came"


def spoken(accepted: Accepted) -> dict[Place, list[int]]:
    """Each ref that the delivery speaks of, with the indexes of its events; none where it repeats another."""
    words: dict[Place, list[int]] = {}
    if accepted.replay:
        return words
    for index, event in enumerate(accepted.events):
        place = ref_place(event)
        if place:
            words.setdefault(place, []).append(index)
    return words


def hear(
    accepted: Accepted, words: Mapping[Place, tuple[Ref | None, Sequence[int]]]
) -> tuple[list[Change], dict[int, Stand]]:
    """What a webhook's delivery makes of its refs; and by index the events that are no news, with what said them."""
    changes, known = [], {}
    for place, (old, indexes) in words.items():
        new = old
        for index in indexes:
            new, stand = heard(new, accepted.events[index], accepted.id, accepted.received_at)
            known.update({index: stand} if stand else {})
        if new is not None:
            changes.append(moved(place, old, new))
    return changes, known


def news_of(accepted: Accepted, known: Mapping[int, Stand]) -> Accepted:
    """The delivery without what its known events would start, and with the reason."""
    if not known:
        return accepted
    verdicts = [
        tuple(_known_verdict(verdict, known[index]) for verdict in verdicts) if index in known else verdicts
        for index, verdicts in enumerate(accepted.verdicts)
    ]
    runs = tuple(run for run in accepted.runs if event_of_run(run) not in known)
    before = tuple(dict.fromkeys(run for stand in known.values() for run in stand.runs))
    return replace(accepted, verdicts=tuple(verdicts), runs=runs, known=before)


def _known_verdict(verdict: Verdict, stand: Stand) -> Verdict:
    if not verdict.matched:
        return verdict
    reason = f"{_FOUND_BEFORE} (delivery {stand.found}); if it is new, the next look finds it"
    return replace(verdict, matched=False, reason=reason)


def event_of_run(run: Run) -> int:
    """Which of its delivery's events a run is of: its id says it, its job's event is fitted to what is built."""
    return int.from_bytes(ULID.from_str(run.id).bytes[6:8])


def is_known(verdicts: Sequence[Verdict]) -> bool:
    """Whether an event with these verdicts was no news: an earlier delivery has it too."""
    return any(verdict.reason.startswith(_FOUND_BEFORE) for verdict in verdicts)


def said_of(accepted: Accepted) -> list[tuple[Place, Event, tuple[str, ...]]]:
    """Each ref, what is said of it, and the runs that follow."""
    return [
        (
            place,
            accepted.events[indexes[-1]],
            tuple(run.id for run in accepted.runs if event_of_run(run) == indexes[-1]),
        )
        for place, indexes in spoken(accepted).items()
    ]
