"""Deliveries: the record, the guard against a second copy, and the runs, in one transaction where they fit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from boto3.dynamodb.conditions import Attr

from chalicelib import wire
from chalicelib.model import VERSION, Delivery, Event, Json, Provider, Run, Verdict
from chalicelib.records.due import due_values
from chalicelib.records.runs import new_run, ref_key
from chalicelib.records.table import MOST_IN_A_TRANSACTION, Cancelled, Change, Place, Put, Table

SEEN_FOR = timedelta(days=30)
"""GitHub redelivers for three days; https://docs.github.com/webhooks/testing-and-troubleshooting-webhooks/redelivering-webhooks"""
KEPT_FOR = timedelta(days=90)
HALF_PLANNED_AFTER = timedelta(seconds=60)


@dataclass(frozen=True)
class Accepted:
    """A delivery that was verified and read, with everything that planning made of it.

    Args:
        id: a ULID.
        config: hash of the ci.yml that planned it.
        body_key: where the zipped body lies when it is too large for the item.
    """

    id: str
    delivery: Delivery
    received_at: datetime
    config: str
    events: tuple[Event, ...]
    verdicts: tuple[tuple[Verdict, ...], ...]
    runs: tuple[Run, ...]
    body_key: str | None = None


@dataclass(frozen=True)
class Seen:
    """The same body came before: its delivery and runs."""

    delivery: str
    runs: tuple[str, ...]


def body_place(delivery: Delivery) -> Place:
    digest = hashlib.sha256(delivery.forge.encode() + b"\0" + delivery.body).hexdigest()
    return f"body#{digest}", "body"


class DeliveryRecords:
    """Reads and writes of deliveries."""

    table: Table

    def record(self, accepted: Accepted) -> Seen | None:
        """Write the delivery and its runs.

        Returns:
            None when it was written; else the delivery that brought the same body, and nothing was written.
        """
        rest: list[Put | Change] = [*_moved(accepted), *map(new_run, accepted.runs)]
        first, later = rest[: MOST_IN_A_TRANSACTION - 2], rest[MOST_IN_A_TRANSACTION - 2 :]
        seen = self._begin(accepted, first, planned=not later)
        if seen is None and later:
            self.finish_planning(accepted)
        return seen

    def finish_planning(self, accepted: Accepted) -> None:
        """Write what is missing, then mark the delivery planned; anybody may do it, any number of times."""
        # The first refs went with the delivery. None is set back by a delivery that is finished late.
        newer = Attr("last").not_exists() | Attr("last").lt(accepted.id)
        for change in _moved(accepted)[MOST_IN_A_TRANSACTION - 2 :]:
            self.table.write(replace(change, when=newer))
        for start in range(0, len(accepted.runs), MOST_IN_A_TRANSACTION):
            self._write_missing(accepted.runs[start : start + MOST_IN_A_TRANSACTION])
        change = Change(
            _place(accepted.id), when=Attr("pk").exists(), values={"planned": True}, remove=("due_shard", "due_at")
        )
        self.table.write(change)

    def delivery(self, delivery_id: str) -> Mapping[str, Json] | None:
        """The record, its zipped parts readable; `body` as it came, or None when it lies in S3."""
        item = self.table.get(_place(delivery_id))
        if item is None:
            return None
        details = json.loads(wire.unzipped(item["details"]))
        return {**item, **details, "body": wire.unzipped(item["body"]) if "body" in item else None}

    def _begin(
        self, accepted: Accepted, first: Sequence[Put | Change], *, planned: bool, instead_of: str | None = None
    ) -> Seen | None:
        try:
            body = _body(accepted, instead_of=instead_of)
            self.table.transact([_delivery(accepted, planned=planned), body, *first])
        except Cancelled as cancelled:
            there = cancelled.failed.get(1)
            if there is None:
                raise
            # Already for the second time: another copy of these bytes was quicker than this one.
            if instead_of or not self._overtaken(there):
                return Seen(there["delivery"], tuple(there["runs"]))
            # The same bytes mean something new.
            return self._begin(accepted, first, planned=planned, instead_of=there["delivery"])
        return None

    def _overtaken(self, body: Mapping[str, Json]) -> bool:
        """Whether one of its refs was brought back since to where these bytes begin (a tag that was deleted)."""
        for place, before in body["refs"].items():
            ref = self.table.get((place, "ref"))
            if ref and ref["last"] > body["delivery"] and ref["at"] == before:
                return True
        return False

    def _write_missing(self, runs: Sequence[Run]) -> None:
        missing = {run.id: new_run(run) for run in runs}
        while missing:
            try:
                self.table.transact(list(missing.values()))
            except Cancelled as cancelled:
                there = [list(missing)[index] for index in cancelled.failed]
                missing = {run_id: put for run_id, put in missing.items() if run_id not in there}
            else:
                return


