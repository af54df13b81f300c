"""One container for one command: created, watched to its end or its deadline, looked at, removed."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import requests.exceptions
from docker.errors import APIError, NotFound
from docker.types import LogConfig, Ulimit

from chalicelib.errors import StepErrored, StepFailed
from chalicelib.reports.words import size
from runner import images
from runner.context import Log

_GRACE_S = 10
# From the deadline on: the grace, and a minute for an engine that refuses at first.
_STOPPING_S = _GRACE_S + 60
_AGAIN_S = 1
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
    """A container to be: what runs, with what, and how much it may take."""

    image: str
    command: Sequence[str]
    environment: Mapping[str, str]
    memory_bytes: int
    labels: Mapping[str, str]
    name: str


@dataclass(frozen=True)
class Ended:
    """How it ended. `timed_out`: we stopped it."""

    code: int
    out_of_memory: bool
    timed_out: bool


@contextlib.contextmanager
def own_network(docker: Any, name: str, labels: Mapping[str, str]) -> Iterator[str]:
    """A network on which nothing else is."""
    with images.answering():
        network = docker.api.create_network(name, driver="bridge", labels={**labels, "tau.kind": "network"})["Id"]
    try:
        yield network
    finally:
        with images.answering():
            docker.api.remove_network(network)


@contextlib.contextmanager
def created(docker: Any, wanted: Wanted, network: str) -> Iterator[str]:
    """A container that has not started, without privileges, and removed at the end whatever happened.

    Raises:
        StepFailed: nothing can be made of the image.
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
        )["Id"]
    try:
        yield container
    finally:
        with images.answering(), contextlib.suppress(NotFound):
            docker.api.remove_container(container, force=True, v=True)


def watch(docker: Any, container: str, log: Log, timeout_s: float, *, stopping_s: float = _STOPPING_S) -> Ended:
    """Start it, follow its output to the end, and stop it where it takes longer than `timeout_s`.

    Raises:
        StepFailed: the image cannot be started.
        StepErrored: `stopping_s` after the timeout it still runs.
    """
    with images.answering(), _attached(docker, container) as output:
        with _telling_whose_fault():
            docker.api.start(container)
        with _Deadline(docker, container, output, timeout_s, stopping_s) as deadline:
            for chunk in output:
                log.write(chunk)
            code = deadline.exit_code()
        state = docker.api.inspect_container(container)["State"]
    return Ended(code, bool(state.get("OOMKilled")), deadline.timed_out.is_set())


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


@contextlib.contextmanager
def _attached(docker: Any, container: str) -> Iterator[Any]:
    """What a container prints, from its first word on."""
    output = docker.api.attach(container, stream=True, stdout=True, stderr=True)
    try:
        yield output
    finally:
        # The stream's own close() ends the conversation and keeps the socket.
        output._response.close()  # noqa: SLF001 - the SDK has no other handle on it


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


class _Deadline:
    """Ends a container that takes too long; where the engine does not let it, ends the waiting for it."""

    def __init__(self, docker: Any, container: str, output: Any, timeout_s: float, stopping_s: float) -> None:
        self.timed_out = threading.Event()
        self._docker, self._container, self._output = docker, container, output
        self._timeout_s, self._most_s = timeout_s, timeout_s + stopping_s
        self._gone = threading.Event()
        self._over = threading.Event()
        self._refusal = "it still runs"
        # Two threads: a call to stop may hang, and the end of the waiting must not hang with it.
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._stop, self._give_up)]

    def __enter__(self) -> Self:
        self._over_at = time.monotonic() + self._most_s
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._gone.set()

    def exit_code(self) -> int:
        """Wait for the end: a container may close its output long before.

        Raises:
            StepErrored: it does not end.
        """
        left_s = max(self._over_at - time.monotonic(), 0) + _AGAIN_S
        try:
            return int(self._docker.api.wait(self._container, timeout=left_s)["StatusCode"])
        except requests.exceptions.RequestException as error:
            if self._over.is_set():
                raise StepErrored(f"the container could not be stopped: {self._refusal}") from error
            raise

    def _stop(self) -> None:
        if self._gone.wait(self._timeout_s):
            return
        self.timed_out.set()
        api = self._docker.api
        for is_last_resort in itertools.chain((False, False), itertools.repeat(True)):
            try:
                with images.answering():
                    api.kill(self._container) if is_last_resort else api.stop(self._container, timeout=_GRACE_S)
            except StepErrored as error:
                # It may have ended this very moment: then nobody asks for the reason.
                self._refusal = str(error)
            if self._gone.wait(_AGAIN_S):
                return

    def _give_up(self) -> None:
        if self._gone.wait(self._most_s):
            return
        self._over.set()
        # Wakes the thread that reads. The engine may have hung up already.
        with contextlib.suppress(OSError):
            self._output.close()
