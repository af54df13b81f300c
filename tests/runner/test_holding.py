"""While a run is held: beats, a hidden message, an open ear; by a clock that the test moves."""

import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from botocore.exceptions import EndpointConnectionError

from chalicelib.model import RunState, Stop
from chalicelib.queue import Queue, Received
from chalicelib.store import Store
from runner.holding import Holding, hidden_s
from runner.stopping import Stopped, Stopping, Why
from tests.installation import NOW, SETTINGS, later
from tests.pacing import PATIENCE_S
from tests.running import queued

LEASE_S = SETTINGS.lease_s
BEAT_S = 4.8


class Hidden(Queue):
    """A queue that remembers when messages were hidden, and for how long."""

    def __init__(self, client, clock):
        super().__init__(client, "tau-test")
        self.clock, self.hidden = clock, []

    def hide(self, received, hidden_s):
        self.hidden.append((self.clock.monotonic(), hidden_s))
        super().hide(received, hidden_s)


@pytest.fixture
def edge(edge, clock):
    return replace(edge, queue=Hidden(edge.client("sqs"), clock))


@pytest.fixture
def held(edge):
    return edge.store.claim(queued(edge, 1), "r1", NOW)


@pytest.fixture
def stopping():
    return Stopping()


@pytest.fixture
def holding(edge, held, pace, stopping):
    def make(edge=edge, received=None, **more):
        received = received or edge.queue.receive("default", wait_s=0, hidden_s=LEASE_S)
        return Holding(held, received, edge, pace, stopping, **more)

    return make


@pytest.fixture
def beats(clock):
    """Let so many beats happen, one after the other."""

    def beats(number):
        for _ in range(number):
            clock.somebody_waits(BEAT_S)
            clock.pass_(BEAT_S)
        clock.somebody_waits(BEAT_S)

    return beats


def test_the_beat_moves_several_times_in_a_lease(edge, held, holding, beats):
    with holding():
        beats(int(LEASE_S / BEAT_S))
        after = edge.store.run(held.id)
    assert after.beat == held.beat + 6
    assert (after.state, after.epoch) == (RunState.RUNNING, 1)


def test_a_short_lease_has_three_beats(edge, held, holding, clock):
    with holding(replace(edge, settings=replace(edge.settings, lease_s=3))):
        clock.somebody_waits(1)
        clock.pass_(1)
        clock.somebody_waits(1)
        assert edge.store.run(held.id).beat == held.beat + 1


def test_the_message_stays_hidden_for_as_long_as_the_run_is_held_at_few_calls(edge, holding, beats):
    with holding():
        beats(60)
    until = LEASE_S  # it came hidden for a lease
    for at, seconds in edge.queue.hidden:
        assert at + BEAT_S < until, "a beat may be missed"
        until = at + seconds
    assert until > 60 * BEAT_S
    assert len(edge.queue.hidden) == 5


def test_nothing_moves_any_more_when_the_block_is_over(edge, held, holding, clock):
    with holding():
        pass
    clock.pass_(10 * LEASE_S)
    assert edge.store.run(held.id).beat == held.beat


def test_nothing_moves_any_more_after_a_failure(edge, held, holding, clock):
    def work():
        with holding():
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    clock.pass_(10 * LEASE_S)
    assert edge.store.run(held.id).beat == held.beat


def test_who_lost_the_claim_learns_it_and_beats_no_more(edge, held, holding, stopping, clock, pace):
    with holding():
        taken = edge.store.take_over(edge.store.run(held.id), "r2", later(60))
        clock.somebody_waits(BEAT_S)
        clock.pass_(BEAT_S)
        pace.threads[0].join(PATIENCE_S)
        assert stopping.why is Why.LOST
        clock.pass_(10 * LEASE_S)
        assert edge.store.run(held.id).beat == taken.beat


def test_what_is_asked_of_the_holder_is_heard_at_the_next_beat(edge, held, holding, beats):
    heard = []
    with holding(asked=heard.append):
        beats(1)
        assert heard == []
        edge.store.ask_to_stop(held, Stop(RunState.CANCELLED, "sam@laptop", NOW))
        beats(1)
        assert [run.stop.by for run in heard] == ["sam@laptop"]


