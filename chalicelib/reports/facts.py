"""The facts that steps leave behind, typed: what of them is missing or of another shape is left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from chalicelib.model import StepResult

FAILURES_SHOWN = 10


@dataclass(frozen=True)
class Failure:
    """One failing test; `message` as the test wrote it."""

    name: str
    message: str


@dataclass(frozen=True)
class Tests:
    """The count of a suite. `failures` may be shorter than `failed`.

    Args:
        new: the names of those that fail and did not in the branch's run before.
        still: of those that failed before too, the commit of which they failed first, or an empty text.
        fixed: the names of those that failed before, and pass.
        flaky: of these, those that failed on the same commit.
    """

    passed: int
    failed: int
    skipped: int
    failures: tuple[Failure, ...] = ()
    new: frozenset[str] = frozenset()
    still: Mapping[str, str] = field(default_factory=dict)
    fixed: tuple[str, ...] = ()
    flaky: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        return self.passed + self.failed + self.skipped


@dataclass(frozen=True)
class Pushed:
    """An image that a registry has: `name` with host and tag, and the digest that it has there."""

    name: str
    digest: str


@dataclass(frozen=True)
class Artifact:
    """A file that a step left: its name in the container, its bytes, where in the bucket it lies."""

    name: str
    size_bytes: int
    key: str


@dataclass(frozen=True)
class Deployed:
    """A version and its environment; `previous_label` ran there before.

    Args:
        built_from: what its image stands on, where Elastic Beanstalk builds that itself; else empty.
        note: on whose word it was deployed, or what went wrong on the way.
    """

    environment: str
    label: str
    url: str
    previous_label: str
    built_from: str = ""
    note: str = ""


def tests(steps: Iterable[StepResult]) -> Tests | None:
    """The counts of the last step that has any: `facts["tests"]`."""
    for facts in _all(steps, "tests"):
        failures = tuple(Failure(_text(item, "name"), _text(item, "message")) for item in _items(facts, "failures"))
        since = _part(facts, "since")
        return Tests(
            _count(facts, "passed"),
            _count(facts, "failed"),
            _count(facts, "skipped"),
            failures,
            new=frozenset(_texts(since, "new")),
            still={name: commit for name, commit in _part(since, "still").items() if isinstance(commit, str)},
            fixed=_texts(since, "fixed"),
            flaky=_texts(since, "flaky"),
        )
    return None


def pushed(steps: Iterable[StepResult]) -> tuple[Pushed, ...]:
    """What reached a registry, in the order of the steps: `facts["pushed"]`."""
    return tuple(
        Pushed(_text(item, "name"), _text(item, "digest")) for step in steps for item in _items(step.facts, "pushed")
    )


def artifacts(steps: Iterable[StepResult]) -> tuple[Artifact, ...]:
    """What steps left, in the order of the steps: `facts["artifacts"]`."""
    return tuple(
        Artifact(_text(item, "name"), _count(item, "bytes"), _text(item, "key"))
        for step in steps
        for item in _items(_part(step.facts, "artifacts"), "files")
    )


def left_out(steps: Iterable[StepResult]) -> int:
    """How many files were meant to be artifacts and are none."""
    return sum(_count(_part(step.facts, "artifacts"), "left_out") for step in steps)


def deployment(steps: Iterable[StepResult]) -> Deployed | None:
    """The last step's that deployed: `facts["deployment"]`."""
    for facts in _all(steps, "deployment"):
        return Deployed(
            *(_text(facts, name) for name in ("environment", "label", "url", "previous_label", "built_from", "note"))
        )
    return None


def not_back(steps: Iterable[StepResult]) -> tuple[str, str] | None:
    """The environment, and its region, where a way back failed too: `facts["not_back"]`."""
    for facts in _all(steps, "not_back"):
        return _text(facts, "environment"), _text(facts, "region")
    return None


def printed(steps: Iterable[StepResult]) -> tuple[tuple[str, str], ...]:
    """The secrets that outputs held, by name, with the step that printed each: `facts["printed_secrets"]`."""
    said = [(step.action, step.facts.get("printed_secrets")) for step in steps]
    return tuple(
        (name, action)
        for action, names in said
        if isinstance(names, (list, tuple))
        for name in names
        if isinstance(name, str)
    )


def _all(steps: Iterable[StepResult], name: str) -> list[Mapping[str, Any]]:
    found = [step.facts.get(name) for step in steps]
    return [facts for facts in reversed(found) if isinstance(facts, Mapping)]


def _items(facts: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    items = facts.get(name)
    return [item for item in items if isinstance(item, Mapping)] if isinstance(items, (list, tuple)) else []


def _part(facts: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = facts.get(name)
    return part if isinstance(part, Mapping) else {}


def _texts(facts: Mapping[str, Any], name: str) -> tuple[str, ...]:
    items = facts.get(name)
    return tuple(item for item in items if isinstance(item, str)) if isinstance(items, (list, tuple)) else ()


def _text(facts: Mapping[str, Any], name: str) -> str:
    value = facts.get(name)
    return value if isinstance(value, str) else ""


def _count(facts: Mapping[str, Any], name: str) -> int:
    value = facts.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
