"""A person's wish in: a pipeline started, or a delivery planned once more, by the ci.yml in force."""

from __future__ import annotations

import difflib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ulid import ULID

from chalicelib import intake, starts
from chalicelib.answering import Answer
from chalicelib.config import Config, Pipeline, parse
from chalicelib.edge import Edge
from chalicelib.errors import NotThere, TauError
from chalicelib.model import Origin, Pusher
from chalicelib.providers import internal
from chalicelib.providers.reading import is_storable
from chalicelib.records.deliveries import Replay, delivery_of
from chalicelib.reports.words import clean

log = logging.getLogger("tau.starting")

_NEXT = timedelta(milliseconds=1)


class CannotStart(TauError):
    """What was named cannot be started like this, and why."""


@dataclass(frozen=True)
class Wish:
    """What somebody wants started.

    Args:
        pipeline: its name in ci.yml.
        repository: `owner/name`; only where the pipeline's own is a pattern.
        ref: a branch's or a tag's name, or a full ref; None = the default branch.
        commit: a full sha on it; None = its newest.
        by: who wants it.
        address: where they read mail, if they want to be told as a pusher is.
    """

    pipeline: str
    by: str
    repository: str | None = None
    ref: str | None = None
    commit: str | None = None
    address: str | None = None


def trigger(wish: Wish, edge: Edge, now: datetime, new_id: Callable[[datetime], str] = intake.ulid) -> Answer:
    """Start it; each call is a start of its own.

    Raises:
        NotThere: no such pipeline, or no ci.yml is in force yet.
        CannotStart: it does not say which repository, or names another one; or git allows no such ref.
    """
    config = config_in_force(edge)
    pipeline = pipeline_named(wish.pipeline, config, "ci.yml, as it is in force,")
    repository = repository_of(wish, pipeline)
    delivery_id = new_id(now)
    event = starts.started(
        pipeline,
        repository,
        _ref(wish.ref, pipeline, repository, edge),
        config,
        nonce=delivery_id,
        by=Pusher(login=wish.by, email=wish.address),
        commit=wish.commit,
    )
    delivery = internal.delivery(Origin.MANUAL, event.forge, event.provider, [event])
    answer = intake.take(delivery, config, edge, now, delivery_id)
    log.info("started by hand", extra={"pipeline": pipeline.name, "by": wish.by, **answer.body})
    return answer


def replay(
    delivery_id: str, by: str, edge: Edge, now: datetime, new_id: Callable[[datetime], str] = intake.ulid
) -> Answer:
    """Plan a delivery once more, with new runs. Its body may have been seen: a person asks.

    The runs stand right behind the delivery that they repeat: where its branch has gone on, or a newer tag is there,
    that one wins, as it would have then.

    Raises:
        NotThere: no such delivery, or no ci.yml is in force yet.
    """
    record = edge.store.delivery(delivery_id)
    if record is None:
        raise NotThere(f"there is no delivery {clean(delivery_id)}; records are kept for 90 days")
    config, again = config_in_force(edge), new_id(ULID.from_str(delivery_id).datetime + _NEXT)
    delivery = delivery_of(record, intake.body_of(record, edge))
    accepted = intake.accept(delivery, config, now, again, replay=Replay(delivery_id, by))
    answer = intake.take_again(replace(accepted, body_key=record.get("body_key")), edge)
    log.info("replayed", extra={"of": delivery_id, "by": by, **answer.body})
    return answer


def config_in_force(edge: Edge) -> Config:
    """The ci.yml with which the functions were deployed last.

    Raises:
        NotThere: none was yet.
        StaleConfig: it is of another version of this program.
    """
    in_force = edge.store.in_force()
    if in_force is None:
        raise NotThere("no ci.yml is in force yet: deploy the functions; the ticker notes it within a minute")
    return parse(json.loads(edge.store.config(in_force.hash)))


def pipeline_named(name: str, config: Config, where: str) -> Pipeline:
    """The pipeline of that name.

    Raises:
        NotThere: there is none; says which are, or what may have been meant.
    """
    by_name = {pipeline.name: pipeline for pipeline in config.pipelines}
    if name in by_name:
        return by_name[name]
    near = difflib.get_close_matches(name, by_name, 1)
    hint = f'did you mean "{near[0]}"?' if near else f"there are: {', '.join(by_name)}"
    raise NotThere(f"{where} has no pipeline {clean(name)}; {hint}")


def repository_of(wish: Wish, pipeline: Pipeline) -> str:
    """`owner/name` of what is to be built.

    Raises:
        CannotStart: the pipeline is of several, and the wish names none.
    """
    own = starts.literal_repository(pipeline)
    if own is None and wish.repository is None:
        raise CannotStart(f"{pipeline.name} is of {pipeline.repository}: say which with --repository OWNER/NAME")
    return wish.repository or own or ""


def _ref(name: str | None, pipeline: Pipeline, repository: str, edge: Edge) -> str | None:
    """The branch of that name, else the tag, as far as anybody has heard of them; a branch where nobody has."""
    if name is None:
        return name
    full = name if name.startswith("refs/") else f"{starts.HEADS}{name}"
    if not is_storable(full):
        raise CannotStart(f"git lets no branch or tag be called {clean(name)}")
    if full == name:
        return name
    forge, _, _ = pipeline.repository.partition("/")
    known = {ref for ref, stands in edge.store.refs_of(forge, repository).items() if stands.at}
    branch, tag = f"{starts.HEADS}{name}", f"{starts.TAGS}{name}"
    return tag if tag in known and branch not in known else branch
