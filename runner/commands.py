"""A command of ci.yml in; how it ended in a container of the built image out, and whose fault a bad end is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import pydantic

from chalicelib.errors import StepErrored, StepFailed
from chalicelib.reports.words import duration, limit
from runner import containers, contract, images
from runner.containers import Ended
from runner.context import Context, Image
from runner.ending import Limits
from runner.fields import Duration, ImageName, PositiveInt, SecretName, Size, VariableName
from runner.services import COMMANDS_NAME, Services
from runner.serving import Network, Publish, Serving, serving
from runner.stopping import Stopping

_KILLED = 137


class Limited(pydantic.BaseModel):
    """What the settings of every action that runs a command have, whatever they call the command.

    Args:
        network: none = what the image itself starts, and the services, are all that can be reached.
        secrets: variable -> name of the secret whose value it gets.
        services: what runs beside the command, by the name under which it is reached.
        cpus: None = all processors that others leave it.
        disk: how much it may have written at a time, its services counted.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    image: ImageName | None = None
    timeout: Duration = 1800
    memory: Size = 2 * 1024**3
    cpus: PositiveInt | None = None
    processes: PositiveInt = containers.PROCESSES
    file_size: Size = containers.FILE_BYTES
    disk: Size = 20 * 1024**3
    network: Literal["none", "internet"] = "none"
    environment: Mapping[VariableName, str] = pydantic.Field(default_factory=dict)
    secrets: Mapping[VariableName, SecretName] = pydantic.Field(default_factory=dict)
    services: Services = pydantic.Field(default_factory=dict)


@dataclass(frozen=True)
class Made:
    """The command's container, which has not started, and the services that are ready for it."""

    container: str
    services: Serving | None = None


class WithSecrets(Protocol):
    """Settings that name secrets."""

    @property
    def secrets(self) -> Mapping[str, str]: ...


def secrets_of(settings: WithSecrets, context: Context) -> Mapping[str, str]:
    """The values of the step's secrets, by variable or id.

    Raises:
        StepFailed: the event comes from a fork.
        MissingSecret: one of them is not there.
    """
    refuse_forks(settings.secrets.values(), context)
    return {variable: context.secret(name) for variable, name in settings.secrets.items()}


def refuse_forks(secrets: Iterable[str], context: Context) -> None:
    """No secret is for strangers.

    Args:
        secrets: the names of those that are asked for.

    Raises:
        StepFailed: there are some, and the event comes from a fork.
    """
    if any(secrets) and context.job.event.fork:
        raise StepFailed("this comes from a fork, and no secret is ever given to a fork's code")


@contextlib.contextmanager
def container(
    settings: Limited,
    context: Context,
    words: tuple[str, ...] | None,
    image: Image,
    secrets: Mapping[str, str],
    folder: str | None = None,
    publish: Publish | None = None,
) -> Iterator[Made]:
    """The command's container, which has not started, its services beside it; all are gone afterwards.

    Args:
        words: the command; None = the image's own.
        secrets: the values, by variable.
        folder: where it starts; None = where the image says.
        publish: which ports of it and its services are reached from this machine; None = it is out of their reach.
    """
    refuse_forks((name for service in settings.services.values() for name in service.secrets.values()), context)
    name = f"tau-{context.run.lower()}-{context.epoch}-{context.index}"
    wanted = containers.Wanted(
        image=image.id,
        command=words,
        environment={**settings.environment, **secrets, **contract.environment(context, image)},
        folder=folder,
        memory_bytes=settings.memory,
        processors=settings.cpus,
        processes=settings.processes,
        file_bytes=settings.file_size,
        labels=context.labels,
        name=name,
        known_as=COMMANDS_NAME if settings.services else None,
        inside=settings.network == "none",
        ports=publish(COMMANDS_NAME, _configuration(image, context)) if publish else {},
    )
    with contextlib.ExitStack() as stack:
        network = stack.enter_context(_network(settings, context, name, publish))
        services = None
        if settings.services:
            services = stack.enter_context(serving(settings.services, context, network, name))
        made = containers.created(context.docker, wanted, network.id, stopping=context.stopping)
        yield Made(stack.enter_context(made), services)


