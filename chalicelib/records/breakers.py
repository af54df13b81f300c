"""Circuit breakers: a repository whose runs kill their runners is left alone, each time for twice as long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from boto3.dynamodb.conditions import Attr

from chalicelib import wire
from chalicelib.model import VERSION, Json
from chalicelib.records.table import Change, Place, Table

FIRST_PAUSE = timedelta(hours=1)
LONGEST_PAUSE = timedelta(hours=24)
_FORGOTTEN_AFTER = timedelta(days=30)
# Doubled so often, the first pause is longer than the longest.
_MOST_DOUBLINGS = 5


@dataclass(frozen=True)
class Breaker:
    """A repository that is left alone.

    Args:
        repository: `forge/owner/name`, as `Source.name` says it.
        run: the run that opened it last.
        count: how often it was opened since a run of this repository ended well.
    """

    repository: str
    run: str
    reason: str
    count: int
    opened_at: datetime

    @property
    def until(self) -> datetime:
        """When its runs are tried again."""
        doublings = min(max(self.count - 1, 0), _MOST_DOUBLINGS)
        return self.opened_at + min(FIRST_PAUSE * float(2**doublings), LONGEST_PAUSE)


def breaker_place(source_name: str) -> Place:
    # Forges do not tell 2PiSoftware/CmFive from 2pisoftware/cmfive, and neither do people.
    return "breaker", source_name.lower()


def opened(source_name: str, run: str, reason: str, now: datetime) -> Change:
    """The repository is left alone from now on; for how long follows from how often this was written."""
    values: dict[str, Json] = {
        "v": VERSION,
        "repository": source_name,
        "run": run,
        "reason": reason,
        "opened_at": wire.time_text(now),
        "expires_at": int((now + _FORGOTTEN_AFTER).timestamp()),
    }
    return Change(breaker_place(source_name), values=values, add={"count": 1})


class BreakerRecords:
    """Reads and writes of breakers. A closed one stays for a while, without the attributes of an open one."""

    table: Table

    def breaker(self, source_name: str) -> Breaker | None:
        """The repository's breaker while it is open; it stays so after its pause, until a run of it ends well."""
        return _breaker(self.table.get(breaker_place(source_name)) or {})

    def parked_until(self, source_name: str, now: datetime) -> datetime | None:
        """Until when a repository's runs are not to be claimed; None = they may."""
        breaker = self.breaker(source_name)
        return breaker.until if breaker and breaker.until > now else None

    def parked(self, now: datetime) -> list[Breaker]:
        """Every repository that is left alone, by name."""
        found = map(_breaker, self.table.partition("breaker"))
        return [breaker for breaker in found if breaker and breaker.until > now]

    def close_breaker(self, source_name: str, by: str = "a run that ended well") -> bool:
        """The repository's runs may be claimed, and the next pause is a short one; False when it was closed already."""
        change = Change(
            breaker_place(source_name),
            when=Attr("opened_at").exists(),
            values={"count": 0, "closed_by": by},
            remove=("opened_at", "run", "reason"),
        )
        return self.table.write(change) is not None

    def had_breaker(self, source_name: str) -> bool:
        """Whether a repository was ever left alone, as far as is remembered."""
        return self.table.get(breaker_place(source_name)) is not None


def _breaker(item: Mapping[str, Json]) -> Breaker | None:
    """An open breaker; None of a closed one, and of one that a newer program wrote."""
    if "opened_at" not in item or item["v"] > VERSION:
        return None
    return wire.from_json(Breaker, item)
