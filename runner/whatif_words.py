"""What another ci.yml would do differently in; lines for people, or JSON, out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import tzinfo

from chalicelib import wire
from chalicelib.model import EventKind, Json
from chalicelib.reports.words import clean, moment
from runner.differences import Difference
from runner.rule_changes import Change, RuleChange, Values
from runner.whatif import WhatIf

_SHOWN = 3
_LONGEST = 300
_LONG_LISTS = 6
_NOUNS = {
    EventKind.PUSH: ("push", "pushes"),
    EventKind.BRANCH_DELETED: ("deleted branch", "deleted branches"),
    EventKind.TAG_CREATED: ("tag", "tags"),
    EventKind.TAG_DELETED: ("deleted tag", "deleted tags"),
    EventKind.PULL_REQUEST: ("pull request", "pull requests"),
    EventKind.IMAGE: ("image", "images"),
    EventKind.SCHEDULE: ("scheduled start", "scheduled starts"),
    EventKind.MANUAL: ("start by hand", "starts by hand"),
}
_BEFORE_A_BRANCH = {
    EventKind.PUSH: "to",
    EventKind.PULL_REQUEST: "into",
    **dict.fromkeys((EventKind.SCHEDULE, EventKind.MANUAL), "on"),
}


def lines(found: WhatIf, old: str, new: str, zone: tzinfo) -> Iterator[str]:
    """What would be different, what the file says differently, and how much would be as it was.

    Args:
        old, new: what the reader calls the two files.
    """
    comparison, reading = found.comparison, found.reading
    events = f"{_counted(comparison.events, 'event', 'events')} of {_deliveries(reading.deliveries)}"
    files = f"by {clean(new)} ({found.new[:7]}) instead of {clean(old)} ({found.old[:7]})"
    yield f"{events} since {moment(found.since, zone)}, {files}:"
    yield ""
    yield from (f"  {sentence_of(one)}" for one in comparison.differences)
    if not comparison.differences:
        yield "  nothing would be done that was not, and nothing left out that was"
    if found.rules:
        yield ""
        yield "What the file says differently:"
        for rule in found.rules:
            yield from _rule(rule, comparison.answered.get(rule.pipeline, 0))
    yield ""
    yield f"{_counted(comparison.same, 'event', 'events')} would go exactly as before."
    if reading.unreadable:
        yield f"{_deliveries(reading.unreadable)} could not be read: a newer Tau wrote them."


def sentence_of(one: Difference) -> str:
    """`3 tags more of bitbucket.org/2pisoftware/client-a_deploy would deploy client-a to production`."""
    what = _counted(len(one.seen), *_NOUNS.get(one.kind, (f"{one.kind}", f"{one.kind}")))
    does = [clean(text) for text in one.does]
    if one.more:
        return f"{what} more{_where(one)} would {_listed(does, 'and')}"
    return f"{what}{_where(one)} would not {_listed(does, 'or')} any more"


def _where(one: Difference) -> str:
    """` to develop of github.com/2pisoftware/cmfive`, ` of 17 repositories (a, b, c, …)`."""
    names, repositories = [name for name in one.names if name], [name for name in one.repositories if name]
    before = _BEFORE_A_BRANCH.get(one.kind)
    branches = f" {before} {_some(names, 'branches')}" if before and names else ""
    others = f" ({_few(names)})" if names and not before else ""
    return branches + (f" of {_some(repositories, 'repositories')}" if repositories else "") + others


def _some(names: Sequence[str], plural: str) -> str:
    return clean(names[0]) if len(names) == 1 else f"{len(names)} {plural} ({_few(names)})"


def _few(names: Sequence[str]) -> str:
    return ", ".join([*map(clean, names[:_SHOWN]), *(["…"] if len(names) > _SHOWN else [])])


def _listed(texts: Sequence[str], last: str) -> str:
    """`deploy crm to production, be built and tested`."""
    told = [
        text.removeprefix("be ") if before.startswith("be ") else text
        for before, text in zip(("", *texts), texts, strict=False)
    ]
    return f" {last} ".join([", ".join(told[:-1]), told[-1]] if len(told) > 1 else told)


def _rule(rule: RuleChange, events: int) -> Iterator[str]:
    name = clean(rule.pipeline) or "for all pipelines"
    what = "" if rule.change is Change.CHANGED else f" is {rule.change}"
    # What holds for all pipelines is no matter of single events.
    shown = f": {_counted(events, 'event', 'events')} of this time" if rule.pipeline else ""
    yield f"  {name}{what}{shown}"
    for one in rule.settings:
        yield f"    {clean(one.name)}: {clean(_instead(one.old, one.new), _LONGEST)}"


def _instead(old: Values, new: Values) -> str:
    """`1h 0m -> 2h 0m`; of a long list only what goes and what comes."""
    gone, come = [one for one in old if one not in new], [one for one in new if one not in old]
    if len(old) + len(new) <= _LONG_LISTS or not gone + come:
        return f"{', '.join(old) or 'none'} -> {', '.join(new) or 'none'}"
    words = (f"without {', '.join(gone)}" if gone else "", f"with {', '.join(come)}" if come else "")
    return "; ".join(word for word in words if word)


def _deliveries(number: int) -> str:
    return _counted(number, "delivery", "deliveries")


def _counted(number: int, noun: str, plural: str) -> str:
    return f"{number} {noun if number == 1 else plural}"


def to_json(found: WhatIf) -> Json:
    """The same for programs; each difference with its sentence and the deliveries that show it."""
    comparison = found.comparison
    return {
        "since": wire.time_text(found.since),
        "until": wire.time_text(found.until),
        "old": found.old,
        "new": found.new,
        "deliveries": found.reading.deliveries,
        "unreadable": found.reading.unreadable,
        "events": comparison.events,
        "same": comparison.same,
        "differences": [_difference(one) for one in comparison.differences],
        "pipelines": [
            {**wire.to_json(rule), "events": comparison.answered.get(rule.pipeline, 0)} for rule in found.rules
        ],
    }


def _difference(one: Difference) -> Json:
    return {
        "text": sentence_of(one),
        "change": "more" if one.more else "no_more",
        "does": list(one.does),
        "goes_live": one.goes_live,
        "kind": one.kind,
        "events": len(one.seen),
        "repositories": list(one.repositories),
        "names": list(one.names),
        "deliveries": list(dict.fromkeys(delivery for delivery, _, _ in one.seen)),
    }
