"""One container for one command: created, watched to its end or its deadline, looked at, removed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from docker.errors import APIError, NotFound
from docker.types import LogConfig, Ulimit

from chalicelib.errors import StepErrored, StepFailed
from chalicelib.reports.words import size
from runner import images
from runner.aside import aside, settled
from runner.context import Log
from runner.ending import Ending, Limits
from runner.frames import Attached
from runner.pace import Real
from runner.stopping import Stopping

_TIDY_S = 30
_PACE = Real()
_PROCESSES = 4096
# Many for a suite and its database, and below the hard limits that engines without CAP_SYS_RESOURCE were seen to have
# (20000): a container that asks for more than its engine may give does not start.
_OPEN_FILES = 16384
# Half of what everything outside has: where all want the processors, runner and registry go first; else a suite has
# them all.
# A quota would make suites slower on an idle machine and protect nothing more.
_CPU_SHARES = 512
# What images of web servers and databases do as root before they become somebody else: make files over to a user
# (CHOWN, DAC_OVERRIDE, FOWNER, FSETID), become that user (SETUID, SETGID), signal the workers they started (KILL),
# listen on port 80 (NET_BIND_SERVICE). Debian's `su` and `cron` write to the audit log, and give up where they may not.
# Of the engine's own list are left out: NET_RAW, MKNOD, SYS_CHROOT, SETPCAP, SETFCAP.
_CAPABILITIES = (
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETGID",
    "SETUID",
)
_MOST_ARCHIVE = 64 * 1024 * 1024
# A start that is refused so is the image's doing: a user that it has not, a command, a working directory.
_IMAGE_IS_WRONG = (
    "unable to find user",
    "unable to find group",
    "is not a directory",
    "OCI runtime create failed",
    "executable file not found",
)
# ... but not where this machine has nothing left to give, or never had.
_MACHINE_IS_WRONG = (
    "no space left on device",
    "cannot allocate memory",
    "resource temporarily unavailable",
    "error setting rlimit",
    "cgroup",
)


@dataclass(frozen=True)
class Wanted:
    """A container to be: what runs, with what, where, and how much it may take."""

    image: str
    command: Sequence[str]
    environment: Mapping[str, str]
    memory_bytes: int
    labels: Mapping[str, str]
    name: str
    folder: str | None = None


@dataclass(frozen=True)
class Ended:
    """How it ended. `timed_out_s`: the limit at which we stopped it, or None."""

    code: int
    out_of_memory: bool
    timed_out_s: float | None = None


@contextlib.contextmanager
def own_network(docker: Any, name: str, labels: Mapping[str, str]) -> Iterator[str]:
    """A network on which nothing else is."""
    with images.answering():
        network = docker.api.create_network(name, driver="bridge", labels={**labels, "tau.kind": "network"})["Id"]
    try:
        yield network
    finally:
        _tidy(lambda: docker.api.remove_network(network), _TIDY_S)


@contextlib.contextmanager
def created(docker: Any, wanted: Wanted, network: str, *, tidy_s: float = _TIDY_S) -> Iterator[str]:
    """A container that has not started, without privileges, and removed at the end whatever happened.

    Raises:
        StepFailed: nothing can be made of the image.
        StepErrored: the engine has not removed it in `tidy_s`.
    """
    with images.answering(), _telling_whose_fault():
        host = docker.api.create_host_config(
            init=True,
            mem_limit=wanted.memory_bytes,
            memswap_limit=wanted.memory_bytes,
            pids_limit=_PROCESSES,
            security_opt=["no-new-privileges:true"],
            cap_drop=["ALL"],
            cap_add=list(_CAPABILITIES),
            ulimits=[Ulimit(name="nofile", soft=_OPEN_FILES, hard=_OPEN_FILES)],
            cpu_shares=_CPU_SHARES,
            # Attached before the start, nothing is lost, and nothing is written twice.
            log_config=LogConfig(type="none"),
            network_mode=network,
        )
        container = docker.api.create_container(
            wanted.image,
            command=list(wanted.command),
            environment=dict(wanted.environment),
            labels={**wanted.labels, "tau.kind": "step"},
            host_config=host,
            name=wanted.name,
            working_dir=wanted.folder,
        )["Id"]
    try:
        yield container
    finally:
        _tidy(lambda: docker.api.remove_container(container, force=True, v=True), tidy_s)


def watch(docker: Any, container: str, log: Log, limits: Limits, stopping: Stopping) -> Ended:
    """Start it, follow its output to the end, and end it where it takes too long or somebody asks.

    Raises:
        StepFailed: the image cannot be started.
        StepErrored: long after its time it still runs.
        Stopped: somebody asked; it has ended, unless the engine does not do as it is told.
    """
    with images.answering(), _attached(docker, container) as output:
        stopping.check()
        with _telling_whose_fault():
            docker.api.start(container)
        with Ending(docker, container, output, limits, stopping) as ending:
            for chunk in output:
                log.write(chunk)
            code = ending.exit_code()
        state = docker.api.inspect_container(container)["State"]
    stopping.check()
    return Ended(code, bool(state.get("OOMKilled")), limits.timeout_s if ending.timed_out.is_set() else None)


def archive(docker: Any, container: str, path: str) -> bytes | None:
    """A folder of a container as tar; None when it is not there.

    Raises:
        StepFailed: it is too large to be what we look for.
    """
    with images.answering():
        try:
            chunks, _ = docker.api.get_archive(container, path)
        except NotFound:
            return None
        collected = bytearray()
        for chunk in chunks:
            collected += chunk
            if len(collected) > _MOST_ARCHIVE:
                raise StepFailed(f"{path} is larger than {size(_MOST_ARCHIVE)}: write results to a folder of their own")
    return bytes(collected)


def _tidy(remove: Callable[[], object], most_s: float) -> None:
    """Remove something; an engine that hangs is not waited for, and what is left has our labels."""
    removal = aside(remove, _PACE)
    if not settled(removal, Stopping(), _PACE, most_s):
        raise StepErrored("the Docker engine does not answer: something is left in it")
    with images.answering(), contextlib.suppress(NotFound):
        removal.result()


@contextlib.contextmanager
def _attached(docker: Any, container: str) -> Iterator[Attached]:
    """What a container prints, from its first word on."""
    output = Attached(docker, docker.api.attach(container, stream=True, stdout=True, stderr=True))
    try:
        yield output
    finally:
        output.release()


@contextlib.contextmanager
def _telling_whose_fault() -> Iterator[None]:
    """Where the engine cannot make or start a container of this image, that is the code's fault."""
    try:
        yield
    except APIError as error:
        said = str(error.explanation or error)
        if _is_the_images_fault(said):
            raise StepFailed(f"the image cannot be started: {said}") from error
        raise


def _is_the_images_fault(said: str) -> bool:
    ours = any(text in said for text in _MACHINE_IS_WRONG)
    return not ours and any(text in said for text in _IMAGE_IS_WRONG)
