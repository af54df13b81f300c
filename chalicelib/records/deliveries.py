"""Deliveries: the record, the guard against a second copy, and the runs, in one transaction where they fit."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence

from boto3.dynamodb.conditions import Attr

from chalicelib import wire
from chalicelib.model import Json
from chalicelib.records.delivery_items import (
    HALF_PLANNED_AFTER,
    Accepted,
    RefMoved,
    Replay,
    Seen,
    body_item,
    delivery_item,
    delivery_of,
    delivery_place,
    replay_of,
)
from chalicelib.records.hearing import hear, news_of, said_of, spoken
from chalicelib.records.mentions import mentions
from chalicelib.records.refs import Ref, RefRecords, found, moved
from chalicelib.records.runs import new_run
from chalicelib.records.table import MOST_IN_A_TRANSACTION, Cancelled, Change, Place, Put

__all__ = [
    "HALF_PLANNED_AFTER",
    "Accepted",
    "DeliveryRecords",
    "RefMoved",
    "Replay",
    "Seen",
    "delivery_of",
    "replay_of",
]

# The delivery and its body take two.
_BESIDES = MOST_IN_A_TRANSACTION - 2
# Each time somebody else has written: so many deliveries of one ref at one moment are no accident.
_TRIES = 20


class DeliveryRecords(RefRecords):
    """Reads and writes of deliveries."""

    def record(self, accepted: Accepted) -> Seen | Accepted:
        """Write a webhook's delivery, its runs and what it says of its refs.

        Returns:
            The delivery that brought the same body, and nothing was written; else what was written: without the runs
            of events that were no news.

        Raises:
            RefMoved: other deliveries of the same ref were quicker, again and again.
        """
        for _ in range(_TRIES):
            with contextlib.suppress(RefMoved):
                return self._hear_and_write(accepted)
        return self._hear_and_write(accepted)

    def record_found(self, accepted: Accepted, read: Mapping[Place, Ref]) -> None:
        """Write a reconciled delivery and its runs, if every ref still stands where it was read to stand.

        Args:
            read: the refs as they were when the forge was asked; a ref that is not in it was unknown.

        Raises:
            RefMoved: which refs do not; nothing was written.
        """
        changes = [
            moved(place, read.get(place), found(read.get(place), event, accepted.id, accepted.received_at, runs))
            for place, event, runs in said_of(accepted)
        ]
        self._write(accepted, changes)

    def record_again(self, accepted: Accepted) -> None:
        """Write a delivery that repeats another, and its runs; what is known of its body and its refs stays."""
        rest = [*map(new_run, accepted.runs), *mentions(accepted)]
        first, later = rest[: MOST_IN_A_TRANSACTION - 1], rest[MOST_IN_A_TRANSACTION - 1 :]
        self.table.transact([delivery_item(accepted, planned=not later), *first])
        if later:
            self.finish_planning(accepted)

    def finish_planning(self, accepted: Accepted) -> None:
        """Write what is missing, then mark the delivery planned; anybody may do it, any number of times."""
        # The first refs went with the delivery.
        for place, indexes in list(spoken(accepted).items())[_BESIDES:]:
            self._hear_late(accepted, place, indexes)
        puts = [*map(new_run, accepted.runs), *mentions(accepted)]
        for start in range(0, len(puts), MOST_IN_A_TRANSACTION):
            self._write_missing(puts[start : start + MOST_IN_A_TRANSACTION])
        place = delivery_place(accepted.id)
        self.table.write(
            Change(place, when=Attr("pk").exists(), values={"planned": True}, remove=("due_shard", "due_at"))
        )

    def delivery(self, delivery_id: str) -> Mapping[str, Json] | None:
        """The record, its zipped parts readable; `body` as it came, or None when it lies in S3."""
        item = self.table.get(delivery_place(delivery_id))
        if item is None:
            return None
        details = json.loads(wire.unzipped(item["details"]))
        return {**item, **details, "body": wire.unzipped(item["body"]) if "body" in item else None}

    def _hear_and_write(self, accepted: Accepted) -> Seen | Accepted:
        words = {place: (self.ref(place), indexes) for place, indexes in spoken(accepted).items()}
        changes, known = hear(accepted, words)
        news = news_of(accepted, known)
        return self._write(news, changes) or news

    def _write(self, accepted: Accepted, refs: Sequence[Change]) -> Seen | None:
        rest: list[Put | Change] = [*refs, *map(new_run, accepted.runs), *mentions(accepted)]
        first, later = rest[:_BESIDES], rest[_BESIDES:]
        seen = self._begin(accepted, first, planned=not later)
        if seen is None and later:
            self.finish_planning(accepted)
        return seen

    def _begin(
        self, accepted: Accepted, first: Sequence[Put | Change], *, planned: bool, instead_of: str | None = None
    ) -> Seen | None:
        try:
            body = body_item(accepted, instead_of=instead_of)
            self.table.transact([delivery_item(accepted, planned=planned), body, *first])
        except Cancelled as cancelled:
            there = cancelled.failed.get(1)
            if there is None:
                raise _moved_meanwhile(cancelled, first) from cancelled
            # Already for the second time: another copy of these bytes was quicker than this one.
            if instead_of or not self._overtaken(there):
                return Seen(there["delivery"], tuple(there["runs"]))
            # The same bytes mean something new.
            return self._begin(accepted, first, planned=planned, instead_of=there["delivery"])
        return None

    def _overtaken(self, body: Mapping[str, Json]) -> bool:
        """Whether one of its refs was brought back since to where these bytes begin (a tag that was deleted)."""
        for pk, sk, before in body["refs"]:
            ref = self.ref((pk, sk))
            if ref and ref.last > body["delivery"] and ref.may_be_at(before):
                return True
        return False

    def _hear_late(self, accepted: Accepted, place: Place, indexes: Sequence[int]) -> None:
        """Remember what a delivery says of a ref, unless that, or something newer, is remembered already."""
        for _ in range(_TRIES):
            ref = self.ref(place)
            if ref and ref.last >= accepted.id:
                return
            changes, _ = hear(accepted, {place: (ref, indexes)})
            if self.table.write(changes[0]) is not None:
                return

    def _write_missing(self, puts: Sequence[Put]) -> None:
        missing = list(puts)
        while missing:
            try:
                self.table.transact(missing)
            except Cancelled as cancelled:
                missing = [put for index, put in enumerate(missing) if index not in cancelled.failed]
            else:
                return


def _moved_meanwhile(cancelled: Cancelled, first: Sequence[Put | Change]) -> Exception:
    """Which refs failed their condition; the cancellation itself where something else did."""
    failed = [first[index - 2] for index in cancelled.failed if index > 1]
    places = frozenset(action.place for action in failed if isinstance(action, Change))
    return RefMoved(places) if places else cancelled
