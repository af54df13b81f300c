"""A run that kills its runner each time: it ends, its repository is left alone, and a person lets it go on."""

import re

import pytest

from chalicelib.model import Message, RunState, WaitingFor
from chalicelib.queue import encode
from chalicelib.records.runs import MOST_ATTEMPTS
from tests.whole.world import GITHUB, HELLO, TOOL, slow, wait_for

pytestmark = [pytest.mark.engine, pytest.mark.cloud]

REPOSITORY = f"{GITHUB}/{HELLO}"


@pytest.fixture(scope="module")
def killer(installation):
    """A run whose runner was killed as soon as it held it, again and again, until it ended."""
    installation.runners(0)
    for number in range(MOST_ATTEMPTS + 1):
        installation.start_runner(f"victim-{number}", "--jobs", "1", environ={"TAU_LEASE_S": "2"})
    sent = installation.push("feature/killer", slow(2))
    for attempt in range(MOST_ATTEMPTS):
        held = lambda: installation.run(sent.run).epoch > attempt  # noqa: E731, B023
        wait_for(held, f"claim {attempt + 1}")
        installation.holder(sent.run).kill()
        # What the dead one had is hidden for a while: whoever else has a message of this run watches it meanwhile.
        send = installation.run(sent.run).send
        installation.cloud.client("sqs").send_message(
            QueueUrl=installation.queue_url, MessageBody=encode(Message(sent.run, send))
        )
    yield sent, installation.wait_for_end(sent.run)
    installation.tau("redrive", REPOSITORY)
    installation.runners(0)


def test_a_run_that_kills_its_runner_each_time_ends_errored_and_the_operators_hear(installation, killer):
    _, run = killer
    assert (run.state, run.attempts) == (RunState.ERRORED, MOST_ATTEMPTS)
    assert run.reason == f"its runner died {MOST_ATTEMPTS} times while it held this run"
    assert {mail.to for mail in installation.mails(run.id)} == {("sam@2pisoftware.com",), ("ops@2pisoftware.com",)}
    assert installation.remains(run.id) == []


def test_it_stands_in_the_dead_letters_its_repository_is_parked_and_others_go_on(installation, killer):
    _, run = killer
    said = installation.tau("dead").stdout
    assert run.id in said
    assert f"its runner died {MOST_ATTEMPTS} times" in said
    assert "parked repository" in said
    parked = installation.push("feature/after-the-killer")
    wait_for(lambda: installation.run(parked.run).waiting_for is WaitingFor.RUNNER, "the next run to be parked")
    other = installation.wait_for_end(installation.push("feature/beside-the-killer", repository=TOOL).run)
    assert other.state is RunState.PASSED
    assert installation.run(parked.run).state is RunState.WAITING
    said = installation.tau("redrive", run.id)
    # The new run may be parked before its repository is let go.
    assert re.search(f"{REPOSITORY} is not parked any more, [12] runs? woken", said.stdout)
    (again,) = (one for one in installation.edge.store.runs_of_commit(killer[0].commit, 9) if one.id != run.id)
    ends = [installation.wait_for_end(run_id).state for run_id in (again.id, parked.run)]
    assert ends == [RunState.PASSED, RunState.PASSED]
    assert run.id not in installation.tau("dead").stdout
