"""A Result in, everything a reader is told out: clean words in the order of reading, no markup, no address."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, tzinfo
from itertools import zip_longest

from chalicelib.beanstalk import brought_back
from chalicelib.model import EventKind, Handed, Result, RunState, StepResult, StepStatus
from chalicelib.reports import facts, words
from chalicelib.reports.verdict import broken_step, subject, title, verdict
from chalicelib.reports.words import clean, clean_lines

LINES_SHOWN = 20
HANDED_SHOWN = 10
ARTIFACTS_SHOWN = 10


@dataclass(frozen=True)
class Console:
    """How the reader gets at the rest.

    Args:
        log_command: prints the whole log; `<run>` in it stands for the run's id.
        fetch_command: brings the run's artifacts.
        redrive_command: has the run done again, the same way.
        rollback_command: asks for a way back that failed again; `<environment>` and `<region>` are its.
        zone: the clock of those who read.
    """

    log_command: str = "tau log <run>"
    redrive_command: str = "tau redrive <run>"
    rollback_command: str = "tau rollback <environment> --region <region>"
    fetch_command: str = "tau artifacts <run> --to DIR"
    zone: tzinfo = UTC


@dataclass(frozen=True)
class Row:
    """A name and its value.

    Args:
        fixed: the value is a code, a command, a digest: letters of equal width.
        link: where the value leads, an http(s) address.
        lead: a code that stands before the value.
    """

    name: str
    value: str
    fixed: bool = False
    link: str | None = None
    lead: str = ""


@dataclass(frozen=True)
class StepLine:
    """One step: its sign and word (`✔ passed`), how long it took, and why where that is not said above."""

    action: str
    sign: str
    status: str
    took: str
    reason: str = ""


@dataclass(frozen=True)
class FailureLines:
    """One failing test and the first lines of what it said."""

    name: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Letter:
    """What mail says, in the order of reading. Every text is clean; none is escaped for a markup."""

    subject: str
    state: str
    sign: str
    title: str
    verdict: str
    about: tuple[Row, ...]
    broke: tuple[Row, ...]
    steps: tuple[StepLine, ...]
    tests: str
    failures: tuple[FailureLines, ...]
    more_failures: str
    artifacts: tuple[Row, ...]
    more_artifacts: str
    pushed: tuple[Row, ...]
    deployment: tuple[Row, ...]
    excerpt_title: str
    excerpt: tuple[str, ...]
    commands: tuple[Row, ...]
    run: str
    because: str


def letter(result: Result, console: Console, *, operator: bool, because: str) -> Letter:
    """What is told of a run's end.

    Args:
        operator: the reader keeps Tau running: of an *errored* run they hear what broke, others that it was not they.
    """
    tests, ours = facts.tests(result.steps), result.state is RunState.ERRORED
    sentence = verdict(result, operator=operator)
    # What our own machines say when they break is for those who repair them: a commit's author can be an outsider.
    shown = result if operator or not ours else _without_our_troubles(result)
    broken = broken_step(shown)
    failures = tests.failures[: facts.FAILURES_SHOWN] if tests else ()
    more = (max(tests.failed, len(tests.failures)) - len(failures)) if tests else 0
    kept = facts.artifacts(result.steps)
    return Letter(
        subject=subject(result, operator=operator),
        state=result.state.value,
        sign=words.sign(result.state),
        title=title(result),
        verdict=sentence,
        about=_about(result, console),
        broke=_broke(result, console) if ours and operator else (),
        steps=_steps(shown, sentence),
        tests=_counts(tests),
        failures=tuple(
            FailureLines(_since(item.name, tests), clean_lines(item.message, 6, 160)) for item in failures if tests
        ),
        more_failures=f"and {more} more" if more > 0 and failures else "",
        artifacts=tuple(Row(clean(one.name), words.size(one.size_bytes)) for one in kept[:ARTIFACTS_SHOWN]),
        more_artifacts=_more_artifacts(len(kept) - ARTIFACTS_SHOWN, facts.left_out(result.steps)),
        pushed=_pushed(result),
        deployment=_deployment(result),
        excerpt_title=f"What {clean(broken.action, 40)} printed" if broken else "",
        excerpt=tuple(line for text in (broken.lines if broken else ()) for line in clean_lines(text))[:LINES_SHOWN],
        commands=_commands(result, console, operator=operator),
        run=clean(result.run),
        because=because,
    )


# --- the rest, in the order of reading ------------------------------------------------------------


def _about(result: Result, console: Console) -> tuple[Row, ...]:
    event = result.job.event
    ref = "Tag" if (event.ref or "").startswith("refs/tags/") else "Branch"
    rows = (
        Row("Repository", clean(f"{event.forge}/{event.repository}") if event.repository else ""),
        Row(ref, clean(event.name or "")),
        Row(
            "Commit",
            words.first_line(event.head_commit_message),
            lead=words.commit(event.commit) if event.commit else "",
        ),
        _who(result),
        *_handed(result),
        Row("Pipeline", clean(result.job.pipeline)),
        Row("Started", words.moment(result.started_at, console.zone)),
        Row("Took", words.duration(result.ended_at - result.started_at)),
        *_printed(result),
    )
    return tuple(row for row in rows if row.value or row.lead)


def _who(result: Result) -> Row:
    event = result.job.event
    login, name = clean(event.pusher.login or "", 80), clean(event.pusher.name or "", 80)
    person = f"{name} ({login})" if name and login and name != login else name or login
    if event.kind is EventKind.SCHEDULE:
        return Row("Started by", "the schedule")
    if event.kind is EventKind.IMAGE:
        return Row("Started by", "a new base image")
    verb = {EventKind.TAG_CREATED: "Tagged by", EventKind.MANUAL: "Started by"}.get(event.kind, "Pushed by")
    return Row(verb, person or "somebody whom the forge does not name")


def _printed(result: Result) -> tuple[Row, ...]:
    """What a step let out; the log hides it, and whatever else read that output may not."""
    return tuple(
        Row("Printed", f"the secret {clean(name, 80)}, by {clean(action, 40)}; the log hides it")
        for name, action in facts.printed(result.steps)
    )


def _handed(result: Result) -> tuple[Row, ...]:
    """The pushes whose runs gave way to this one, oldest first."""
    given = [one for _, one in sorted(result.handed.items()) if one.commit]
    more = len(given) - HANDED_SHOWN
    rows = (Row("Also", _change(one), lead=words.commit(one.commit)) for one in given[:HANDED_SHOWN])
    return (*rows, Row("", f"and {more} more" if more > 0 else ""))


def _change(one: Handed) -> str:
    by = clean(one.by or "", 80)
    return f"{clean(one.message or '', 100)} ({by})".strip() if by else clean(one.message or "", 100)


def _broke(result: Result, console: Console) -> tuple[Row, ...]:
    """What an operator asks first: since when, on whose machines, under which rules."""
    broken, job = broken_step(result), result.job
    since = broken.started_at if broken else result.ended_at
    rows = (
        Row("Broken since", words.moment(since, console.zone)),
        Row("Pool", clean(job.pool)),
        Row("Delivery", clean(job.event.delivery_id), fixed=True),
        Row("ci.yml", clean(job.config)[:7], fixed=True),
    )
    return tuple(row for row in rows if row.value)


def _steps(result: Result, said: str) -> tuple[StepLine, ...]:
    return (
        *(_step(step, said) for step in result.steps),
        *(StepLine(clean(action, 40), words.sign("not run"), "not run", "") for action in _not_run(result)),
    )


def _step(step: StepResult, said: str) -> StepLine:
    reason = clean(step.reason or "", 300)
    return StepLine(
        action=clean(step.action, 40),
        sign=words.sign(step.status),
        status=step.status.value,
        took="" if step.status is StepStatus.SKIPPED else words.duration(step.ended_at - step.started_at),
        reason="" if reason in said else reason,
    )


def _not_run(result: Result) -> list[str]:
    """The steps of the pipeline that were never come to. The runner may report steps of its own (checkout)."""
    left = [step.action for step in result.job.steps]
    for step in result.steps:
        if step.action in left:
            left.remove(step.action)
    return left


def _counts(tests: facts.Tests | None) -> str:
    if not tests:
        return ""
    changed = ((len(tests.new), "new"), (len(tests.fixed), "fixed"), (len(tests.flaky), "flaky"))
    said = ", ".join(f"{count} {what}" for count, what in changed if count)
    return f"{tests.passed} passed, {tests.failed} failed, {tests.skipped} skipped" + (f" ({said})" if said else "")


def _more_artifacts(more: int, left_out: int) -> str:
    parts = (
        f"and {more} more" if more > 0 else "",
        f"{words.counted(left_out, 'file')} left out: the log says why" if left_out else "",
    )
    return "; ".join(part for part in parts if part)


def _since(name: str, tests: facts.Tests) -> str:
    """A failing test's name, and whether it is new."""
    if name in tests.new:
        return f"{clean(name)} (new)"
    if name in tests.still:
        commit = tests.still[name]
        return f"{clean(name)} (since {words.commit(commit)})" if commit else f"{clean(name)} (as before)"
    return clean(name)


