"""A Docker engine in, a base image of one static busybox out: nothing is downloaded."""

from __future__ import annotations

import io
import tarfile
from contextlib import suppress
from pathlib import Path

import docker
from docker.errors import ImageNotFound

from infra.local import processes
from infra.local.processes import NotStarted
from infra.local.traces import SYSTEM_LABEL


def base_image(client: docker.DockerClient, name: str, system: str) -> str:
    """Make a base image of one static busybox, without any network; returns its id.

    It carries our labels, and so does every image built on it. One that is there already under this name is taken.

    Raises:
        NotStarted: there is no static busybox on this machine.
    """
    with suppress(ImageNotFound):
        return str(client.images.get(name).id)
    labels = (f"{SYSTEM_LABEL}={system}", "tau.kind=image")
    changes = ["ENV PATH=/bin", 'CMD ["/bin/sh"]', *(f"LABEL {label}" for label in labels)]
    repository, _, tag = name.partition(":")
    client.api.import_image_from_data(_base_files(), repository=repository, tag=tag or "latest", changes=changes)
    return str(client.images.get(name).id)


def static_busybox() -> Path:
    """The path of a busybox that needs no library.

    Raises:
        NotStarted: there is none.
    """
    path = Path(processes.need_tool("busybox", "busybox-static"))
    # An executable that needs a loader names it in its first page.
    if b"/ld-" in path.read_bytes()[:4096]:
        raise NotStarted(f"{path} needs libraries. Run `make setup`, or install a static one (Debian: busybox-static).")
    return path


def _base_files() -> bytes:
    """A tar of a small root: busybox, a link for each of its commands, and what programs expect to find."""
    busybox = static_busybox()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for folder, mode in (("bin", 0o755), ("etc", 0o755), ("root", 0o700), ("tmp", 0o1777), ("var", 0o755)):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            tar.addfile(entry)
        _add(tar, "bin/busybox", busybox.read_bytes(), 0o755)
        _add(tar, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
        _add(tar, "etc/group", b"root:x:0:\nnogroup:x:65534:\n")
        for command in _commands(busybox):
            entry = tarfile.TarInfo(f"bin/{command}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(entry)
    return packed.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))


def _commands(busybox: Path) -> list[str]:
    listed = processes.output((str(busybox), "--list")).split()
    return [command for command in listed if command != "busybox"]
