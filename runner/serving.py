"""The services of a step in, all of them ready beside its command out; gone afterwards, whatever happens."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from docker.errors import APIError

from chalicelib.errors import StepErrored, StepFailed
from chalicelib.reports.words import duration, limit
from runner import bases, containers, images
from runner.aside import aside, settled
from runner.context import Context
from runner.said import Said
from runner.services import Service, question

_AGAIN_S = 0.1
# What the engine says, as of a trouble of its own, of a container that dies in this very moment.
_DYING = ("exec failed", "cannot exec in a stopped state")


Publish = Callable[[str, Mapping[str, Any]], Mapping[str, int | None]]
"""A container's name in its network and its image's configuration in, its ports for this machine's loopback out."""


def _none(_name: str, _image: Mapping[str, Any]) -> Mapping[str, int | None]:
    return {}


@dataclass(frozen=True)
class Network:
    """The step's own network.

    Args:
        inside: it has no way out.
        publish: which ports of those in it are reached from this machine; see `containers.Wanted`.
    """

    id: str
    inside: bool
    publish: Publish = _none


@dataclass(frozen=True)
class Made:
    """A service's container, and the command that shows that it can be used; None where nothing does."""

    name: str
    service: Service
    container: str
    question: tuple[str, ...] | None
    said: Said


class Serving:
    """The services of a step while its command runs."""

    def __init__(self, docker: Any, made: Sequence[Made]) -> None:
        self._docker, self._made = docker, made

    @property
    def containers(self) -> Mapping[str, str]:
        """By the service's name, its container."""
        return {one.name: one.container for one in self._made}

    def ended(self) -> str | None:
        """Which of them have ended meanwhile, and how, in a sentence; None where all still run."""
        ends = ((one.name, _end(self._docker, one)) for one in self._made)
        return "; ".join(f"the service {name} {end}" for name, end in ends if end) or None


@contextlib.contextmanager
def serving(services: Mapping[str, Service], context: Context, network: Network, prefix: str) -> Iterator[Serving]:
    """All of them, ready to be used.

    Args:
        network: where they are reached by their names.
        prefix: what their containers' names begin with.

    Raises:
        StepFailed: one of them ended, was not ready in time, or no registry has its image.
        StepErrored: the engine or a registry does not do its part.
        Stopped: somebody asks for it.
    """
    with contextlib.ExitStack() as stack:
        made = [
            stack.enter_context(_made(name, service, context, network, f"{prefix}-{name}"))
            for name, service in services.items()
        ]
        _start(made, context)
        _wait(made, context)
        yield Serving(context.docker, made)


@contextlib.contextmanager
def _made(name: str, service: Service, context: Context, network: Network, called: str) -> Iterator[Made]:
    """The container of a service, which has not started; what it prints goes to the log from its first word on."""
    image = image_of(service.image, context)
    with images.answering():
        known = context.docker.api.inspect_image(image).get("Config") or {}
    secrets = {variable: context.secret(secret) for variable, secret in service.secrets.items()}
    wanted = containers.Wanted(
        image=image,
        command=service.command,
        environment={**service.environment, **secrets},
        memory_bytes=service.memory,
        labels=context.labels,
        name=called,
        kind="service",
        known_as=name,
        inside=network.inside,
        ports=network.publish(name, known),
    )
    said = Said(name, context.log)
    with (
        contextlib.ExitStack() as hearing,
        containers.created(context.docker, wanted, network.id, stopping=context.stopping) as container,
    ):
        # The outer one: it hears the last words until the container is gone.
        hearing.callback(said.finish)
        hearing.enter_context(containers.heard(context.docker, container, said.write, context.pace))
        yield Made(name, service, container, question(service.ready, known), said)


def image_of(name: str, context: Context) -> str:
    """The id of what this pipeline built under a name, or else of a registry's image.

    Raises:
        StepFailed: no registry has it.
        StepErrored: its registry does not answer, or refuses us, and this engine has none.
    """
    return context.images[name].id if name in context.images else bases.fetch(name, context)


def _start(made: Sequence[Made], context: Context) -> None:
    """All at once: a start is mostly waiting."""
    starts = [(one, aside(_starting(one, context), context.pace)) for one in made]
    for one, start in starts:
        there = settled(start, context.stopping, context.pace, context.remaining_s())
        context.stopping.check()
        if not there:
            raise StepErrored(f"the Docker engine has not started the service {one.name} in the time of the run")
        try:
            start.result()
        except StepFailed as failure:
            raise StepFailed(f"the service {one.name}: {failure}") from failure


def _starting(one: Made, context: Context) -> Any:
    return lambda: containers.start(context.docker, one.container)


def _wait(made: Sequence[Made], context: Context) -> None:
    """Until each of them is ready."""
    waiting = [_Waiting(one, context) for one in made]
    while waiting:
        context.stopping.check()
        waiting = [one for one in waiting if not one.is_over()]
        if waiting:
            context.pace.sleep(_AGAIN_S)


class _Waiting:
    """Whether a service is ready, asked again and again; one question at a time, and none is waited for."""

    def __init__(self, made: Made, context: Context) -> None:
        self._made, self._context = made, context
        self._began = context.pace.monotonic()
        self._most_s = min(made.service.ready.within, context.remaining_s())
        self._asked: str | None = None

    def is_over(self) -> bool:
        """Whether it is ready.

        Raises:
            StepFailed: it has ended, or its time is over.
        """
        one, log = self._made, self._context.log
        waited_s = self._context.pace.monotonic() - self._began
        end = _end(self._context.docker, one)
        if end:
            raise StepFailed(f"the service {one.name} {end} before it could be used", one.said.tail())
        if one.question is None:
            log.line(f"service {one.name} runs; nothing says when it can be used (see `ready`)")
            return True
        if self._answer(one.question):
            log.line(f"service {one.name} is ready after {duration(waited_s)}")
            return True
        if waited_s >= self._most_s:
            raise StepFailed(f"the service {one.name} was not ready within {duration(self._most_s)}", one.said.tail())
        return False

    def _answer(self, words: tuple[str, ...]) -> bool:
        """Whether the last question was answered by yes; where it was answered by no it is asked again."""
        api = self._context.docker.api
        with images.answering():
            try:
                if self._asked is None:
                    self._asked = str(api.exec_create(self._made.container, list(words))["Id"])
                    api.exec_start(self._asked, detach=True)
                known = api.exec_inspect(self._asked)
            except APIError as error:
                self._asked = None
                said = str(error.explanation or error)
                if not (error.is_client_error() or any(words in said for words in _DYING)):
                    raise
                self._complain_of_missing(words[0], said)
                return False  # it has ended just now, and the next look says so
        if known["Running"]:
            return False
        self._asked = None
        return bool(known["ExitCode"] == 0)

    def _complain_of_missing(self, word: str, said: str) -> None:
        if any(text in said for text in ("executable file not found", "no such file or directory")):
            raise StepFailed(f"the service {self._made.name} has no {word} by which to see whether it is ready")


def _end(docker: Any, one: Made) -> str | None:
    """How a service has ended; None while it runs."""
    with images.answering():
        state = docker.api.inspect_container(one.container)["State"]
    if state["Running"]:
        return None
    if state.get("OOMKilled"):
        return f"ran out of memory (limit {limit(one.service.memory)})"
    return f"exited with {state['ExitCode']}"
