"""A run that pushed images in; recorded, what that starts: who answers to an image, and what stands on it, out."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib import graph, intake, pinning
from chalicelib.config import Config
from chalicelib.edge import Edge
from chalicelib.model import Event, Origin, Run, RunState, StepResult
from chalicelib.plan import plan
from chalicelib.providers import internal
from chalicelib.reports.words import counted
from chalicelib.starting import config_in_force

log = logging.getLogger("tau.announcing")

_MOST_NAMED = 5


def announce(run: Run, edge: Edge, now: datetime) -> None:
    """Tell the pipelines of what a run pushed. Whoever does it again says the same, and it is known already.

    Raises:
        NotThere: no ci.yml is in force yet.
    """
    config = config_in_force(edge)
    for image in graph.pushed(run, run.results):
        event = graph.event_of(image, run.job)
        _take(event, config, edge, now)
        if image.rebuild:
            answering = {job.pipeline for job in plan(event, config).jobs}
            for one in graph.next_level(event.name or "", edge.store.known_images(), image.chain):
                if one.pipeline not in answering:
                    _take(graph.rebuild_of(one, image, run.job), config, edge, now)


def _take(event: Event, config: Config, edge: Edge, now: datetime) -> None:
    delivery = internal.delivery(Origin.IMAGE, event.forge, event.provider, [event])
    answer = intake.take(delivery, config, edge, now)
    log.info("image announced", extra={"image": event.name, "pipeline": event.pipeline, **answer.body})


def left_behind(run: Run, state: RunState, results: Mapping[str, StepResult], edge: Edge) -> str:
    """What is not built again because this run did not push; empty where that is nothing."""
    job = pinning.job_of(run)
    if state not in {RunState.FAILED, RunState.ERRORED} or not graph.rebuilds(job):
        return ""
    if graph.pushed(run, results):
        return ""
    mine = {
        f"{step.settings['image']}:{tag}"
        for step in job.steps
        if step.action == "push"
        for tag in step.settings["tags"]
    }
    try:
        left = [one.named for one in graph.below(mine, edge.store.known_images())]
    except (ClientError, BotoCoreError) as error:
        # The end is written all the same; `tau images` shows what is stale.
        log.warning("cannot say what stands on it", extra={"run": run.id, "error": str(error)})
        return ""
    if not left:
        return ""
    more = f" and {len(left) - _MOST_NAMED} more" if len(left) > _MOST_NAMED else ""
    verb = "stands" if len(left) == 1 else "stand"
    was = "was" if len(left) == 1 else "were"
    return (
        f"{counted(len(left), 'image')} that {verb} on it {was} not built again: {', '.join(left[:_MOST_NAMED])}{more}"
    )