def _pushed(result: Result) -> tuple[Row, ...]:
    """Name and digest; the digest of several names in a row stands at the last of them."""
    images = facts.pushed(result.steps)
    following = [image.digest for image in images[1:]]
    return tuple(
        Row(clean(image.name), "" if image.digest == after else words.digest(image.digest))
        for image, after in zip_longest(images, following)
    )


def _deployment(result: Result) -> tuple[Row, ...]:
    deployed = facts.deployment(result.steps)
    if not deployed:
        return ()
    url = clean(deployed.url, 400)
    rows = (
        Row("Environment", clean(deployed.environment)),
        Row("Version", clean(deployed.label)),
        Row("Image", words.built_there(deployed.built_from)),
        Row("Before", clean(deployed.previous_label)),
        Row("Note", clean(deployed.note, 300)),
        # Only what a browser opens as a page becomes a link.
        Row("Address", url, link=url if url.startswith(("https://", "http://")) else None),
    )
    return tuple(row for row in rows if row.value)


def _commands(result: Result, console: Console, *, operator: bool) -> tuple[Row, ...]:
    again = result.state in {RunState.FAILED, RunState.CANCELLED} or (operator and result.state is RunState.ERRORED)
    back = brought_back(result.job) or facts.not_back(result.steps)
    named = (
        ("Whole log", console.log_command),
        ("Artifacts", console.fetch_command if facts.artifacts(result.steps) else None),
        ("Go back", _go_back(back, console) if again and back else None),
        ("Run again", console.redrive_command if again and not brought_back(result.job) else None),
    )
    return tuple(Row(name, text.replace("<run>", clean(result.run)), fixed=True) for name, text in named if text)


def _go_back(to: tuple[str, str], console: Console) -> str:
    environment, region = map(clean, to)
    return console.rollback_command.replace("<environment>", environment).replace("<region>", region)


def _without_our_troubles(result: Result) -> Result:
    quiet = (
        replace(step, reason=None, lines=()) if step.status is StepStatus.ERRORED else step for step in result.steps
    )
    return replace(result, reason=None, steps=tuple(quiet))
