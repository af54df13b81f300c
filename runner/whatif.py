"""The deliveries of some days and two ci.yml in; what the new one would have done differently out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from chalicelib import wire
from chalicelib.config import Config
from chalicelib.edge import Edge
from chalicelib.errors import BadInput, BadRecord, NotThere, StaleConfig
from chalicelib.model import VERSION, Event, Json, Verdict
from chalicelib.plan import plan
from chalicelib.records.delivery_items import KEPT_FOR
from chalicelib.records.hearing import is_known
from chalicelib.starting import config_in_force
from runner import actions
from runner.differences import Comparison, Replayed, compare
from runner.effects import Words
from runner.rule_changes import RuleChange, rule_changes

_MOST_IN_A_DAY = 1_000_000
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1)}


@dataclass
class Reading:
    """What was read of the records so far; `unreadable`: deliveries of a newer program, which were left out."""

    deliveries: int = 0
    unreadable: int = 0


@dataclass(frozen=True)
class WhatIf:
    """The answer to "what would this change do?"."""

    since: datetime
    until: datetime
    old: str
    new: str
    comparison: Comparison
    rules: tuple[RuleChange, ...]
    reading: Reading = field(default_factory=Reading)


def length_of(text: str) -> timedelta:
    """`30d`, `12h`.

    Raises:
        BadInput: it is no such length, or longer than deliveries are kept.
    """
    found = re.fullmatch(r"([1-9][0-9]{0,4})([hd])", text)
    if not found:
        raise BadInput(f"--since {text}: say how far to go back in hours or days, such as 12h or 30d")
    length = int(found[1]) * _UNITS[found[2]]
    if length > KEPT_FOR:
        raise BadInput(f"--since {text}: deliveries are kept for {KEPT_FOR.days} days")
    return length


def in_force(edge: Edge) -> Config:
    """The ci.yml that the functions were deployed with last.

    Raises:
        BadInput: none is known, or it is another version's.
    """
    try:
        return config_in_force(edge)
    except (NotThere, StaleConfig) as error:
        raise BadInput(f"name the old ci.yml by --against; the one in force cannot be taken: {error}") from error


def what_if(edge: Edge, length: timedelta, old: Config, new: Config) -> WhatIf:
    """What the new ci.yml would have done differently with the deliveries of the last days; nothing is written."""
    until = edge.now()
    since, reading = until - length, Reading()
    replayed = (
        Replayed(delivery, event, plan(event, old), plan(event, new))
        for delivery, event in _events(edge, since, until, reading)
    )
    comparison = compare(replayed, _words(old, new))
    return WhatIf(since, until, old.hash, new.hash, comparison, rule_changes(old, new), reading)


def _events(edge: Edge, since: datetime, until: datetime, reading: Reading) -> Iterator[tuple[str, Event]]:
    """What happened, newest first, with the delivery that said so."""
    for back in range((until.date() - since.date()).days + 1):
        day = (until.date() - timedelta(days=back)).isoformat()
        for delivery_id in edge.store.deliveries_of_day(day, _MOST_IN_A_DAY):
            record = edge.store.delivery(delivery_id)
            # A person who had it planned once more did not push once more.
            if record is None or record.get("replay") or wire.time_of(record["received_at"]) < since:
                continue
            try:
                events = news(record)
            except BadRecord:
                reading.unreadable += 1
                continue
            reading.deliveries += 1
            yield from ((delivery_id, event) for event in events)


def news(record: Mapping[str, Json]) -> list[Event]:
    """The events of a delivery's record, but for those that a look at the forge had found before.

    Raises:
        BadRecord: a newer program's.
    """
    if record["v"] > VERSION:
        raise BadRecord(f"this delivery is of version {record['v']}, and this program knows {VERSION}")
    verdicts = ([wire.from_json(Verdict, one) for one in each] for each in record["verdicts"])
    events = (wire.from_json(Event, event) for event in record["events"])
    return [event for event, each in zip(events, verdicts, strict=True) if not is_known(each)]


def _words(*configs: Config) -> Words:
    """What each action of theirs does, in its own words."""
    used = {step.action for config in configs for pipeline in config.pipelines for step in pipeline.steps}
    found = {name: getattr(actions.find(name), "DOES", None) for name in used.intersection(actions.names())}
    return {name: does for name, does in found.items() if does}
