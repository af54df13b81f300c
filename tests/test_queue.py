import json

import pytest
from botocore.exceptions import ClientError

from chalicelib.model import Message
from chalicelib.queue import BadMessage, decode, encode
from tests.installation import installation

MESSAGE = Message("01KAQ000000000000000000001", 3)


@pytest.fixture
def edge(monkeypatch):
    with installation(monkeypatch) as made:
        yield made


@pytest.fixture
def queue(edge):
    return edge.queue


def test_a_message_reads_back_as_it_was_written():
    assert decode(encode(MESSAGE)) == MESSAGE


def test_a_message_is_json_with_its_version():
    assert json.loads(encode(MESSAGE)) == {"v": 1, "run": MESSAGE.run, "send": 3}


@pytest.mark.parametrize(
    "body",
    ["", "no json", "[]", "null", "3", '"x"', "{}", '{"v": 1, "run": "01X"}', '{"v": 1, "run": 5, "send": 1}'],
)
def test_what_is_no_message_of_ours_is_named(body):
    with pytest.raises(BadMessage, match="not a wake-up message"):
        decode(body)


@pytest.mark.parametrize("body", ['{"v": 1, "run": "01X", "send": "1"}', '{"v": 2, "run": "01X", "send": 1}'])
def test_a_message_of_a_newer_version_is_not_guessed_at(body):
    with pytest.raises(BadMessage, match="version 1"):
        decode(body)


def test_a_strangers_text_is_quoted_and_cut_in_the_complaint():
    with pytest.raises(BadMessage) as caught:
        decode("\x1b[2J" + "x" * 10_000)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_a_sent_message_is_received_once_and_hidden_from_others(queue):
    queue.send(MESSAGE, pool="default", group="2pisoftware/cmfive")
    received = queue.receive("default", wait_s=0, hidden_s=30)
    assert decode(received.body) == MESSAGE
    assert queue.receive("default", wait_s=0, hidden_s=30) is None


def test_a_message_that_is_given_back_comes_again(queue):
    queue.send(MESSAGE, pool="default", group="g")
    queue.hide(queue.receive("default", wait_s=0, hidden_s=30), 0)
    assert decode(queue.receive("default", wait_s=0, hidden_s=30).body) == MESSAGE


def test_a_deleted_message_never_comes_again(queue):
    queue.send(MESSAGE, pool="default", group="g")
    received = queue.receive("default", wait_s=0, hidden_s=0)
    queue.delete(received)
    assert queue.receive("default", wait_s=0, hidden_s=0) is None


def test_pools_have_queues_of_their_own(edge, queue):
    edge.client("sqs").create_queue(QueueName="tau-test-large")
    queue.send(MESSAGE, pool="large", group="g")
    assert queue.receive("default", wait_s=0, hidden_s=30) is None
    assert queue.receive("large", wait_s=0, hidden_s=30) is not None


def test_the_repository_is_the_group_by_which_sqs_is_fair(edge, queue):
    queue.send(MESSAGE, pool="default", group="o" * 100 + "/" + "n" * 100)
    (message,) = edge.client("sqs").receive_message(
        QueueUrl=queue.url("default"), MessageSystemAttributeNames=["MessageGroupId"]
    )["Messages"]
    assert message["Attributes"]["MessageGroupId"] == ("o" * 100 + "/" + "n" * 100)[:128]


def test_a_pool_without_a_queue_is_an_error_of_the_set_up(queue):
    with pytest.raises(ClientError, match=r"NonExistentQueue|QueueDoesNotExist"):
        queue.send(MESSAGE, pool="nowhere", group="g")
