import threading
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from botocore.exceptions import EndpointConnectionError

from chalicelib.model import RunState, WaitingFor
from chalicelib.records.due import Due
from chalicelib.store import Store
from runner.helping import EVERY, Helper, pause_s
from tests.installation import NOW, installation, later
from tests.running import in_queue, queued


@pytest.fixture
def edge(monkeypatch):
    with installation(monkeypatch) as made:
        yield made


def due(seconds):
    return Due("run", "01X", later(seconds))


@pytest.mark.parametrize(
    ("found", "seconds"),
    [
        ([], EVERY.total_seconds()),
        ([due(7.5), due(20)], 7.5),
        ([due(0.01)], 0.5),
        ([due(-3)], 5.0),
        ([due(-3), due(2)], 2.0),
        ([due(1000)], EVERY.total_seconds()),
    ],
    ids=["nothing", "the next", "almost now", "done just now", "done and soon", "far away"],
)
def test_the_pause_ends_when_the_next_thing_falls_due(found, seconds):
    assert pause_s(found, NOW) == pytest.approx(seconds)


@pytest.fixture
def helping(edge):
    """Start a helper; it is stopped and joined at the end."""
    started = []

    def start(**changes):
        nudged, stopping = threading.Event(), threading.Event()
        wanted = {"edge": edge, "now": lambda: datetime.now(UTC), **changes}
        facts = {"host": "code", "pool": "default", "version": "1"}
        helper = Helper(wanted["edge"], "r1", facts, nudged, stopping, wanted["now"])
        started.append((helper, nudged, stopping))
        helper.start()
        return nudged

    yield start
    for helper, nudged, stopping in started:
        stopping.set()
        nudged.set()
        helper.join(5)
        assert not helper.is_alive()


def wait_for(there):
    until = time.monotonic() + 5
    while not there():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_helper_says_that_its_runner_lives(edge, helping):
    helping()
    wait_for(lambda: (edge.store.table.get(("runner#r1", "runner")) or {}).get("beat"))
    record = edge.store.table.get(("runner#r1", "runner"))
    assert (record["host"], record["pool"], record["beat"]) == ("code", "default", 1)


def test_what_is_due_is_done(edge, helping):
    held = edge.store.claim(queued(edge, 1, send=False), "r2", NOW)
    edge.store.park(held, WaitingFor.RETRY, NOW, "once more")
    helping()
    wait_for(lambda: in_queue(edge) == 1)
    assert edge.store.run(held.id).state is RunState.QUEUED


def test_a_nudge_makes_it_look_at_once(edge, helping):
    nudged = helping()
    wait_for(lambda: edge.store.table.get(("runner#r1", "runner")))
    held = edge.store.claim(queued(edge, 1, send=False), "r2", NOW)
    edge.store.park(held, WaitingFor.RETRY, NOW, "once more")
    nudged.set()
    wait_for(lambda: in_queue(edge) == 1)


class Broken(Store):
    """Records that cannot be reached at first."""

    def __init__(self, client):
        super().__init__(client, "tau-test")
        self.asked = 0

    def due(self, *wanted):
        self.asked += 1
        if self.asked == 1:
            raise EndpointConnectionError(endpoint_url="https://dynamodb.invalid")
        return super().due(*wanted)


def test_a_cloud_that_does_not_answer_ends_no_helper(edge, helping):
    store = Broken(edge.client("dynamodb"))
    nudged = helping(edge=replace(edge, store=store))
    wait_for(lambda: store.asked == 1)
    wait_for(lambda: nudged.set() or store.asked >= 2)


def test_the_sign_of_life_is_given_once_a_minute_and_not_at_every_look(edge, helping):
    store = Broken(edge.client("dynamodb"))
    nudged = helping(edge=replace(edge, store=store), now=lambda: NOW)
    wait_for(lambda: nudged.set() or store.asked >= 4)
    assert edge.store.table.get(("runner#r1", "runner"))["beat"] == 1
