"""What nobody pushed: a person starts a pipeline, or has a delivery planned once more."""

import pytest

from chalicelib.model import EventKind, RunState
from tests.whole.world import TOOL

pytestmark = [pytest.mark.engine, pytest.mark.cloud]

BRANCH, BY, KIM = "feature/by-hand", "kim@laptop", "kim@2pisoftware.com"


@pytest.fixture(scope="module")
def sent(installation):
    """A push that was built, so that its branch can be built again; the ticker has noted the ci.yml that it has."""
    installation.runners(1)
    installation.cloud.tick()
    sent = installation.push(BRANCH, repository=TOOL)
    assert installation.wait_for_end(sent.run).state is RunState.PASSED
    return sent


def started(said):
    assert said.returncode == 0, said.stderr
    return said.stdout.strip()


@pytest.mark.usefixtures("runner")
def test_a_person_starts_a_pipeline_and_is_told_which_commit_was_built(installation, sent):
    run_id = started(installation.tau("trigger", "tool", "--ref", BRANCH, "--by", BY, "--as", KIM))
    run = installation.wait_for_end(run_id)
    assert (run.state, run.job.event.kind, run.job.event.commit) == (RunState.PASSED, EventKind.MANUAL, None)
    (mail,) = installation.mails(run_id)
    assert (mail.to, sent.commit[:7] in mail.subject) == ((KIM,), True)
    assert BY in mail.text
    listed = installation.tau("runs", "--commit", sent.commit).stdout
    assert run_id in listed
    assert sent.run in listed


@pytest.mark.usefixtures("runner")
def test_a_delivery_is_planned_once_more(installation, sent):
    run_id = started(installation.tau("replay", installation.run(sent.run).delivery, "--by", BY))
    run = installation.wait_for_end(run_id)
    assert (run.state, run.job.event.commit) == (RunState.PASSED, sent.commit)
