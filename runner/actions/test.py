"""The built image and a command in, a verdict that rests on evidence out."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import pydantic

from chalicelib.errors import StepErrored, StepFailed
from chalicelib.model import StepResult, StepStatus
from chalicelib.reports.words import duration, size
from runner import containers, junit
from runner.context import Context
from runner.fields import Duration, ImageName, Size

NEEDS_IMAGE = True
_KILLED = 137


class Settings(pydantic.BaseModel):
    """`test: {command: [/opt/testrunner/run], results: /results/*.xml, timeout: 30m}`.

    Args:
        network: none = what the image itself starts is all that can be reached.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    command: tuple[str, ...] = pydantic.Field(min_length=1)
    image: ImageName | None = None
    results: str = "/results/*.xml"
    timeout: Duration = 1800
    memory: Size = 2 * 1024**3
    network: Literal["none", "internet"] = "none"
    environment: Mapping[str, str] = pydantic.Field(default_factory=dict)


def run(settings: Settings, context: Context) -> StepResult:
    """Run the command in a container of its own and judge by its exit code and its results."""
    started_at = context.now()
    name = f"tau-{context.run.lower()}-{context.epoch}-{context.index}"
    image = context.image(settings.image)
    wanted = containers.Wanted(
        image=image.id,
        command=settings.command,
        environment={**settings.environment, "TAU_COMMIT": context.job.event.commit or ""},
        memory_bytes=settings.memory,
        labels=context.labels,
        name=name,
    )
    with (
        network_of(settings, context, name) as network,
        containers.created(context.docker, wanted, network) as container,
    ):
        context.log.line(f"$ {' '.join(settings.command)}")
        timeout_s = min(settings.timeout, context.remaining_s())
        ended = containers.watch(context.docker, container, context.log, timeout_s)
        tests = results(settings, context, container)
    judge(settings, ended, tests, context.log.tail(), timeout_s)
    facts = {"tests": tests.facts()} if tests else {}
    if tests:
        context.log.line(f"{tests.passed} passed, {tests.failed} failed, {tests.skipped} skipped")
    return StepResult("test", StepStatus.PASSED, started_at, context.now(), facts=facts)


def network_of(settings: Settings, context: Context, name: str) -> AbstractContextManager[str]:
    """The container's network: none, where only itself can be reached, or one of its own with a way out."""
    if settings.network == "none":
        return nullcontext("none")
    return containers.own_network(context.docker, name, context.labels)


def results(settings: Settings, context: Context, container: str) -> junit.Tests | None:
    """What the suite wrote; None where it wrote nothing, or nothing is meant.

    Raises:
        StepFailed: it wrote something else than JUnit XML, or too much.
    """
    if settings.results == "none":
        return None
    archive = containers.archive(context.docker, container, junit.folder_of(settings.results))
    try:
        documents = list(junit.files(archive, settings.results)) if archive else []
        return junit.read(documents) if documents else None
    except ValueError as error:
        raise StepFailed(str(error), context.log.tail()) from error


def judge(
    settings: Settings, ended: containers.Ended, tests: junit.Tests | None, tail: tuple[str, ...], timeout_s: float
) -> None:
    """Nothing, or the first reason why this is not green.

    Raises:
        StepFailed: in the order: too slow, too much memory, failing tests, exit code, no evidence.
        StepErrored: the container was killed by somebody else than us.
    """
    if ended.timed_out:
        raise StepFailed(f"the tests took longer than {duration(timeout_s)} and were stopped", tail)
    if ended.out_of_memory:
        raise StepFailed(f"the tests ran out of memory (limit {size(settings.memory)})", tail)
    if tests and tests.failures:
        raise StepFailed(f"{tests.failed} of {tests.ran} tests failed", tail, {"tests": tests.facts()})
    if ended.code == _KILLED and not tests:
        raise StepErrored("the test container was killed from outside, neither by us nor for memory")
    if ended.code:
        raise StepFailed(f"the test command exited with {ended.code}", tail)
    if settings.results != "none" and (tests is None or not tests.ran):
        raise StepFailed(
            f"the suite ran no test: it exited with 0, but {settings.results} holds no result"
            " (write `results: none` if none is meant)",
            tail,
        )
