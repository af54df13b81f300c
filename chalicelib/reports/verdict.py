"""A Result in, its verdict out: the subject, the title and the one sentence that everything else only explains."""

from __future__ import annotations

from chalicelib.model import Result, RunState, StepResult, StepStatus
from chalicelib.reports import facts, words
from chalicelib.reports.words import clean

_BROKEN = frozenset({StepStatus.FAILED, StepStatus.ERRORED})


def subject(result: Result, *, operator: bool) -> str:
    """`passed: 2pisoftware/cmfive develop 3f2a1b9 (cmfive-dev)`: the state, what it is about, the pipeline."""
    event, job = result.job.event, result.job
    where = " ".join(clean(part, 80) for part in (event.repository or "no repository", event.name or "") if part)
    sha = f" {words.commit(event.commit)}" if event.commit else ""
    note = clean(job.pipeline, 60)
    if result.state is RunState.ERRORED:
        broken = broken_step(result)
        ours = f"{clean(broken.action, 40)} broke" if broken else "the run broke"
        note += f"; {ours if operator else 'Tau broke, not your code'}"
    return f"{result.state.value}: {where}{sha} ({note})"


def title(result: Result) -> str:
    """The state as a heading: `Passed`, `Tau broke`."""
    return "Tau broke" if result.state is RunState.ERRORED else result.state.value.capitalize()


def verdict(result: Result, *, operator: bool) -> str:
    """One sentence that says what came of it, without the state's name: `2 of 215 tests failed`.

    Args:
        operator: the reader keeps Tau running: of an *errored* run they hear what broke, others that it was not they.
    """
    if result.state is RunState.PASSED:
        return _good_news(result)
    if result.state is RunState.FAILED:
        return _bad_news(result)
    if result.state is RunState.ERRORED:
        return _our_news(result, operator=operator)
    reason = clean(result.reason or f"The run was {result.state.value}", 400)
    return words.sentence(reason[:1].upper() + reason[1:])


def _good_news(result: Result) -> str:
    deployed, tests = facts.deployment(result.steps), facts.tests(result.steps)
    took = words.duration(result.ended_at - result.started_at)
    if deployed and deployed.label:
        return f"{clean(deployed.label)} is live on {clean(deployed.environment)}, {took} after the start."
    if tests and tests.passed:
        return f"{words.counted(tests.passed, 'test')} passed; the whole run took {took}."
    passed = sum(step.status is StepStatus.PASSED for step in result.steps)
    return f"{words.counted(passed, 'step')} passed in {took}."


def _bad_news(result: Result) -> str:
    broken = broken_step(result)
    tests = facts.tests((broken,)) if broken else None
    if tests and tests.failed:
        return f"{tests.failed} of {words.counted(tests.total, 'test')} failed."
    reason = clean((broken and broken.reason) or result.reason or "", 400)
    return _step_sentence(broken, "failed", reason) if broken else words.sentence(reason or "The run failed")


def _our_news(result: Result, *, operator: bool) -> str:
    broken = broken_step(result)
    if operator:
        reason = clean((broken and broken.reason) or result.reason or "", 400)
        return _step_sentence(broken, "broke", reason) if broken else words.sentence(reason or "The run broke")
    where = f"in the step {clean(broken.action)}" if broken else "before it could come to a verdict"
    return f"Not your code: Tau itself broke {where}. The operators have been told; there is nothing for you to do."


def _step_sentence(step: StepResult, verb: str, reason: str) -> str:
    said = f"The step {clean(step.action)} {verb}"
    return words.sentence(f"{said}: {reason}" if reason else said)


def broken_step(result: Result) -> StepResult | None:
    """The first step that did not pass, the one to look at; None where no step did that."""
    return next((step for step in result.steps if step.status in _BROKEN), None)
