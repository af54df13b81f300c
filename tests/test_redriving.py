"""What a person has done again: exactly once, however often it is asked for."""

from dataclasses import replace

import pytest
from botocore.exceptions import ClientError

from chalicelib.errors import NotThere
from chalicelib.model import Message, RunState, WaitingFor
from chalicelib.queue import decode, encode
from chalicelib.records.dead import Letter, LetterKind, LetterState, buried_run
from chalicelib.records.run_items import new_run
from chalicelib.redriving import NothingToRedrive, again, discard, redrive
from tests.installation import NOW, installation, job, later, run

SAM = "sam@laptop"
REPOSITORY = "github.com/2pisoftware/cmfive"
MESSAGE = "a81c6b98-da5b-4183-a0ee-cedce7f2dcaf"


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


def ended(store, number=1, state=RunState.FAILED, also=lambda _: (), **changes):
    held = store.claim(queued(store, number, **changes), "r1", NOW)
    store.end(held, state, reason="so it ended", tell={}, now=NOW, also=also(held))
    return store.run(held.id)


def killer(store, number=1):
    return ended(store, number, RunState.ERRORED, also=lambda held: buried_run(held, "its runner died 5 times", NOW))


def letter(store, body, run_id=None):
    store.bury(Letter(MESSAGE, LetterKind.MESSAGE, "default", "received 51 times", 51, NOW, body, run_id))


def parked(store, number, **changes):
    waiting = queued(store, number, **changes)
    assert store.park_queued(waiting, WaitingFor.RUNNER, later(3600), "its repository is parked")
    return waiting.id


def messages(edge):
    found = []
    while received := edge.queue.receive("default", wait_s=0, hidden_s=60):
        found.append(decode(received.body))
    return found


class Refusing:
    """Queues that take nothing."""

    def call(self, *_, **__):
        raise ClientError({"Error": {"Code": "ServiceUnavailable", "Message": "busy"}}, "SendMessage")


# --- a run once more ------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [RunState.FAILED, RunState.ERRORED, RunState.CANCELLED])
def test_a_run_that_ended_badly_is_done_again_as_a_new_run_of_the_same_job(edge, store, state):
    old = ended(store, state=state)
    said = redrive(old.id, SAM, edge, later(9))
    (message,) = messages(edge)
    new = store.run(message.run)
    assert said == f"run {new.id} does run {old.id} again: a runner of the pool default is woken"
    assert (new.state, new.epoch, new.job, new.delivery, new.created_at) == (
        *(RunState.QUEUED, 0, old.job, old.delivery),
        later(9),
    )
    assert new.reason == f"run {old.id} again, for {SAM}"
    assert store.run(old.id) == old


def test_asked_for_twice_it_is_one_run(edge, store):
    old = ended(store)
    redrive(old.id, SAM, edge, later(1))
    (first,) = messages(edge)
    assert redrive(old.id.lower(), "kim@desk", edge, later(2)) == (
        f"dead letter {old.id} was redriven by {SAM}: run {first.run} is queued"
    )
    assert messages(edge) == []
    assert len(list(store.runs_of_commit(old.job.event.commit, 10))) == 2


def test_asked_for_again_after_its_letter_was_forgotten_it_is_still_one_run(edge, store):
    old = ended(store)
    redrive(old.id, SAM, edge, later(1))
    (first,) = messages(edge)
    key = {"pk": {"S": "dead"}, "sk": {"S": old.id}}
    edge.client("dynamodb").delete_item(TableName="tau-test", Key=key)
    assert redrive(old.id, SAM, edge, later(2)) == f"run {old.id} was redriven before: run {first.run} is queued"


def test_of_two_who_ask_at_the_same_moment_one_makes_the_run(edge, store):
    old = ended(store)

    class Meanwhile:
        """Records in which another was quicker, between the look and the write."""

        def __getattr__(self, name):
            return getattr(store, name)

        def close_letter(self, *given, **named):
            redrive(old.id, "kim@desk", edge, later(1))
            return store.close_letter(*given, **named)

    said = redrive(old.id, SAM, replace(edge, store=Meanwhile()), later(1))
    assert "was redriven before" in said
    assert len(messages(edge)) == 1
    assert store.dead_letter(old.id).by == "kim@desk"


def test_who_had_it_done_again_stands_in_the_records(edge, store):
    old = ended(store)
    redrive(old.id, SAM, edge, later(1))
    (closed,) = store.dead_letters(closed=True)
    assert (closed.state, closed.by, closed.closed_at) == (LetterState.REDRIVEN, SAM, later(1))
    assert store.run(closed.redriven_run).job == old.job