def test_whether_somebody_reads_the_log_is_seen_at_the_next_beat_and_for_as_long_as_it_says(
    edge, held, holding, beats, clock
):
    with holding() as at_work:
        edge.store.follow(held.id, later(3 * BEAT_S))
        assert not at_work.followed()
        beats(1)
        assert at_work.followed()
        clock.pass_(3 * BEAT_S)
        assert not at_work.followed()


# --- what does not answer -------------------------------------------------------------------------


class Broken(Store):
    """Records that cannot be reached while `broken`."""

    broken = True

    def beat(self, run, now):
        if self.broken:
            raise EndpointConnectionError(endpoint_url="https://dynamodb.invalid")
        return super().beat(run, now)


def test_a_beat_that_is_not_answered_is_followed_by_the_next(edge, held, holding, beats, stopping):
    store = Broken(edge.store.table)
    with holding(replace(edge, store=store)):
        beats(2)
        store.broken = False
        beats(1)
        assert (edge.store.run(held.id).beat, stopping.why) == (held.beat + 1, None)


def test_before_an_effect_a_claim_whose_beats_did_not_get_through_for_half_a_lease_counts_as_lost(
    edge, holding, beats, stopping
):
    store = Broken(edge.store.table)
    with holding(replace(edge, store=store)):
        beats(3)
        stopping.check()
        beats(1)
        with pytest.raises(Stopped) as stopped:
            stopping.check()
        assert stopped.value.why is Why.LOST
        store.broken = False
        stopping.check()


def test_before_an_effect_a_claim_that_another_epoch_has_is_lost_though_no_beat_has_said_so(
    edge, held, holding, stopping, clock
):
    """The machine was asleep: its beats stood still, and so does its own view of them."""
    with holding():
        clock.somebody_waits(BEAT_S)
        edge.store.take_over(edge.store.run(held.id), "r2", later(60))
        clock.now = later(10 * LEASE_S)
        with pytest.raises(Stopped) as stopped:
            stopping.check()
        assert stopped.value.why is Why.LOST


def test_before_an_effect_a_look_that_ended_long_ago_counts_for_nothing(edge, holding, stopping, clock):
    """Frozen right after the beat got through: who knows what has happened since."""

    class Frozen(Store):
        def beat(self, run, now):
            beaten = super().beat(run, now)
            clock.now += timedelta(seconds=LEASE_S)
            return beaten

    with holding(replace(edge, store=Frozen(edge.store.table))):
        clock.somebody_waits(BEAT_S)
        clock.now = later(LEASE_S)
        with pytest.raises(Stopped) as stopped:
            stopping.check()
        assert stopped.value.why is Why.LOST


def test_a_message_that_cannot_be_hidden_does_not_stop_the_beat_nor_the_ear(edge, held, holding, beats):
    gone = Received("", "nonsense", edge.queue.url("default"), "default", "id", 1)
    heard = []
    with holding(received=gone, asked=heard.append):
        beats(5)
        edge.store.ask_to_stop(held, Stop(RunState.CANCELLED, "sam@laptop", NOW))
        beats(1)
        assert edge.store.run(held.id).beat == held.beat + 6
    assert len(heard) == 1


@pytest.mark.parametrize(("lease_s", "seconds"), [(0.3, 1), (2.5, 2), (30, 30)])
def test_sqs_counts_whole_seconds(lease_s, seconds):
    assert hidden_s(lease_s) == seconds


def test_a_queue_that_answers_nobody_for_minutes_does_not_hold_up_the_beat(edge, held, holding, clock, pace):
    class Silent(Queue):
        asked, answers = [], threading.Event()

        def hide(self, received, hidden_s):
            self.asked.append(hidden_s)
            assert self.answers.wait(PATIENCE_S)
            super().hide(received, hidden_s)

    pace.at_once = ()
    silent = Silent(edge.client("sqs"), "tau-test")
    received = edge.queue.receive("default", wait_s=0, hidden_s=LEASE_S)
    with holding(replace(edge, queue=silent), received):
        for _ in range(60):
            clock.somebody_waits(BEAT_S)
            clock.pass_(5)
        clock.somebody_waits(BEAT_S)
        assert edge.store.run(held.id).beat == held.beat + 60
        assert len(silent.asked) == 1, "one call at a time"
        silent.answers.set()
