"""Our queues and objects in memory behave as SQS and S3 do, seen through the real Queue and Objects."""

from collections import Counter

import pytest
from botocore.exceptions import ClientError

from chalicelib.errors import NotThere
from chalicelib.model import Message
from chalicelib.queue import decode

ERRS = {
    "moto": {
        # It deletes by whatever receipt a message ever had.
        "test_a_deletion_with_an_old_receipt_is_silent_and_deletes_nothing",
        # It hides a message that is in nobody's hands.
        "test_a_message_in_nobodys_hands_cannot_be_hidden",
    },
    "cloud": {
        # It complains of a receipt that it does not know any more.
        "test_a_deleted_message_never_comes_again_and_may_be_deleted_twice",
        "test_a_deletion_with_an_old_receipt_is_silent_and_deletes_nothing",
        "test_a_message_in_nobodys_hands_cannot_be_hidden",
        "test_a_message_stays_hidden_for_twelve_hours_at_most",
    },
}


@pytest.fixture
def queue(world):
    return world.queue


def message(number=1):
    return Message(f"01KAQ{number:021}", number)


def sent(world, *numbers, most_receives=None):
    """A pool with so many messages."""
    pool = world.pool(most_receives)
    for number in numbers:
        world.queue.send(message(number), pool=pool, group="g")
    return pool


# --- queues ---------------------------------------------------------------------------------------


def test_a_message_is_received_as_it_was_sent(world, queue):
    pool = sent(world, 7)
    received = queue.receive(pool, wait_s=0, hidden_s=30)
    assert decode(received.body) == message(7)
    assert (received.pool, received.receives) == (pool, 1)


def test_a_received_message_is_hidden_for_its_time_and_comes_again_with_another_receipt(world, queue):
    pool = sent(world, 1)
    first = queue.receive(pool, wait_s=0, hidden_s=1)
    assert queue.receive(pool, wait_s=0, hidden_s=1) is None
    world.wait(1.1)
    second = queue.receive(pool, wait_s=0, hidden_s=30)
    assert (second.id, second.receives) == (first.id, 2)
    assert second.receipt != first.receipt


def test_a_message_in_hand_is_hidden_for_longer_and_given_back_at_once(world, queue):
    pool = sent(world, 1)
    received = queue.receive(pool, wait_s=0, hidden_s=1)
    queue.hide(received, 3)
    world.wait(1.2)
    assert queue.receive(pool, wait_s=0, hidden_s=1) is None
    queue.hide(received, 0)
    assert queue.receive(pool, wait_s=0, hidden_s=1).id == received.id


def test_a_deleted_message_never_comes_again_and_may_be_deleted_twice(world, queue):
    pool = sent(world, 1)
    received = queue.receive(pool, wait_s=0, hidden_s=1)
    queue.delete(received)
    queue.delete(received)
    world.wait(1.1)
    assert queue.receive(pool, wait_s=0, hidden_s=1) is None


def test_a_message_may_be_deleted_when_its_time_is_over_and_nobody_else_has_it(world, queue):
    pool = sent(world, 1)
    received = queue.receive(pool, wait_s=0, hidden_s=1)
    world.wait(1.1)
    queue.delete(received)
    assert queue.receive(pool, wait_s=0, hidden_s=1) is None


def test_a_deletion_with_an_old_receipt_is_silent_and_deletes_nothing(world, queue):
    pool = sent(world, 1)
    old = queue.receive(pool, wait_s=0, hidden_s=0)
    new = queue.receive(pool, wait_s=0, hidden_s=1)
    queue.delete(old)
    queue.hide(new, 0)
    assert queue.receive(pool, wait_s=0, hidden_s=1).id == new.id


def test_a_message_in_nobodys_hands_cannot_be_hidden(world, queue):
    pool = sent(world, 1)
    received = queue.receive(pool, wait_s=0, hidden_s=0)
    with pytest.raises(ClientError):
        queue.hide(received, 30)
    assert queue.receive(pool, wait_s=0, hidden_s=1).id == received.id


