"""Nothing in, a Docker engine out: the user's own where one runs, else one of ours that leaves no trace."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import docker
from docker.context import ContextAPI
from docker.errors import APIError, DockerException
from requests.exceptions import RequestException

from infra.local import processes
from infra.local.processes import Child, NotStarted

ROOT = Path(__file__).parents[2]
STARTING_S = 60
STOPPING_S = 40
"""Longer than the keeper's own patience, so that it is the keeper who ends a stubborn engine."""

# As infra/code-server/docker-whole-logs.conf has it.
_WHOLE_LOGS = {"BUILDKIT_STEP_LOG_MAX_SIZE": "2147483647", "BUILDKIT_STEP_LOG_MAX_SPEED": "1048576"}


class NoEngine(NotStarted):
    """No Docker engine runs and none can be started here. The text says why and what to do."""


@dataclass
class Engine:
    """A Docker engine that answers.

    Args:
        host: as in DOCKER_HOST.
        started: it is ours, and stop() ends it.
    """

    host: str
    started: bool = False
    _keeper: Child | None = None
    _folder: Path | None = None
    _clients: list[docker.DockerClient] = field(default_factory=list)

    @property
    def environ(self) -> Mapping[str, str]:
        """What a child process needs in its environment to find this engine."""
        return {"DOCKER_HOST": self.host}

    def client(self, timeout_s: int = 60) -> docker.DockerClient:
        """A client of this engine; stop() closes it."""
        client = connect(self.host, timeout_s)
        self._clients.append(client)
        return client

    def stop(self) -> None:
        """Close the clients, and end the engine if it is ours. One that was there before is left alone."""
        if self.started and _complaint(self.host) is None:
            self._kill_containers()
        while self._clients:
            self._clients.pop().close()
        if self._keeper is not None:
            self._keeper.stop(STOPPING_S)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _kill_containers(self) -> None:
        """Spare the engine waiting for containers that have no handler for SIGTERM: all of them are ours."""
        try:
            for container in self.client().containers.list():
                container.kill()
        except (DockerException, RequestException):
            return  # it is gone already, or the engine is: the keeper does the rest

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


def ensure_engine() -> Engine:
    """The engine that runs, else one that we start as root.

    Raises:
        NoEngine: neither is possible.
    """
    chosen = os.environ.get("DOCKER_HOST")
    if chosen:
        complaint = _complaint(chosen)
        if complaint:
            raise NoEngine(f"DOCKER_HOST is {chosen}, and {complaint}. Start that engine, or unset DOCKER_HOST.")
        return Engine(chosen)
    for host in _usual_hosts():
        complaint = _complaint(host)
        if complaint is None:
            return Engine(host)
        if "may not" in complaint:
            raise NoEngine(f"{host}: {complaint}. Add yourself to the group docker and log in again, or run as root.")
    return start_engine()


def start_engine(folder: Path | None = None, *, apart: bool = False) -> Engine:
    """Start an engine of our own, with its own images and containers, and wait until it answers.

    Its store is a folder of its own, not /var/lib/docker: containers that the user's engine would start again on its
    next start stay asleep, and taking the folder away takes everything away.

    Args:
        folder: where everything of it lies; None = a new temporary folder. It is removed when the engine stops. Keep
            the path short: the address of a Unix socket holds 107 bytes.
        apart: in a network of its own, for a second engine beside another: two in one network flush each other's
            rules of the firewall. Its containers reach nobody.

    Raises:
        NoEngine: it cannot run here.
    """
    dockerd = _dockerd()
    folder = folder or Path(tempfile.mkdtemp(prefix="tau-engine-"))
    folder.mkdir(parents=True, exist_ok=True)
    where = "apart" if apart else "here"
    argv = (sys.executable, "-m", "infra.local.keeper", where, str(folder), *_command(dockerd, folder))
    engine = Engine(f"unix://{folder}/docker.sock", started=True, _folder=folder)
    env = {**os.environ, **_WHOLE_LOGS}
    engine._keeper = processes.start("dockerd", argv, folder / "keeper.log", env=env, cwd=ROOT)  # noqa: SLF001  # its own maker
    try:
        processes.wait_until(lambda: _complaint(engine.host) is None, engine._keeper, STARTING_S)  # noqa: SLF001  # same
    except NotStarted:
        reason = _reason(folder / "engine.log")
        engine.stop()
        raise NoEngine(f"dockerd was started and gave up. {reason}") from None
    return engine


