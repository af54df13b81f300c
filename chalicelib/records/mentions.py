"""A delivery in, small items by which it is found out: by commit, ref, the forge's own id of it, or the day it came.

They lie beside the delivery and in the indexes that runs are found by, under keys that no run has.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from boto3.dynamodb.conditions import Key

from chalicelib import wire
from chalicelib.model import VERSION, Event, Json
from chalicelib.records.delivery_items import KEPT_FOR, Accepted, delivery_place
from chalicelib.records.run_items import ref_key
from chalicelib.records.table import Put, Table

SHORTEST_COMMIT = 7
"""Of a commit so many characters are enough: the index holds no more of it."""


def mentions(accepted: Accepted) -> list[Put]:
    """What is put beside a delivery: one item for itself, and one for each event that has a commit or a ref."""
    itself = {"day": f"said#{_day(accepted.received_at)}", **_called(accepted)}
    return [_put(accepted, "said", itself), *(_of_event(accepted, index) for index in _telling(accepted))]


def _telling(accepted: Accepted) -> list[int]:
    return [index for index, event in enumerate(accepted.events) if event.line or commit_of(event)]


def _of_event(accepted: Accepted, index: int) -> Put:
    event = accepted.events[index]
    commit = commit_of(event)
    values = {
        "ref_key": _ref_key(event.forge, event.repository or "", event.line) if event.line else None,
        "commit": _commit_key(commit) if commit else None,
    }
    return _put(accepted, f"said#{index}", values)


def commit_of(event: Event) -> str | None:
    """The commit that a person would look an event up by."""
    return event.commit or (event.pull.head if event.pull else None)


def _called(accepted: Accepted) -> dict[str, Json]:
    """The forge's own id; it is not signed, and good enough to look something up by."""
    called = next((event.delivery_id for event in accepted.events if event.delivery_id), None)
    return {"ref_key": _called_key(called)} if called else {}


def _put(accepted: Accepted, sk: str, values: dict[str, Json]) -> Put:
    pk, _ = delivery_place(accepted.id)
    expires_at = int((accepted.received_at + KEPT_FOR).timestamp())
    return Put({"pk": pk, "sk": sk, "v": VERSION, "id": accepted.id, "expires_at": expires_at, **values})


def _day(moment: datetime) -> str:
    return wire.time_text(moment)[:10]


def _commit_key(commit: str) -> str:
    return f"said#{commit[:SHORTEST_COMMIT].lower()}"


def _ref_key(forge: str, repository: str, line: str) -> str:
    return f"said#{ref_key(forge, repository, line)}"


def _called_key(called: str) -> str:
    return f"called#{called.lower()}"


class MentionRecords:
    """Which deliveries spoke of something: their ids, the newest first."""

    table: Table

    def deliveries_of_commit(self, commit: str, most: int) -> Iterator[str]:
        """Of commits that begin like this one, as far as `SHORTEST_COMMIT` goes; the deliveries say which exactly."""
        return self._deliveries("by_commit", "commit", _commit_key(commit), most)

    def deliveries_of_ref(self, forge: str, repository: str, line: str, most: int) -> Iterator[str]:
        """Of a branch or tag (the full ref), or of an image (its name and tag)."""
        return self._deliveries("by_ref", "ref_key", _ref_key(forge, repository, line), most)

    def deliveries_called(self, called: str, most: int) -> Iterator[str]:
        """Those that the forge itself gave this id."""
        return self._deliveries("by_ref", "ref_key", _called_key(called), most)

    def deliveries_of_day(self, day: str, most: int) -> Iterator[str]:
        """Those that came on a UTC day (`2026-11-23`)."""
        return self._deliveries("by_day", "day", f"said#{day}", most)

    def _deliveries(self, index: str, attribute: str, key: str, most: int) -> Iterator[str]:
        found = self.table.query(index, Key(attribute).eq(key), most=most, newest_first=True)
        yield from dict.fromkeys(str(item["id"]) for item in found)
