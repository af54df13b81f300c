"""What the last runs of each pipeline took of the disk in, what its next one is taken to need out; kept in a file."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from runner.disk import Amount, Need

log = logging.getLogger("tau.storage")

LAST = 5
"""Of so many runs of a pipeline it is known what they needed."""
_MOST_PIPELINES = 500
_NEEDS = "needs.json"

Needs = Mapping[str, Sequence[Need]]


def needed(needs: Needs, pipeline: str, unknown: Need) -> Need:
    """The most that one of the last runs of a pipeline took; of a new pipeline nobody knows."""
    last = needs.get(pipeline)
    if not last:
        return unknown
    most = Need()
    for one in last:
        most = most.or_more(one)
    return most


def with_need(needs: Needs, pipeline: str, took: Need) -> Needs:
    """The same, with one more run of a pipeline; the pipelines that ran longest ago are forgotten."""
    others = {name: last for name, last in needs.items() if name != pipeline}
    newest = {**others, pipeline: (*needs.get(pipeline, ()), took)[-LAST:]}
    return dict(list(newest.items())[-_MOST_PIPELINES:])


def read_needs(folder: Path) -> Needs:
    """What the last runs of each pipeline needed; nothing where that cannot be read."""
    try:
        lines = json.loads((folder / _NEEDS).read_text())
        return {name: tuple(_need(*numbers) for numbers in last) for name, last in lines.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def write_needs(folder: Path, needs: Needs) -> None:
    """Write them down; where that cannot be done the runs of this time are not known."""
    lines = {name: [_numbers(one) for one in last] for name, last in needs.items()}
    try:
        fresh = folder / f"{_NEEDS}.new"
        fresh.write_text(json.dumps(lines))
        fresh.replace(folder / _NEEDS)
    except OSError as error:
        log.warning("what a run needed is not written down", extra={"error": str(error)})


def _need(folder_bytes: int, folder_inodes: int, engine_bytes: int, engine_inodes: int) -> Need:
    return Need(Amount(int(folder_bytes), int(folder_inodes)), Amount(int(engine_bytes), int(engine_inodes)))


def _numbers(need: Need) -> tuple[int, int, int, int]:
    return need.folder.size_bytes, need.folder.inodes, need.engine.size_bytes, need.engine.inodes
