"""Refs: where each stands, as far as deliveries said, and which word of it is news.

All refs of a repository are one partition, so that one query says what is known of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from boto3.dynamodb.conditions import Attr, ConditionBase

from chalicelib import wire
from chalicelib.model import VERSION, Event, EventKind, Json
from chalicelib.providers.reading import PULLS
from chalicelib.records.table import Change, Place, Put, Table

FORGOTTEN_AFTER = timedelta(days=30)
"""A ref that is gone leaves the table."""
# They say what is to be built, not where anything stands.
_NO_WORD = frozenset({EventKind.IMAGE, EventKind.SCHEDULE, EventKind.MANUAL})
_MOST_STANDS = 24

_MOST_LOOSE = 8

Trail = tuple["Stand", ...]


@dataclass(frozen=True)
class Stand:
    """Where a ref stood.

    Args:
        at: an object id; empty = it was not there.
        found: the reconciled delivery that said so, or went past it. A webhook that says the same later is no news.
        runs: what that delivery started for this ref.
        heard: that webhook has come since; another one of the same step is another step.
    """

    at: str
    found: str | None = None
    runs: tuple[str, ...] = ()
    heard: bool = False


@dataclass(frozen=True)
class Step:
    """A webhook's word that does not join to the trail: what lies between is lost, or late, or it is old."""

    before: str
    after: str


@dataclass(frozen=True)
class Ref:
    """What is known of a branch, a tag or a pull request's head.

    Args:
        ref: `refs/heads/…`, `refs/tags/…` or `pull/<number>`.
        last: the newest delivery that spoke of it; empty where only a first look did.
        told_at: when that was.
        trail: where it stood, oldest first, at most the last few; the last one is where it stands.
        loose: steps of which nobody knows yet when they were made; their runs have begun.
        number: raised by every write, and every write's condition.
    """

    ref: str
    last: str
    told_at: datetime
    trail: Trail
    loose: tuple[Step, ...] = ()
    number: int = 0

    @property
    def at(self) -> str:
        return self.trail[-1].at

    def may_be_at(self, at: str) -> bool:
        """Whether it stands there, as far as webhooks say; a step to where it has gone on from is an old one."""
        been = at != "" and any(stand.at == at for stand in self.trail)
        return at == self.at or (not been and any(step.after == at for step in self.loose))


def ref_of(event: Event) -> str | None:
    """Under which name an event's ref is remembered; None where it has none."""
    if event.repository is None or event.kind in _NO_WORD:
        return None
    if event.kind is EventKind.PULL_REQUEST:
        return f"{PULLS}{event.pull.number}" if event.pull else None
    return event.ref


def refs_key(forge: str, repository: str) -> str:
    return f"refs#{wire.key(forge, repository.lower())}"


def ref_place(event: Event) -> Place | None:
    ref = ref_of(event)
    return (refs_key(event.forge, event.repository or ""), ref) if ref else None


def heard(ref: Ref | None, event: Event, delivery: str, now: datetime) -> tuple[Ref, Stand | None]:
    """What is known of a ref after a webhook's event; and what says that it is no news, or None where it is.

    Webhooks are late and come in any order. One that begins where the ref stands moves it. One that says what a look
    at the forge has found, or has gone past, is no news. Any other is, and moves nothing until it is known when it was.
    """
    before, after = event.before or "", _after(event)
    ref = replace(ref or Ref("", "", now, (Stand(before),)), told_at=now, ref=ref_of(event) or "")
    ref = replace(ref, last=max(delivery, ref.last))
    # Webhooks do not say where a pull request's head was.
    if event.pull:
        here = ref.trail[-1]
        if after and here.at == after and here.found:
            return ref, here
        return replace(ref, trail=_then(ref.trail, after)), None
    known = _known(ref, before, after)
    if known is not None:
        return replace(ref, trail=_acknowledged(ref.trail, known, before, after)), ref.trail[known]
    if before == ref.at:
        return _joined(replace(ref, trail=_then(ref.trail, after))), None
    passed = _newest(ref.trail, lambda i: _is_passed(ref.trail, i, before, after))
    if passed is not None:
        return replace(ref, trail=_inserted(ref.trail, passed, Stand(before))), None
    return replace(ref, loose=(*ref.loose, Step(before, after))[-_MOST_LOOSE:]), None


def found(ref: Ref | None, event: Event, delivery: str, now: datetime, runs: tuple[str, ...]) -> Ref:
    """What is known of a ref after a look at the forge has made an event of it."""
    trail = ref.trail if ref else (Stand(event.before or ""),)
    number = ref.number if ref else 0
    return Ref(ref_of(event) or "", delivery, now, (*trail, Stand(_after(event), delivery, runs)), number=number)


def settled(ref: Ref, at: str, now: datetime) -> Ref:
    """What is known of a ref after a look at the forge has shown where it stands, and no event follows from it."""
    return replace(ref, told_at=now, trail=(*ref.trail, Stand(at)), loose=())


