"""The last write of a run: its end, whom to tell, its lock and its people in one transaction; then the telling."""

from dataclasses import replace

import pytest

from chalicelib.errors import LostClaim
from chalicelib.model import ENDS, Handed, RunState, StepResult, StepStatus, Stop, WaitingFor
from chalicelib.records.run_items import new_run, run_place
from chalicelib.records.table import Change, Put
from tests.installation import NOW, installation, job, later, run

DUE = {"state": "due", "attempts": 0}
ANN, BEN = Handed("a" * 40, "ann@2pisoftware.com", "Ann", "Change a"), Handed("b" * 40, "ben@2pisoftware.com")


@pytest.fixture
def store(monkeypatch):
    with installation(monkeypatch) as made:
        yield made.store


def queued(store, number=1, lock=None):
    made = run(number, job=replace(job(), lock=lock or f"lock {number}"))
    store.table.write(new_run(made))
    return store.run(made.id)


def claimed(store, number=1):
    return store.claim(queued(store, number), "r1", NOW)


def end(store, held, state=RunState.PASSED, **more):
    return store.end(held, state, **{"reason": None, "tell": {}, "now": NOW, **more})


def supersede(store, held, successor, handed=None, reason="a newer push"):
    return store.supersede(held, successor, handed=handed or {held.id: ANN}, reason=reason, now=NOW)


# --- by its holder --------------------------------------------------------------------------------


def test_the_end_frees_the_lock_and_says_whom_to_tell_in_one_write(store):
    held = claimed(store)
    tell = {"email:dev@2pisoftware.com": DUE}
    assert end(store, held, RunState.FAILED, reason="1 of 2 tests failed", tell=tell, now=later(5)) is None
    ended = store.run(held.id)
    assert (ended.state, ended.reason, ended.tell) == (RunState.FAILED, "1 of 2 tests failed", tell)
    assert ended.ended_at == later(5)
    assert store.lock_holder(ended.job.lock) is None
    assert [due.id for due in store.due(later(120))] == [held.id]
    store.told(ended.id, "email:dev@2pisoftware.com", {"state": "told", "attempts": 1}, None)
    assert store.due(later(1000)) == []
    assert store.run(ended.id).tell["email:dev@2pisoftware.com"]["state"] == "told"


def test_an_end_is_written_once(store):
    held = claimed(store)
    end(store, held)
    with pytest.raises(LostClaim):
        end(store, held, RunState.FAILED, reason="late")
    assert store.run(held.id).state is RunState.PASSED


def test_an_end_that_is_no_end_is_not_written(store):
    held = claimed(store)
    assert end(store, held, RunState.QUEUED) == store.run(held.id)
    assert store.run(held.id).state is RunState.RUNNING


@pytest.mark.parametrize("state", sorted(ENDS))
def test_a_run_that_was_asked_to_stop_may_end_in_any_way(store, state):
    held = claimed(store)
    store.ask_to_stop(held, Stop(RunState.CANCELLED, "sam@laptop", NOW))
    assert end(store, held, state) is None
    assert store.run(held.id).state is state


def test_an_end_is_not_written_over_people_who_were_handed_on_since_it_was_read(store):
    held, older = claimed(store), claimed(store, 2)
    assert supersede(store, older, held)
    anew = end(store, held)
    assert (anew.state, anew.handed, anew.hands) == (RunState.RUNNING, {older.id: ANN}, 1)
    assert end(store, anew) is None


def test_what_joins_an_end_is_written_with_it_or_not_at_all(store):
    held = claimed(store)
    letter = Put({"pk": "letter", "sk": "letter"})
    with pytest.raises(LostClaim):
        end(store, replace(held, epoch=7), also=[letter])
    assert store.table.get(("letter", "letter")) is None
    end(store, held, also=[letter])
    assert store.table.get(("letter", "letter")) is not None


def test_who_does_not_hold_its_lock_ends_nothing(store):
    held = claimed(store)
    store.release_lock(held.job.lock, held.id)
    with pytest.raises(LostClaim, match="lock"):
        end(store, held)
    assert store.run(held.id).state is RunState.RUNNING


def test_a_run_that_an_older_program_wrote_comes_to_its_end(store):
    made = queued(store)
    store.table.write(Change(run_place(made.id), remove=["hands", "handed", "stop"]))
    assert end(store, store.claim(store.run(made.id), "r1", NOW)) is None
    assert store.run(made.id).state is RunState.PASSED


# --- when a newer run takes its place -------------------------------------------------------------


def test_who_gives_way_ends_and_hands_its_people_on_in_one_write(store):
    held, successor = claimed(store), queued(store, 2)
    assert supersede(store, held, successor, {held.id: ANN, "01OLDER": BEN})
    gone, heir = store.run(held.id), store.run(successor.id)
    assert (gone.state, gone.reason, gone.tell, gone.due_at) == (RunState.SUPERSEDED, "a newer push", {}, None)
    assert (heir.handed, heir.hands) == ({held.id: ANN, "01OLDER": BEN}, 2)
    assert store.lock_holder(held.job.lock) is None


