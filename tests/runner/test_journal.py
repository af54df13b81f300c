import pytest

from chalicelib.errors import LostClaim
from chalicelib.records.runs import new_run
from runner.journal import RunJournal
from tests.installation import NOW, installation, later, run


@pytest.fixture
def store(monkeypatch):
    with installation(monkeypatch) as edge:
        yield edge.store


def claimed(store):
    made = run(1)
    store.table.write(new_run(made))
    return store.claim(store.run(made.id), "r1", NOW)


def journal(store, held, step=2):
    return RunJournal(store, held, step, lambda: NOW)


def taken_over(store, held):
    return store.take_over(store.run(held.id), "r2", later(60))


def test_the_first_intent_knows_of_none_before(store):
    assert journal(store, claimed(store)).intend("push a", image="sha256:1") is None


def test_an_intent_is_in_the_record_before_the_effect(store):
    held = claimed(store)
    journal(store, held).intend("push a", image="sha256:1")
    (entry,) = store.run(held.id).journal
    assert entry == {
        "step": 2,
        "kind": "intent",
        "key": "push a",
        "epoch": 1,
        "at": "2026-11-23T12:00:00.000Z",
        "image": "sha256:1",
    }


def test_a_later_claim_is_told_of_an_intent_without_an_answer(store):
    held = claimed(store)
    journal(store, held).intend("push a", image="sha256:1")
    again = journal(store, taken_over(store, held))
    assert again.intend("push b") is None
    assert again.intend("push a", image="sha256:1") == {"image": "sha256:1"}


def test_an_intent_that_was_answered_is_no_open_one(store):
    held = claimed(store)
    first = journal(store, held)
    first.intend("push a")
    first.observe("push a", digest="sha256:2")
    again = journal(store, taken_over(store, held))
    assert again.observed("push a") == {"digest": "sha256:2"}
    assert again.intend("push a") is None


def test_what_was_seen_last_counts(store):
    log = journal(store, claimed(store))
    for digest in ("sha256:1", "sha256:2"):
        log.observe("push a", digest=digest)
    assert log.observed("push a") == {"digest": "sha256:2"}


def test_steps_do_not_see_each_others_entries(store):
    held = claimed(store)
    journal(store, held, 2).observe("push a", digest="sha256:1")
    again = store.run(held.id)
    assert journal(store, again, 3).observed("push a") is None
    assert journal(store, again, 2).observed("push a") is not None


def test_facts_cannot_pass_for_the_journals_own_fields(store):
    held = claimed(store)
    journal(store, held).observe("push a", step=9, kind="retry", epoch=7)
    (entry,) = store.run(held.id).journal
    assert (entry["step"], entry["kind"], entry["epoch"]) == (2, "seen", 1)


def test_who_lost_the_claim_learns_it_before_the_effect(store):
    held = claimed(store)
    log = journal(store, held)
    taken_over(store, held)
    for write in (log.intend, log.observe):
        with pytest.raises(LostClaim):
            write("push a")
    assert store.run(held.id).journal == ()
