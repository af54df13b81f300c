"""What the steps of a run have left in, files of this machine by their names out."""

from __future__ import annotations

import shutil
from pathlib import Path

from runner.laptop.alone import Here
from runner.outcome import Ended, Outcome
from runner.retrieving import fetch, kept


def written(outcome: Outcome, here: Here, folder: Path) -> tuple[str, ...]:
    """Write it below a folder, in the place of what an earlier run has left there; a line for each file."""
    shutil.rmtree(folder, ignore_errors=True)
    files = kept(dict(enumerate(outcome.steps))) if isinstance(outcome, Ended) else ()
    lines = tuple(fetch(files, here, folder)) if files else ()
    shutil.rmtree(here.folder, ignore_errors=True)
    return lines
