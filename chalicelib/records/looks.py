"""Looks at forges: when each repository was compared last, what its lists were then, and which forge is left alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from chalicelib import wire
from chalicelib.model import VERSION, Json
from chalicelib.records.table import Change, Table


@dataclass(frozen=True)
class KnownList:
    """A list of a repository, as it was compared last.

    Args:
        of: fingerprint of what stood in it.
        etag: what the forge calls it; None where it says nothing, or needs several pages.
    """

    of: str
    etag: str | None = None


@dataclass(frozen=True)
class Look:
    """The last look at a repository.

    Args:
        lists: by name, those that were read to their end once: what stands in them is no news.
    """

    looked_at: datetime
    lists: Mapping[str, KnownList] = field(default_factory=dict)


@dataclass(frozen=True)
class Pause:
    """A forge is left alone until then, and why."""

    until: datetime
    reason: str


class LookRecords:
    """Reads and writes of looks."""

    table: Table

    def looks(self, forge: str) -> dict[str, Look]:
        """By the repository's name in small letters."""
        items = self.table.partition(f"looks#{forge}")
        return {item["sk"]: wire.from_json(Look, {"lists": {}, **item}) for item in items}

    def begin_look(self, forge: str, repository: str, now: datetime) -> None:
        """Remember that a repository is being looked at: whatever comes of it, others are first next time."""
        self._change(forge, repository, {"looked_at": wire.time_text(now)})

    def end_look(self, forge: str, repository: str, lists: Mapping[str, KnownList]) -> None:
        """Remember what was seen."""
        kept = {name: wire.to_json(known) for name, known in lists.items()}
        self._change(forge, repository, {"lists": kept})

    def _change(self, forge: str, repository: str, values: Mapping[str, Json]) -> None:
        self.table.write(Change((f"looks#{forge}", repository.lower()), values={**values, "v": VERSION}))

    def leave_alone(self, forge: str, pause: Pause) -> None:
        """Ask a forge nothing until then."""
        self.table.write(Change((f"forge#{forge}", "forge"), values={**wire.to_json(pause), "v": VERSION}))

    def pause(self, forge: str) -> Pause | None:
        """The last time that a forge wanted to be left alone; it may be over."""
        item = self.table.get((f"forge#{forge}", "forge"))
        return wire.from_json(Pause, item) if item else None