def connect(host: str, timeout_s: int = 60, version: str | None = None) -> docker.DockerClient:
    """A client, with the certificates that the environment names for an engine elsewhere."""
    environment = {**os.environ, "DOCKER_HOST": host}
    return docker.DockerClient.from_env(version=version, timeout=timeout_s, environment=environment)


def _usual_hosts() -> list[str]:
    """Where an engine listens, the likeliest first: the context that `docker` uses, the system's, the user's own."""
    hosts = ["unix:///var/run/docker.sock"]
    context = ContextAPI.get_current_context()
    if context is not None and str(context.Host).startswith("unix://"):
        hosts.insert(0, str(context.Host).replace("unix:////", "unix:///"))
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        hosts.append(f"unix://{runtime}/docker.sock")
    return list(dict.fromkeys(hosts))


def _complaint(host: str) -> str | None:
    """Why there is no talking to the engine; None = it answers."""
    if host.startswith("unix://"):
        complaint = _socket_complaint(Path(host.removeprefix("unix://")))
        if complaint:
            return complaint
    # With a version named it asks nothing while it is made, so that it can be closed whatever the answer is.
    client = connect(host, timeout_s=5, version="1.41")
    try:
        client.ping()
    except APIError as error:
        return None if error.is_client_error() else f"it is not well ({error})"  # an engine of another version
    except (DockerException, RequestException) as error:
        return f"nothing answers there ({error})"
    finally:
        client.close()
    return None


def _socket_complaint(path: Path) -> str | None:
    """The same for a Unix socket that nobody listens at: the SDK would leave its own end open."""
    if not path.exists():
        return "nothing is there"
    with socket.socket(socket.AF_UNIX) as end:
        try:
            end.connect(str(path))
        except PermissionError:
            return f"you may not write to {path}"
        except OSError as error:
            return f"nothing answers there ({error})"
    return None


def _dockerd() -> str:
    if sys.platform != "linux":
        raise NoEngine("No Docker engine runs. Start Docker Desktop, or another engine, and try again.")
    path = processes.find_tool("dockerd")
    if os.geteuid() != 0:
        what = "Start it: `sudo systemctl start docker`" if path else "Install one (Debian: docker.io) and start it"
        raise NoEngine(f"No Docker engine runs, and without root none can be started. {what}, or run as root.")
    if path is None:
        raise NoEngine("No Docker engine is installed. Run `make setup`, or install one (Debian: docker.io iptables).")
    if processes.find_tool("iptables") is None:
        raise NoEngine("dockerd needs iptables, which is not installed. Run `make setup`, or: apt-get install iptables")
    return path


def _command(dockerd: str, folder: Path) -> tuple[str, ...]:
    # A configuration of its own: options of /etc/docker/daemon.json that are also given here are an error.
    config = folder / "daemon.json"
    config.write_text("{}\n")
    return (
        dockerd,
        f"--config-file={config}",
        f"--host=unix://{folder}/docker.sock",
        f"--data-root={folder}/data",
        f"--exec-root={folder}/exec",
        f"--pidfile={folder}/docker.pid",
    )


def _reason(log: Path) -> str:
    """The lines of dockerd's log that say why, else its last ones."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    telling = [line for line in lines if "level=error" in line or "level=fatal" in line or line.startswith("failed")]
    return "\n".join(["Its last words:", *(telling or lines)[-4:]]) if lines else "It wrote nothing."
