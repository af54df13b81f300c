"""`tau cancel`: a run that is worked on stops within seconds, one that waits at once; the record says who wanted it."""

from datetime import timedelta

import pytest

from chalicelib.model import RunState, WaitingFor
from tests.whole.world import slow, wait_for

pytestmark = [pytest.mark.engine, pytest.mark.cloud]

BY = "kim@laptop"
SOON = timedelta(seconds=10)


@pytest.fixture(scope="module")
def cancel(installation):
    return lambda sent: installation.tau("cancel", sent.run, "--by", BY)


@pytest.fixture(scope="module")
def running(installation, start):
    """A run whose tests run, as long as nobody stops it; its runner shows life as often as in production."""
    start(lease_s=30)
    sent = installation.push("each/cancelled", slow(100))
    installation.wait_for_tests(sent.run)
    return sent


def ended_cancelled(installation, sent, said):
    """It is at its end, the record and one mail say who wanted it, and nothing is left."""
    run = installation.wait_for_end(sent.run)
    assert (run.state, run.reason) == (RunState.CANCELLED, f"cancelled by {BY}")
    assert (said.returncode, said.stdout) == (0, f"run {sent.run} cancelled: cancelled by {BY}\n")
    (mail,) = installation.mails(sent.run)
    assert mail.subject.startswith("cancelled: ")
    assert f"Cancelled by {BY}." in " ".join(mail.text.split())
    assert installation.remains(sent.run) == []
    return run


@pytest.mark.usefixtures("no_runner")
def test_a_queued_run_is_cancelled_at_once_and_no_runner_begins_it(installation, cancel, request):
    sent = installation.push("feature/cancelled-in-the-queue")
    ended_cancelled(installation, sent, cancel(sent))
    request.getfixturevalue("running")
    wait_for(lambda: installation.messages() == 1, "the message of the run that was cancelled to be deleted")
    assert installation.run(sent.run).epoch == 0


def test_a_run_that_waits_for_its_lock_is_cancelled_at_once(installation, cancel, running):
    sent = installation.push("each/cancelled")
    wait_for(lambda: installation.run(sent.run).waiting_for is WaitingFor.LOCK, "the second to wait for the lock")
    run = ended_cancelled(installation, sent, cancel(sent))
    assert run.epoch == 0
    assert installation.run(running.run).state is RunState.RUNNING


def test_a_run_whose_tests_run_is_stopped_within_seconds_and_leaves_nothing(installation, cancel, running):
    run = ended_cancelled(installation, running, cancel(running))
    assert run.epoch == 1
    assert run.ended_at - run.stop.at < SOON
    assert [str(result.status) for result in run.results.values()] == ["passed"]
    assert installation.run(running.run).stop.by == BY


def test_asked_for_twice_it_is_said_that_it_had_ended_and_nobody_hears_again(installation, cancel, running):
    before = installation.run(running.run)
    said = cancel(running)
    assert (said.returncode, said.stdout) == (
        0,
        f"run {running.run} had ended before: cancelled: cancelled by {BY}\n",
    )
    assert installation.run(running.run) == before
    assert len(installation.mails(running.run)) == 1


def test_a_run_that_is_not_there_is_named(installation):
    said = installation.tau("cancel", "01KAQ00000000000000000NONE")
    assert (said.returncode, said.stderr) == (
        1,
        "tau: there is no run 01KAQ00000000000000000NONE: `tau runs` lists the latest\n",
    )