def test_a_run_comes_right_after_the_one_that_it_repeats_and_before_every_later_delivery():
    first, second = run(1, id="01KAQ00001ZZZZZZZZZZZZZZZZ"), run(2, id="01KAQ00004" + "0" * 16)
    once, other = again(first, SAM, NOW), again(first, "kim@desk", later(99))
    assert once.id == other.id
    assert first.id < once.id < second.id
    assert first.id < again(once, SAM, NOW).id < second.id


@pytest.mark.parametrize("state", [RunState.PASSED, RunState.SKIPPED])
def test_a_run_that_ended_well_is_not_done_again(edge, store, state):
    old = ended(store, state=state)
    with pytest.raises(NothingToRedrive, match=f"run {old.id} is {state}, there is nothing to do again"):
        redrive(old.id, SAM, edge, NOW)


def test_a_queue_that_does_not_answer_leaves_the_waking_to_the_ticker(edge, store):
    old = ended(store)
    said = redrive(old.id, SAM, replace(edge, queue=Refusing()), later(1))
    assert "the ticker will wake a runner" in said
    assert [due.id for due in store.due(later(61))] == [again(old, SAM, NOW).id]


# --- a run that killed its runners ------------------------------------------------------------------


def test_redriving_what_killed_its_runners_closes_its_letter_and_lets_its_repository_go(edge, store):
    old = killer(store)
    waiting = parked(store, 2, job=job(lock="another"))
    said = redrive(old.id, SAM, edge, later(5))
    assert said.endswith(f"; {REPOSITORY} is not parked any more, 1 run woken")
    assert store.dead_letters() == []
    assert store.parked_until(REPOSITORY, later(5)) is None
    assert {message.run for message in messages(edge)} == {again(old, SAM, NOW).id, waiting}


def test_redriving_another_run_of_a_parked_repository_says_that_it_will_wait(edge, store):
    failed = ended(store, 1)
    killer(store, 2)
    said = redrive(failed.id, SAM, edge, later(5))
    assert said.endswith(f"; it will wait, as {REPOSITORY} is parked: `tau redrive {REPOSITORY}` lets it go")
    assert store.parked_until(REPOSITORY, later(5)) is not None


def test_a_letter_that_was_discarded_may_be_redriven_after_all(edge, store):
    old = killer(store)
    discard(old.id, SAM, edge, NOW)
    assert "again" in redrive(old.id, SAM, edge, NOW)
    assert store.dead_letter(old.id).state is LetterState.REDRIVEN


# --- a message that nobody could act on --------------------------------------------------------------


def test_a_message_whose_run_waits_wakes_it_and_its_letter_is_closed(edge, store):
    held = store.claim(queued(store), "r1", NOW)
    store.park(held, WaitingFor.RETRY, later(3000), "once more")
    letter(store, encode(Message(held.id, 1)), held.id)
    assert redrive(MESSAGE.upper(), SAM, edge, later(9)) == (
        f"run {held.id} was waiting for retry: a runner of the pool default is woken"
    )
    assert messages(edge) == [Message(held.id, 2)]
    assert store.dead_letters() == []
    assert redrive(MESSAGE, SAM, edge, later(9)) == (
        f"dead letter {MESSAGE} was redriven by {SAM}: run {held.id} is queued"
    )
    assert messages(edge) == []


@pytest.mark.parametrize("how", ["under way", "at its end"])
def test_who_names_the_run_has_decided_about_the_messages_that_called_it(edge, store, how):
    old = queued(store) if how == "under way" else ended(store)
    other = queued(store, 2)
    letter(store, encode(Message(old.id, 1)), old.id)
    about_another = Letter("another", LetterKind.MESSAGE, "default", "received 51 times", 51, NOW, "", other.id)
    store.bury(about_another)
    redrive(old.id, SAM, edge, later(9))
    assert [one.id for one in store.dead_letters()] == ["another"]
    closed = store.dead_letter(MESSAGE)
    assert (closed.state, closed.by) == (LetterState.REDRIVEN, SAM)
    assert store.run(closed.redriven_run).state is RunState.QUEUED


def test_a_message_whose_run_is_queued_calls_it_again(edge, store):
    made = queued(store)
    letter(store, encode(Message(made.id, 1)), made.id)
    assert "was queued: a runner of the pool default is woken" in redrive(MESSAGE, SAM, edge, later(9))
    assert messages(edge) == [Message(made.id, 2)]


