"""What lies in the queue only wakes somebody up: copies, old ones and foreign ones change nothing."""

import pytest

from chalicelib.model import Message, RunState
from chalicelib.queue import encode
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
    "body",
    ["no json", '{"v": 2, "run": "01KAQ", "send": 1}', '{"v": 1, "run": "01KAQ00000000000000000NONE", "send": 1}'],
    ids=["no JSON", "a newer version", "no such run"],
)
def test_a_message_that_cannot_be_read_stays_and_the_others_go_on(installation, runner, send, body):
    send(body)
    sent = installation.push(f"feature/beside-{len(body)}")
    assert installation.wait_for_end(sent.run).state is RunState.PASSED
    assert installation.messages() == 1
    assert runner.running
