"""The record of a run in; what it was made of, and whether it ended the same there, out."""

from dataclasses import replace

import pytest
from runner.outcome import Ended, Halted

from chalicelib import wire
from chalicelib.errors import BadInput
from chalicelib.graph import Base
from chalicelib.model import RunState, Step, StepResult, StepStatus
from runner.laptop.repeating import compared, opening, recorded
from runner.stopping import Why
from tests.installation import NOW, event, job, run

APP, DEPLOY = "github.com/2pisoftware/cmfive", "bitbucket.org/2pisoftware/cmfive_deploy"
BRANCH = "refs/heads/develop"
BUILD = Step("build", {"image": "2pisoftware/cmfive", "from": {"repository": DEPLOY, "ref": "HEAD", "into": "app"}})
PLAIN = Step("build", {"image": "2pisoftware/cmfive"})
TEST = Step("test", {"image": "2pisoftware/cmfive", "command": ["run"]})
PUSH = Step("push", {"image": "2pisoftware/cmfive", "to": ["registry"], "tags": ["latest"]})
BASE = Base("docker.io", "php", "8", "sha256:aa")


def result(action, status=StepStatus.PASSED, **facts):
    return StepResult(action, status, NOW, NOW, facts=facts)


def built(base=BASE, **commits):
    image = {"name": "2pisoftware/cmfive", "id": "sha256:01"}
    return result("build", image=image, bases=[wire.to_json(base)], commits=commits or {DEPLOY: "3" * 40})


def ended(state, *results, steps=(BUILD, TEST, PUSH), **changes):
    return run(1, *steps, state=state, results={str(at): one for at, one in enumerate(results)}, **changes)


PASSED = ended(RunState.PASSED, built(), result("test"), result("push"))
TEST_FAILED = ended(RunState.FAILED, built(), result("test", StepStatus.FAILED))


def test_it_says_which_commits_and_which_bases():
    found = recorded(PASSED)
    assert found.commits == {(APP, BRANCH): "2" * 40, (DEPLOY, "HEAD"): "3" * 40}
    assert (found.bases, found.unknown) == ({"2pisoftware/cmfive": (BASE,)}, ())


def test_the_commit_that_a_build_took_is_known_also_where_it_did_not_pass():
    seen = {"step": 0, "kind": "seen", "key": f"source {DEPLOY}", "epoch": 1, "at": "", "commit": "4" * 40}
    found = recorded(ended(RunState.FAILED, result("build", StepStatus.FAILED), journal=(seen,)))
    assert found.commits[DEPLOY, "HEAD"] == "4" * 40
    assert found.unknown == (
        "on which images 2pisoftware/cmfive stood, as no build of it passed there: the newest are taken",
    )


def test_what_no_record_says_is_said_to_be_unknown():
    there = ended(RunState.ERRORED)
    found = recorded(there)
    assert (DEPLOY, "HEAD") not in found.commits
    assert found.unknown[0] == f"which commit of {DEPLOY} 2pisoftware/cmfive was built from: the newest is taken"
    assert list(opening(found, there))[1] == f"the record does not say {found.unknown[0]}"


def test_a_run_that_never_knew_its_commit_cannot_be_repeated():
    there = run(1, job=replace(job(PLAIN), event=event(commit=None)))
    with pytest.raises(BadInput, match=f"run {there.id} is queued, and its record does not say which commit"):
        recorded(there)


def test_the_commit_that_a_run_pinned_is_its_commit():
    seen = {"step": -1, "kind": "seen", "key": f"source {APP}", "epoch": 1, "at": "", "commit": "5" * 40}
    there = run(1, job=replace(job(PLAIN), event=event(commit=None)), journal=(seen,))
    assert recorded(there).commits == {(APP, BRANCH): "5" * 40}


def test_it_opens_with_what_is_repeated_and_how_that_ended():
    there = replace(TEST_FAILED, reason="2 of 9 tests failed")
    (line,) = opening(recorded(there), there)
    assert line.startswith(f"cmfive-dev: {APP} 2222222, as {BRANCH}; run {there.id} once more")
    assert line.endswith(", which failed (2 of 9 tests failed) on the code server")


@pytest.mark.parametrize(
    ("state", "words"),
    [(RunState.RUNNING, "is running"), (RunState.CANCELLED, "was cancelled"), (RunState.PASSED, "passed")],
)
def test_how_it_stands_there_is_said_in_words(state, words):
    there = ended(state)
    assert f" once more, which {words} on the code server" in next(opening(recorded(there), there))


@pytest.mark.parametrize(
    ("there", "state", "results", "said"),
    [
        (PASSED, RunState.PASSED, (built(), result("test")), "the same verdict as on the code server: passed"),
        (
            TEST_FAILED,
            *(RunState.FAILED, (built(), result("test", StepStatus.FAILED))),
            "the same verdict as on the code server: failed in test",
        ),
        (
            TEST_FAILED,
            *(RunState.FAILED, (result("build", StepStatus.FAILED),)),
            "NOT the same verdict as on the code server: failed in build here, failed in test there",
        ),
        (
            TEST_FAILED,
            *(RunState.PASSED, (built(), result("test"))),
            "NOT the same verdict as on the code server: passed here, failed in test there",
        ),
        (
            ended(RunState.ERRORED, built(), result("test"), result("push", StepStatus.ERRORED)),
            *(RunState.PASSED, (built(), result("test"))),
            "passed; on the code server it errored in push, and that step was left out here",
        ),
        (
            run(1, PLAIN, state=RunState.RUNNING),
            *(RunState.PASSED, (built(),)),
            f"the code server has no verdict to hold it against: run {run().id} is running",
        ),
    ],
)
def test_it_is_said_whether_the_verdict_is_the_same(there, state, results, said):
    assert list(compared(there, Ended(state, None, results), (PUSH,))) == [said]


def test_another_base_than_there_is_said():
    here = built(replace(BASE, tag=None, digest="sha256:bb"))
    assert list(compared(PASSED, Ended(RunState.PASSED, None, (here, result("test"))), (PUSH,)))[1:] == [
        "2pisoftware/cmfive stood on another docker.io/php there, which is not to be had any more"
    ]


def test_one_that_was_stopped_has_no_verdict_to_compare():
    assert list(compared(PASSED, Halted(Why.ASKED), ())) == []
