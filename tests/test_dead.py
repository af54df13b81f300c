"""The records of what nobody could act on: dead letters, and repositories that are left alone."""

from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.errors import BadRecord, NotThere
from chalicelib.model import RunState
from chalicelib.records.breakers import breaker_place, opened
from chalicelib.records.dead import KEPT_FOR, Letter, LetterKind, LetterState, buried_run
from chalicelib.records.run_items import new_run
from chalicelib.records.table import Change
from tests.installation import NOW, installation, later, run

REPOSITORY = "github.com/2pisoftware/cmfive"
DIED = "its runner died 5 times while it held this run"


@pytest.fixture
def store(monkeypatch):
    with installation(monkeypatch) as made:
        yield made.store


def letter(number=1, **changes):
    fields = {"kind": LetterKind.MESSAGE, "pool": "default", "reason": "nobody can read it", "attempts": 51, "at": NOW}
    return Letter(**{"id": f"message-{number}", **fields, **changes})


def expires_at(store, letter_id):
    return store.table.get(("dead", letter_id)).get("expires_at")


# --- letters --------------------------------------------------------------------------------------


def test_a_letter_reads_back_as_it_was_written_and_never_expires_while_it_is_open(store):
    assert store.bury(letter(body="é\x00", run="01X"))
    assert store.dead_letter("message-1") == letter(body="é\x00", run="01X")
    assert expires_at(store, "message-1") is None


def test_a_letter_is_written_once(store):
    assert store.bury(letter())
    assert not store.bury(letter(reason="another"))
    assert [one.reason for one in store.dead_letters()] == ["nobody can read it"]


def test_a_letter_that_was_closed_is_not_opened_by_a_late_copy(store):
    store.bury(letter())
    store.close_letter(letter(), LetterState.DISCARDED, "sam@laptop", NOW)
    assert not store.bury(letter())
    assert store.dead_letters() == []


def test_open_letters_are_listed_oldest_first_and_closed_ones_only_when_asked_for(store):
    for number, at in ((1, later(2)), (2, later(1)), (3, later(3))):
        store.bury(letter(number, at=at))
    assert store.close_letter(store.dead_letter("message-3"), LetterState.DISCARDED, "sam@laptop", later(9))
    assert [one.id for one in store.dead_letters()] == ["message-2", "message-1"]
    last = store.dead_letters(closed=True)[-1]
    assert (last.state, last.by, last.closed_at) == (LetterState.DISCARDED, "sam@laptop", later(9))
    assert expires_at(store, "message-3") == int((later(9) + KEPT_FOR).timestamp())


def test_a_letter_is_closed_by_one(store):
    store.bury(letter())
    assert store.close_letter(letter(), LetterState.REDRIVEN, "sam@laptop", NOW, run="01X")
    assert not store.close_letter(letter(), LetterState.REDRIVEN, "kim@desk", NOW, run="01Y")
    assert not store.close_letter(letter(), LetterState.DISCARDED, "kim@desk", NOW)
    there = store.dead_letter("message-1")
    assert (there.by, there.redriven_run) == ("sam@laptop", "01X")


def test_a_letter_that_does_not_exist_is_named_and_cannot_be_discarded(store):
    with pytest.raises(NotThere, match="message-1"):
        store.dead_letter("message-1")
    assert not store.close_letter(letter(), LetterState.DISCARDED, "sam@laptop", NOW)
    assert store.dead_letters(closed=True) == []


def test_closing_and_what_joins_it_are_one_write(store):
    store.bury(letter())
    store.table.write(new_run(run(1)))
    assert not store.close_letter(letter(), LetterState.REDRIVEN, "sam", NOW, run=run(1).id, also=[new_run(run(1))])
    assert store.dead_letter("message-1").state is LetterState.OPEN


def test_a_letter_of_a_newer_program_is_left_to_it(store):
    store.bury(letter(1))
    store.bury(letter(2))
    store.table.write(Change(("dead", "message-1"), values={"v": 2, "state": "pondered"}))
    assert [one.id for one in store.dead_letters()] == ["message-2"]
    with pytest.raises(BadRecord, match="of version 2"):
        store.dead_letter("message-1")


