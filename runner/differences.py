"""Events with what two ci.yml plan for each in; what would be different, in groups that a person can read, out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from chalicelib.model import Event, EventKind, Job
from chalicelib.plan import Plan
from runner.effects import Effect, Words, effects

_MOST_LINES = 3
"""More branches, or repositories, for which the same holds are told of in one line."""


@dataclass(frozen=True)
class Replayed:
    """An event of a delivery, and what the old and the new ci.yml plan for it."""

    delivery: str
    event: Event
    old: Plan
    new: Plan


@dataclass(frozen=True)
class Difference:
    """What a number of events would do by one ci.yml only.

    Args:
        more: by the new one; else by the old one.
        does: in words, what goes live first: `deploy crm to crm-production`.
        kind: what the events are; a new branch is a push.
        seen: of each event its delivery, its repository (with the forge) and its branch, tag or image.
    """

    more: bool
    does: tuple[str, ...]
    kind: EventKind
    goes_live: bool
    seen: tuple[tuple[str, str, str], ...]

    @property
    def repositories(self) -> tuple[str, ...]:
        return _once(repository for _, repository, _ in self.seen)

    @property
    def names(self) -> tuple[str, ...]:
        return _once(name for _, _, name in self.seen)


@dataclass(frozen=True)
class Comparison:
    """What came of it.

    Args:
        same: how many of the events have the same jobs by both.
        differences: what goes live first, then the most frequent.
        answered: pipeline -> how many events it answers by either ci.yml.
    """

    events: int
    same: int
    differences: tuple[Difference, ...]
    answered: Mapping[str, int]


def compare(replayed: Iterable[Replayed], words: Words) -> Comparison:
    """What the new ci.yml would have done differently."""
    events, same = 0, 0
    answered: Counter[str] = Counter()
    groups: dict[Difference, list[tuple[str, str, str]]] = {}
    for one in replayed:
        events += 1
        same += _alike(one.old.jobs) == _alike(one.new.jobs)
        answered.update({job.pipeline for job in (*one.old.jobs, *one.new.jobs)})
        for group in _of_event(one, words):
            groups.setdefault(group, []).append(_seen(one))
    found = [replace(one, seen=part) for one, seen in groups.items() for part in _parts(one.kind, seen)]
    return Comparison(events, same, tuple(sorted(found, key=_weight)), answered)


def _alike(jobs: Sequence[Job]) -> list[Job]:
    """The jobs without what stands in every job alike, and is told of once."""
    return [replace(job, config="", registries={}, operators=()) for job in jobs]


def _of_event(one: Replayed, words: Words) -> Iterator[Difference]:
    """What the event would do by the new ci.yml only, and by the old one only, as groups that nothing is in yet."""
    kind = EventKind.PUSH if one.event.kind is EventKind.BRANCH_CREATED else one.event.kind
    old, new = effects(one.old.jobs, words), effects(one.new.jobs, words)
    for more, here, there in ((True, new, old), (False, old, new)):
        only = [effect for effect in here if effect not in there]
        if only:
            does = _once(_told(effect, there) for effect in only)
            yield Difference(more, does, kind, any(effect.goes_live for effect in only), ())


def _told(effect: Effect, there: Sequence[Effect]) -> str:
    """`be built`; where the other ci.yml does so too, but to something else, `be built as 2pisoftware/crm`."""
    others = any(other.does == effect.does for other in there)
    return f"{effect.does} {effect.which}" if others and effect.which else effect.does


def _seen(one: Replayed) -> tuple[str, str, str]:
    event = one.event
    name = (event.pull.target if event.pull else event.name) or ""
    return one.delivery, f"{event.forge}/{event.repository}" if event.repository else "", name


def _parts(kind: EventKind, seen: Sequence[tuple[str, str, str]]) -> Iterator[tuple[tuple[str, str, str], ...]]:
    """By repository and by branch, as long as that is few lines; tags are not told apart."""
    by_repository = _by(seen, 1)
    if len(by_repository) > _MOST_LINES:
        yield tuple(seen)
        return
    for of_repository in by_repository:
        by_name = _by(of_repository, 2)
        if kind is EventKind.TAG_CREATED or len(by_name) > _MOST_LINES:
            yield tuple(of_repository)
        else:
            yield from map(tuple, by_name)


def _by(seen: Sequence[tuple[str, str, str]], index: int) -> list[list[tuple[str, str, str]]]:
    groups: dict[str, list[tuple[str, str, str]]] = {}
    for one in seen:
        groups.setdefault(one[index], []).append(one)
    return list(groups.values())


def _weight(one: Difference) -> tuple[object, ...]:
    return not one.goes_live, -len(one.seen), one.repositories, one.names, not one.more, one.does


def _once(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))
