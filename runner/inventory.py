"""An engine and the records in, what this installation has in the engine out; nothing is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from docker.errors import NotFound

from chalicelib.edge import Edge
from chalicelib.errors import BadRecord, NotThere
from chalicelib.model import Deployment, Run
from chalicelib.records.refs import refs_key
from runner import images
from runner.retention import Inventory, Known, Made

_UNNAMED = "<none>:<none>"
_DEPLOY = "deploy_eb"


def inventory(
    docker: Any, system: str, known: Callable[[str], Known], now: datetime, lock: str | None = None
) -> Inventory:
    """The images of an installation, or only those of one lock, and what the records say of the runs that made them.

    Raises:
        StepErrored: the engine does not answer.
    """
    with images.answering():
        there = docker.api.images(all=True)
        containers = docker.api.containers(all=True)
    parents = {image["Id"]: image.get("ParentId") or "" for image in there}
    sizes = {image["Id"]: image.get("Size", 0) for image in there if _names(image)}
    bearing = [image for image in there if _is_of(image, system)]
    # A layer of others has no name and something above it: it goes with them, by the engine's own doing.
    layers = set(parents.values())
    wanted = [image for image in bearing if _names(image) or image["Id"] not in layers]
    if lock is not None:
        wanted = [image for image in wanted if image["Labels"].get("tau.lock") == images.label_value(lock)]
    made = tuple(_made(image, docker, _below(image["Id"], parents, sizes)) for image in wanted)
    return Inventory(
        images=made,
        parents=parents,
        labelled={image["Id"]: image["Labels"].get("tau.run", "") for image in bearing},
        used={one["ImageID"]: _container(one) for one in containers if "ImageID" in one},
        known={run: known(run) for run in {image.run for image in made if not image.is_layer}},
        read_at=now,
    )


def _is_of(image: Mapping[str, Any], system: str) -> bool:
    labels = image["Labels"] or {}
    return labels.get("tau.system") == system and ("tau.run" in labels or _is_layer(labels))


def _is_layer(labels: Mapping[str, str]) -> bool:
    """Whether it is a layer that a build was still at; an image that is done bears another kind."""
    return labels.get("tau.kind") == "layer"


def _names(image: Mapping[str, Any]) -> list[str]:
    return [name for name in image["RepoTags"] or () if name != _UNNAMED]


def _container(container: Mapping[str, Any]) -> str:
    # One that is just being removed has no name any more.
    return str(next(iter(container.get("Names") or [container["Id"][:12]]))).lstrip("/")


def _below(image: str, parents: Mapping[str, str], sizes: Mapping[str, int]) -> int:
    """The size of the nearest named image on which one stands."""
    below = parents[image]
    while below and below not in sizes:
        below = parents.get(below, "")
    return sizes.get(below, 0)


def _made(image: Mapping[str, Any], docker: Any, below_bytes: int) -> Made:
    run, names = image["Labels"].get("tau.run", ""), _names(image)
    ours = tuple(name for name in names if name.endswith(f":r-{run.lower()}"))
    layers, tagged_at = _inspected(image["Id"], docker)
    created_at = datetime.fromtimestamp(image.get("Created", 0), UTC)
    return Made(
        id=image["Id"],
        run=run,
        lock=unquote(image["Labels"].get("tau.lock", "")),
        names=ours,
        others=tuple(name for name in names if name not in ours),
        parent=image.get("ParentId") or "",
        layers=layers,
        is_layer=_is_layer(image["Labels"]),
        fetched=any(not digest.startswith("<none>") for digest in image.get("RepoDigests") or ()),
        own_bytes=max(0, image.get("Size", 0) - below_bytes),
        used_at=max(filter(None, (created_at, tagged_at))),
    )


def _inspected(image: str, docker: Any) -> tuple[tuple[str, ...], datetime | None]:
    """Its layers, and when it was last given a name."""
    with images.answering():
        try:
            seen = docker.api.inspect_image(image)
        except NotFound:
            return (), None
    tagged = seen.get("Metadata", {}).get("LastTagTime") or ""
    # The engine writes nanoseconds; the year 1 is its way to say never.
    tagged_at = None if tagged[:4] in {"", "0001"} else datetime.fromisoformat(f"{tagged[:19]}+00:00")
    return tuple(seen.get("RootFS", {}).get("Layers") or ()), tagged_at


# --- the records ------------------------------------------------------------------------------------


def known_by(edge: Edge) -> Callable[[str], Known]:
    """What an installation's records say of a run."""

    def known(run_id: str) -> Known:
        try:
            return _known(edge.store.run(run_id), edge)
        except NotThere:
            return Known()
        except BadRecord as error:
            return Known(waits=f"{error}")

    return known


def _known(run: Run, edge: Edge) -> Known:
    if not run.ended:
        return Known(waits=f"run {run.id} is {run.state}")
    return Known(line=line(run), is_gone=_is_gone(run, edge), deployments=tuple(_deployments(run, edge)))


def line(run: Run) -> str:
    """Whose newest images are counted together: a branch's of a pipeline; of tags, each of which comes once, all."""
    ref = run.job.event.ref or run.job.event.name or "HEAD"
    of = "refs/tags" if ref.startswith("refs/tags/") else ref
    return f"{run.job.pipeline}/{run.job.source.name}/{of}"


def _is_gone(run: Run, edge: Edge) -> bool:
    """Whether the branch is known to be gone; one of which nobody ever spoke is taken to be there."""
    event = run.job.event
    if event.repository is None or not (event.ref or "").startswith("refs/heads/"):
        return False
    ref = edge.store.ref((refs_key(event.forge, event.repository), str(event.ref)))
    return ref is not None and ref.at == ""


def _deployments(run: Run, edge: Edge) -> Iterable[Deployment]:
    for index, step in enumerate(run.job.steps):
        if step.action == _DEPLOY and (found := edge.store.deployment(f"{run.id}.{index}")):
            yield found
