"""A commit, a ref or a delivery's id in; the story of it, from the records, out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from ulid import ULID

from chalicelib import wire
from chalicelib.config import Config
from chalicelib.edge import Edge
from chalicelib.errors import BadInput, BadRecord, NotThere
from chalicelib.model import Event, EventKind, Json, Origin, Run, Verdict
from chalicelib.plan import is_elsewhere, is_watched, plan
from chalicelib.records.mentions import SHORTEST_COMMIT, commit_of
from chalicelib.reports.story import Story, Told
from chalicelib.reports.words import clean, duration

_MOST = 5
_LOOKED_THROUGH = 100
_DAYS = 14
_COMMIT = re.compile(rf"[0-9a-fA-F]{{{SHORTEST_COMMIT},64}}")
_REF = re.compile(r"(?:(?P<forge>[^/@]+)/)?(?P<repository>[^/@]+/[^/@]+)@(?P<ref>.+)")


@dataclass(frozen=True)
class _Asked:
    """One ref of one repository, as it may be meant."""

    forge: str
    repository: str
    ref: str


def explain(what: str, edge: Edge, config: Config, now: datetime) -> Story:
    """What became of it.

    Args:
        what: a commit (`SHORTEST_COMMIT` characters are enough), `[forge/]owner/name@ref`, a delivery's id (ours, or
            the forge's), or a run's id.

    Raises:
        BadInput: it is none of these.
    """
    living = Counter(runner.pool for runner in edge.store.runners(now))
    asked = _REF.fullmatch(what)
    if asked:
        return _of_ref(asked, edge, config, now, living)
    if ids := list(_named(what, edge)):
        return Story(f"{what}", tuple(_read(ids, edge)), living=living)
    if _COMMIT.fullmatch(what):
        found = edge.store.deliveries_of_commit(what, _LOOKED_THROUGH)
        read = (told for told in _read(found, edge) if any(_is_of(event, what) for event, _ in told.events))
        deliveries = tuple(told for told, _ in zip(read, range(_MOST), strict=False))
        return Story(f"with the commit {what}", deliveries, _hints(None, edge, config, now, living), living)
    if not re.fullmatch(r"[\x21-\x7e]{1,128}", what):
        raise BadInput(f"{clean(what)}: give a commit, owner/name@branch, or the id of a delivery or a run")
    return Story(f"called {what}", (), _hints(None, edge, config, now, living), living)


def _is_of(event: Event, commit: str) -> bool:
    return any(one and one.startswith(commit.lower()) for one in (commit_of(event), event.after))


def _named(what: str, edge: Edge) -> Iterator[str]:
    """The deliveries that an id means: our own, a run's, or the forge's."""
    name = what.upper()
    try:
        ULID.from_str(name)
    except ValueError:
        yield from edge.store.deliveries_called(what, _MOST)
        return
    try:
        yield edge.store.run(name).delivery
    except NotThere:
        if edge.store.delivery(name) is not None:
            yield name


# --- reading ----------------------------------------------------------------------------------------


def _read(ids: Iterable[str], edge: Edge) -> Iterator[Told]:
    for delivery_id in ids:
        record = edge.store.delivery(delivery_id)
        if record is not None:
            yield told_of(delivery_id, record, edge)


def told_of(delivery_id: str, record: Mapping[str, Json], edge: Edge) -> Told:
    """A delivery's record, with its runs as they stand."""
    events = [wire.from_json(Event, event) for event in record["events"]]
    verdicts = [tuple(wire.from_json(Verdict, one) for one in each) for each in record["verdicts"]]
    return Told(
        id=delivery_id,
        received_at=wire.time_of(record["received_at"]),
        forge=record["forge"],
        origin=Origin(record["origin"]),
        called=record.get("delivery_id"),
        events=tuple(zip(events, verdicts, strict=True)),
        runs=tuple(_runs(record["runs"], edge)),
        planned=record["planned"],
    )


