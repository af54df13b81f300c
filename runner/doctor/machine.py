"""This machine in: its engine, builder, git, folder, disks and firewall, each as a question."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chalicelib.errors import StepErrored
from chalicelib.reports.words import size
from runner import builders, images, shell, zones
from runner.buildkit import BuildKit
from runner.disk import Need, room, wanting
from runner.doctor.findings import Mark, NotWell, Question
from runner.needs import needed, read_needs
from runner.service import writable
from runner.stopping import Stopping
from runner.storage import Limits, engine_folder

# From here on `rev-parse` knows --end-of-options. https://github.com/git/git/blob/v2.30.0/Documentation/RelNotes/2.30.0.txt
_FIRST_GIT = (2, 30)
_ASK_S = 20
# Copies every layer whole. https://docs.docker.com/engine/storage/drivers/vfs-driver/
_COPYING = "vfs"


@dataclass(frozen=True)
class Machine:
    """What is looked at.

    Args:
        folder: the runner's own.
        docker: None = no engine answers.
        wants_buildkit: ci.yml has a build that only BuildKit can do.
    """

    folder: Path
    environ: Mapping[str, str]
    limits: Limits
    docker: Any
    wants_buildkit: bool = False


def questions(machine: Machine) -> Iterator[Question]:
    """Of what every machine needs on which images are built."""
    yield "git", lambda: _git(machine.environ)
    if machine.docker is not None:
        yield "engine", lambda: _engine(machine.docker)
        yield "builder", lambda: _builder(machine)
    yield "folder", lambda: _folder(machine.folder)
    yield "disk", lambda: _disk(machine)


def _git(environ: Mapping[str, str]) -> str:
    env = {"PATH": environ.get("PATH", os.defpath)}
    try:
        done = shell.run(("git", "--version"), env=env, timeout_s=_ASK_S, stopping=Stopping())
    except FileNotFoundError as error:
        raise NotWell("there is no git on PATH: install it (Debian: git)") from error
    said = done.stdout.decode(errors="replace").strip()
    version = tuple(int(part) for part in re.findall(r"\d+", said)[:2])
    if version < _FIRST_GIT:
        raise NotWell(f"{said or done.complaint} is too old: 2.30 or newer is needed")
    return said.removeprefix("git ")


def _engine(docker: Any) -> str:
    with images.answering():
        version, info = docker.api.version(), docker.api.info()
    driver = str(info["Driver"])
    said = f"Docker {version['Version']} (API {version['ApiVersion']}), storage driver {driver}"
    if driver == _COPYING:
        raise NotWell(f"{said}, which copies every layer whole: use overlay2, for time and room", Mark.MIND)
    return said


def _builder(machine: Machine) -> str:
    chosen = builders.builder(machine.docker, machine.environ)
    said = f"{chosen.name}, {chosen.because}"
    if isinstance(chosen, BuildKit):
        return said
    if machine.wants_buildkit:
        raise NotWell(f"{said}; ci.yml has `build: {{secrets: …}}`, which needs BuildKit: install docker-buildx")
    raise NotWell(f"{said}: images are built all the same, faster and with secrets by docker-buildx", Mark.MIND)


def _folder(folder: Path) -> str:
    if not folder.exists():
        there = _nearest(folder)
        if os.access(there, os.W_OK):
            return f"{folder} is made when it is wanted"
        raise NotWell(f"{folder} is not there, and {there} cannot be written: make it, for the runner's user")
    writable(folder)
    owner = folder.stat().st_uid
    if os.geteuid() == 0 and owner != 0:
        said = f"{folder} belongs to user {owner}, and you are root: ask as the runner's user, which may less"
        raise NotWell(said, Mark.MIND)
    return f"{folder} can be written"


def _nearest(folder: Path) -> Path:
    """The folder, or what is there of the way to it."""
    return next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())


def _disk(machine: Machine) -> str:
    """Whether the neediest pipeline known here would be let in now."""
    needs, need = read_needs(machine.folder), machine.limits.unknown
    for pipeline in needs:
        need = need.or_more(needed(needs, pipeline, Need()))
    engine = engine_folder(machine.docker) if machine.docker is not None else None
    rooms = (room(_nearest(machine.folder)), room(engine) if engine else None)
    short = wanting(*rooms, need, machine.limits.reserve)
    if short:
        raise NotWell(f"{'; '.join(short)}: runs wait, unless what Tau keeps is enough (`tau gc --dry-run`)")
    wanted = f"a run takes up to {size(need.folder.size_bytes + need.engine.size_bytes)}"
    return f"{'; '.join(one.words for one in rooms if one)}; {wanted}"


# --- of a code server alone -------------------------------------------------------------------------


def firewall() -> str:
    """Whether containers are kept from this machine; only root can look at the rules themselves."""
    if not zones.MARK.exists():
        raise NotWell(zones.OPEN, Mark.MIND)
    if os.geteuid() != 0:
        return "`tau zones` wrote its rules after the last restart; only root can see whether they stand"
    if not zones.stand():
        raise NotWell(f"the rules of `tau zones` are gone since they were written: {zones.OPEN}", Mark.MIND)
    return "containers are kept from this machine and its private networks"


def engine() -> Any:
    """This machine's engine, asked with little patience.

    Raises:
        StepErrored: none answers.
    """
    return images.connect(timeout_s=_ASK_S)


def engine_or_none() -> tuple[Any, str | None]:
    """The engine; or what is wrong with it."""
    try:
        return engine(), None
    except StepErrored as error:
        return None, str(error)
