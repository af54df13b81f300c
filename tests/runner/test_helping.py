"""A runner does what is due, when it is due, and says that it lives; by a clock that the test moves."""

from dataclasses import replace

import pytest
from botocore.exceptions import EndpointConnectionError

from chalicelib.model import RunState, WaitingFor
from chalicelib.records.due import Due
from chalicelib.store import Store
from runner.helping import EVERY, Helper, pause_s
from tests.installation import NOW, later
from tests.running import in_queue, queued

EVERY_S = EVERY.total_seconds()


def due(seconds):
    return Due("run", "01X", later(seconds))


@pytest.mark.parametrize(
    ("found", "seconds"),
    [
        ([], EVERY_S),
        ([due(7.5), due(20)], 7.5),
        ([due(0.01)], 0.5),
        ([due(-3)], 5.0),
        ([due(-3), due(2)], 2.0),
        ([due(1000)], EVERY_S),
    ],
    ids=["nothing", "the next", "almost now", "done just now", "done and soon", "far away"],
)
def test_the_pause_ends_when_the_next_thing_falls_due(found, seconds):
    assert pause_s(found, NOW) == pytest.approx(seconds)


@pytest.fixture
def helping(edge, pace):
    """Start a helper; it is stopped at the end."""
    started = []

    def start(edge=edge, facts=lambda: {"host": "code", "pool": "default"}):
        nudged, stopping = pace.flag(), pace.flag()
        started.append((nudged, stopping))
        pace.start(Helper(edge, "r1", facts, nudged, stopping, pace).run, "helper")
        return nudged

    yield start
    for nudged, stopping in started:
        stopping.set()
        nudged.set()


def record(edge):
    return edge.store.table.get(("runner", "r1"))


def parked(edge, seconds):
    """A run that is to be woken after so long."""
    held = edge.store.claim(queued(edge, 1, send=False), "r2", NOW)
    edge.store.park(held, WaitingFor.RETRY, later(seconds), "once more")
    return held


def test_a_helper_says_that_its_runner_lives_and_what_it_has_in_hand(edge, helping, clock):
    runs = ["01A"]
    helping(facts=lambda: {"host": "code", "pool": "default", "jobs": 3, "runs": tuple(runs)})
    clock.somebody_waits(EVERY_S)
    (runner,) = edge.store.runners(NOW)
    assert (runner.id, runner.host, runner.jobs, runner.runs) == ("r1", "code", 3, ("01A",))
    runs.append("01B")
    clock.pass_(EVERY_S)
    clock.somebody_waits(EVERY_S)
    (runner,) = edge.store.runners(clock())
    assert (runner.runs, runner.seen_at) == (("01A", "01B"), later(EVERY_S))


def test_what_is_due_is_done_and_looked_at_again_soon(edge, helping, clock):
    held = parked(edge, 0)
    helping()
    clock.somebody_waits(5)
    assert (edge.store.run(held.id).state, in_queue(edge)) == (RunState.QUEUED, 1)


def test_what_falls_due_soon_is_done_when_it_is_due(edge, helping, clock):
    parked(edge, 7.5)
    helping()
    clock.somebody_waits(7.5)
    assert in_queue(edge) == 0
    clock.pass_(7.5)
    clock.somebody_waits(5)
    assert in_queue(edge) == 1


def test_a_nudge_makes_it_look_at_once(edge, helping, clock):
    nudged = helping()
    clock.somebody_waits(EVERY_S)
    parked(edge, 0)
    nudged.set()
    clock.somebody_waits(5)
    assert in_queue(edge) == 1


class Broken(Store):
    """Records that cannot be reached at first; how often they were asked for what is due."""

    asked = 0
    trouble = EndpointConnectionError(endpoint_url="https://dynamodb.invalid")

    def due(self, *wanted):
        self.asked += 1
        if self.asked == 1:
            raise self.trouble
        return super().due(*wanted)


@pytest.mark.parametrize("trouble", [Broken.trouble, OverflowError("date value out of range")], ids=["AWS", "ours"])
def test_what_breaks_a_tick_ends_no_helper(edge, helping, clock, trouble):
    store = Broken(edge.store.table)
    store.trouble = trouble
    helping(replace(edge, store=store))
    for _ in range(2):
        clock.somebody_waits(EVERY_S)
        clock.pass_(EVERY_S)
    clock.somebody_waits(EVERY_S)
    assert store.asked == 3


def test_the_sign_of_life_is_given_once_a_minute_and_not_at_every_look(edge, helping, clock):
    store = Broken(edge.store.table)
    nudged = helping(replace(edge, store=store))
    for _ in range(3):
        clock.somebody_waits(EVERY_S)
        nudged.set()
    clock.somebody_waits(EVERY_S)
    assert (store.asked, record(edge)["beat"]) == (4, 1)
    clock.pass_(EVERY_S)
    clock.somebody_waits(EVERY_S)
    assert record(edge)["beat"] == 2
