"""A suite's tests now and the record of them before in; what is new, mended or not to be trusted out. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chalicelib.model import Json
from chalicelib.reports.words import commit as short_commit
from chalicelib.reports.words import counted
from runner.junit import MOST_NAME, Tests

_MOST_NAMES = 50
_SHOWN = 5


@dataclass(frozen=True)
class Before:
    """The suite as the branch's run before this one left it.

    Args:
        commit: what was tested.
        facts: that step's `facts["tests"]`.
    """

    run: str
    commit: str | None
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Since:
    """What has changed since the run before.

    Args:
        new: failing, and did not before.
        still: failing, as before -> the commit of which it failed first, as far as that is known.
        fixed: passing, and failed before.
        flaky: of these, those that failed on this very commit.
    """

    new: tuple[str, ...] = ()
    still: Mapping[str, str] = field(default_factory=dict)
    fixed: tuple[str, ...] = ()
    flaky: tuple[str, ...] = ()

    def facts(self) -> Mapping[str, Json]:
        """As mail and record have it; nothing where nothing is to be said."""
        parts: dict[str, Json] = {
            "new": list(self.new[:_MOST_NAMES]),
            "still": dict(list(self.still.items())[:_MOST_NAMES]),
            "fixed": list(self.fixed[:_MOST_NAMES]),
            "flaky": list(self.flaky[:_MOST_NAMES]),
        }
        return {name: part for name, part in parts.items() if part}

    def lines(self) -> list[str]:
        """For the log."""
        still = [
            f"{name} (since {short_commit(commit) if commit else 'before'})" for name, commit in self.still.items()
        ]
        kinds = (("newly failing", self.new), ("still failing", still), ("fixed", self.fixed), ("flaky", self.flaky))
        return [f"{what}: {_few(names)}" for what, names in kinds if names]


def since(now: Tests, commit: str | None, before: Before | None) -> Since:
    """What has changed.

    A record holds so many failures and no more: where it had more, nothing is called new.
    """
    if before is None:
        return Since()
    failing = {_name(item): item for item in before.facts.get("failures", ())}
    complete = len(failing) >= before.facts.get("failed", 0)
    known = (before.facts.get("since") or {}).get("still") or {}
    names = [name[:MOST_NAME] for name, _ in now.failures]
    fixed = tuple(name for name in failing if name in now.passing and name not in names)
    return Since(
        new=tuple(name for name in names if name not in failing) if complete else (),
        still={name: str(known.get(name) or before.commit or "") for name in names if name in failing},
        fixed=fixed,
        flaky=fixed if commit is not None and commit == before.commit else (),
    )


def _name(item: Mapping[str, Any]) -> str:
    return str(item.get("name", ""))


def _few(names: list[str] | tuple[str, ...]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {counted(more, 'test')} more" if more > 0 else "")