def test_a_message_whose_run_has_failed_meanwhile_has_it_done_again(edge, store):
    old = ended(store)
    letter(store, encode(Message(old.id, 1)), old.id)
    redrive(MESSAGE, SAM, edge, later(9))
    assert store.dead_letter(MESSAGE).redriven_run == again(old, SAM, NOW).id
    assert [message.run for message in messages(edge)] == [again(old, SAM, NOW).id]
    assert "was redriven before" in redrive(old.id, SAM, edge, later(9)), "its run, too, was done again once"


@pytest.mark.parametrize(
    ("run_id", "words"), [(None, "names no run"), ("01NONE", "there is no run 01NONE")], ids=["none", "unknown"]
)
def test_a_message_without_a_run_cannot_be_done_again_and_says_what_can_be(edge, store, run_id, words):
    letter(store, "somebody else's words", run_id)
    with pytest.raises(NothingToRedrive, match=f"{words}.*tau discard {MESSAGE}"):
        redrive(MESSAGE, SAM, edge, NOW)
    assert store.dead_letter(MESSAGE).state is LetterState.OPEN


def test_a_message_whose_run_passed_meanwhile_may_be_discarded(edge, store):
    old = ended(store, state=RunState.PASSED)
    letter(store, encode(Message(old.id, 1)), old.id)
    with pytest.raises(NothingToRedrive, match=f"tau discard {MESSAGE}"):
        redrive(MESSAGE, SAM, edge, NOW)


def test_a_run_that_is_under_way_is_woken_by_its_own_name_too(edge, store):
    made = queued(store)
    assert f"run {made.id} was queued" in redrive(made.id, SAM, edge, later(9))
    assert messages(edge) == [Message(made.id, 2)]
    assert store.dead_letters(closed=True) == []


@pytest.mark.parametrize("named", ["01NONE", MESSAGE, "sam\x1b[2J"])
def test_what_nobody_knows_is_said_with_where_to_look(edge, named):
    with pytest.raises(NotThere, match="`tau dead --all` and `tau runs` list them") as caught:
        redrive(named, SAM, edge, NOW)
    assert "\x1b" not in str(caught.value)


# --- a repository ---------------------------------------------------------------------------------


def test_a_repository_is_let_go_with_all_its_runs_and_nobody_elses(edge, store):
    killer(store, 9)
    mine = [parked(store, number, job=job(lock=f"lock {number}")) for number in (1, 2)]
    other = replace(job().source, repository="2pisoftware/other")
    theirs = parked(store, 3, job=job(source=other, lock="theirs"))
    assert redrive("github.com/2PiSoftware/CmFive", SAM, edge, later(9)) == (
        "github.com/2PiSoftware/CmFive is not parked any more, 2 runs woken"
    )
    assert [message.run for message in messages(edge)] == mine
    assert store.run(theirs).state is RunState.WAITING
    assert store.parked_until(REPOSITORY, later(9)) is None
    assert redrive(REPOSITORY, SAM, edge, later(9)) == f"{REPOSITORY} was not parked any more, 0 runs woken"
    assert messages(edge) == []


def test_a_repository_that_was_never_parked_is_named(edge):
    with pytest.raises(NotThere, match="none is not parked: `tau dead`"):
        redrive("github.com/2pisoftware/none", SAM, edge, NOW)


# --- discarding -----------------------------------------------------------------------------------


def test_a_letter_is_discarded_once_and_says_by_whom(edge, store):
    letter(store, "x")
    assert discard(MESSAGE, SAM, edge, later(1)) == f"dead letter {MESSAGE} is discarded"
    assert discard(MESSAGE, "kim@desk", edge, later(2)) == f"dead letter {MESSAGE} was discarded before, by {SAM}"
    assert store.dead_letter(MESSAGE).closed_at == later(1)


def test_a_letter_that_was_redriven_is_not_discarded(edge, store):
    old = killer(store)
    redrive(old.id, SAM, edge, NOW)
    assert discard(old.id, "kim@desk", edge, NOW) == f"dead letter {old.id} was redriven before, by {SAM}"


def test_what_is_no_letter_cannot_be_discarded(edge, store):
    made = queued(store)
    with pytest.raises(NotThere, match=f"there is no dead letter {made.id}: `tau dead` lists them"):
        discard(made.id, SAM, edge, NOW)
