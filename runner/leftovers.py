"""What dead claims left, removed: in the engine only what is labelled ours, and only when the record says so."""

from __future__ import annotations

import contextlib
import logging
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from docker.errors import NotFound

from chalicelib.errors import BadRecord, NotThere, StepErrored
from chalicelib.model import Run, RunState
from runner import images

log = logging.getLogger("tau.leftovers")

_KINDS: Mapping[str, frozenset[str]] = {
    "container": frozenset({"step", "service"}),
    "network": frozenset({"network"}),
    "volume": frozenset({"volume"}),
}
_CLAIM = re.compile(r"(?P<run>[0-9A-Z]{26})-(?P<epoch>[0-9]+)")


def is_dead(labels: Mapping[str, str], run: Run | None) -> bool:
    """Whether a labelled container or network belongs to a claim that is over."""
    if run is None:
        return True
    return not (run.state is RunState.RUNNING and str(run.epoch) == labels.get("tau.epoch"))


@dataclass(frozen=True)
class Leftover:
    """Something of a dead claim's.

    Args:
        kind: container, network, volume or folder.
        id: by which the engine knows it; a folder's path.
    """

    kind: str
    id: str
    called: str
    run: str


def reap(docker: Any, system: str, find_run: Callable[[str], Run]) -> int:
    """Remove what dead claims left in the engine, as far as it lets us; how many things went.

    Raises:
        StepErrored: the engine does not answer.
    """
    removed = sum(_remove(docker, one) for one in left(docker, system, find_run))
    if removed:
        log.info("removed what dead claims left", extra={"count": removed})
    return removed


def left(docker: Any, system: str, find_run: Callable[[str], Run]) -> list[Leftover]:
    """What dead claims left in the engine; in this order it can go.

    Raises:
        StepErrored: the engine does not answer.
    """
    mine = {"label": [f"tau.system={system}", "tau.run"]}
    with images.answering():
        things = [
            *(("container", one["Id"], _name(one), one) for one in docker.api.containers(all=True, filters=mine)),
            *(("network", one["Id"], one.get("Name", one["Id"]), one) for one in docker.api.networks(filters=mine)),
            *(("volume", one["Name"], one["Name"], one) for one in docker.api.volumes(filters=mine)["Volumes"] or ()),
        ]
    find = cache(find_run)
    return [
        Leftover(kind, key, called, thing["Labels"]["tau.run"])
        for kind, key, called, thing in things
        if thing["Labels"].get("tau.kind") in _KINDS[kind] and _dead(thing["Labels"], find)
    ]


def _name(container: Mapping[str, Any]) -> str:
    # One that is just being removed has none any more.
    return str(next(iter(container.get("Names") or [container["Id"]]))).lstrip("/")


# --- folders ----------------------------------------------------------------------------------------


def left_folders(runs: Path, find_run: Callable[[str], Run]) -> list[Leftover]:
    """The folders of claims that are over; one of a run that nobody knows is not ours to judge."""
    found = []
    for folder in sorted(runs.iterdir()) if runs.is_dir() else ():
        claim = _CLAIM.fullmatch(folder.name)
        if claim and _is_over(claim["run"], claim["epoch"], find_run):
            found.append(Leftover("folder", str(folder), folder.name, claim["run"]))
    return found


def reap_folders(runs: Path, find_run: Callable[[str], Run]) -> int:
    """Remove the folders of claims that are over; how many went. One that does not go is in nobody's way."""
    gone = [one for one in left_folders(runs, find_run) if remove_tree(Path(one.id))]
    if gone:
        log.info("removed the folders of dead claims", extra={"count": len(gone)})
    return len(gone)


def remove_tree(folder: Path) -> bool:
    """Whether a tree is gone; folders that a build has closed to writing are opened first."""

    def opened(_function: object, path: str, _error: object) -> None:
        # Another's files, root's for one, stay: what cannot be changed cannot be removed.
        with contextlib.suppress(OSError):
            Path(path).parent.chmod(0o700)
            target = Path(path)
            if target.is_dir() and not target.is_symlink():
                target.chmod(0o700)
                shutil.rmtree(target, ignore_errors=True)
            else:
                target.unlink()

    shutil.rmtree(folder, onerror=opened)
    if folder.exists():
        log.warning("a folder stays: its files are somebody else's", extra={"folder": str(folder)})
    return not folder.exists()


def _is_over(run_id: str, epoch: str, find_run: Callable[[str], Run]) -> bool:
    try:
        return is_dead({"tau.epoch": epoch}, find_run(run_id))
    except (NotThere, BadRecord):
        return False


def _dead(labels: Mapping[str, str], find_run: Callable[[str], Run]) -> bool:
    try:
        return is_dead(labels, find_run(labels["tau.run"]))
    except NotThere:
        return is_dead(labels, None)
    except BadRecord:
        return False  # a newer runner on this host holds it


def _remove(docker: Any, thing: Leftover) -> int:
    try:
        with images.answering(), contextlib.suppress(NotFound):
            if thing.kind == "container":
                docker.api.remove_container(thing.id, force=True, v=True)
            elif thing.kind == "network":
                docker.api.remove_network(thing.id)
            else:
                docker.api.remove_volume(thing.id)
            return 1
    except StepErrored as error:
        # One that the engine does not let go must not keep a runner from its work.
        log.warning("left in the engine", extra={"id": thing.id, "error": str(error)})
    return 0
