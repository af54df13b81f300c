"""Records of runs, their holders, and deployments: every write is conditional on what was read."""

import contextlib
import itertools
from dataclasses import replace

import pytest

from chalicelib.errors import LockBusy, LostClaim, NotThere
from chalicelib.model import (
    ENDS,
    TRANSITIONS,
    RunState,
    StepResult,
    StepStatus,
    WaitingFor,
    may_become,
)
from chalicelib.records.configs import InForce
from chalicelib.records.runs import new_run, run_place
from chalicelib.records.table import Change, Table
from chalicelib.store import Store
from tests.installation import NOW, installation, later, run


@pytest.fixture
def edge(monkeypatch):
    with installation(monkeypatch) as made:
        yield made


@pytest.fixture
def store(edge):
    return edge.store


def queued(store, number=1, **changes):
    made = run(number, **changes)
    store.table.write(new_run(made))
    return store.run(made.id)


def test_a_run_reads_back_as_it_was_written(store):
    made = run(1)
    store.table.write(new_run(made))
    assert replace(store.run(made.id), due_at=None) == made


def test_a_run_that_is_not_there_is_named(store):
    with pytest.raises(NotThere, match="01X"):
        store.run("01X")


def test_a_claim_raises_the_epoch_and_takes_the_lock(store):
    claimed = store.claim(queued(store), "r1", NOW)
    assert (claimed.state, claimed.epoch, claimed.runner) == (RunState.RUNNING, 1, "r1")
    assert store.lock_holder(claimed.job.lock) == claimed.id


def test_of_two_claims_of_one_run_one_wins(store):
    read = queued(store)
    store.claim(read, "r1", NOW)
    with pytest.raises(LostClaim):
        store.claim(read, "r2", NOW)
    assert store.run(read.id).runner == "r1"


def test_a_second_run_of_a_lock_waits_in_line_and_is_woken_once(store):
    first = store.claim(queued(store, 1), "r1", NOW)
    second = queued(store, 2)
    with pytest.raises(LockBusy, match=first.id):
        store.claim(second, "r1", NOW)
    assert store.park_for_lock(second, NOW)
    assert store.run(second.id).waiting_for is WaitingFor.LOCK
    store.end(first, RunState.PASSED, reason=None, tell={}, now=NOW)
    assert store.waiters(first.job.lock) == [second.id]
    message = store.wake(second.id, WaitingFor.LOCK, NOW)
    assert message.send == 2
    assert store.wake(second.id, WaitingFor.LOCK, NOW) is None
    again = store.claim(store.run(second.id), "r1", NOW)
    assert store.waiters(again.job.lock) == []


def test_parking_for_a_lock_that_came_free_meanwhile_is_refused(store):
    first = store.claim(queued(store, 1), "r1", NOW)
    second = queued(store, 2)
    store.end(first, RunState.PASSED, reason=None, tell={}, now=NOW)
    assert not store.park_for_lock(second, NOW)
    assert store.run(second.id).state is RunState.QUEUED


def test_a_take_over_needs_a_beat_that_stood_still(store):
    claimed = store.claim(queued(store), "r1", NOW)
    watched = store.run(claimed.id)
    store.beat(claimed, later(10))
    with pytest.raises(LostClaim):
        store.take_over(watched, "r2", later(60))
    taken = store.take_over(store.run(claimed.id), "r2", later(90))
    assert (taken.epoch, taken.attempts, taken.runner) == (2, 1, "r2")


def test_who_was_frozen_right_after_taking_over_does_not_take_the_next_ones_claim_for_his_own(store):
    old = store.claim(queued(store), "r1", NOW)

    class Frozen(Table):
        def transact(self, actions):
            super().transact(actions)
            store.take_over(store.run(old.id), "r3", later(120))

    frozen = Store(Frozen(store.table._client, store.table.name))
    with pytest.raises(LostClaim, match="was taken over by another runner"):
        frozen.take_over(old, "r2", later(60))
    assert (store.run(old.id).epoch, store.run(old.id).runner) == (3, "r3")


def test_a_runner_whose_claim_was_taken_over_can_write_nothing(store):
    old = store.claim(queued(store), "r1", NOW)
    store.take_over(old, "r2", later(60))
    passed = StepResult("build", StepStatus.PASSED, NOW, NOW)
    for write in (
        lambda: store.beat(old, NOW),
        lambda: store.note(old, {"kind": "intent"}),
        lambda: store.finish_step(old, 0, passed),
        lambda: store.park(old, WaitingFor.RETRY, NOW, "x"),
        lambda: store.end(old, RunState.PASSED, reason=None, tell={}, now=NOW),
    ):
        with pytest.raises(LostClaim):
            write()
    run_now = store.run(old.id)
    assert (run_now.state, run_now.journal, run_now.results) == (RunState.RUNNING, (), {})


