"""A job that was planned without a commit, and the one that its run found, in; the whole job out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from chalicelib.fit import Sink, fill, placeholders
from chalicelib.model import Job, Json, Run

UNKNOWN = "0" * 40
"""Stands for the commit while planning sees whether it fits."""
UNKNOWN_AT_FIRST = frozenset({"commit", "commit7"})
"""The placeholders that such a job leaves open."""


def values(commit: str) -> dict[str, str]:
    """What the placeholders of a commit stand for."""
    return {"commit": commit, "commit7": commit[:7]}


def left_open(template: str, sink: Sink, known: Mapping[str, str], ref: str) -> Json:
    """A template as it is planned without a commit: filled in where it names none, else open until the run knows it.

    Raises:
        CannotFit: it would not fit, whatever the commit.
    """
    text = fill(template, sink, {**known, **values(UNKNOWN)}, ref)
    named = {one.name for one in placeholders(template)}
    if not named & UNKNOWN_AT_FIRST:
        return text
    return {"open": template, "sink": str(sink), "values": {name: known[name] for name in named & set(known)}}


def key(job: Job) -> str:
    """Under which key the journal says which commit it is: as of every repository that a step checks out."""
    return f"source {job.source.name}"


def entry(run: Run, commit: str, at: str) -> Mapping[str, Json]:
    """The journal's line of it; it belongs to no step."""
    return {"step": -1, "kind": "seen", "key": key(run.job), "epoch": run.epoch, "at": at, "commit": commit}


def line_of(run: Run) -> Mapping[str, Json] | None:
    """The journal's line of it, where it was written."""
    return next((line for line in run.journal if line["step"] == -1 and line["key"] == key(run.job)), None)


def job_of(run: Run) -> Job:
    """The run's job with the commit that it builds, as far as anybody knows it."""
    line = line_of(run)
    if run.job.event.commit or line is None:
        return run.job
    return with_commit(run.job, line["commit"])


def with_commit(job: Job, commit: str) -> Job:
    """The job as it would have been planned for that commit."""
    ref = job.event.ref or ""
    steps = tuple(replace(step, settings=_closed(step.settings, commit, ref)) for step in job.steps)
    return replace(job, event=replace(job.event, commit=commit), steps=steps)


def _closed(value: Json, commit: str, ref: str) -> Json:
    if isinstance(value, Mapping):
        if value.keys() == {"open", "sink", "values"}:
            return fill(value["open"], Sink(value["sink"]), {**value["values"], **values(commit)}, ref)
        return {name: _closed(part, commit, ref) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_closed(part, commit, ref) for part in value]
    return value
