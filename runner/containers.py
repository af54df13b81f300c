"""One container for one command: created, watched to its end or its deadline, looked at, removed."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from hashlib import sha256
from ipaddress import IPv4Network
from typing import Any

from docker.errors import APIError, NotFound
from docker.types import IPAMConfig, IPAMPool, LogConfig, Ulimit
from requests.exceptions import RequestException
from urllib3.exceptions import HTTPError

from chalicelib.errors import StepErrored, StepFailed
from chalicelib.reports.words import size
from runner import images
from runner.aside import Answer, aside, settled
from runner.context import Log
from runner.ending import Ending, Limits
from runner.frames import Attached
from runner.pace import Pace, Real
from runner.stopping import Stopping

logger = logging.getLogger("tau.containers")

BRIDGES = "tau-"
"""What the bridges of all own networks begin with."""
# https://github.com/moby/moby/blob/v20.10.24/vendor/github.com/docker/libnetwork/drivers/bridge/labels.go
_BRIDGE = "com.docker.network.bridge.name"
# An engine may be told to give each new network IPv6, which no rule of `tau zones` knows. Those of ours have none.
# https://docs.docker.com/reference/cli/dockerd/#default-network-options
_IPV6 = "com.docker.network.enable_ipv6"
_NO_ADDRESS = "com.docker.network.bridge.inhibit_ipv4"
_REWRITES = "com.docker.network.bridge.enable_ip_masquerade"
# What has no way out needs addresses that mean nothing elsewhere, and that no rule of a firewall knows: where a rule
# makes what comes from them look like this machine's, a network in which it has no address would be silent.
# https://www.rfc-editor.org/rfc/rfc2544, appendix C.2.2
_INSIDE = IPv4Network("198.18.0.0/15")
# The engine asks servers of names for a container; where it would ask one on this machine's loopback, it leaves the
# container's network to do so, also for one that has no way out. https://nvd.nist.gov/vuln/detail/CVE-2024-29018
_NOBODY = "127.0.0.1"
_LOOPBACK = "127.0.0.1"
_TIDY_S = 30
_TIDY_WHEN_ASKED_S = 10
# Making, starting, asking: even on a machine that is overloaded it takes no such time.
_PATIENCE_S = 60
_MOMENT_S = 2
_LAST_WORDS_S = 5
_PACE = Real()
PROCESSES = 4096
# A file of a suite or a database is smaller; what fills a disk in one call is not begun.
FILE_BYTES = 10 * 1024**3
# Many for a suite and its database, and below the hard limits that engines without CAP_SYS_RESOURCE were seen to have
# (20000): a container that asks for more than its engine may give does not start.
_OPEN_FILES = 16384
# Half of what everything outside has: where all want the processors, runner and registry go first; else a suite has
# them all.
# A quota would make suites slower on an idle machine and protect nothing more: only ci.yml asks for one.
_CPU_SHARES = 512
_NANO = 10**9
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
_PACKED_BYTES = 1024 * 1024
# The engine packs as it sends: one that is silent for so long hangs.
_PACKED_S = 60
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
    """A container to be: what runs, with what, where, and how much it may take.

    Args:
        command: None = the image's own.
        processors: how many it may use; None = all that others leave it.
        processes: how many it may have at a time, threads counted.
        file_bytes: how large one of its files may become.
        kind: what its label says that it is.
        known_as: by which name the others of its network reach it.
        inside: its network has no way out.
        ports: which of its ports (`80/tcp`) are to be reached on this machine's loopback, and by which port there; None
            = one that is free.
    """

    image: str
    command: Sequence[str] | None
    environment: Mapping[str, str]
    memory_bytes: int
    labels: Mapping[str, str]
    name: str
    folder: str | None = None
    processors: int | None = None
    processes: int = PROCESSES
    file_bytes: int = FILE_BYTES
    kind: str = "step"
    known_as: str | None = None
    inside: bool = False
    ports: Mapping[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """How it ended.

    Args:
        timed_out_s: the limit at which we stopped it, or None.
        filled: it wrote more than it may keep, and we stopped it.
        without: which of its services ended before it, and how, in a sentence.
    """

    code: int
    out_of_memory: bool
    timed_out_s: float | None = None
    filled: bool = False
    without: str | None = None


@contextlib.contextmanager
def own_network(
    docker: Any,
    name: str,
    labels: Mapping[str, str],
    *,
    inside: bool = False,
    published: bool = False,
    stopping: Stopping | None = None,
) -> Iterator[str]:
    """A network on which nothing else is.

    Args:
        inside: it has no way out; nor has this machine an address in it, by which its services would be reached.
        published: this machine has one all the same, so that ports can be published on its loopback.

    Raises:
        StepErrored: the engine does not do its part.
        Stopped: somebody asks for it.
    """

    def make() -> str:
        return _network(docker, name, {**labels, "tau.kind": "network"}, inside=inside, published=published)

    with images.answering():
        network = _soon(make, stopping or Stopping(), docker.api.remove_network)
    try:
        yield network
    finally:
        _tidy(lambda: docker.api.remove_network(network), _TIDY_S)


def _network(docker: Any, name: str, labels: Mapping[str, str], *, inside: bool, published: bool) -> str:
    options = {_BRIDGE: bridge_of(name), _IPV6: "false"}
    if not inside:
        return str(docker.api.create_network(name, driver="bridge", options=options, labels=labels)["Id"])
    # The engine publishes no port of an internal network, nor of one in which this machine has no address. An ordinary
    # one in which nobody rewrites addresses has the same use: what is sent out of it comes from an address that is
    # nobody's, so no answer finds back.
    options[_REWRITES if published else _NO_ADDRESS] = "false" if published else "true"
    for subnet in _subnets(name):
        with _passing_over_what_is_taken():
            made = docker.api.create_network(
                name,
                driver="bridge",
                internal=not published,
                options=options,
                ipam=IPAMConfig(pool_configs=[IPAMPool(subnet=subnet)]),
                labels=labels,
            )
            return str(made["Id"])
    raise StepErrored(f"no addresses are left in {_INSIDE} for a network of its own")


def _subnets(name: str) -> Iterator[str]:
    """The networks of _INSIDE, beginning somewhere: runs beside each other ask for others."""
    there = list(_INSIDE.subnets(new_prefix=24))
    first = int(sha256(name.encode()).hexdigest(), 16) % len(there)
    return map(str, [*there[first:], *there[:first]])


@contextlib.contextmanager
def _passing_over_what_is_taken() -> Iterator[None]:
    try:
        yield
    except APIError as error:
        if "overlaps" not in str(error.explanation or error):
            raise


def bridge_of(network: str) -> str:
    """What the kernel calls a network of ours: rules of the firewall know it by its first letters."""
    # 15 characters at most. https://man7.org/linux/man-pages/man8/ip-link.8.html
    return f"{BRIDGES}{sha256(network.encode()).hexdigest()[:11]}"


@contextlib.contextmanager
def created(
    docker: Any, wanted: Wanted, network: str, *, tidy_s: float = _TIDY_S, stopping: Stopping | None = None
) -> Iterator[str]:
    """A container that has not started, without privileges, and removed at the end whatever happened.

    Args:
        tidy_s: for how long its removal is waited for; whoever reaps removes it then.

    Raises:
        StepFailed: nothing can be made of the image.
        StepErrored: the engine does not answer.
        Stopped: somebody asks for it.
    """

    def remove(made: Mapping[str, Any]) -> None:
        docker.api.remove_container(made["Id"], force=True, v=True)

    with images.answering(), _telling_whose_fault():
        making = functools.partial(
            docker.api.create_container,
            wanted.image,
            command=None if wanted.command is None else list(wanted.command),
            environment=dict(wanted.environment),
            labels={**wanted.labels, "tau.kind": wanted.kind},
            host_config=_limits(docker, wanted, network),
            networking_config=_known_as(docker, wanted, network),
            name=wanted.name,
            working_dir=wanted.folder,
            ports=[tuple(port.split("/")) for port in wanted.ports] or None,
            # Who wants to know whether it is well asks by himself.
            healthcheck={"test": ["NONE"]},
        )
        made = _soon(making, stopping or Stopping(), remove)
    try:
        yield str(made["Id"])
    finally:
        patience_s = min(tidy_s, _TIDY_WHEN_ASKED_S) if stopping and stopping.why else tidy_s
        _tidy(lambda: remove(made), patience_s)


def _limits(docker: Any, wanted: Wanted, network: str) -> Any:
    """What a container may have of its host."""
    return docker.api.create_host_config(
        init=True,
        mem_limit=wanted.memory_bytes,
        memswap_limit=wanted.memory_bytes,
        pids_limit=wanted.processes,
        security_opt=["no-new-privileges:true"],
        cap_drop=["ALL"],
        cap_add=list(_CAPABILITIES),
        ulimits=[
            Ulimit(name="nofile", soft=_OPEN_FILES, hard=_OPEN_FILES),
            Ulimit(name="fsize", soft=wanted.file_bytes, hard=wanted.file_bytes),
        ],
        cpu_shares=_CPU_SHARES,
        nano_cpus=None if wanted.processors is None else wanted.processors * _NANO,
        # Attached before the start, nothing is lost, and nothing is written twice.
        log_config=LogConfig(type="none"),
        network_mode=network,
        dns=[_NOBODY] if wanted.inside else None,
        port_bindings={port: (_LOOPBACK, here) for port, here in wanted.ports.items()} or None,
    )


def _known_as(docker: Any, wanted: Wanted, network: str) -> Any:
    if wanted.known_as is None:
        return None
    return docker.api.create_networking_config({network: docker.api.create_endpoint_config(aliases=[wanted.known_as])})


def published(docker: Any, container: str) -> dict[str, int]:
    """By which port of this machine's loopback each published port (`80/tcp`) of a running container is reached."""
    with images.answering():
        ports = docker.api.inspect_container(container)["NetworkSettings"]["Ports"] or {}
    return {port: int(bound[0]["HostPort"]) for port, bound in ports.items() if bound}


