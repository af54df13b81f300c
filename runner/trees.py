"""The triggering repository's tree, laid into a container that has not started."""

from __future__ import annotations

import tarfile
import tempfile
from pathlib import Path

from chalicelib.model import Source
from runner import images
from runner.context import Context
from runner.remarks import remarks
from runner.submodules import Module, Submodules, lines

PLACE = "/tau/tree"
"""Where it lies in the container, and where the command starts."""

_MOST_IN_MEMORY = 8 * 1024**2


def check_out(source: Source, context: Context) -> Path:
    """The tree on this machine."""
    folder, event = context.folder / f"tree-{context.index}", context.job.event
    found = context.checkout(source.name, event.ref or "HEAD", event.commit, folder)
    complete(source.name, found, folder, context)
    return folder


def complete(repository: str, commit: str, folder: Path, context: Context) -> tuple[Module, ...]:
    """Lay the submodules of a tree that was checked out, as far as it may have any; what lies there is said."""
    found = context.submodules(repository, commit, folder)
    context.log.line(f"checked out {repository} at {commit[:7]}")
    for line in (
        *lines(repository, found or Submodules()),
        *remarks(folder, repository, submodules=found is not None),
    ):
        context.log.line(line)
    return found.modules if found else ()


def lay(tree: Path, container: str, context: Context) -> None:
    """Copy it in: what the command does to it is gone with its container, wherever the engine runs."""
    with tempfile.SpooledTemporaryFile(max_size=_MOST_IN_MEMORY, dir=str(context.folder)) as packed:
        with tarfile.open(fileobj=packed, mode="w|") as tar:
            tar.add(tree, arcname=PLACE.lstrip("/"), filter=_roots)
        packed.seek(0)
        with images.answering():
            context.docker.api.put_archive(container, "/", packed)


def _roots(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Root's, whoever this runner is: git knows no owners."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry
