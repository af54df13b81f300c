"""What others ask of a run's holder, and what the holder does with it."""

import pytest

from chalicelib.errors import NotThere
from chalicelib.model import RunState, Stop, WaitingFor
from chalicelib.records.run_items import new_run
from tests.installation import NOW, installation, later, run

BY_SAM = Stop(RunState.CANCELLED, "sam@laptop", NOW)
BY_RUN = Stop(RunState.SUPERSEDED, "01X", NOW)


@pytest.fixture
def store(monkeypatch):
    with installation(monkeypatch) as made:
        yield made.store


@pytest.fixture
def held(store):
    made = run(1)
    store.table.write(new_run(made))
    return store.claim(store.run(made.id), "r1", NOW)


def test_the_holder_hears_at_its_next_beat_that_it_should_stop(store, held):
    assert store.beat(held, later(5)).stop is None
    assert store.ask_to_stop(held, BY_SAM)
    assert store.beat(held, later(10)).stop == BY_SAM


def test_who_was_asked_is_not_asked_again_by_whoever_has_not_seen_it(store, held):
    assert store.ask_to_stop(held, BY_SAM)
    assert not store.ask_to_stop(held, BY_RUN)
    assert store.run(held.id).stop == BY_SAM


def test_a_persons_wish_takes_the_place_of_a_newer_runs(store, held):
    assert store.ask_to_stop(held, BY_RUN)
    assert store.ask_to_stop(store.run(held.id), BY_SAM)
    assert store.run(held.id).stop == BY_SAM


@pytest.mark.parametrize("moved", ["taken over", "parked"])
def test_another_claim_than_the_one_that_was_seen_is_not_asked(store, held, moved):
    if moved == "parked":
        store.park(held, WaitingFor.RETRY, NOW, "x")
    else:
        store.take_over(held, "r2", later(60))
    assert not store.ask_to_stop(held, BY_SAM)
    assert store.run(held.id).stop is None


def test_the_next_claim_hears_what_its_dead_predecessor_was_asked(store, held):
    store.ask_to_stop(held, BY_SAM)
    assert store.take_over(store.run(held.id), "r2", later(60)).stop == BY_SAM


def test_who_has_looked_and_goes_on_takes_back_only_what_it_looked_at(store, held):
    store.ask_to_stop(held, BY_RUN)
    looked_at = store.run(held.id)
    store.ask_to_stop(looked_at, BY_SAM)
    store.obey_no_more(looked_at)
    assert store.run(held.id).stop == BY_SAM
    store.obey_no_more(store.run(held.id))
    assert store.run(held.id).stop is None


def test_a_parking_is_refused_to_who_was_asked_for_something_since_it_looked(store, held):
    store.ask_to_stop(held, BY_RUN)
    assert not store.park(held, WaitingFor.RETRY, NOW, "x")
    seen = store.run(held.id)
    store.ask_to_stop(seen, BY_SAM)
    assert not store.park(seen, WaitingFor.RETRY, NOW, "x")
    assert store.run(held.id).state is RunState.RUNNING
    assert store.park(store.run(held.id), WaitingFor.RETRY, NOW, "x")
    assert store.run(held.id).stop == BY_SAM


def test_who_reads_the_log_says_so_to_whoever_holds_the_run(store, held):
    store.follow(held.id, later(60))
    assert store.beat(held, later(5)).followed_until == later(60)


def test_nobody_makes_a_run_by_reading_its_log(store):
    store.follow("01NONE", later(60))
    with pytest.raises(NotThere):
        store.run("01NONE")
