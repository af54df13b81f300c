"""A bundle in, a container that answers out: all that is done to Docker."""

from __future__ import annotations

import hashlib
import http.client
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from docker import DockerClient
from docker.errors import APIError, DockerException, ImageNotFound
from docker.models.containers import Container
from docker.types import LogConfig
from requests.exceptions import RequestException

from infra.local.eb_bundle import Bundle, context, registry_of

KIND = "local-eb"
TAIL_LINES = 20
SEE = "Check snapshot logs for details."
ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
LOGS = LogConfig(type=LogConfig.types.JSON, config={"max-size": "10m", "max-file": "1"})


class DeployFailed(Exception):
    """The version does not run. Its text is what the instance's command printed."""


@dataclass(frozen=True)
class Running:
    """A container, and where it is published on loopback."""

    container: Container
    inside: int
    port: int


class Runs(Protocol):
    """Whoever brings bundles up: a Docker engine, or a test's stand-in."""

    def image(self, bundle: Bundle, login: Callable[[str], dict[str, str]]) -> str: ...

    def start(self, image: str, bundle: Bundle, variables: Mapping[str, str], labels: Mapping[str, str]) -> Running: ...

    def wait_for_answer(self, running: Running, go_on: Callable[[], None]) -> None: ...

    def answers(self, running: Running) -> bool: ...

    def printed(self, running: Running, lines: int) -> str: ...

    def remove(self, container: Container) -> None: ...

    def clean(self) -> None: ...


