"""Deliveries as items: the record, and the guard against a second copy of its body."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from boto3.dynamodb.conditions import Attr

from chalicelib import wire
from chalicelib.errors import TauError
from chalicelib.model import VERSION, Delivery, Event, Json, Origin, Provider, Run, Verdict
from chalicelib.records.due import due_values
from chalicelib.records.refs import ref_place
from chalicelib.records.table import Place, Put

SEEN_FOR = timedelta(days=30)
"""GitHub redelivers for three days; https://docs.github.com/webhooks/testing-and-troubleshooting-webhooks/redelivering-webhooks"""
KEPT_FOR = timedelta(days=90)
HALF_PLANNED_AFTER = timedelta(seconds=60)


@dataclass(frozen=True)
class Replay:
    """A delivery that is planned once more, because a person asked.

    Args:
        of: the delivery's id.
        by: who asked.
    """

    of: str
    by: str

    def __str__(self) -> str:
        return f"delivery {self.of} again, for {self.by}"


@dataclass(frozen=True)
class Accepted:
    """A delivery that was verified and read, with everything that planning made of it.

    Args:
        id: a ULID.
        config: hash of the ci.yml that planned it.
        body_key: where the zipped body lies when it is too large for the item.
        known: the runs that its events had started before it came.
        replay: what it repeats; then it says nothing new of any ref.
    """

    id: str
    delivery: Delivery
    received_at: datetime
    config: str
    events: tuple[Event, ...]
    verdicts: tuple[tuple[Verdict, ...], ...]
    runs: tuple[Run, ...]
    body_key: str | None = None
    known: tuple[str, ...] = ()
    replay: Replay | None = None


@dataclass(frozen=True)
class Seen:
    """The same body came before: its delivery and runs."""

    delivery: str
    runs: tuple[str, ...]


class RefMoved(TauError):
    """Somebody else spoke of a ref after it was read; nothing was written.

    Args:
        places: of which refs.
    """

    def __init__(self, places: frozenset[Place]) -> None:
        super().__init__(f"{len(places)} refs were spoken of by another delivery at the same moment")
        self.places = places


def body_place(delivery: Delivery) -> Place:
    digest = hashlib.sha256(delivery.forge.encode() + b"\0" + delivery.body).hexdigest()
    return f"body#{digest}", "body"


def delivery_place(delivery_id: str) -> Place:
    return f"delivery#{delivery_id}", "delivery"


def delivery_item(accepted: Accepted, *, planned: bool) -> Put:
    pk, sk = delivery_place(accepted.id)
    due_at = None if planned else accepted.received_at + HALF_PLANNED_AFTER
    return Put(
        {
            "pk": pk,
            "sk": sk,
            "v": VERSION,
            "origin": accepted.delivery.origin,
            "forge": accepted.delivery.forge,
            "provider": accepted.delivery.provider,
            "delivery_id": accepted.events[0].delivery_id if accepted.events else None,
            "config": accepted.config,
            "received_at": wire.time_text(accepted.received_at),
            "details": _details(accepted),
            "body": None if accepted.body_key else wire.zipped(accepted.delivery.body),
            "body_key": accepted.body_key,
            "runs": [run.id for run in accepted.runs],
            "replay": wire.to_json(accepted.replay),
            "planned": planned,
            "expires_at": int((accepted.received_at + KEPT_FOR).timestamp()),
            **due_values(due_at),
        }
    )


def body_item(accepted: Accepted, *, instead_of: str | None = None) -> Put:
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
            "runs": [*(run.id for run in accepted.runs), *accepted.known],
            "refs": [[*place, before] for place, before in _begins(accepted).items()],
            "expires_at": now + int(SEEN_FOR.total_seconds()),
        },
        when=fresh | Attr("delivery").eq(instead_of) if instead_of else fresh,
    )


def replay_of(record: Mapping[str, Json]) -> Replay | None:
    """What a recorded delivery repeats."""
    said = record.get("replay")
    return wire.from_json(Replay, said) if said else None


def _begins(accepted: Accepted) -> dict[Place, str]:
    """Each branch and tag that the delivery speaks of, with where its last word of it begins."""
    begins = {ref_place(event): event.before or "" for event in accepted.events if event.pull is None}
    return {place: before for place, before in begins.items() if place}


def _details(accepted: Accepted) -> bytes:
    """Headers, events and verdicts, zipped together: read by people, and when planning is finished late."""
    details = {"headers": accepted.delivery.headers, "events": accepted.events, "verdicts": accepted.verdicts}
    return wire.zipped(wire.dumps(details).encode())


def delivery_of(record: Mapping[str, Json], body: bytes) -> Delivery:
    """The delivery as it came, from its record and its body."""
    headers = {name: tuple(values) for name, values in record["headers"].items()}
    return Delivery(record["forge"], Provider(record["provider"]), headers, body, Origin(record["origin"]))
