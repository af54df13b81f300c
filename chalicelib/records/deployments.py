"""Deployments: records with a number that every write raises and every write checks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

from boto3.dynamodb.conditions import Attr, Key

from chalicelib import wire
from chalicelib.beanstalk import lock_name
from chalicelib.errors import BadRecord, Outrun
from chalicelib.model import VERSION, Deployment, Json, Live
from chalicelib.records.due import due_values
from chalicelib.records.locks import lock_place
from chalicelib.records.table import Cancelled, Change, Place, Put, Table


def _place(deployment_id: str) -> Place:
    return f"deployment#{deployment_id}", "deployment"


class DeploymentRecords:
    """Reads and writes of deployments, and of what they left live."""

    table: Table

    def deployment(self, deployment_id: str) -> Deployment | None:
        """The deployment as it stands, or None.

        Raises:
            BadRecord: a newer program's.
        """
        item = self.table.get(_place(deployment_id))
        return _deployment(item) if item else None

    def read_deployments(self, ids: Sequence[str]) -> list[Deployment]:
        """Those that are there, in the same order; a newer program's are left out."""
        found = []
        for item in self.table.get_many([_place(one) for one in ids]).values():
            with contextlib.suppress(BadRecord):
                found.append(_deployment(item))
        return found

    def deployments(self) -> Iterator[Deployment]:
        """Every deployment, newest first, perhaps not as of this very moment; a newer program's are passed over."""
        for item in self.table.query("by_ref", Key("ref_key").eq(_ALL), most=_MOST, newest_first=True):
            with contextlib.suppress(BadRecord):
                yield _deployment(item)

    def create_deployment(self, deployment: Deployment, *also: Put) -> bool:
        """Write a new one; False when it existed.

        Args:
            also: what is written with it, or not at all.

        Raises:
            Outrun: a newer run has begun to deploy there: the older version must not go over its own.
        """
        pk, sk = _place(deployment.id)
        newest = Attr("newest").not_exists() | Attr("newest").lte(deployment.run)
        order = Change(lock_place(lock_name(deployment)), when=newest, values={"newest": deployment.run})
        try:
            self.table.transact([Put({"pk": pk, "sk": sk, "ref_key": _ALL, **_fields(deployment)}), order, *also])
        except Cancelled as cancelled:
            if 0 in cancelled.failed:
                return False
            if 1 not in cancelled.failed:
                return False
            newer = cancelled.failed[1]["newest"]
            raise Outrun(f"run {newer}, a newer one, deploys to {deployment.environment}", newer) from cancelled
        return True

    def move_deployment(self, old: Deployment, new: Deployment, *, live: Live | None = None) -> bool:
        """Write `new` over `old`; False when somebody else has moved it since it was read.

        Args:
            live: what it leaves live, written with it.
        """
        # At this number the item is what was read: the rest of it need not be sent again.
        before = _fields(old)
        fields = {name: value for name, value in _fields(new).items() if value != before[name]}
        fields["number"] = old.number + 1
        change = Change(
            _place(old.id),
            when=Attr("number").eq(old.number),
            values={name: value for name, value in fields.items() if value is not None},
            remove=[name for name, value in fields.items() if value is None],
        )
        if live is None:
            return self.table.write(change) is not None
        there = {**wire.to_json(live), "v": VERSION}
        left = Change(
            _live_place(live.region, live.environment),
            values={name: value for name, value in there.items() if value is not None},
            remove=[name for name, value in there.items() if value is None],
        )
        try:
            self.table.transact([change, left])
        except Cancelled:
            return False
        return True

    def live(self, region: str, environment: str) -> Live | None:
        """What Tau left live in an environment; None where it never did."""
        item = self.table.get(_live_place(region, environment))
        return wire.from_json(Live, item) if item else None

    def all_live(self) -> list[Live]:
        """The same of every environment, by region and name; a newer program's are passed over."""
        return [wire.from_json(Live, item) for item in self.table.partition(_LIVE) if item["v"] <= VERSION]


_LIVE = "live"
# What a run has there is its ref: no ref is called so.
_ALL = "deployments"
_MOST = 5000


def _live_place(region: str, environment: str) -> Place:
    return _LIVE, f"{region}/{environment}"


def _deployment(item: Mapping[str, Json]) -> Deployment:
    if item.get("v", 0) > VERSION:
        raise BadRecord(f"deployment {item['id']} is of version {item['v']}, and this program knows {VERSION}")
    return wire.from_json(Deployment, {**item, "due_at": item.get("due_text")})


def _fields(deployment: Deployment) -> Mapping[str, Json]:
    fields = wire.to_json(deployment)
    # The index wants a number; the text is what is read back, to the millisecond.
    return {**fields, "due_text": fields["due_at"], **due_values(deployment.due_at)}