# --- runs that killed their runners ----------------------------------------------------------------


def killer(store, number=1):
    store.table.write(new_run(run(number)))
    return replace(store.claim(store.run(run(number).id), "r1", NOW), attempts=5)


def test_a_run_that_killed_its_runners_ends_with_a_letter_and_its_repository_is_parked(store):
    held = killer(store)
    store.end(held, RunState.ERRORED, reason=DIED, tell={}, now=NOW, also=buried_run(held, DIED, NOW))
    (buried,) = store.dead_letters()
    assert (buried.id, buried.kind, buried.run, buried.repository) == (held.id, LetterKind.RUN, held.id, REPOSITORY)
    assert (buried.reason, buried.attempts) == (DIED, 5)
    assert store.parked_until(REPOSITORY, NOW) == NOW + timedelta(hours=1)
    assert store.run(held.id).state is RunState.ERRORED


def test_an_end_that_is_not_written_buries_nothing(store):
    held = killer(store)
    store.take_over(held, "r2", NOW)
    with pytest.raises(Exception, match=held.id):
        store.end(held, RunState.ERRORED, reason=DIED, tell={}, now=NOW, also=buried_run(held, DIED, NOW))
    assert store.dead_letters() == []
    assert store.parked_until(REPOSITORY, NOW) is None


# --- repositories that are left alone --------------------------------------------------------------


def open_breaker(store, now, run_id="01X"):
    store.table.write(opened(REPOSITORY, run_id, DIED, now))


def test_nobody_is_parked_who_did_nothing(store):
    assert store.parked_until(REPOSITORY, NOW) is None
    assert store.parked(NOW) == []
    assert not store.had_breaker(REPOSITORY)


def test_each_time_a_repository_is_left_alone_twice_as_long_and_a_day_at_most(store):
    pauses = []
    for _ in range(8):
        open_breaker(store, NOW)
        pauses.append((store.parked_until(REPOSITORY, NOW) - NOW) / timedelta(hours=1))
    assert pauses == [1, 2, 4, 8, 16, 24, 24, 24]


def test_a_pause_ends_by_itself_and_is_not_forgotten_by_the_next(store):
    open_breaker(store, NOW)
    assert store.parked_until(REPOSITORY, later(3599)) is not None
    assert store.parked_until(REPOSITORY, later(3600)) is None
    assert store.parked(later(3600)) == []
    open_breaker(store, later(4000))
    assert store.parked_until(REPOSITORY, later(4000)) == later(4000 + 7200)


def test_after_a_good_end_the_next_pause_is_a_short_one_again(store):
    open_breaker(store, NOW)
    open_breaker(store, NOW)
    assert store.close_breaker(REPOSITORY)
    assert store.parked_until(REPOSITORY, NOW) is None
    assert not store.close_breaker(REPOSITORY)
    assert store.had_breaker(REPOSITORY)
    open_breaker(store, later(10))
    assert store.parked_until(REPOSITORY, later(10)) == later(3610)


def test_a_good_end_of_a_repository_that_was_never_parked_leaves_no_record(store):
    assert not store.close_breaker(REPOSITORY)
    assert store.table.get(breaker_place(REPOSITORY)) is None


def test_parked_repositories_are_listed_as_they_are_spelled_and_found_however_they_are_typed(store):
    store.table.write(opened("github.com/2PiSoftware/CmFive", "01X", DIED, NOW))
    (parked,) = store.parked(NOW)
    assert (parked.repository, parked.run, parked.reason, parked.count) == (
        *("github.com/2PiSoftware/CmFive", "01X", DIED),
        1,
    )
    assert store.parked_until("github.com/2pisoftware/CMFIVE", NOW) == later(3600)


def test_a_breaker_of_a_newer_program_stops_nobody(store):
    open_breaker(store, NOW)
    store.table.write(Change(breaker_place(REPOSITORY), values={"v": 2}))
    assert store.parked_until(REPOSITORY, NOW) is None
    assert store.parked(NOW) == []
