"""Which ci.yml is in force: one item, written by whoever was deployed with it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from boto3.dynamodb.conditions import Attr

from chalicelib import wire
from chalicelib.model import VERSION
from chalicelib.records.table import Change, Table

_PLACE = ("config", "current")


@dataclass(frozen=True)
class InForce:
    """The hash of the ci.yml that the Lambda was deployed with last, and since when."""

    hash: str
    since: datetime


class ConfigRecords:
    """Reads and writes of what is in force; the ci.yml itself is kept by its hash."""

    table: Table

    def put_in_force(self, config_hash: str, now: datetime) -> None:
        """Write down that a ci.yml is in force; nothing changes when it was already."""
        values = {"hash": config_hash, "since": wire.time_text(now), "v": VERSION}
        self.table.write(Change(_PLACE, when=Attr("hash").not_exists() | Attr("hash").ne(config_hash), values=values))

    def in_force(self) -> InForce | None:
        """None where no Lambda has said it yet."""
        item = self.table.get(_PLACE)
        return InForce(item["hash"], wire.time_of(item["since"])) if item else None
