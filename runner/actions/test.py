"""The built image and a command in, a verdict that rests on evidence out."""

from __future__ import annotations

from chalicelib.errors import StepFailed
from chalicelib.model import StepResult, StepStatus
from runner import commands, containers, junit
from runner.context import Context
from runner.fields import Words

NEEDS_IMAGE = True
DOES = ("be tested", "in {image}")


class Settings(commands.Limited):
    """`test: {command: [/opt/testrunner/run], results: /results/*.xml, timeout: 30m}`."""

    command: Words
    results: str = "/results/*.xml"


def run(settings: Settings, context: Context) -> StepResult:
    """Run the command in a container of its own and judge by its exit code and its results."""
    started_at = context.now()
    image = context.image(settings.image)
    secrets = commands.secrets_of(settings, context)
    with commands.container(settings, context, settings.command, image, secrets) as container:
        context.log.line(f"$ {' '.join(settings.command)}")
        ended = commands.watch(settings, context, container, context.stopping)
        tests = results(settings, context, container)
    judge(settings, ended, tests, context.log.tail())
    facts = {"tests": tests.facts()} if tests else {}
    if tests:
        context.log.line(f"{tests.passed} passed, {tests.failed} failed, {tests.skipped} skipped")
    return StepResult("test", StepStatus.PASSED, started_at, context.now(), facts=facts)


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


def judge(settings: Settings, ended: containers.Ended, tests: junit.Tests | None, tail: tuple[str, ...]) -> None:
    """Nothing, or the first reason why this is not green.

    Raises:
        StepFailed: in the order: too slow, too much memory, failing tests, exit code, no evidence.
        StepErrored: the container was killed by somebody else than us.
    """
    commands.check_limits("the tests", settings, ended, tail)
    if tests and tests.failures:
        raise StepFailed(f"{tests.failed} of {tests.ran} tests failed", tail, {"tests": tests.facts()})
    commands.check_code("the test command", ended, tail, evidence=tests)
    if settings.results != "none" and (tests is None or not tests.ran):
        raise StepFailed(
            f"the suite ran no test: it exited with 0, but {settings.results} holds no result"
            " (write `results: none` if none is meant)",
            tail,
        )
