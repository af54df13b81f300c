"""What nobody sent us: written as the body of a delivery of our own, and read back."""

from __future__ import annotations

import json
from collections.abc import Sequence

from chalicelib import wire
from chalicelib.errors import BadRecord
from chalicelib.model import VERSION, Delivery, Event, Origin, Provider


def delivery(origin: Origin, forge: str, provider: Provider, events: Sequence[Event]) -> Delivery:
    """A delivery that no webhook brought. The events' `delivery_id` makes its body one of its kind.

    Args:
        forge: the events' own; `tau` where they are about no forge's repository.
    """
    body = wire.dumps({"v": VERSION, "events": events}).encode("ascii")
    return Delivery(forge, provider, {}, body, origin)


def read(delivery: Delivery) -> list[Event]:
    """What happened.

    Raises:
        BadRecord: a newer program's, or none of ours.
    """
    if delivery.origin is Origin.WEBHOOK:
        raise BadRecord("a webhook's body is never read as a delivery of our own")
    try:
        held = json.loads(delivery.body)
        version, events = held["v"], held["events"]
    except (ValueError, KeyError, TypeError) as error:
        raise BadRecord(f"this is no delivery of our own: {error!r}") from error
    if version > VERSION:
        raise BadRecord(f"a delivery of our own is of version {version}, and this program knows {VERSION}")
    return [wire.from_json(Event, event) for event in events]
