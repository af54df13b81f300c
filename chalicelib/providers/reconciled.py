"""What a look at a forge found: written as the body of a delivery of our own, and read back."""

from __future__ import annotations

import json
from collections.abc import Sequence

from chalicelib import wire
from chalicelib.errors import BadRecord
from chalicelib.model import VERSION, Delivery, Event, Origin, Provider


def delivery(forge: str, provider: Provider, events: Sequence[Event]) -> Delivery:
    """A delivery that nobody sent. The events' `delivery_id` makes its body one of its kind."""
    body = wire.dumps({"v": VERSION, "events": events}).encode("ascii")
    return Delivery(forge, provider, {}, body, Origin.RECONCILED)


def read(delivery: Delivery) -> list[Event]:
    """What was found.

    Raises:
        BadRecord: a newer program's, or none of ours.
    """
    if delivery.origin is not Origin.RECONCILED:
        raise BadRecord("a webhook's body is not read as what was found at a forge")
    try:
        held = json.loads(delivery.body)
        version, events = held["v"], held["events"]
    except (ValueError, KeyError, TypeError) as error:
        raise BadRecord(f"this is nothing that was found at a forge: {error!r}") from error
    if version > VERSION:
        raise BadRecord(f"what was found is of version {version}, and this program knows {VERSION}")
    return [wire.from_json(Event, event) for event in events]
