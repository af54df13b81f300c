"""What is known of a commit, a ref or a delivery in; what became of it, told in lines, out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo

from chalicelib.model import Event, EventKind, Origin, Run, RunState, Verdict
from chalicelib.plan import is_elsewhere
from chalicelib.reports import words
from chalicelib.reports.words import clean, duration


@dataclass(frozen=True)
class Told:
    """A delivery, and what planning made of it.

    Args:
        called: the forge's own id of it.
        events: each with every rule's verdict, in the order of ci.yml.
        runs: what it started, as it stands; of events that were known before, nothing.
        planned: False where a part of its runs is not recorded yet.
    """

    id: str
    received_at: datetime
    forge: str
    origin: Origin
    called: str | None
    events: tuple[tuple[Event, tuple[Verdict, ...]], ...]
    runs: tuple[Run, ...] = ()
    planned: bool = True


@dataclass(frozen=True)
class Story:
    """What there is to tell.

    Args:
        asked: what was looked for, in words.
        deliveries: the newest first.
        hints: where nothing came: what to look at, most likely first.
        living: how many runners live, by pool.
    """

    asked: str
    deliveries: tuple[Told, ...]
    hints: tuple[str, ...] = ()
    living: Mapping[str, int] = field(default_factory=dict)


def lines(story: Story, now: datetime, zone: tzinfo | None, *, every: bool = False) -> list[str]:
    """The story for a terminal.

    Args:
        zone: the reader's; None = this machine's.
        every: also each rule that is about another repository.
    """
    if not story.deliveries:
        return [
            f"No delivery {story.asked} has arrived.",
            "",
            "What to look at:",
            *(f"  - {one}" for one in story.hints),
        ]
    told: list[str] = []
    for delivery in story.deliveries:
        told += [*_delivery(delivery, now, zone, story.living, every=every), ""]
    return told[:-1]


def _delivery(
    told: Told, now: datetime, zone: tzinfo | None, living: Mapping[str, int], *, every: bool
) -> Iterator[str]:
    came = f"{words.moment(told.received_at, zone)}, {duration(now - told.received_at)} ago"
    yield f"Delivery {told.id}, {came}"
    yield f"  {_brought(told)}"
    if not told.planned:
        yield "  not all of it is recorded yet: the ticker finishes it within two minutes"
    for event, verdicts in told.events:
        yield ""
        yield f"  {happened(event)}"
        for verdict in _verdicts(verdicts, every=every):
            yield f"    {verdict}"
        for run in (run for run in told.runs if run.job.event.line == event.line or len(told.events) == 1):
            yield from (f"    {line}" for line in _run(run, now, living))
    if not told.events:
        yield "  it names no change"


def _brought(told: Told) -> str:
    called = f", which calls it {clean(told.called)}" if told.called else ""
    return {
        Origin.WEBHOOK: f"a webhook of {told.forge}{called}; its signature held",
        Origin.RECONCILED: f"found by a look at {told.forge}: no webhook had said it",
        Origin.IMAGE: "made here: a run pushed an image",
        Origin.SCHEDULE: "made here: it was time",
        Origin.MANUAL: "made here: a person wanted it",
    }[told.origin]


def happened(event: Event) -> str:
    """An event in a sentence's beginning: what, where, which commit, by whom."""
    name, number = f'"{clean(event.name or "")}"', event.pull.number if event.pull else ""
    what = {
        EventKind.PUSH: f"a push to branch {name}" + (", forced," if event.forced else ""),
        EventKind.BRANCH_CREATED: f"the new branch {name}",
        EventKind.BRANCH_DELETED: f"the end of branch {name}",
        EventKind.TAG_CREATED: f"the {'moved' if event.before else 'new'} tag {name}",
        EventKind.TAG_DELETED: f"the end of tag {name}",
        EventKind.PULL_REQUEST: f"pull request {number}" + (" from a fork" if event.fork else ""),
        EventKind.PING: "a ping",
        EventKind.IMAGE: f"the image {clean(event.name or '')}",
        EventKind.SCHEDULE: f"a scheduled start of {event.pipeline}",
        EventKind.MANUAL: f"a start of {event.pipeline} by hand",
        EventKind.IGNORED: "an event that says nothing new",
    }[event.kind]
    where = f" in {event.forge}/{clean(event.repository)}" if event.repository else ""
    commit = f", commit {words.commit(event.commit)}" if event.commit else ""
    who = clean(event.pusher.login or event.pusher.name or "")
    return what + where + commit + (f", by {who}" if who else "")


def _verdicts(verdicts: Sequence[Verdict], *, every: bool) -> Iterator[str]:
    """Each rule's; those about other repositories only counted. One line where all say the same."""
    reasons = {verdict.reason for verdict in verdicts}
    if len(reasons) == 1 and len(verdicts) > 1 and not every:
        yield f"none of {len(verdicts)} pipelines: {clean(reasons.pop(), 500)}"
        return
    others = [one for one in verdicts if is_elsewhere(one)]
    shown = verdicts if every or len(others) == len(verdicts) == 1 else [one for one in verdicts if one not in others]
    width = max((len(verdict.pipeline) for verdict in shown), default=0)
    for verdict in shown:
        yield f"{verdict.pipeline:{width}}  {'yes' if verdict.matched else 'no '}  {clean(verdict.reason, 500)}"
    if others and len(shown) < len(verdicts):
        more = words.counted(len(others), "pipeline")
        yield f"{more} {'is' if len(others) == 1 else 'are'} about other repositories"


def _run(run: Run, now: datetime, living: Mapping[str, int]) -> Iterator[str]:
    yield f"run {run.id} ({run.job.pipeline}): {_stands(run, now)}"
    if run.reason:
        yield f"  {clean(run.reason, 500)}"
    if not run.ended and not living.get(run.job.pool):
        yield f"  no runner of the pool {run.job.pool} has shown life for ten minutes: start one, or look at its host"
    if told := _told(run):
        yield f"  {told}"
    if run.started_at:
        yield f"  its log: tau log {run.id}"


def _stands(run: Run, now: datetime) -> str:
    sign = words.sign(run.state)
    if run.ended:
        took = f" after {duration(run.ended_at - run.started_at)}" if run.ended_at and run.started_at else ""
        return f"{sign} {run.state}{took}"
    if run.state is RunState.WAITING:
        return f"{sign} waiting for {run.waiting_for}, {duration(now - run.created_at)} after it was planned"
    since = run.started_at if run.state is RunState.RUNNING and run.started_at else run.created_at
    return f"{sign} {run.state} for {duration(now - since)}"


def _told(run: Run) -> str:
    """Whom the run told how it ended, and whom it could not."""
    said = []
    for state, how in (("told", "told"), ("due", "still to be told"), ("failed", "could not be told")):
        who = sorted(clean(whom.partition(":")[2]) for whom, notice in run.tell.items() if notice["state"] == state)
        said += [f"{how}: {', '.join(who)}"] if who else []
    return "; ".join(said)