def _runs(ids: Iterable[str], edge: Edge) -> Iterator[Run]:
    for run_id in ids:
        try:
            yield edge.store.run(run_id)
        except (NotThere, BadRecord):
            continue  # it expired, or is a newer program's


# --- a branch or a tag --------------------------------------------------------------------------------


def _of_ref(asked: re.Match[str], edge: Edge, config: Config, now: datetime, living: Mapping[str, int]) -> Story:
    forges = [asked["forge"]] if asked["forge"] else list(config.forges)
    named = asked["ref"]
    refs = [named] if named.startswith("refs/") else [f"refs/heads/{named}", f"refs/tags/{named}"]
    meant = [_Asked(forge, asked["repository"], ref) for forge in forges for ref in refs]
    ids = [
        delivery_id
        for one in meant
        for delivery_id in edge.store.deliveries_of_ref(one.forge, one.repository, one.ref, _MOST)
    ]
    newest = sorted(dict.fromkeys(ids), reverse=True)[:_MOST]
    where = asked["repository"] + "@" + named
    return Story(f"of {where}", tuple(_read(newest, edge)), _hints(meant, edge, config, now, living), living)


# --- where nothing came -------------------------------------------------------------------------------


def _hints(
    meant: list[_Asked] | None, edge: Edge, config: Config, now: datetime, living: Mapping[str, int]
) -> tuple[str, ...]:
    """What to look at, most likely first."""
    about = list(_about_repository(meant, edge, config, now)) if meant else []
    runners = "" if living else " No runner lives either: tau runners."
    newest = () if meant else ("of a push only the newest commit is known by its hash: ask for owner/name@branch",)
    return (
        *about,
        *newest,
        "the webhook's page at the forge: was it sent, and what was it answered? 401: its secret is not the one in Tau",
        f"{_last_delivery(edge, now)}{runners}",
        "tau reconcile asks the forge for what no webhook said",
        f"a delivery is remembered for 90 days; of a commit give {SHORTEST_COMMIT} characters or more",
    )


def _about_repository(meant: list[_Asked], edge: Edge, config: Config, now: datetime) -> Iterator[str]:
    """What ci.yml and the last look at the forge have to say."""
    watched = [one for one in meant if one.forge in config.forges and is_watched(one.forge, one.repository, config)]
    if not watched:
        yield f"no pipeline of ci.yml is about {meant[0].repository}: its pushes start nothing"
        return
    for one in watched[:2]:
        event = _imagined(one, config)
        reasons = [verdict for verdict in plan(event, config).verdicts if not is_elsewhere(verdict)]
        would = [verdict.pipeline for verdict in reasons if verdict.matched]
        because = "; ".join(dict.fromkeys(verdict.reason for verdict in reasons))
        starts = f"would start {', '.join(would)}" if would else f"would start nothing: {because}"
        yield f"by ci.yml {one.ref} of {one.forge}/{one.repository} {starts}"
    looked = edge.store.looks(watched[0].forge).get(watched[0].repository.lower())
    if looked:
        yield f"the last look at {watched[0].forge}/{watched[0].repository} was {duration(now - looked.looked_at)} ago"


def _imagined(one: _Asked, config: Config) -> Event:
    """The event that a push there would be."""
    is_tag = one.ref.startswith("refs/tags/")
    kind = EventKind.TAG_CREATED if is_tag else EventKind.PUSH
    name = one.ref.removeprefix("refs/tags/").removeprefix("refs/heads/")
    provider = config.forges[one.forge].provider
    return Event(one.forge, provider, "", kind, one.repository, ref=one.ref, name=name, commit="0" * 39 + "1")


def _last_delivery(edge: Edge, now: datetime) -> str:
    for back in range(_DAYS):
        day = (now - timedelta(days=back)).date().isoformat()
        newest = next(edge.store.deliveries_of_day(day, 1), None)
        if newest:
            came = edge.store.delivery(newest)
            if came:
                ago = duration(now - wire.time_of(came["received_at"]))
                return f"the last delivery of all came {ago} ago, from {came['forge']}."
    return f"nothing at all was delivered in the last {_DAYS} days: is the webhook's address right?"