def _after(event: Event) -> str:
    return (event.pull.head if event.pull else event.after) or ""


def _joined(ref: Ref) -> Ref:
    """The ref after every loose step that begins where it stands now."""
    following = next((step for step in ref.loose if step.before == ref.at), None)
    if following is None:
        return ref
    loose = tuple(step for step in ref.loose if step != following)
    return _joined(replace(ref, trail=_then(ref.trail, following.after), loose=loose))


def _known(ref: Ref, before: str, after: str) -> int | None:
    """Which stand says already what a webhook says now; None where it is news.

    A webhook that begins where the ref stands is another step, though the ref was there before: unless a look has found
    that step, or that it had gone on from there, and no webhook has said so yet.
    """
    trail = ref.trail
    said = [i for i in range(len(trail)) if trail[i].found and (_is(trail, i, after) or _came(trail, i, before))]
    awaited = [i for i in said if not trail[i].heard]
    return next(iter(reversed(awaited if before == ref.at else said)), None)


def _acknowledged(trail: Trail, known: int, before: str, after: str) -> Trail:
    """The trail with what a webhook adds to what was found: that it has come, and where the ref was in between."""
    stand = trail[known]
    if stand.at == after:
        heard_of = (*trail[:known], replace(stand, heard=True), *trail[known + 1 :])
        return _inserted(heard_of, known, replace(stand, at=before, heard=False))
    return _inserted(trail, known, replace(stand, at=after, heard=True))


def _is_passed(trail: Trail, index: int, before: str, after: str) -> bool:
    return _is(trail, index, after) or (trail[index].at == after and _came(trail, index, before))


def _newest(trail: Trail, fits: Callable[[int], bool]) -> int | None:
    return next((index for index in range(len(trail) - 1, -1, -1) if fits(index)), None)


def _is(trail: Trail, index: int, at: str) -> bool:
    # That it was not there says nothing of when.
    return bool(at) and trail[index].at == at


def _came(trail: Trail, index: int, before: str) -> bool:
    return index > 0 and trail[index - 1].at == before


def _then(trail: Trail, at: str) -> Trail:
    return trail if trail[-1].at == at else (*trail, Stand(at))


def _inserted(trail: Trail, index: int, stand: Stand) -> Trail:
    if stand.at in {other.at for other in trail[max(index - 1, 0) : index + 1]}:
        return trail
    return (*trail[:index], stand, *trail[index:])


# --- items ----------------------------------------------------------------------------------------


def moved(place: Place, old: Ref | None, new: Ref) -> Change:
    """`new` over `old`, if nobody has spoken of the ref since `old` was read."""
    fields = _fields(new, (old.number if old else 0) + 1)
    gone = () if "expires_at" in fields else ("expires_at",)
    return Change(place, when=_unmoved(old), values=fields, remove=gone)


def _unmoved(old: Ref | None) -> ConditionBase:
    return Attr("number").eq(old.number) if old else Attr("pk").not_exists()


def _fields(ref: Ref, number: int) -> dict[str, Json]:
    fields: dict[str, Json] = {
        "v": VERSION,
        "last": ref.last,
        "at": ref.at,
        "told_at": wire.time_text(ref.told_at),
        "trail": [{name: part for name, part in wire.to_json(s).items() if part} for s in ref.trail[-_MOST_STANDS:]],
        "loose": wire.to_json(ref.loose),
        "number": number,
    }
    return fields if ref.at else {**fields, "expires_at": int((ref.told_at + FORGOTTEN_AFTER).timestamp())}


def _ref(item: Mapping[str, Json]) -> Ref:
    trail = [{"at": "", **stand} for stand in item["trail"]]
    return wire.from_json(Ref, {**item, "ref": item["sk"], "trail": trail})


class RefRecords:
    """Reads and writes of refs; most are written with the delivery that speaks of them."""

    table: Table

    def ref(self, place: Place) -> Ref | None:
        item = self.table.get(place)
        return _ref(item) if item else None

    def refs_of(self, forge: str, repository: str) -> dict[str, Ref]:
        """Every ref of a repository that was ever heard of and is not forgotten, by its name."""
        return {item["sk"]: _ref(item) for item in self.table.partition(refs_key(forge, repository))}

    def take_as_it_stands(self, forge: str, repository: str, ref: str, at: str, now: datetime) -> None:
        """Remember a ref that nobody has spoken of yet; nothing happens where somebody has."""
        pk = refs_key(forge, repository)
        self.table.write(Put({"pk": pk, "sk": ref, **_fields(Ref(ref, "", now, (Stand(at),)), 1)}))

    def settle(self, forge: str, repository: str, ref: Ref, at: str, now: datetime) -> None:
        """Remember where a ref stands that was spoken of; nothing happens where somebody has spoken of it since."""
        self.table.write(moved((refs_key(forge, repository), ref.ref), ref, settled(ref, at, now)))
