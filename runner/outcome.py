"""How a claim can be over: its run at an end, parked, replaced by a newer one, or stopped before all was done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chalicelib.model import RunState, StepResult
from runner.context import Park
from runner.stopping import Why


@dataclass(frozen=True)
class Parked:
    """The claim is over and the run is not; `entries` are the journal's last ones, written with it."""

    park: Park
    entries: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Ended:
    """The run is at an end; `steps` are all of them, those that never ran as skipped."""

    state: RunState
    reason: str | None
    steps: tuple[StepResult, ...]


@dataclass(frozen=True)
class Replaced:
    """A newer run, `by`, takes this one's place.

    Args:
        for_good: it cannot go on, whatever becomes of the newer one.
    """

    by: str
    reason: str
    for_good: bool = False


@dataclass(frozen=True)
class Halted:
    """Stopped before the steps were done, because the record asks for it, or because this runner stops.

    Args:
        note: what the step that was interrupted has to say of it.
    """

    why: Why
    note: str = ""


Outcome = Ended | Parked | Replaced | Halted
