"""Answers that nobody hears, and calls that are refused, at the functions' side: a delivery is one run all the same.

What a run loses this way is in test_runner_faults.py.
"""

import pytest

from chalicelib.model import RunState
from tests.proof.faults import BROKEN, THROTTLED, calls, lost, refused
from tests.whole.world import wait_for

pytestmark = [pytest.mark.engine, pytest.mark.cloud, pytest.mark.slow]


@pytest.fixture(scope="module")
def functions(installation):
    """Where the functions' calls pass; what they do is done by one runner."""
    installation.watch_functions()
    installation.runners(1)
    return installation.function_calls


@pytest.mark.parametrize("operation", ["TransactWriteItems", "SendMessage"])
def test_a_call_that_succeeded_though_nobody_heard_is_made_again_and_there_is_one_run(
    installation, functions, operation
):
    with functions.armed(fault := lost(calls(operation))):
        sent = installation.push(f"feature/lost-{operation}")
    assert len(fault.struck) == 1
    assert sent.answered.status == 202
    done_once(installation, sent.run, sent.commit)


def test_a_delivery_that_was_recorded_though_nobody_heard_is_refused_and_found_when_it_comes_again(
    installation, functions
):
    webhook = installation.commit("feature/unheard")
    with functions.armed(lost(calls("TransactWriteItems"), times=None)):
        assert installation.deliver(webhook).status == 503
    again = installation.announced(webhook)
    assert again.answered.status == 200
    assert installation.run(again.run).state is RunState.QUEUED
    time_passes(installation, again.run)
    done_once(installation, again.run, again.commit)


def test_a_delivery_that_cannot_be_recorded_is_refused_and_taken_when_it_comes_again(installation, functions):
    webhook = installation.commit("feature/throttled")
    before = installation.items()
    with functions.armed(refused(calls("GetItem", "UpdateItem", "PutItem", "TransactWriteItems"), THROTTLED)):
        assert installation.deliver(webhook).status == 503
    assert installation.items() == before
    again = installation.announced(webhook)
    assert again.answered.status == 202
    done_once(installation, again.run, again.commit)


def test_a_run_whose_message_cannot_be_sent_is_taken_and_sent_by_the_ticker(installation, functions):
    with functions.armed(refused(calls("SendMessage"), BROKEN)):
        sent = installation.push("feature/unsent")
    assert sent.answered.status == 202
    assert installation.messages() == 0
    assert installation.run(sent.run).state is RunState.QUEUED
    time_passes(installation, sent.run)
    done_once(installation, sent.run, sent.commit)


def time_passes(installation, run):
    """A minute later."""
    installation.make_due(run)
    installation.cloud.tick()


def done_once(installation, run_id, commit):
    run = installation.wait_for_end(run_id)
    assert (run.state, run.epoch) == (RunState.PASSED, 1)
    assert [one.id for one in installation.edge.store.runs_of_commit(commit, 9)] == [run_id]
    assert len(installation.mails(run_id)) == 1
    wait_for(lambda: installation.messages() == 0, "every message to be deleted")