@pytest.mark.parametrize("state", ["queued", "waiting", "running"])
def test_a_successor_may_be_anywhere_before_its_end(store, state):
    held, successor = claimed(store), queued(store, 2)
    if state != "queued":
        successor = store.claim(successor, "r2", NOW)
    if state == "waiting":
        store.park(successor, WaitingFor.RETRY, NOW, "x")
    assert supersede(store, held, store.run(successor.id))
    assert store.run(successor.id).state == state


def test_nobody_gives_way_to_a_run_that_has_ended(store):
    held, successor = claimed(store), claimed(store, 2)
    end(store, successor)
    assert not supersede(store, held, successor)
    assert (store.run(held.id).state, store.run(successor.id).handed) == (RunState.RUNNING, {})


def test_two_who_give_way_to_the_same_run_at_once_both_hand_their_people_on(store):
    one, other, successor = claimed(store, 1), claimed(store, 2), queued(store, 3)
    assert supersede(store, one, successor, {one.id: ANN})
    assert not supersede(store, other, successor, {other.id: BEN}), "it was read before"
    assert supersede(store, other, store.run(successor.id), {other.id: BEN})
    assert store.run(successor.id).handed == {one.id: ANN, other.id: BEN}


def test_who_was_handed_people_since_it_was_read_does_not_give_way_without_them(store):
    held, older, successor = claimed(store, 2), claimed(store, 1), queued(store, 3)
    assert supersede(store, older, held)
    assert not supersede(store, held, successor)
    assert (store.run(held.id).state, store.run(successor.id).handed) == (RunState.RUNNING, {})


def test_whoever_lost_its_claim_gives_way_to_nobody(store):
    held, successor = claimed(store), queued(store, 2)
    store.take_over(held, "r2", later(60))
    with pytest.raises(LostClaim):
        supersede(store, held, successor)
    assert store.run(successor.id).handed == {}


def test_people_are_handed_on_to_a_run_that_an_older_program_wrote(store):
    held, successor = claimed(store), queued(store, 2)
    store.table.write(Change(run_place(successor.id), remove=["hands", "handed"]))
    assert supersede(store, held, store.run(successor.id))
    assert (store.run(successor.id).handed, store.run(successor.id).hands) == ({held.id: ANN}, 1)


# --- without a holder -----------------------------------------------------------------------------


def end_unclaimed(store, read, state=RunState.CANCELLED):
    store.end_unclaimed(read, state, reason="cancelled by sam@laptop", tell={"email:a@b.cd": DUE}, now=later(1))


def test_a_queued_run_is_ended_and_stands_in_no_line_any_more(store):
    holder = claimed(store)
    read = queued(store, 2, lock=holder.job.lock)
    assert store.park_for_lock(read, NOW)
    end_unclaimed(store, store.run(read.id))
    ended = store.run(read.id)
    assert (ended.state, ended.ended_at, ended.waiting_for) == (RunState.CANCELLED, later(1), None)
    assert store.waiters(holder.job.lock) == []
    assert store.lock_holder(holder.job.lock) == holder.id
    assert [due.id for due in store.due(later(120))] == [read.id], "somebody is to be told"


def test_a_parked_run_is_ended_and_its_lock_is_free(store):
    held = claimed(store)
    store.park(held, WaitingFor.RETRY, later(30), "once more")
    end_unclaimed(store, store.run(held.id))
    assert (store.run(held.id).state, store.lock_holder(held.job.lock)) == (RunState.CANCELLED, None)


def moved(store, read, how):
    if how == "claimed":
        store.claim(read, "r1", NOW)
    elif how == "called again":
        store.call_again(read, NOW)
    elif how == "handed people":
        assert supersede(store, claimed(store, 2), read)
    else:
        end_unclaimed(store, read, RunState.ERRORED)


@pytest.mark.parametrize("how", ["claimed", "called again", "handed people", "ended"])
def test_a_run_that_moved_since_it_was_read_is_not_ended(store, how):
    read = queued(store)
    moved(store, read, how)
    before = store.run(read.id)
    with pytest.raises(LostClaim):
        end_unclaimed(store, read)
    assert store.run(read.id) == before


def test_a_run_of_an_older_program_is_ended_without_a_holder_too(store):
    read = queued(store)
    store.table.write(Change(run_place(read.id), remove=["hands", "handed"]))
    end_unclaimed(store, store.run(read.id))
    assert store.run(read.id).state is RunState.CANCELLED


# --- telling --------------------------------------------------------------------------------------


def test_of_two_who_would_tell_one_does(store):
    held = claimed(store)
    end(store, held, tell={"email:a@b.cd": DUE})
    ended = store.run(held.id)
    assert store.take_telling(ended, later(60))
    assert not store.take_telling(ended, later(60))
    assert [due.at for due in store.due(later(1000))] == [later(120)], "who dies over it leaves it due again"


def test_an_end_of_which_nobody_is_told_is_not_due(store):
    held = claimed(store)
    store.finish_step(held, 0, StepResult("build", StepStatus.PASSED, NOW, NOW))
    end(store, held)
    assert store.due(later(10_000)) == []