def start(docker: Any, container: str) -> None:
    """Start it, and let it run.

    Raises:
        StepFailed: the image cannot be started.
    """
    with images.answering(), _telling_whose_fault():
        docker.api.start(container)


@contextlib.contextmanager
def heard(docker: Any, container: str, write: Callable[[bytes], None], pace: Pace) -> Iterator[None]:
    """Whatever a container prints goes there, from its first word on; to be left once the container is gone."""
    with images.answering():
        output = docker.api.attach(container, stream=True, stdout=True, stderr=True)

    def listen() -> None:
        # The engine may go in the middle of a word.
        with contextlib.suppress(OSError, HTTPError, RequestException):
            for chunk in output:
                write(chunk)

    listening = pace.start(listen, "service")
    try:
        yield
    finally:
        listening.join(_LAST_WORDS_S)
        output._response.close()  # noqa: SLF001 - as in _attached


def watch(docker: Any, container: str, log: Log, limits: Limits, stopping: Stopping) -> Ended:
    """Start it, follow its output to the end, and end it where it takes too long or somebody asks.

    Raises:
        StepFailed: the image cannot be started.
        StepErrored: long after its time it still runs.
        Stopped: somebody asked; it has ended, unless the engine does not do as it is told.
    """
    with images.answering(), _attached(docker, container, stopping) as output:
        stopping.check()
        with _telling_whose_fault():
            _soon(lambda: docker.api.start(container), stopping)
        with Ending(docker, container, output, limits, stopping) as ending:
            for chunk in output:
                log.write(chunk)
            code = ending.exit_code()
        state = _soon(lambda: docker.api.inspect_container(container)["State"], stopping)
    stopping.check()
    return Ended(
        code,
        bool(state.get("OOMKilled")),
        limits.timeout_s if ending.timed_out.is_set() else None,
        filled=ending.filled.is_set(),
    )


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
def packed(docker: Any, container: str, path: str) -> Iterator[Iterator[bytes] | None]:
    """A file or folder of a container as tar, in chunks, as they come; None when it is not there.

    To be left before anything else is done to the container: the engine holds it until all is read, or the line is cut,
    for which the SDK's own way has no means.
    """
    with images.answering():
        address = docker.api._url("/containers/{0}/archive", container)  # noqa: SLF001 - as said above
        how = {
            "params": {"path": path},
            "headers": {"Accept-Encoding": "identity"},
            "stream": True,
            "timeout": _PACKED_S,
        }
        response = docker.api._get(address, **how)  # noqa: SLF001
        try:
            chunks: Iterator[bytes] | None = None
            with contextlib.suppress(NotFound):
                docker.api._raise_for_status(response)  # noqa: SLF001
                chunks = response.iter_content(_PACKED_BYTES)
            yield chunks
        finally:
            response.close()


