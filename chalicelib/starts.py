"""A pipeline, and who or what starts it, in; the event of it out."""

from __future__ import annotations

from datetime import datetime

from chalicelib import wire
from chalicelib.config import Config, Pipeline, Trigger
from chalicelib.globs import is_literal
from chalicelib.model import Event, EventKind, Pusher

HEADS, TAGS = "refs/heads/", "refs/tags/"


def full_ref(ref: str | None) -> str | None:
    """`develop` as the branch that it is; a full ref, and None (the default branch), as they are."""
    return ref if ref is None or ref.startswith("refs/") else f"{HEADS}{ref}"


def literal_repository(pipeline: Pipeline) -> str | None:
    """`owner/name` of the one repository that it is of; None where a pattern leaves it open."""
    _, _, repository = pipeline.repository.partition("/")
    return repository if is_literal(repository) else None


def scheduled(pipeline: Pipeline, trigger: Trigger, repository: str, moment: datetime, config: Config) -> Event:
    """A moment of a pipeline's schedule. Whoever finds it due makes the very same event of it."""
    at = wire.time_text(moment)
    return _event(EventKind.SCHEDULE, f"{pipeline.name} {at}", pipeline, repository, full_ref(trigger.ref), config)


def started(
    pipeline: Pipeline,
    repository: str,
    ref: str | None,
    config: Config,
    *,
    nonce: str,
    by: Pusher,
    commit: str | None = None,
) -> Event:
    """A person's wish to have a pipeline run.

    Args:
        ref: full, or None: the default branch.
        nonce: tells this wish from any other.
        commit: full; it must lie on the ref. None = its newest.
    """
    return _event(EventKind.MANUAL, nonce, pipeline, repository, ref, config, commit=commit, by=by)


def _event(
    kind: EventKind,
    delivery_id: str,
    pipeline: Pipeline,
    repository: str,
    ref: str | None,
    config: Config,
    *,
    commit: str | None = None,
    by: Pusher | None = None,
) -> Event:
    forge, _, _ = pipeline.repository.partition("/")
    prefix = next((one for one in (HEADS, TAGS) if ref and ref.startswith(one)), "")
    return Event(
        forge=forge,
        provider=config.forges[forge].provider,
        delivery_id=delivery_id,
        kind=kind,
        repository=repository,
        ref=ref,
        name=ref.removeprefix(prefix) if ref else None,
        commit=commit,
        pusher=by or Pusher(),
        pipeline=pipeline.name,
    )
