"""Configurations and runners: records that are written once, or by one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from boto3.dynamodb.conditions import Attr

from chalicelib import wire
from chalicelib.errors import NotThere
from chalicelib.model import VERSION, Json
from chalicelib.records.table import Change, Put, Table

GONE_AFTER = timedelta(minutes=10)
"""A runner that has said nothing for so long is taken for gone."""
_RUNNERS = "runner"


@dataclass(frozen=True)
class Runner:
    """A runner as it described itself last.

    Args:
        jobs: how many runs it takes at once.
        runs: those that it had in hand.
        since: when it started.
        seen_at: its last sign of life.
    """

    id: str
    seen_at: datetime
    host: str = ""
    pool: str = ""
    version: str = ""
    jobs: int = 1
    runs: tuple[str, ...] = ()
    since: datetime | None = None


class SundryRecords:
    """Writes of configurations and runners."""

    table: Table

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
        """A runner's sign of life.

        Args:
            facts: fields of `Runner`, but for its id and the time.
        """
        values: dict[str, Json] = {
            **wire.to_json(facts),
            "v": VERSION,
            "state": "live",
            "seen_at": wire.time_text(now),
            "expires_at": int((now + GONE_AFTER).timestamp()),
        }
        self.table.write(Change((_RUNNERS, runner_id), values=values, add={"beat": 1}))

    def forget_runner(self, runner_id: str, now: datetime) -> None:
        """A runner that stops says so: it is listed no more, and its record expires."""
        values = {"state": "stopped", "expires_at": int(now.timestamp())}
        self.table.write(Change((_RUNNERS, runner_id), when=Attr("pk").exists(), values=values))

    def runners(self, now: datetime) -> list[Runner]:
        """The runners that live, by id: neither stopped nor silent for longer than `GONE_AFTER`."""
        items = [item for item in self.table.partition(_RUNNERS) if item["v"] <= VERSION and item["state"] == "live"]
        found = [wire.from_json(Runner, {**item, "id": item["sk"]}) for item in items]
        return [runner for runner in found if now - runner.seen_at <= GONE_AFTER]
