import json

import pytest
from botocore.exceptions import ClientError

from chalicelib.model import Message
from chalicelib.queue import BadMessage, NewerMessage, decode, encode, no_such_queue, run_named
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
    [
        *("", "no json", "[]", "null", "3", '"x"', "{}", "[" * 100_000, '{"v": 1, "run": "01X"}'),
        *(
            '{"v": 1, "run": 5, "send": 1}',
            '{"v": 1, "run": "01X", "send": "1"}',
            '{"v": true, "run": "01X", "send": 1}',
        ),
        *('{"v": 0, "run": "01X", "send": 1}', '{"v": "2", "run": "01X", "send": 1}'),
        *(
            '{"v": 1, "run": "", "send": 1}',
            '{"v": 1, "run": "a b", "send": 1}',
            '{"v": 1, "run": "\\ud800", "send": 1}',
        ),
        f'{{"v": 1, "run": "{"x" * 3000}", "send": 1}}',
    ],
)
def test_what_is_no_message_of_ours_is_named(body):
    with pytest.raises(BadMessage, match="not a wake-up message"):
        decode(body)


@pytest.mark.parametrize("body", ['{"v": 2, "run": "01X", "send": 1}', '{"v": 3, "woken": ["01X"]}'])
def test_a_message_of_a_newer_version_is_not_guessed_at(body):
    with pytest.raises(NewerMessage, match=r"version [23], and this program knows 1"):
        decode(body)


@pytest.mark.parametrize(
    ("body", "run"),
    [('{"v": 2, "run": "01X"}', "01X"), ('{"run": 5}', None), ("no json", None), ("[]", None), ('{"v": 1}', None)],
)
def test_a_message_names_its_run_even_where_it_cannot_be_read(body, run):
    assert run_named(body) == run


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


def test_a_received_message_says_who_it_is_and_how_often_it_came(queue):
    queue.send(MESSAGE, pool="default", group="g")
    first = queue.receive("default", wait_s=0, hidden_s=0)
    again = queue.receive("default", wait_s=0, hidden_s=30)
    assert (first.id, first.receives, first.pool) == (again.id, 1, "default")
    assert again.receives == 2


def test_dead_letters_come_several_at_a_time_and_none_where_nobody_made_a_queue_for_them(edge, queue):
    assert queue.receive_dead("default") == []
    sqs = edge.client("sqs")
    url = sqs.create_queue(QueueName="tau-test-default-dead")["QueueUrl"]
    for number in range(3):
        sqs.send_message(QueueUrl=url, MessageBody=str(number))
    found = queue.receive_dead("default")
    assert sorted(one.body for one in found) == ["0", "1", "2"]
    assert {one.pool for one in found} == {"default"}
    assert queue.receive_dead("default") == [], "they are hidden"
    queue.delete(found[0])


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
    with pytest.raises(ClientError, match=r"NonExistentQueue|QueueDoesNotExist") as caught:
        queue.send(MESSAGE, pool="nowhere", group="g")
    assert no_such_queue(caught.value)


def test_other_refusals_do_not_say_that_there_is_no_queue():
    assert not no_such_queue(ClientError({"Error": {"Code": "AccessDenied"}}, "SendMessage"))
