"""A run and its item: what is written the first time, and how it is read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from boto3.dynamodb.conditions import Attr, ConditionBase

from chalicelib import pinning, wire
from chalicelib.errors import BadRecord
from chalicelib.model import VERSION, Job, Json, Run, RunState, may_come_from
from chalicelib.records.due import due_values
from chalicelib.records.table import Place, Put

UNSENT_AFTER = timedelta(seconds=60)
"""A queued run that nobody claimed is woken again."""

# Written in a form of their own, or by the index.
_ITEM_ONLY = {"job", "journal", "tell", "results", "handed", "due_at"}


def run_place(run_id: str) -> Place:
    return f"run#{run_id}", "run"


def ref_key(forge: str, repository: str, ref: str) -> str:
    return wire.key(forge, repository.lower(), ref)


def new_run(run: Run) -> Put:
    """A run's first write."""
    pk, sk = run_place(run.id)
    event = run.job.event
    return Put(
        {
            **_scalars(run),
            "pk": pk,
            "sk": sk,
            "job": wire.dumps(run.job),
            "config": run.job.config,
            "pool": run.job.pool,
            "pipeline": run.job.pipeline,
            "ref_key": ref_key(event.forge, event.repository or "", event.line),
            "commit": pinning.job_of(run).event.commit,
            "day": wire.time_text(run.created_at)[:10],
            "journal": [dict(line) for line in run.journal],
            "tell": {},
            "results": {},
            "handed": {},
            **due_values(run.created_at + UNSENT_AFTER),
        }
    )


def run_of(item: Mapping[str, Json]) -> Run:
    """The run of an item.

    Raises:
        BadRecord: a newer program's.
    """
    run_id = item["pk"].removeprefix("run#")
    if item.get("v", 0) > VERSION:
        raise BadRecord(f"run {run_id} is of version {item['v']}, and this program knows {VERSION}")
    due_at = item.get("due_at")
    fields = {
        **item,
        "id": run_id,
        "job": None,
        "results": {index: json.loads(text) for index, text in item.get("results", {}).items()},
        "due_at": wire.time_text(datetime.fromtimestamp(due_at, UTC)) if due_at is not None else None,
    }
    return wire.from_json(Run, fields, job=_job(item.get("job", "null")))


def may_become(state: RunState) -> ConditionBase:
    """The condition that the table of transitions puts on every write of a state."""
    return _MAY_BECOME[state]


# A job never changes, and its holder reads its run again and again.
@lru_cache(maxsize=64)
def _job(text: str) -> Job:
    return wire.loads(Job, text)


_MAY_BECOME = {state: Attr("state").is_in([str(before) for before in may_come_from(state)]) for state in RunState}


def _scalars(run: Run) -> dict[str, Json]:
    return {name: wire.to_json(value) for name, value in vars(run).items() if name not in _ITEM_ONLY}