class Containers:
    """The containers and images of one system; nothing of another is touched.

    Args:
        system: value of the label `tau.system`: one local Elastic Beanstalk at a time for each.
        answer_timeout_s: how long a container may take until it answers HTTP.
    """

    def __init__(self, client: DockerClient, system: str, answer_timeout_s: float) -> None:
        self._client = client
        self._labels = {"tau.system": system, "tau.kind": KIND}
        self._filter: dict[str, str | list[str] | bool] = {
            "label": [f"{name}={value}" for name, value in self._labels.items()]
        }
        self._answer_timeout_s = answer_timeout_s
        self._pulled: set[str] = set()

    def image(self, bundle: Bundle, login: Callable[[str], dict[str, str]]) -> str:
        """The id of the bundle's image, pulled or built.

        Args:
            login: user and password for an image's registry; empty for none.

        Raises:
            DeployFailed: it cannot be had.
        """
        if bundle.image:
            return self._pull(bundle.image, login(bundle.image))
        for base in bundle.bases:
            if login(base):  # the engine does not know the bundle's credentials when it builds
                self._pull(base, login(base))
        return self._build(bundle)

    def start(self, image: str, bundle: Bundle, variables: Mapping[str, str], labels: Mapping[str, str]) -> Running:
        """A new container, published on a free port of loopback; it may not answer yet.

        Raises:
            DeployFailed: it did not start.
        """
        inside = bundle.port or self._exposed(image)
        try:
            container = self._client.containers.create(
                image,
                command=list(bundle.command) or None,
                entrypoint=list(bundle.entrypoint) or None,
                environment=dict(variables),
                labels={**self._labels, **labels},
                ports={f"{inside}/tcp": ("127.0.0.1", 0)},
                log_config=LOGS,
                pids_limit=2048,
            )
        except DockerException as error:
            raise DeployFailed(f"Failed to run Docker container: {error}. {SEE}") from error
        try:
            container.start()
            container.reload()
        except DockerException as error:
            self.remove(container)
            raise DeployFailed(f"Failed to run Docker container: {error}. {SEE}") from error
        published = container.attrs["NetworkSettings"]["Ports"].get(f"{inside}/tcp")
        return Running(container, inside, int(published[0]["HostPort"]) if published else 0)

    def wait_for_answer(self, running: Running, go_on: Callable[[], None]) -> None:
        """Ask until it answers with a status under 500.

        Raises:
            DeployFailed: it ended, or did not answer in time; with the tail of what it printed.
        """
        deadline = time.monotonic() + self._answer_timeout_s
        while True:
            go_on()
            running.container.reload()
            if running.container.status != "running" or not running.port:
                raise DeployFailed(f"Docker container quit unexpectedly after launch: {_said(running)}. {SEE}")
            answer = answer_of(running.port)
            if is_well(answer):
                return
            if time.monotonic() > deadline:
                raise DeployFailed(
                    f"Docker container did not answer on port {running.inside} within {self._answer_timeout_s:g} s "
                    f"({answer}): {_said(running)}. {SEE}"
                )
            time.sleep(0.1)

    def answers(self, running: Running) -> bool:
        """Whether it answers at this moment, with a status under 500."""
        return is_well(answer_of(running.port))

    def printed(self, running: Running, lines: int) -> str:
        """The last lines that it printed; nothing where the engine knows it no more."""
        with suppress(DockerException, RequestException):
            return tail(running, lines)
        return ""

    def remove(self, container: Container) -> None:
        """Stop a container and remove it, with its anonymous volumes; what cannot be removed now is left to `clean`."""
        with suppress(DockerException, RequestException):
            container.remove(force=True, v=True)

    def clean(self) -> None:
        """Remove every container, and every image that was pulled or built."""
        for container in self._client.containers.list(all=True, filters=self._filter, ignore_removed=True):
            self.remove(container)
        built = [tag for image in self._client.images.list(filters=self._filter) for tag in image.tags]
        for name in [*built, *self._pulled]:
            # 404: somebody else removed it. 409: somebody else's container uses it, so it is not only ours.
            with suppress(ImageNotFound, APIError):
                self._client.images.remove(name)
        self._pulled.clear()

    def _pull(self, name: str, login: dict[str, str]) -> str:
        repository, reference = split(name)
        full = f"{repository}@{reference}" if reference.startswith("sha256:") else f"{repository}:{reference}"
        known = self._has(full)
        try:
            # Never None for no login: the SDK would then use what this machine's user logged in with.
            stream = self._client.api.pull(repository, tag=reference, stream=True, decode=True, auth_config=login)
            for _ in _lines(stream):
                pass
            image = self._client.images.get(full)
        except (DockerException, _Said) as error:
            where = f"{name} from {registry_of(name)}"
            raise DeployFailed(f"Failed to pull Docker image {where}: {error}. {SEE}") from error
        if not known:
            self._pulled.add(full)
        return str(image.id)

    def _build(self, bundle: Bundle) -> str:
        archive = context(bundle)
        tag = f"tau-local-eb:{hashlib.sha256(archive + self._labels['tau.system'].encode()).hexdigest()[:20]}"
        printed: list[str] = []
        try:
            stream = self._client.api.build(
                fileobj=archive,  # type: ignore[arg-type]  # with a custom context the SDK sends it as the body it is
                custom_context=True,
                tag=tag,
                labels=dict(self._labels),
                rm=True,
                forcerm=True,
                decode=True,
            )
            printed.extend(line.get("stream", "") for line in _lines(stream))
            return str(self._client.images.get(tag).id)
        except (DockerException, _Said) as error:
            said = _last_lines("".join(printed))
            raise DeployFailed(f"Failed to build Docker image: {error}: {said}. {SEE}") from error

    def _has(self, name: str) -> bool:
        try:
            self._client.images.get(name)
        except ImageNotFound:
            return False
        return True

    def _exposed(self, image: str) -> int:
        ports: Iterable[str] = self._client.images.get(image).attrs["Config"].get("ExposedPorts") or ()
        return min((int(port.partition("/")[0]) for port in ports if not port.endswith("/udp")), default=80)


class _Said(Exception):
    """What a stream of the engine says went wrong: the SDK does not raise it."""


def _lines(stream: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for line in stream:
        if "error" in line:
            raise _Said(line["error"])
        yield line


def split(name: str) -> tuple[str, str]:
    """An image's repository, and its digest or tag; a tag beside a digest is left out, as the engine does.

    Source: https://pkg.go.dev/github.com/distribution/reference
    """
    repository, at, digest = name.partition("@")
    head, colon, tag = repository.rpartition(":")
    if not colon or "/" in tag:  # that colon is a port's
        head, tag = repository, "latest"
    return head, digest if at else tag


def _said(running: Running) -> str:
    return tail(running, TAIL_LINES) or "(it printed nothing)"


def tail(running: Running, lines: int) -> str:
    """The last lines that a container printed."""
    printed = running.container.logs(tail=lines, stdout=True, stderr=True)
    return _last_lines(printed.decode(errors="replace"), lines)


def _last_lines(text: str, lines: int = TAIL_LINES) -> str:
    return "\n".join(ANSI.sub("", text).strip().splitlines()[-lines:])


def is_well(answer: str) -> bool:
    """Whether an answer is a status under 500."""
    return answer.isdecimal() and int(answer) < 500


def answer_of(port: int) -> str:
    """The status that a container answers with, or why it does not."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/", headers={"User-Agent": "ELB-HealthChecker/2.0"})
        return str(connection.getresponse().status)
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()
