"""What must happen later: one sparse index, from which an item goes when nothing is left to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from boto3.dynamodb.conditions import Key

from chalicelib.model import Json
from chalicelib.records.table import Table

_SHARD = "0"


@dataclass(frozen=True)
class Due:
    """Something that somebody should look at then. `kind` is run, deployment or delivery."""

    kind: str
    id: str
    at: datetime


def due_values(due_at: datetime | None) -> Mapping[str, Json]:
    """The index's two keys; None twice takes the item out of it."""
    if due_at is None:
        return {"due_shard": None, "due_at": None}
    return {"due_shard": _SHARD, "due_at": round(due_at.timestamp(), 3)}


class DueRecords:
    """The reading side of the index."""

    table: Table

    def due(self, until: datetime, most: int = 100) -> list[Due]:
        """What falls due until then, the longest overdue first."""
        # Whole seconds, rounded up: what falls due within this second counts.
        condition = Key("due_shard").eq(_SHARD) & Key("due_at").lte(int(until.timestamp()) + 1)
        items = self.table.query("due", condition, most=most)
        return [_due(item) for item in items]


def _due(item: Mapping[str, Json]) -> Due:
    kind, _, name = item["pk"].partition("#")
    return Due(kind, name, datetime.fromtimestamp(item["due_at"], UTC))
