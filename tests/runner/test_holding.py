import time
from dataclasses import replace

import pytest
from botocore.exceptions import EndpointConnectionError

from chalicelib.model import Message, RunState
from chalicelib.queue import Queue, Received
from runner.holding import Holding, hidden_s
from tests.installation import NOW, installation, later
from tests.running import queued

LEASE_S = 0.3


@pytest.fixture
def edge(monkeypatch):
    with installation(monkeypatch) as made:
        yield replace(made, settings=replace(made.settings, lease_s=LEASE_S))


@pytest.fixture
def held(edge):
    return edge.store.claim(queued(edge, 1), "r1", NOW)


@pytest.fixture
def received(edge, held):
    del held  # its message is the one in hand
    return edge.queue.receive("default", wait_s=0, hidden_s=1)


def wait_for(there):
    until = time.monotonic() + 5
    while not there():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_the_beat_moves_several_times_in_a_lease(edge, held, received):
    with Holding(held, received, edge, lambda: later(100)):
        time.sleep(LEASE_S)
        after = edge.store.run(held.id)
    assert after.beat >= held.beat + 2
    assert (after.state, after.epoch) == (RunState.RUNNING, 1)


def test_the_message_stays_hidden_for_as_long_as_the_run_is_held(edge, held, received):
    with Holding(held, received, edge, lambda: NOW):
        time.sleep(1.3)
        assert edge.queue.receive("default", wait_s=0, hidden_s=1) is None, "it was hidden for one second"


def test_nothing_moves_any_more_when_the_block_is_over(edge, held, received):
    with Holding(held, received, edge, lambda: NOW):
        pass
    beat = edge.store.run(held.id).beat
    time.sleep(LEASE_S)
    assert edge.store.run(held.id).beat == beat


def test_nothing_moves_any_more_after_a_failure(edge, held, received):
    holding = Holding(held, received, edge, lambda: NOW)

    def work():
        with holding:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert not holding._thread.is_alive()


def test_who_lost_the_claim_learns_it_and_beats_no_more(edge, held, received):
    with Holding(held, received, edge, lambda: NOW) as holding:
        assert not holding.lost.is_set()
        taken = edge.store.take_over(edge.store.run(held.id), "r2", later(60))
        assert holding.lost.wait(5)
        beat = edge.store.run(held.id).beat
        time.sleep(LEASE_S)
        assert edge.store.run(held.id).beat == beat == taken.beat


class Once:
    """SQS that is unreachable for the first time."""

    def __init__(self, client):
        self._client = client
        self.calls = 0

    def change_message_visibility(self, **wanted):
        self.calls += 1
        if self.calls == 1:
            raise EndpointConnectionError(endpoint_url="https://sqs.invalid")
        return self._client.change_message_visibility(**wanted)


def test_a_beat_that_is_not_answered_is_followed_by_the_next(edge, held, received):
    client = Once(edge.client("sqs"))
    with Holding(held, received, replace(edge, queue=Queue(client, "tau-test")), lambda: NOW) as holding:
        wait_for(lambda: client.calls >= 3)
    assert not holding.lost.is_set()


def test_a_message_that_somebody_deleted_does_not_stop_the_beat(edge, held):
    gone = Received(body=Message(held.id, 1).run, receipt="nonsense", queue_url=edge.queue.url("default"))
    with Holding(held, gone, edge, lambda: NOW):
        wait_for(lambda: edge.store.run(held.id).beat >= held.beat + 2)


@pytest.mark.parametrize(("lease_s", "seconds"), [(0.3, 1), (2.5, 2), (30, 30)])
def test_sqs_counts_whole_seconds(lease_s, seconds):
    assert hidden_s(lease_s) == seconds
