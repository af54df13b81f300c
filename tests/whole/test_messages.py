"""What lies in the queue only wakes somebody up: copies, old ones and foreign ones change nothing."""

import pytest

from chalicelib.model import Message, RunState
from chalicelib.queue import encode
from infra.local import samples
from tests.whole.world import slow, wait_for

pytestmark = [pytest.mark.engine, pytest.mark.cloud]


@pytest.fixture
def send(installation):
    def send(body):
        installation.cloud.client("sqs").send_message(QueueUrl=installation.queue_url, MessageBody=body)

    yield send
    installation.cloud.client("sqs").purge_queue(QueueUrl=installation.queue_url)


def test_copies_of_a_message_start_one_run_whoever_gets_them(installation, send):
    installation.runners(2)
    sent = installation.push("feature/copies", slow(1))
    for _ in range(3):
        send(encode(Message(sent.run, 1)))
    run = installation.wait_for_end(sent.run)
    wait_for(lambda: installation.messages() == 0, "every copy to be deleted", 60)
    assert (run.state, run.epoch) == (RunState.PASSED, 1)
    assert len(installation.mails(sent.run)) == 1


@pytest.mark.usefixtures("runner")
def test_a_copy_that_comes_after_the_end_is_deleted_and_tells_nobody(installation, send):
    sent = installation.push("feature/late-copy")
    run = installation.wait_for_end(sent.run)
    send(encode(Message(sent.run, 1)))
    wait_for(lambda: installation.messages() == 0, "the copy to be deleted")
    assert installation.run(sent.run) == run
    assert len(installation.mails(sent.run)) == 1


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("no json", "not a wake-up message: 'no json'"),
        ('{"v": 1, "run": "01KAQ00000000000000000NONE", "send": 1}', "there is no run 01KAQ00000000000000000NONE"),
    ],
    ids=["no JSON", "no such run"],
)
@pytest.mark.usefixtures("runner")
def test_a_message_that_can_never_be_acted_on_is_a_dead_letter_and_the_others_go_on(installation, send, body, reason):
    send(body)
    sent = installation.push(f"feature/beside-{len(body)}")
    assert installation.wait_for_end(sent.run).state is RunState.PASSED
    wait_for(lambda: installation.messages() == 0, "every message to be deleted")
    (letter,) = (one for one in installation.edge.store.dead_letters() if one.body == body)
    assert letter.reason == reason
    assert letter.id in installation.tau("dead").stdout
    assert installation.tau("discard", letter.id).stdout == f"dead letter {letter.id} is discarded\n"
    assert letter.id not in installation.tau("dead").stdout


@pytest.mark.usefixtures("runner")
def test_a_message_of_a_newer_version_stays_for_a_newer_runner_and_the_others_go_on(installation, send):
    send('{"v": 2, "run": "01KAQ", "send": 1}')
    sent = installation.push("feature/beside-newer")
    assert installation.wait_for_end(sent.run).state is RunState.PASSED
    wait_for(lambda: installation.messages() == 1, "ours to be deleted")
    assert installation.edge.store.dead_letters() == []


@pytest.mark.usefixtures("runner")
def test_a_run_that_failed_is_done_again_once_however_often_it_is_asked_for(installation):
    sent = installation.push("feature/again", samples.broken_hello())
    assert installation.wait_for_end(sent.run).state is RunState.FAILED
    said = [installation.tau("redrive", sent.run).stdout for _ in range(2)]
    (again,) = (one.id for one in installation.edge.store.runs_of_commit(sent.commit, 9) if one.id != sent.run)
    assert said[0].startswith(f"run {again} does run {sent.run} again")
    assert f"run {again} is " in said[1]
    run = installation.wait_for_end(again)
    assert (run.state, run.epoch, run.reason) == (RunState.FAILED, 1, installation.run(sent.run).reason)
