"""A wish and a working copy in; the job that is made of both, as the copy is now, out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ulid import ULID

from chalicelib import pinning, starts
from chalicelib.config import Config
from chalicelib.errors import BadInput
from chalicelib.model import Job
from chalicelib.reports.words import clean
from chalicelib.starting import Wish
from runner.laptop import alone, jobs
from runner.laptop.jobs import Trimmed
from runner.laptop.machine import Say, check_secrets
from runner.laptop.stand_ins import Copy, StandIns


@dataclass(frozen=True)
class Asked:
    """What is to be run, and where its trees are.

    Args:
        wish: the pipeline, and of what it is; what is left open there, the working copy says.
        path: a folder of the working copy that stands in for the pipeline's repository.
        other: one of the working copy that stands in for the other repository; None = it is fetched from its forge.
        config, where: the ci.yml, and what it is called in a complaint.
    """

    wish: Wish
    path: Path
    other: Path | None
    config: Config
    where: str


def job_of(
    asked: Asked,
    copy: Copy,
    trim: Callable[[Job], Trimmed],
    stand_ins: StandIns,
    given: alone.Given,
    say: Say,
    *,
    whose: str,
) -> Trimmed:
    """The job of the working copy as it is now; what it is of is said.

    Args:
        copy: the one at `asked.path`.
        trim: leaves out the steps that nobody asked for.
        whose: what tells it from what else is made of the same copy, at the same time.
    """
    ref, repository = asked.wish.ref or copy.ref, asked.wish.repository or copy.origin
    wish = replace(asked.wish, ref=ref, repository=repository if _is_open(asked) else asked.wish.repository)
    trimmed = trim(jobs.planned(wish, asked.config, asked.where, str(ULID())))
    planned = trimmed.job
    check_secrets(planned, given)
    snapshot = stand_ins.snapshot(copy, jobs.own_refs(planned), whose)
    addresses = {planned.source.name: snapshot.address, **_others(asked, planned, stand_ins, whose)}
    job = jobs.at(pinning.with_commit(jobs.readable(planned, given.has), snapshot.commit), addresses)
    state = "with what is not committed" if snapshot.dirty else "as it was committed"
    say(f"{job.pipeline}: {copy.folder} {state}, {snapshot.commit[:7]}, as {job.event.ref or 'the default branch'}")
    for path in snapshot.unfinished:
        say(f"what is not committed in {clean(path)} is left out: it is a repository of its own")
    return replace(trimmed, job=job)


def _is_open(asked: Asked) -> bool:
    """Whether the pipeline is of several repositories, so that the working copy's origin says which."""
    named = next((one for one in asked.config.pipelines if one.name == asked.wish.pipeline), None)
    return named is not None and starts.literal_repository(named) is None


def _others(asked: Asked, job: Job, stand_ins: StandIns, whose: str) -> dict[str, str]:
    """Where the repositories beside the job's own are fetched from."""
    refs = jobs.others(job)
    if asked.other is None:
        return {name: stand_ins.fetched(job.sources[name], refs[name]) for name in refs}
    if len(refs) != 1:
        raise BadInput(f"--from stands in for one other repository; {job.pipeline} builds from {len(refs)}")
    ((name, wanted),) = refs.items()
    return {name: stand_ins.snapshot(stand_ins.look(asked.other), wanted, whose).address}