def _place(delivery_id: str) -> Place:
    return f"delivery#{delivery_id}", "delivery"


def _delivery(accepted: Accepted, *, planned: bool) -> Put:
    pk, sk = _place(accepted.id)
    due_at = None if planned else accepted.received_at + HALF_PLANNED_AFTER
    return Put(
        {
            "pk": pk,
            "sk": sk,
            "v": VERSION,
            "forge": accepted.delivery.forge,
            "provider": accepted.delivery.provider,
            "delivery_id": accepted.events[0].delivery_id if accepted.events else None,
            "config": accepted.config,
            "received_at": wire.time_text(accepted.received_at),
            "details": _details(accepted),
            "body": None if accepted.body_key else wire.zipped(accepted.delivery.body),
            "body_key": accepted.body_key,
            "runs": [run.id for run in accepted.runs],
            "planned": planned,
            "expires_at": int((accepted.received_at + KEPT_FOR).timestamp()),
            **due_values(due_at),
        }
    )


def _body(accepted: Accepted, *, instead_of: str | None = None) -> Put:
    pk, sk = body_place(accepted.delivery)
    now = int(accepted.received_at.timestamp())
    # TTL removes items late, so the guard looks at the time itself.
    # https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/TTL.html
    fresh = Attr("pk").not_exists() | Attr("expires_at").lt(now)
    return Put(
        {
            "pk": pk,
            "sk": sk,
            "v": VERSION,
            "delivery": accepted.id,
            "runs": [run.id for run in accepted.runs],
            "refs": {place: event.before or "" for place, event in _refs(accepted).items()},
            "expires_at": now + int(SEEN_FOR.total_seconds()),
        },
        when=fresh | Attr("delivery").eq(instead_of) if instead_of else fresh,
    )


def _refs(accepted: Accepted) -> dict[str, Event]:
    """Each ref that the delivery speaks of, with what it says last of it."""
    return {
        f"ref#{ref_key(event.forge, event.repository, event.ref)}": event
        for event in accepted.events
        if event.repository and event.ref
    }


def _moved(accepted: Accepted) -> list[Change]:
    """Each ref's newest delivery, and where the ref stands since."""
    return [
        Change((place, "ref"), values={"last": accepted.id, "at": event.after or "", "v": VERSION})
        for place, event in _refs(accepted).items()
    ]


def _details(accepted: Accepted) -> bytes:
    """Headers, events and verdicts, zipped together: read by people, and when planning is finished late."""
    details = {"headers": accepted.delivery.headers, "events": accepted.events, "verdicts": accepted.verdicts}
    return wire.zipped(wire.dumps(details).encode())


def delivery_of(record: Mapping[str, Json], body: bytes) -> Delivery:
    """The delivery as it came, from its record and its body."""
    headers = {name: tuple(values) for name, values in record["headers"].items()}
    return Delivery(record["forge"], Provider(record["provider"]), headers, body)