def test_a_message_that_was_deleted_cannot_be_hidden(world, queue):
    pool = sent(world, 1)
    received = queue.receive(pool, wait_s=0, hidden_s=30)
    queue.delete(received)
    with pytest.raises(ClientError):
        queue.hide(received, 30)


def test_a_message_stays_hidden_for_twelve_hours_at_most(world, queue):
    pool = sent(world, 1)
    with pytest.raises(ClientError):
        queue.hide(queue.receive(pool, wait_s=0, hidden_s=30), 43201)


def test_who_waits_gets_a_message_as_soon_as_it_is_sent(world, queue):
    pool = world.pool()
    began = world.monotonic()
    world.soon(0.4, lambda: queue.send(message(), pool=pool, group="g"))
    assert queue.receive(pool, wait_s=5, hidden_s=30)
    assert 0.3 < world.monotonic() - began < 3


def test_who_waits_gets_a_message_as_soon_as_it_is_hidden_no_more(world, queue):
    pool = sent(world, 1)
    queue.receive(pool, wait_s=0, hidden_s=1)
    began = world.monotonic()
    assert queue.receive(pool, wait_s=5, hidden_s=30)
    assert 0.8 < world.monotonic() - began < 3


def test_who_waits_gets_a_message_as_soon_as_it_is_given_back(world, queue):
    pool = sent(world, 1)
    received = queue.receive(pool, wait_s=0, hidden_s=30)
    began = world.monotonic()
    world.soon(0.4, lambda: queue.hide(received, 0))
    assert queue.receive(pool, wait_s=5, hidden_s=30).id == received.id
    assert 0.3 < world.monotonic() - began < 3


def test_who_waits_in_vain_waits_as_long_as_he_said(world, queue):
    pool = world.pool()
    began = world.monotonic()
    assert queue.receive(pool, wait_s=1, hidden_s=30) is None
    assert 0.9 < world.monotonic() - began < 3


def test_a_message_that_was_received_too_often_goes_to_the_dead_letters_and_keeps_its_id(world, queue):
    pool = sent(world, 1, most_receives=2)
    received = [queue.receive(pool, wait_s=0, hidden_s=0) for _ in range(2)]
    assert queue.receive_dead(pool) == []
    assert queue.receive(pool, wait_s=0, hidden_s=0) is None
    (dead,) = queue.receive_dead(pool)
    assert {dead.id} == {one.id for one in received}
    assert dead.body == received[0].body
    queue.delete(dead)
    assert queue.receive_dead(pool) == []


def test_every_message_comes_in_whatever_order(world, queue):
    pool = sent(world, *range(20))
    found = Counter(decode(queue.receive(pool, wait_s=1, hidden_s=30).body).send for _ in range(20))
    assert found == Counter(range(20))
    assert queue.receive(pool, wait_s=0, hidden_s=30) is None


def test_a_pool_without_a_queue_is_an_error_and_has_no_dead_letters(queue):
    with pytest.raises(ClientError, match=r"NonExistentQueue|QueueDoesNotExist"):
        queue.send(message(), pool="nowhere", group="g")
    assert queue.receive_dead("nowhere") == []


# --- objects --------------------------------------------------------------------------------------


def test_an_object_is_written_once(world):
    key = f"logs/{world.pool()}"
    assert world.objects.put_once(key, b"first", {"epoch": "1"}) is True
    assert world.objects.put_once(key, b"second") is False
    assert world.objects.get(key) == b"first"
    assert world.objects.metadata(key) == {"epoch": "1"}


def test_an_object_that_is_not_there_is_named(world):
    with pytest.raises(NotThere, match="logs/nothing"):
        world.objects.get("logs/nothing")
    with pytest.raises(ClientError, match="404"):
        world.objects.metadata("logs/nothing")


def test_keys_come_in_the_order_of_their_bytes(world):
    prefix = f"logs/{world.pool()}/"
    for name in ("10", "9", "a", "Z", "é"):
        world.objects.put_once(prefix + name, b"")
    assert list(world.objects.keys(prefix)) == [prefix + name for name in ("10", "9", "Z", "a", "é")]
    assert list(world.objects.keys(f"{prefix}none")) == []