def _tidy(remove: Callable[[], object], most_s: float) -> None:
    """Remove something. What an engine does not let go has our labels, and no verdict hangs on it."""
    removal = aside(remove, _PACE)
    if not settled(removal, Stopping(), _PACE, most_s):
        logger.warning("something is left in the engine", extra={"error": f"it has not answered for {most_s:.0f} s"})
        return
    try:
        with images.answering(), contextlib.suppress(NotFound):
            removal.result()
    except StepErrored as error:
        logger.warning("something is left in the engine", extra={"error": str(error)})


def _soon(call: Callable[[], Answer], stopping: Stopping, undo: Callable[[Answer], object] = lambda _: None) -> Answer:
    """What an engine does at once, where it does anything.

    Args:
        undo: is done with an answer for which nobody waits any more.

    Raises:
        StepErrored: it hangs.
        Stopped: somebody asks for it.
    """

    def let_go(late: Future[Answer]) -> None:
        # An engine that is gone by then has let go by itself.
        with contextlib.suppress(StepErrored), images.answering():
            undo(late.result())

    future = aside(call, _PACE)
    if not settled(future, stopping, _PACE, _PATIENCE_S):
        # What is just being made is gone before somebody makes another of that name.
        if settled(future, Stopping(), _PACE, _MOMENT_S):
            let_go(future)
        else:
            future.add_done_callback(let_go)
        stopping.check()
        raise StepErrored(f"the Docker engine does not answer: it was waited for for {_PATIENCE_S} s")
    return future.result()


@contextlib.contextmanager
def _attached(docker: Any, container: str, stopping: Stopping) -> Iterator[Attached]:
    """What a container prints, from its first word on."""
    attach = functools.partial(docker.api.attach, container, stream=True, stdout=True, stderr=True)
    output = Attached(docker, _soon(attach, stopping, lambda late: Attached(docker, late).release()))
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
