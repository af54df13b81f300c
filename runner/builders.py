"""An engine and the `docker` commands of this machine in; how images are built here out, and why so."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chalicelib.errors import TauError
from runner import credentials, images, shell
from runner.building import Builder
from runner.buildkit import BuildKit, environment
from runner.classic import Classic
from runner.stopping import Stopping

CLIENT = "TAU_DOCKER_CLI"
_PROBE_S = 20
# From 18.09 on the engine has BuildKit, and until 22 the client speaks its protocol itself; then buildx does.
# https://docs.docker.com/engine/release-notes/23.0/ and https://docs.docker.com/reference/api/engine/version-history/
_FIRST_API = (1, 39)
_FIRST_CLIENT = (18, 9)
_FIRST_WITHOUT = (23, 0)
_VERSION = re.compile(r"Docker version (?P<version>(?P<major>\d+)\.(?P<minor>\d+)[^\s,]*)")


@dataclass(frozen=True)
class Client:
    """A `docker` command: its version (None: it is none of Docker's), and whether `buildx` works with it."""

    path: str
    version: str | None
    has_buildx: bool = False

    @property
    def speaks_buildkit(self) -> bool:
        if self.version is None:
            return False
        major, minor = (int(part) for part in re.findall(r"\d+", self.version)[:2])
        return self.has_buildx or _FIRST_CLIENT <= (major, minor) < _FIRST_WITHOUT


@dataclass(frozen=True)
class EngineFacts:
    """What an engine says of itself: the API's newest version, the kernel under its containers, what it really is."""

    api: tuple[int, ...]
    os: str = "linux"
    components: tuple[str, ...] = ("Engine",)

    @property
    def lacks_buildkit(self) -> str | None:
        """Why it has none; None = it has."""
        if "Engine" not in self.components:
            return f"{self.components[0] if self.components else 'this engine'} is not Docker's"
        if self.os != "linux":
            return f"the engine runs containers of {self.os}"
        return None if self.api >= _FIRST_API else "the engine is older than 18.09"


@dataclass(frozen=True)
class Choice:
    """The client by which BuildKit is asked for; None = the classic builder it is. `because` says why, for a reader."""

    client: Client | None
    because: str


def choose(engine: EngineFacts, clients: Iterable[Client]) -> Choice:
    """The first client that speaks BuildKit, where the engine has it."""
    lacking = engine.lacks_buildkit
    if lacking:
        return Choice(None, lacking)
    tried = tuple(clients)
    able = next((client for client in tried if client.speaks_buildkit), None)
    if able:
        return Choice(able, f"by {able.path} {able.version}{' with buildx' if able.has_buildx else ''}")
    return Choice(None, "; ".join(map(_cannot, tried)) or "there is no `docker` command on PATH")


def _cannot(client: Client) -> str:
    if client.version is None:
        return f"{client.path} is not Docker's"
    return f"{client.path} {client.version} has no buildx"


def builder(docker: Any, environ: Mapping[str, str]) -> Builder:
    """How this runner builds, asked once: BuildKit where engine and client have it, else the classic builder.

    Raises:
        StepErrored: the engine does not answer.
    """
    with images.answering():
        version, info = docker.api.version(), docker.api.info()
    components = tuple(str(part["Name"]) for part in version.get("Components") or ())
    api = tuple(int(part) for part in str(version["ApiVersion"]).split("."))
    chosen = choose(EngineFacts(api, str(version.get("Os", "linux")), components), clients(environ))
    if chosen.client is None:
        return Classic(chosen.because)
    return BuildKit(chosen.client.path, chosen.because, environ, str(info["ID"]))


def clients(environ: Mapping[str, str]) -> Iterator[Client]:
    """The `docker` commands that may be used, in their order: the one that the operator names, or all on PATH."""
    named = environ.get(CLIENT)
    folders = environ.get("PATH", os.defpath).split(os.pathsep)
    paths = [named] if named else [found for folder in folders if (found := shutil.which("docker", path=folder))]
    different: dict[Path, str] = {}
    for path in paths:
        # One command may lie under several names. https://wiki.debian.org/UsrMerge
        different.setdefault(Path(path).resolve(), path)
    yield from (_asked(path, environ) for path in different.values())


def _asked(path: str, environ: Mapping[str, str]) -> Client:
    """What a client says of itself, in the surroundings in which it would build."""
    with credentials.build_folder() as private:
        said = _output((path, "--version"), environ, private)
        found = _VERSION.search(said or "")
        if found is None:
            return Client(path, None)
        return Client(path, found["version"], _output((path, "buildx", "version"), environ, private) is not None)


def _output(argv: tuple[str, ...], environ: Mapping[str, str], private: Path) -> str | None:
    try:
        done = shell.run(argv, env=environment(environ, private), timeout_s=_PROBE_S, stopping=Stopping())
    except (OSError, TauError):
        return None
    return done.stdout.decode(errors="replace") if done.ok else None
