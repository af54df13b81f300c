"""What dead claims left in the engine, removed: only what is labelled ours, and only when the record says so."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Any

from docker.errors import NotFound

from chalicelib.errors import BadRecord, NotThere, StepErrored
from chalicelib.model import Run, RunState
from runner import images

log = logging.getLogger("tau.leftovers")


def is_dead(labels: Mapping[str, str], run: Run | None) -> bool:
    """Whether a labelled container or network belongs to a claim that is over."""
    if run is None:
        return True
    return not (run.state is RunState.RUNNING and str(run.epoch) == labels.get("tau.epoch"))


def reap(docker: Any, system: str, find_run: Callable[[str], Run]) -> int:
    """Remove the containers and networks of dead claims, as far as the engine lets us; how many went.

    Raises:
        StepErrored: the engine does not answer.
    """
    mine = {"label": [f"tau.system={system}", "tau.run"]}
    with images.answering():
        containers = docker.api.containers(all=True, filters=mine)
        networks = docker.api.networks(filters=mine)
    removed = 0
    for thing in [*containers, *networks]:
        labels = thing["Labels"]
        if labels.get("tau.kind") in {"step", "service", "network"} and _dead(labels, find_run):
            removed += _remove(docker, thing)
    if removed:
        log.info("removed what dead claims left", extra={"count": removed})
    return removed


def _nobody(run: str) -> Run:
    raise NotThere(run)


def forget_older_images(
    docker: Any, system: str, lock: str, run: str, find_run: Callable[[str], Run] = _nobody
) -> None:
    """Keep the newest image of a lock (a branch of a pipeline), which is the next build's cache; older ones go.

    The lock may be the next run's by now: what a run that is not at its end has built stays.
    """
    labels = [f"tau.{name}={images.label_value(value)}" for name, value in (("system", system), ("lock", lock))]
    with images.answering():
        older = docker.api.images(filters={"label": labels})
    for image in older:
        made_by = image["Labels"].get("tau.run")
        if made_by == run or not _over(made_by, find_run):
            continue
        for name in image["RepoTags"] or [image["Id"]]:
            # In use by a container: it stays until the next time.
            with contextlib.suppress(StepErrored), images.answering():
                docker.api.remove_image(name if name != "<none>:<none>" else image["Id"])


def _over(run: str, find_run: Callable[[str], Run]) -> bool:
    try:
        return find_run(run).ended
    except NotThere:
        return True
    except BadRecord:
        return False


def _dead(labels: Mapping[str, str], find_run: Callable[[str], Run]) -> bool:
    try:
        return is_dead(labels, find_run(labels["tau.run"]))
    except NotThere:
        return is_dead(labels, None)
    except BadRecord:
        return False  # a newer runner on this host holds it


def _remove(docker: Any, thing: Mapping[str, Any]) -> int:
    try:
        with images.answering(), contextlib.suppress(NotFound):
            if "Driver" in thing:
                docker.api.remove_network(thing["Id"])
            else:
                docker.api.remove_container(thing["Id"], force=True, v=True)
            return 1
    except StepErrored as error:
        # One that the engine does not let go must not keep a runner from its work.
        log.warning("left in the engine", extra={"id": thing["Id"], "error": str(error)})
    return 0