@contextlib.contextmanager
def _network(settings: Limited, context: Context, name: str, publish: Publish | None) -> Iterator[Network]:
    """One of its own, with a way out or without; none, where there is nothing to be reached."""
    inside = settings.network == "none"
    if publish:
        with containers.own_network(
            context.docker, name, context.labels, inside=inside, published=True, stopping=context.stopping
        ) as made:
            yield Network(made, inside, publish)
        return
    if inside and not settings.services:
        yield Network("none", inside=True)
        return
    with containers.own_network(context.docker, name, context.labels, inside=inside, stopping=context.stopping) as made:
        yield Network(made, inside=inside)


def _configuration(image: Image, context: Context) -> Mapping[str, Any]:
    with images.answering():
        return context.docker.api.inspect_image(image.id).get("Config") or {}


def watch(settings: Limited, context: Context, made: Made, stopping: Stopping, *, asked_grace_s: int = 0) -> Ended:
    """Run it to its end, which is the timeout's, or the run's, at the latest.

    What has become of the services meanwhile stands in the log: a suite may well say nothing of it.

    Args:
        asked_grace_s: how long it may go on after SIGTERM when somebody has asked for its end.
    """
    limits = Limits(
        min(settings.timeout, context.remaining_s()),
        asked_grace_s=asked_grace_s,
        disk_bytes=settings.disk,
        beside=tuple(made.services.containers.values()) if made.services else (),
    )
    ended = containers.watch(context.docker, made.container, context.log, limits, stopping)
    gone = made.services.ended() if made.services else None
    if gone:
        context.log.line(f"while the command ran, {gone}")
    return replace(ended, without=gone)


def check_limits(what: str, settings: Limited, ended: Ended, tail: tuple[str, ...]) -> None:
    """It took no more time, memory and disk than it was given.

    Args:
        what: what it is called in a sentence: `the tests`.

    Raises:
        StepFailed: it did.
    """
    if ended.timed_out_s is not None:
        raise StepFailed(
            f"{what} took longer than {duration(ended.timed_out_s)} and had to be stopped{meanwhile(ended)}", tail
        )
    if ended.out_of_memory:
        raise StepFailed(f"{what} ran out of memory (limit {limit(settings.memory)})", tail)
    if ended.filled:
        counted = ", services counted," if settings.services else ""
        raise StepFailed(f"{what}{counted} filled the disk and had to be stopped (limit {limit(settings.disk)})", tail)


def check_stopped(what: str, settings: Limited, ended: Ended, tail: tuple[str, ...]) -> None:
    """It came to its end by itself.

    Raises:
        StepFailed: it took more than it was given.
        StepErrored: it was killed by somebody else than us.
    """
    check_limits(what, settings, ended, tail)
    _check_killed(what, ended)


def _check_killed(what: str, ended: Ended) -> None:
    # Whoever kills the first process leaves this code, and no word of who it was. Results are no proof of the contrary:
    # a suite writes them file by file, and what it had still to do nobody knows.
    if ended.code == _KILLED:
        raise StepErrored(
            f"{what} was killed from outside ({_KILLED}), neither by us nor for memory; a command that ends so by"
            " itself should exit with another code"
        )


def check_code(what: str, ended: Ended, tail: tuple[str, ...]) -> None:
    """It exited with 0.

    Raises:
        StepFailed: with something else.
        StepErrored: it was killed by somebody else than us.
    """
    _check_killed(what, ended)
    if ended.code:
        raise StepFailed(f"{what} exited with {ended.code}{meanwhile(ended)}", tail)


def meanwhile(ended: Ended) -> str:
    """What became of the services while the command ran, at the end of a sentence; empty where nothing did."""
    return f"; meanwhile {ended.without}" if ended.without else ""