def test_a_parked_run_keeps_its_lock_its_journal_and_its_results(store):
    claimed = store.claim(queued(store), "r1", NOW)
    store.finish_step(claimed, 0, StepResult("build", StepStatus.PASSED, NOW, later(3), facts={"n": 1}))
    store.note(claimed, {"kind": "intent", "key": "push", "step": 1, "size": 1.5})
    assert store.park(claimed, WaitingFor.ENVIRONMENT, later(5), "Elastic Beanstalk works", [{"kind": "x"}])
    parked = store.run(claimed.id)
    assert parked.waiting_for is WaitingFor.ENVIRONMENT
    assert parked.due_at == later(5)
    assert parked.results["0"].facts == {"n": 1}
    assert [entry["kind"] for entry in parked.journal] == ["intent", "x"]
    assert store.lock_holder(parked.job.lock) == parked.id
    message = store.wake(parked.id, WaitingFor.ENVIRONMENT, later(5))
    assert store.claim(store.run(message.run), "r2", later(6)).epoch == 2


# --- old and new programs -------------------------------------------------------------------------


def test_a_field_of_a_newer_version_survives_an_older_programs_writes(store):
    read = queued(store)
    store.table.write(Change(run_place(read.id), values={"from_the_future": "kept"}))
    claimed = store.claim(store.run(read.id), "r1", NOW)
    store.end(claimed, RunState.PASSED, reason=None, tell={}, now=NOW)
    assert store.table.get(run_place(read.id))["from_the_future"] == "kept"


def test_a_call_again_makes_older_messages_old(store):
    read = queued(store)
    message = store.call_again(read, later(61))
    assert message.send == 2
    assert store.call_again(read, later(61)) is None


def test_runs_are_found_by_day_ref_and_commit_newest_first(store):
    first, second = queued(store, 1), queued(store, 2)
    event = first.job.event
    ids = [second.id, first.id]
    assert [found.id for found in store.runs_of_day("2026-11-23", 10)] == ids
    assert [found.id for found in store.runs_of_ref(event.forge, event.repository, event.ref, 10)] == ids
    assert [found.id for found in store.runs_of_commit(event.commit, 1)] == [second.id]


def write_as(store, held, then):
    """The one write that brings a run into a state."""
    if then in ENDS:
        store.end(held, then, reason=None, tell={}, now=NOW)
    elif then is RunState.RUNNING:
        (store.take_over if held.state is RunState.RUNNING else store.claim)(held, "r", NOW)
    elif then is RunState.WAITING:
        store.park(held, WaitingFor.RETRY, NOW, "x")
    else:
        store.wake(held.id, None, NOW)


def test_only_transitions_of_the_table_can_be_written_whatever_the_code_above_believes(store):
    read = queued(store)
    for now, then in itertools.product(RunState, RunState):
        store.table.write(Change(run_place(read.id), values={"state": now, "epoch": 1}))
        with contextlib.suppress(LostClaim):
            write_as(store, store.run(read.id), then)
        after = store.run(read.id).state
        assert after is now or (after is then and may_become(now, then)), f"{now} became {after} instead of {then}"


def test_the_longer_nobody_came_the_rarer_a_run_is_called(store):
    read = queued(store)
    moments, now = [], NOW
    while now < later(7 * 86400):
        now = store.run(read.id).due_at
        moments.append(now)
        store.call_again(store.run(read.id), now)
    assert len(moments) < 50


def test_no_state_but_an_end_is_without_a_way_on():
    assert {state for state, nexts in TRANSITIONS.items() if not nexts} == ENDS


# --- two writers at the same moment ---------------------------------------------------------------


class Busy:
    """DynamoDB, in which a transaction has the item in hand for so many writes."""

    def __init__(self, client, times):
        self._client, self.times = client, times

    def __getattr__(self, name):
        return getattr(self._client, name)

    def update_item(self, **wanted):
        if self.times:
            self.times -= 1
            error = {"Error": {"Code": "TransactionConflictException", "Message": "ongoing"}}
            raise self._client.exceptions.TransactionConflictException(error, "UpdateItem")
        return self._client.update_item(**wanted)


def test_a_write_that_meets_a_transaction_goes_again(edge, store):
    held = store.claim(queued(store), "r1", NOW)
    busy = Store(Table(Busy(edge.client("dynamodb"), 3), "tau-test"))
    assert busy.beat(held, later(5)).beat == held.beat + 1


def test_a_write_that_meets_transactions_again_and_again_says_so(edge, store):
    held = store.claim(queued(store), "r1", NOW)
    client = Busy(edge.client("dynamodb"), 8)
    with pytest.raises(client.exceptions.TransactionConflictException):
        Store(Table(client, "tau-test")).beat(held, later(5))


# --- which ci.yml is in force ---------------------------------------------------------------------


def test_the_ci_yml_in_force_is_the_last_one_that_was_written_and_since_its_first_time(store):
    assert store.in_force() is None
    store.put_in_force("a", NOW)
    store.put_in_force("a", later(60))
    assert store.in_force() == InForce("a", NOW)
    store.put_in_force("b", later(90))
    assert store.in_force() == InForce("b", later(90))
