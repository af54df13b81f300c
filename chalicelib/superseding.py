"""A run and the newer runs of its ref in; which of them takes its place, or none."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib import pinning
from chalicelib.edge import Edge
from chalicelib.model import Event, EventKind, Handed, Job, Run, RunState, Stop, Supersede
from chalicelib.reports.whom import pusher
from chalicelib.reports.words import first_line

log = logging.getLogger("tau.superseding")

_LOOK_BACK = 20
GAVE_UP = frozenset({RunState.CANCELLED, RunState.SUPERSEDED, RunState.SKIPPED})
"""These ends are nobody's successor: what they would have built was not built."""


@dataclass(frozen=True)
class Ancestry:
    """A branch as it was just fetched.

    Args:
        tip: where it stands; None = it is gone.
        is_ancestor: `is_ancestor(older, newer)`, both full shas; False also where one of them is unknown.
    """

    tip: str | None
    is_ancestor: Callable[[str, str], bool]


def rivals(run: Run, others: Iterable[Run]) -> list[Run]:
    """The runs that may take this one's place: same pipeline and line, another commit, not given up.

    Of runs that no commit was known of when they were planned (an image, a schedule) the newest wins. What a person
    starts at a commit stays out of it: it is not the newest, and is wanted all the same.
    """
    own = run.job.event
    if run.job.supersede is Supersede.NEVER or _is_chosen(own):
        return []
    return [
        other
        for other in others
        if other.id != run.id
        and other.job.pipeline == run.job.pipeline
        and other.job.event.line == own.line
        and (_by_order(run, other) or _by_commit(run, other))
        and not _is_chosen(other.job.event)
        and other.state not in GAVE_UP
        # Whether it builds at all is not known yet; where it does not, what this one brings would never be built.
        and not other.job.paths
        # A rebuild does less: it does not go live. And more: what stands on it is built again.
        and _is_rebuild(other.job.event) == _is_rebuild(own)
    ]


def _by_order(run: Run, other: Run) -> bool:
    """Whether the other, a newer one, comes later in what it builds: a tag, or the newest commit whenever it begins."""
    if other.id < run.id:
        return False
    if _is_tag(run.job):
        return commit_of(other) != commit_of(run) or commit_of(run) is None
    return run.job.event.commit is None and other.job.event.commit is None


def _by_commit(run: Run, other: Run) -> bool:
    """Whether it is for the commits to say: both are known by now."""
    return (
        not _is_tag(run.job) and None not in {commit_of(run), commit_of(other)} and commit_of(run) != commit_of(other)
    )


def commit_of(run: Run) -> str | None:
    """What it builds, as far as anybody knows."""
    return pinning.job_of(run).event.commit


def successor(run: Run, candidates: Sequence[Run], ancestry: Callable[[], Ancestry]) -> Run | None:
    """The run that takes this one's place: of tags the newest; of a branch's the newest that holds this commit.

    Deliveries may come in any order, so it is the commits that say which push came later, not the runs. A branch that
    was forced back to this commit is at its tip: nothing takes its place.

    Args:
        candidates: `rivals` of the run.
        ancestry: asked only where it counts.
    """
    next_ones = [other for other in candidates if _by_order(run, other)]
    rest = [other for other in candidates if other not in next_ones]
    if next_ones or not rest:
        return _newest(next_ones)
    branch, commit = ancestry(), commit_of(run) or ""
    if branch.tip in {None, commit}:
        return None
    # Forced away: no newer commit can hold it, and whatever was pushed later has replaced it.
    gone = not branch.is_ancestor(commit, branch.tip or "")
    return _newest(
        [other for other in rest if branch.is_ancestor(commit, commit_of(other) or "") or (gone and other.id > run.id)]
    )


def reason(newer: Run) -> str:
    """One sentence for the record and the mail."""
    event = newer.job.event
    what = {EventKind.IMAGE: "image", EventKind.SCHEDULE: "scheduled start", EventKind.MANUAL: "start"}.get(
        event.kind, "tag" if _is_tag(newer.job) else "push"
    )
    of = f"{event.name or newer.job.pipeline}" + (f" ({event.commit[:7]})" if event.commit else "")
    return f"a newer {what} of {of} takes its place: run {newer.id}"


def handed(run: Run) -> Mapping[str, Handed]:
    """The people whom a superseded run hands on: its own, and those that it was handed."""
    event = pinning.job_of(run).event
    said = first_line(event.head_commit_message)
    own = Handed(event.commit, pusher(event), event.pusher.name or event.pusher.login, said or None)
    return {**run.handed, run.id: own}


def ask_older(runs: Iterable[Run], edge: Edge, now: datetime) -> None:
    """Ask those who hold older runs of these refs to stop, where ci.yml says `supersede: running`.

    Whether they do is theirs to say, once they have looked at the commits. It only saves time: where asking fails, the
    older run is finished first.
    """
    for run in runs:
        if run.job.supersede is Supersede.RUNNING:
            try:
                _ask_older(run, edge, now)
            except (ClientError, BotoCoreError) as error:
                log.warning("older runs were not asked to stop", extra={"run": run.id, "reason": str(error)})


def _ask_older(run: Run, edge: Edge, now: datetime) -> None:
    for other in others_of(run, edge):
        if other.state is RunState.RUNNING and other.stop is None and rivals(other, [run]):
            edge.store.ask_to_stop(other, Stop(RunState.SUPERSEDED, run.id, now))


def others_of(run: Run, edge: Edge) -> list[Run]:
    """The latest runs of a run's ref."""
    event = run.job.event
    return list(edge.store.runs_of_ref(event.forge, event.repository or "", event.line, _LOOK_BACK))


def _newest(runs: Sequence[Run]) -> Run | None:
    return max(runs, key=lambda run: run.id, default=None)


def _is_chosen(event: Event) -> bool:
    return event.kind is EventKind.MANUAL and event.commit is not None


def _is_rebuild(event: Event) -> bool:
    return event.image is not None and event.pipeline is not None


def _is_tag(job: Job) -> bool:
    return (job.event.ref or "").startswith("refs/tags/")
