"""What the demo saw in, what has to be so about it out: pure, so that each check is seen to fail in a test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import unescape
from typing import TypeVar

from chalicelib.model import Json, Run, RunState, StepResult, StepStatus
from chalicelib.reports.words import commit, counted, digest
from infra.local.demo_view import Check, Line
from infra.local.mailbox import SentMail

Seen = TypeVar("Seen")


def equal(text: str, found: Seen, wanted: Seen) -> Check:
    return Check(text, found == wanted, str(found))


def ends(run: Run, state: RunState, steps: Sequence[str]) -> Check:
    """The run ended as it should, after these steps and no others."""
    done = [result.action for result in _results(run) if result.status is not StepStatus.SKIPPED]
    text = f"the run ended {state} after {', '.join(steps)}"
    found = f"{run.state} after {', '.join(done) or 'nothing'}{f': {run.reason}' if run.reason else ''}"
    return Check(text, run.state is state and done == list(steps), found)


def tests(run: Run, passed: int, failed: int) -> Check:
    found = facts(run, "test").get("tests", {})
    counts = (found.get("passed"), found.get("failed"))
    said = f"the suite's JUnit results say {passed} passed, {failed} failed"
    return Check(said, counts == (passed, failed), f"{counts[0]} passed, {counts[1]} failed")


def mailed(new: Sequence[SentMail], to: str, subject: str, inside: Iterable[str]) -> list[Check]:
    """Exactly one mail, to whom it should go, saying what it should."""
    one = new[0] if len(new) == 1 else None
    told = Check(
        f"one mail went out, to {to}",
        one is not None and one.to == (to,),
        ", ".join(address for mail in new for address in mail.to) or "no mail",
    )
    if one is None:
        return [told]
    missing = [text for text in inside if text not in one.text or text not in unescape(one.html)]
    return [
        told,
        Check(f'its subject begins with "{subject}"', one.subject.startswith(subject), one.subject),
        Check("it says what happened, as text and as a page", not missing, f"without {missing}"),
    ]


def facts(run: Run, action: str) -> Mapping[str, Json]:
    """What a step of this run left for those who come after it; empty where it did not."""
    return next((result.facts for result in _results(run) if result.action == action), {})


def pushed(run: Run) -> Mapping[str, str]:
    """The digest of each public name, as the run's record has it."""
    return {entry["name"]: entry["digest"] for entry in facts(run, "push").get("pushed", ())}


# --- a run as it goes -----------------------------------------------------------------------------


def story(run: Run) -> list[Line]:
    """All that can be told of a run so far; later there is more, never less."""
    lines = []
    if run.started_at:
        waited_s = (run.started_at - run.created_at).total_seconds()
        lines.append(Line("claimed", f"by the runner, as {run.id}", max(0.0, waited_s)))
    lines += [_step(run, result) for result in _results(run) if result.status is not StepStatus.SKIPPED]
    if run.ended:
        took_s = (run.ended_at - run.started_at).total_seconds() if run.ended_at and run.started_at else None
        said = f"the run {run.state}{f': {run.reason}' if run.reason else ''}"
        lines.append(Line("end", said, took_s, bad=run.state is not RunState.PASSED))
    return lines


def under_way(run: Run) -> str:
    """What the run is at, now."""
    if run.state is RunState.QUEUED and not run.results:
        return "in the queue: a runner takes it"
    if run.ended:
        return "telling those who should know"
    steps = run.job.steps
    index = next((number for number in range(len(steps)) if str(number) not in run.results), len(steps) - 1)
    return f"{steps[index].action}{f': {run.reason}' if run.waiting_for and run.reason else ''}"


def _step(run: Run, result: StepResult) -> Line:
    took_s = (result.ended_at - result.started_at).total_seconds()
    if result.status is StepStatus.PASSED:
        return Line(result.action, _did(run, result), took_s)
    return Line(result.action, f"{result.status}: {result.reason}", took_s, bad=True, lines=result.lines[:6])


def _did(run: Run, result: StepResult) -> str:
    if result.action == "build":
        image = result.facts["image"]
        return f"the image {image['name']}, {digest(image['id'])}, of commit {commit(run.job.event.commit)}"
    if result.action == "test":
        found = result.facts.get("tests")
        said = f"{counted(found['passed'], 'test')} passed" if found else "passed"
        return f"the suite, in a container of that image: {said}"
    if result.action == "push":
        names = pushed(run)
        tags = ", ".join(name.rpartition(":")[2] for name in names)
        first = next(iter(names))
        return f"to {first.rpartition(':')[0]}, tagged {tags}: {digest(names[first])}"
    if result.action == "deploy_eb":
        made = result.facts["deployment"]
        return f"{made['label']} is live in {made['environment']}, {made['url']}"
    return str(result.status)


def _results(run: Run) -> list[StepResult]:
    return [run.results[index] for index in sorted(run.results, key=int)]
