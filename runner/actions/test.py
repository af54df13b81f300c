"""The built image and a command in, a verdict that rests on evidence out."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

from annotated_types import MaxLen, MinLen
from pydantic import AfterValidator

from chalicelib.errors import StepErrored, StepFailed
from chalicelib.model import Json, StepResult, StepStatus
from chalicelib.reports.words import duration
from runner import commands, containers, junit, taking
from runner.context import Context
from runner.fields import KeptGlob, Words, complaint, shape
from runner.since import since

NEEDS_IMAGE = True
DOES = ("be tested", "in {image}")

_MOST_GLOBS = 20


def _of_the_container(glob: str) -> str:
    if glob != "none" and not glob.startswith("/"):
        raise complaint(
            f"expected a path in the container, from its root on, such as /results/*.xml, got {shape(glob)}"
        )
    return glob


class Settings(commands.Limited):
    """`test: {command: [/opt/testrunner/run], results: /results/*.xml, timeout: 30m}`.

    Args:
        artifacts: globs of the files that are kept whatever the verdict.
    """

    command: Words
    results: Annotated[str, AfterValidator(_of_the_container)] = "/results/*.xml"
    artifacts: Annotated[tuple[KeptGlob, ...], MinLen(1), MaxLen(_MOST_GLOBS)] | None = None


def run(settings: Settings, context: Context) -> StepResult:
    """Run the command in a container of its own and judge by its exit code and its results."""
    started_at = context.now()
    image = context.image(settings.image)
    secrets = commands.secrets_of(settings, context)
    with commands.container(settings, context, settings.command, image, secrets) as made:
        context.log.line(f"$ {' '.join(settings.command)}")
        ended = commands.watch(settings, context, made, context.stopping)
        kept = taking.take(settings.artifacts or (), made.container, context)
        try:
            facts = verdict(settings, context, made.container, ended)
        except (StepFailed, StepErrored) as error:
            error.facts = {**kept, **error.facts}
            raise
    return StepResult("test", StepStatus.PASSED, started_at, context.now(), facts={**kept, **facts})


def verdict(settings: Settings, context: Context, container: str, ended: containers.Ended) -> dict[str, Json]:
    """The facts of a suite that is green; for what is raised see `results` and `judge`."""
    try:
        tests = results(settings, context, container)
    except StepFailed:
        # A suite that was stopped may have been in the middle of a file.
        commands.check_stopped("the tests", settings, ended, context.log.tail())
        raise
    facts = told(tests, context) if tests else {}
    judge(settings, ended, tests, context.log.tail(), facts)
    return facts


def told(tests: junit.Tests, context: Context) -> dict[str, Json]:
    """The facts of a suite, which its log is told too: counts, the slowest, what is new since the run before."""
    changed = since(tests, context.job.event.commit, context.before())
    context.log.line(f"{tests.passed} passed, {tests.failed} failed, {tests.skipped} skipped")
    if tests.slowest:
        context.log.line("slowest: " + ", ".join(f"{name} ({duration(took)})" for name, took in tests.slowest))
    for line in changed.lines():
        context.log.line(line)
    facts = changed.facts()
    return {"tests": {**tests.facts(), **({"since": facts} if facts else {})}}


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
    settings: Settings,
    ended: containers.Ended,
    tests: junit.Tests | None,
    tail: tuple[str, ...],
    facts: Mapping[str, Json] = MappingProxyType({}),
) -> None:
    """Nothing, or the first reason why this is not green.

    Args:
        facts: what is to be written down of the tests that failed.

    Raises:
        StepFailed: in the order: too slow, too much memory, failing tests, exit code, no evidence.
        StepErrored: the container was killed by somebody else than us.
    """
    commands.check_limits("the tests", settings, ended, tail)
    if tests and tests.failures:
        raise StepFailed(f"{tests.failed} of {tests.ran} tests failed{commands.meanwhile(ended)}", tail, facts)
    commands.check_code("the test command", ended, tail)
    if settings.results != "none" and (tests is None or not tests.ran):
        raise StepFailed(
            f"the suite ran no test: it exited with 0, but {settings.results} holds no result"
            f" (write `results: none` if none is meant){commands.meanwhile(ended)}",
            tail,
        )
