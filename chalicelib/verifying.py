"""A version that is to run somewhere and what is seen there in; what is still in the way of calling it well, out.

It is the same for a version that is new and for the one that an environment goes back to: health, instances, probe.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from chalicelib.environment import BAD, HEALTH_GRACE, Instance, Seen, first_error, rank, since
from chalicelib.model import Deployment, DeploymentState
from chalicelib.reports.words import clean, span

# The worst health that each word of ci.yml's `accept` takes; see `rank`.
_ACCEPTED = {"green": 0, "yellow": 1}
_LOOKED_AT = frozenset({DeploymentState.UPDATING, DeploymentState.VERIFYING, DeploymentState.ROLLING_BACK})


@dataclass(frozen=True)
class Obstacle:
    """What is in the way.

    Args:
        what: the rest of a sentence that begins "crm-production runs v2, ".
        final: it is not waited for any longer, though the deadline is not over.
    """

    what: str
    final: bool = False


def wanted(record: Deployment) -> str:
    """The version that the environment is to run: ours, or the one that it goes back to."""
    return record.back_to or record.label if goes_back(record) else record.label


def goes_back(record: Deployment) -> bool:
    return record.state is DeploymentState.ROLLING_BACK


def judged(record: Deployment, seen: Seen, now: datetime) -> tuple[Deployment, Obstacle | None]:
    """The record with what was noticed, and the first thing in the way; None = it is well.

    Args:
        seen: the environment is Ready, and says that it runs the version that is wanted.
    """
    record = replace(record, ready_at=record.ready_at or now, url=seen.url)
    if not accepts(record, seen):
        return replace(record, well_at=None), _unhealthy(record, seen, now)
    record = replace(record, well_at=record.well_at or now)
    well = f"and its health is {seen.condition}"
    if holds(record, now):
        return record, Obstacle(f"{well}, but not yet for {span(record.hold_s)}")
    odd = disagreement(seen, wanted(record))
    if odd:
        return replace(record, reason=odd if seen.instances else None), Obstacle(f"{well}, but {odd}")
    if probe_counts(record) and not (seen.answer and seen.answer.good):
        said = seen.answer.said if seen.answer else f"{record.probe} was not asked"
        over = now - _held_until(record, now) >= timedelta(seconds=record.probe_within_s)
        return record, Obstacle(f"{well}, but {said}", final=seen.answer is not None and over)
    return record, None


# --- health -------------------------------------------------------------------------------------------


def accepts(record: Deployment, seen: Seen) -> bool:
    """Whether a health does: as ci.yml says, else if it is not sick, and no worse than before.

    On the way back it always does as it was before.
    """
    if record.accept == "any":
        return True
    bad, before = rank(seen.condition), rank(record.previous_health) or 0
    worst = _ACCEPTED.get(record.accept, min(before, BAD - 1))
    return bad is not None and bad <= (max(worst, before) if goes_back(record) else worst)


def holds(record: Deployment, now: datetime) -> bool:
    """Whether it is well, and only has to be so for longer. The way back needs no more than to be well."""
    return record.well_at is not None and now < _held_until(record, now)


def has_time(record: Deployment, now: datetime, longer: timedelta = timedelta()) -> bool:
    """Whether a health that is held outlasts the deadline: until it was, and the probe had its own time after it.

    Args:
        longer: how much later somebody may come to look.
    """
    if record.well_at is None or not record.hold_s or goes_back(record):
        return False
    probed = timedelta(seconds=record.probe_within_s if record.probe else 0)
    return now < _held_until(record, now) + probed + longer


def _held_until(record: Deployment, now: datetime) -> datetime:
    held = timedelta() if goes_back(record) else timedelta(seconds=record.hold_s)
    return (record.well_at or now) + held


def _unhealthy(record: Deployment, seen: Seen, now: datetime) -> Obstacle:
    over = _too_long(record, seen, now - (record.ready_at or now))
    if rank(seen.condition) is None:
        return Obstacle(f"but says nothing about its health ({seen.condition})", over)
    before = f"it was {record.previous_health} before" if record.previous_health else "its health before is not known"
    wants = f"; ci.yml accepts {record.accept}" if record.accept in _ACCEPTED and not goes_back(record) else ""
    error = None if goes_back(record) else first_error(since(record.mark_at, seen.notices))
    return Obstacle(f"but its health is {seen.condition} ({before}{wants})" + (f": {error}" if error else ""), over)


def _too_long(record: Deployment, seen: Seen, ready_for: timedelta) -> bool:
    """Whether nobody waits any longer for a health that is not accepted; without a limit in ci.yml, if it is sick.

    A health that was as bad before may still become better: the deadline decides.
    """
    if record.health_within_s is not None:
        return ready_for >= timedelta(seconds=record.health_within_s)
    bad, before = rank(seen.condition) or 0, rank(record.previous_health) or 0
    return bad >= BAD and bad > before and ready_for >= HEALTH_GRACE


# --- instances ----------------------------------------------------------------------------------------


def asks_instances(record: Deployment, seen: Seen) -> bool:
    """Whether it is for the instances to say if the version is well."""
    runs = seen.ready and seen.label == wanted(record)
    return record.state in _LOOKED_AT and runs and seen.enhanced and accepts(record, seen)


def disagreement(seen: Seen, label: str) -> str | None:
    """What instances say against it that a version runs; None = nothing, or there is no enhanced health to ask.

    One that is just being made tells of no version: how many there have to be is for the environment's health to say.
    """
    if not seen.enhanced:
        return None
    if seen.instances is None:
        return "its instances were not asked"
    known = [one for one in seen.instances if one.label]
    odd = [one for one in known if not (one.label == label and one.deployed)]
    if odd:
        more = f" (and {len(odd) - 1} more of {len(seen.instances)})" if len(odd) > 1 else ""
        return f"its instance {clean(odd[0].id)} {_does(odd[0])}{more}"
    return None if known else "no instance of it says which version it runs"


def _does(one: Instance) -> str:
    label = clean(one.label or "")
    return (
        f"runs {label}" if one.deployed else f"was given {label}, and the status of that is {clean(one.status or '?')}"
    )


# --- probe --------------------------------------------------------------------------------------------


def probe_counts(record: Deployment) -> bool:
    """Whether an answer is needed. On the way back only from a version that answered there before the update."""
    if record.probe is None:
        return False
    return not goes_back(record) or (bool(record.answered) and record.answered_label == record.back_to)


def asks_first(record: Deployment, seen: Seen) -> tuple[Deployment, bool]:
    """Before an update: whether the version that runs is still to be asked if it answers at the probe.

    Args:
        seen: the environment is Ready.
    """
    if record.probe is None or seen.label is None:
        return record, False
    if record.answered_label != seen.label:
        return replace(record, answered_label=seen.label, answered=None, url=seen.url), True
    if record.answered is None and seen.answer:
        record = replace(record, answered=seen.answer.good)
    return record, record.answered is None


def is_probed(record: Deployment) -> bool:
    """Whether its address is to be asked now."""
    if record.state is DeploymentState.WAITING_READY:
        return record.probe is not None and record.answered_label is not None and record.answered is None
    counts = record.state in {DeploymentState.VERIFYING, DeploymentState.ROLLING_BACK} and probe_counts(record)
    return counts and record.ready_at is not None
