"""The last look at the schedules: when it was, and which there were."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from boto3.dynamodb.conditions import Attr

from chalicelib import wire
from chalicelib.model import VERSION
from chalicelib.records.table import Change, Table

_PLACE = ("schedules", "schedules")


@dataclass(frozen=True)
class LastLook:
    """Every moment of the known schedules up to `at` has been seen to."""

    at: datetime
    known: frozenset[str]


class ScheduleRecords:
    """Reads and writes of the last look at the schedules."""

    table: Table

    def last_look(self) -> LastLook | None:
        """None where nobody ever looked."""
        item = self.table.get(_PLACE)
        return LastLook(wire.time_of(item["at"]), frozenset(item["known"])) if item else None

    def put_last_look(self, old: LastLook | None, at: datetime, known: Iterable[str]) -> None:
        """Write a look down; nothing happens where somebody has looked since `old` was read."""
        unmoved = Attr("at").eq(wire.time_text(old.at)) if old else Attr("pk").not_exists()
        values = {"v": VERSION, "at": wire.time_text(at), "known": sorted(known)}
        self.table.write(Change(_PLACE, when=unmoved, values=values))
