"""Images, configurations and runners: records that are written once, or by one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from chalicelib import wire
from chalicelib.errors import NotThere
from chalicelib.model import VERSION, Json
from chalicelib.records.table import Change, Put, Table

GONE_AFTER = timedelta(minutes=10)
"""A runner that has said nothing for so long leaves the table."""


@dataclass(frozen=True)
class PushedImage:
    """An image that this installation pushed: `name` with its registry, by digest."""

    name: str
    digest: str
    run: str
    commit: str
    tags: Sequence[str]
    pushed_at: datetime


class SundryRecords:
    """Writes of images, configurations and runners."""

    table: Table

    def put_image(self, image: PushedImage) -> None:
        """Write down what was pushed; a second time adds tags."""
        place = f"image#{hashlib.sha256(image.name.encode()).hexdigest()}", image.digest
        values: dict[str, Json] = {
            "v": VERSION,
            "name": image.name,
            "digest": image.digest,
            "run": image.run,
            "commit": image.commit,
            "pushed_at": wire.time_text(image.pushed_at),
        }
        self.table.write(Change(place, values=values, add={"tags": set(image.tags)} if image.tags else {}))

    def put_config(self, config_hash: str, compiled: bytes) -> None:
        """Keep the ci.json that planned something; the same hash is the same text."""
        item = {"pk": f"config#{config_hash}", "sk": "config", "v": VERSION, "compiled": wire.zipped(compiled)}
        self.table.write(Put(item))

    def config(self, config_hash: str) -> bytes:
        """The ci.json of that hash.

        Raises:
            NotThere: it was never kept.
        """
        item = self.table.get((f"config#{config_hash}", "config"))
        if item is None:
            raise NotThere(f"there is no record of a ci.yml with hash {config_hash}")
        return wire.unzipped(item["compiled"])

    def put_runner(self, runner_id: str, facts: Mapping[str, Json], now: datetime) -> None:
        """A runner's sign of life."""
        values: dict[str, Json] = {
            **facts,
            "v": VERSION,
            "seen_at": wire.time_text(now),
            "expires_at": int((now + GONE_AFTER).timestamp()),
        }
        self.table.write(Change((f"runner#{runner_id}", "runner"), values=values, add={"beat": 1}))
