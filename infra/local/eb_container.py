"""A bundle in, a container that answers out: all that is done to Docker."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Protocol

from docker import DockerClient
from docker.errors import DockerException
from docker.models.containers import Container
from docker.models.networks import Network
from docker.types import LogConfig
from requests.exceptions import RequestException

from infra.local.eb_compose import Service
from infra.local.eb_images import SEE, TAIL_LINES, DeployFailed, Images, last_lines

KIND = "local-eb"
LOGS = LogConfig(type=LogConfig.types.JSON, config={"max-size": "10m", "max-file": "1"})


@dataclass(frozen=True)
class Running:
    """A container that is to answer, and where it is published on loopback.

    Args:
        beside: the containers that it needs, by their services' names.
        network: where they find each other.
    """

    container: Container
    inside: int
    port: int
    beside: Mapping[str, Container] = field(default_factory=dict)
    network: Network | None = None


class Runs(Protocol):
    """Whoever brings bundles up: a Docker engine, or a test's stand-in."""

    def up(
        self,
        services: Sequence[Service],
        login: Callable[[str], dict[str, str]],
        variables: Mapping[str, str],
        labels: Mapping[str, str],
    ) -> Running: ...

    def wait_for_answer(self, running: Running, go_on: Callable[[], None]) -> None: ...

    def answers(self, running: Running) -> bool: ...

    def printed(self, running: Running, lines: int) -> str: ...

    def remove(self, running: Running) -> None: ...

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
        self._images = Images(client, self._labels)
        self._networked = False

    def up(
        self,
        services: Sequence[Service],
        login: Callable[[str], dict[str, str]],
        variables: Mapping[str, str],
        labels: Mapping[str, str],
    ) -> Running:
        """New containers, the one that is to answer published on a free port of loopback; it may not answer yet.

        Args:
            login: user and password for an image's registry; empty for none.
            variables: the environment's.

        Raises:
            DeployFailed: an image cannot be had, or a container does not start.
        """
        images = [self._images.of(service.bundle, login) for service in services]
        own = {**self._labels, **labels}
        containers: dict[str, Container] = {}
        with ExitStack() as undo:
            network = self._network(own) if len(services) > 1 else None
            if network:
                undo.callback(_remove, network)
            for service, image in zip(services, images, strict=True):
                made = self._create(service, image, service.with_variables(variables), own)
                undo.callback(self._remove, made)
                _start(made, network, service)
                containers[service.name] = made
            front = next(service for service in services if service.answers)
            inside = front.bundle.port or self._images.port(images[services.index(front)])
            container = containers.pop(front.name)
            container.reload()
            undo.pop_all()
        published = container.attrs["NetworkSettings"]["Ports"].get(f"{inside}/tcp")
        return Running(container, inside, int(published[0]["HostPort"]) if published else 0, containers, network)

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
            own = tail(running.container, lines)
            others = ((name, tail(container, lines)) for name, container in running.beside.items())
            return "\n".join([own, *(f"{name} | {line}" for name, text in others for line in text.splitlines())])
        return ""

    def remove(self, running: Running) -> None:
        """Stop the containers and remove them, with their anonymous volumes; what stays now is left to `clean`."""
        for container in (running.container, *running.beside.values()):
            self._remove(container)
        if running.network:
            _remove(running.network)

    def clean(self) -> None:
        """Remove every container, network and image of this system."""
        left = self._client.containers.list(all=True, filters=self._filter, ignore_removed=True)
        for container in left:
            self._remove(container)
        if left or self._networked:  # a network is never without its containers, but for a moment
            for network in self._client.networks.list(filters=self._filter):
                _remove(network)
        self._images.clean()

    def _remove(self, container: Container) -> None:
        with suppress(DockerException, RequestException):
            container.remove(force=True, v=True)

    def _network(self, labels: Mapping[str, str]) -> Network:
        self._networked = True
        try:
            return self._client.networks.create(f"tau-local-eb-{token_hex(6)}", labels=dict(labels))
        except DockerException as error:
            raise DeployFailed(f"Failed to make a network for the containers: {error}. {SEE}") from error

    def _create(
        self,
        service: Service,
        image: str,
        variables: Mapping[str, str],
        labels: Mapping[str, str],
    ) -> Container:
        bundle = service.bundle
        port = (bundle.port or self._images.port(image)) if service.answers else None
        try:
            return self._client.containers.create(
                image,
                command=list(bundle.command) or None,
                entrypoint=list(bundle.entrypoint) or None,
                environment=dict(variables),
                labels=dict(labels),
                ports={f"{port}/tcp": ("127.0.0.1", 0)} if port else {},
                volumes=list(service.volumes),
                log_config=LOGS,
                pids_limit=2048,
            )
        except DockerException as error:
            raise DeployFailed(f"Failed to run Docker container: {error}. {SEE}") from error


def _start(container: Container, network: Network | None, service: Service) -> None:
    try:
        if network:
            network.connect(container, aliases=[service.name])
        if service.files:
            container.put_archive("/", service.files)
        container.start()
    except DockerException as error:
        raise DeployFailed(f"Failed to run Docker container: {error}. {SEE}") from error


def _remove(network: Network) -> None:
    with suppress(DockerException, RequestException):
        network.remove()


def _said(running: Running) -> str:
    return tail(running.container, TAIL_LINES) or "(it printed nothing)"


def tail(container: Container, lines: int) -> str:
    """The last lines that a container printed."""
    printed = container.logs(tail=lines, stdout=True, stderr=True)
    return last_lines(printed.decode(errors="replace"), lines)


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
