"""A run that was planned a while ago and the ci.yml of today in; whether today's still wants it, out."""

from __future__ import annotations

import json

from ulid import ULID

from chalicelib.config import Config, parse
from chalicelib.edge import Edge
from chalicelib.errors import NotThere, StaleConfig
from chalicelib.model import Job, Run
from chalicelib.plan import plan


def objection(run: Run, edge: Edge) -> str | None:
    """Why a run that has not begun must not begin any more; None = it may."""
    config = newer(run, edge)
    return difference(run.job, config) if config else None


def newer(run: Run, edge: Edge) -> Config | None:
    """The ci.yml in force, where it is another one than the run was planned by; None = there is none, or not to read.

    One that came into force before the run was planned says nothing about it: two versions of the Lambda answer side by
    side for a moment.
    """
    now = edge.store.in_force()
    # A run that is done again by hand was planned when the first one was: its id keeps that time.
    planned_at = ULID.from_str(run.id).datetime
    if now is None or now.hash == run.job.config or now.since <= planned_at:
        return None
    try:
        return parse(json.loads(edge.store.config(now.hash)))
    except (NotThere, StaleConfig):
        # Of another version of this program: it was good when it was planned.
        return None


def difference(job: Job, config: Config) -> str | None:
    """What today's ci.yml says differently about a job; None where it comes to the same.

    Whom to tell, and how long it may take, may change, and registries may be added; what is done, to what, and under
    which lock, may not.
    """
    planned = plan(job.event, config)
    again = next((other for other in planned.jobs if other.pipeline == job.pipeline), None)
    if again is None:
        verdict = next((one.reason for one in planned.verdicts if one.pipeline == job.pipeline), "it is gone")
        return f"ci.yml has changed since this was pushed, and {job.pipeline} does not answer to it any more: {verdict}"
    changed = [
        name for name in ("steps", "sources", "submodules", "lock") if getattr(again, name) != getattr(job, name)
    ]
    if not job.registries.items() <= again.registries.items():
        changed.append("registries")
    if changed:
        what = " and ".join(changed)
        return f"ci.yml has changed since this was pushed, and {job.pipeline} has other {what} now: push again"
    return None
