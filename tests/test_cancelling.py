"""A person cancels a run, wherever it stands, as often as they like."""

from dataclasses import replace

import pytest

from chalicelib import superseding
from chalicelib.cancelling import Answer, Unsteady, cancel
from chalicelib.errors import NotThere
from chalicelib.model import ENDS, Notify, Pusher, RunState, Stop, WaitingFor
from chalicelib.store import Store
from tests.installation import NOW, event, job, later
from tests.mailing import DEV
from tests.running import in_queue, queued

SAM = "sam@laptop"


@pytest.fixture
def edge(mailing_edge):
    return mailing_edge


@pytest.fixture
def run(edge):
    """The run that is cancelled, as it stands."""
    made = queued(edge, 1, send=False)
    return lambda: edge.store.run(made.id)


@pytest.fixture
def held(edge, run):
    return edge.store.claim(run(), "r1", NOW)


def ask(edge, run, by=SAM, **changes):
    return cancel(run().id, by, replace(edge, **changes), later(5))


# --- nobody holds it ------------------------------------------------------------------------------


def test_a_queued_run_is_ended_at_once_and_its_people_are_told(edge, run, ses):
    assert ask(edge, run) is Answer.CANCELLED
    ended = run()
    assert (ended.state, ended.reason, ended.ended_at) == (RunState.CANCELLED, "cancelled by sam@laptop", later(5))
    assert (ses.told, ended.due_at) == ([DEV], None)
    assert b"Cancelled by sam@laptop." in ses.taken[0][1]


def test_a_waiting_run_is_ended_at_once_and_its_lock_is_free_for_who_waits_for_it(edge, run, held):
    other = queued(edge, 2, send=False)
    edge.store.park_for_lock(other, NOW)
    edge.store.park(held, WaitingFor.RETRY, later(30), "once more")
    assert ask(edge, run) is Answer.CANCELLED
    assert edge.store.lock_holder(held.job.lock) is None
    assert (edge.store.run(other.id).state, in_queue(edge)) == (RunState.QUEUED, 1)


def test_a_run_that_waits_for_its_lock_leaves_the_line_and_the_holder_goes_on(edge, run, held):
    other = queued(edge, 2, send=False)
    edge.store.park_for_lock(other, NOW)
    assert cancel(other.id, SAM, edge, NOW) is Answer.CANCELLED
    assert edge.store.waiters(held.job.lock) == []
    assert (run().state, edge.store.lock_holder(held.job.lock)) == (RunState.RUNNING, held.id)


def test_those_whose_superseded_pushes_it_stands_for_are_told_too(edge, run, ses):
    ann = event(commit="a" * 40, pusher=Pusher("ann", "Ann", "ann@2pisoftware.com"))
    older = edge.store.claim(queued(edge, 2, send=False, job=replace(job(event=ann), lock="another")), "r2", NOW)
    edge.store.supersede(older, run(), handed=superseding.handed(older), reason="x", now=NOW)
    assert ask(edge, run) is Answer.CANCELLED
    assert ses.told == [DEV, "ann@2pisoftware.com"]


@pytest.mark.parametrize(("on", "told"), [("always", [DEV]), ("change", [DEV]), ("failure", []), ("never", [])])
def test_whoever_waits_for_a_verdict_hears_that_none_will_come(edge, ses, on, told):
    made = queued(edge, 3, send=False, job=replace(job(), notify=Notify(("pusher",), on)))
    assert cancel(made.id, SAM, edge, NOW) is Answer.CANCELLED
    assert ses.told == told


def test_the_message_of_a_cancelled_run_has_nobody_to_wake(edge, run):
    read = run()
    ask(edge, run)
    assert edge.store.wake(read.id, None, NOW) is None
    assert edge.store.call_again(read, later(61)) is None


# --- somebody holds it ----------------------------------------------------------------------------


@pytest.mark.usefixtures("held")
def test_who_holds_it_is_asked_and_nobody_is_told_yet(edge, run, ses):
    assert ask(edge, run) is Answer.ASKED
    assert run().state is RunState.RUNNING
    assert run().stop == Stop(RunState.CANCELLED, SAM, later(5))
    assert ses.told == []


@pytest.mark.usefixtures("held")
def test_asking_twice_is_asking_once(edge, run):
    assert [ask(edge, run), ask(edge, run, by="kim@desk")] == [Answer.ASKED, Answer.ASKED]
    assert run().stop.by == SAM


def test_a_run_that_a_newer_one_asked_to_stop_can_be_cancelled(edge, run, held):
    edge.store.ask_to_stop(held, Stop(RunState.SUPERSEDED, "01X", NOW))
    assert ask(edge, run) is Answer.ASKED
    assert run().stop.by == SAM


def test_a_deployment_that_is_under_way_is_not_stopped(edge, run, held):
    edge.store.note(held, {"kind": "intent", "step": 1, "key": "deploy crm-production", "must_finish": True})
    assert ask(edge, run) is Answer.DEPLOYING
    edge.store.park(held, WaitingFor.ENVIRONMENT, later(20), "Elastic Beanstalk works")
    assert ask(edge, run) is Answer.DEPLOYING
    assert (run().state, run().stop) == (RunState.WAITING, None)


# --- it is over, or moves just now ----------------------------------------------------------------


@pytest.mark.parametrize("state", sorted(ENDS))
def test_a_run_at_its_end_stays_as_it_ended(edge, run, held, ses, state):
    edge.store.end(held, state, reason="x", tell={}, now=NOW)
    assert [ask(edge, run), ask(edge, run)] == [Answer.ENDED, Answer.ENDED]
    assert (run().state, run().reason, ses.told) == (state, "x", [])


def test_cancelling_twice_tells_once(edge, run, ses):
    assert [ask(edge, run), ask(edge, run)] == [Answer.CANCELLED, Answer.ENDED]
    assert ses.told == [DEV]


class Moving(Store):
    """A store beside which the run moves just before it would be ended."""

    def __init__(self, table, *moves):
        super().__init__(table)
        self.moves = list(moves)

    def end_unclaimed(self, run, *how, **more):
        if self.moves:
            self.moves.pop(0)(self, self.run(run.id))
        return super().end_unclaimed(run, *how, **more)

    def ask_to_stop(self, run, stop):
        if self.moves:
            self.moves.pop(0)(self, self.run(run.id))
        return super().ask_to_stop(run, stop)


def claims(store, run):
    store.claim(run, "r2", NOW)


def parks(store, run):
    store.park(run, WaitingFor.RETRY, NOW, "x")


def wakes(store, run):
    store.wake(run.id, None, NOW)


def ends(store, run):
    store.end(run, RunState.PASSED, reason=None, tell={}, now=NOW)


@pytest.mark.parametrize(
    ("moves", "answer", "state"),
    [
        ([claims], Answer.ASKED, RunState.RUNNING),
        ([claims, parks], Answer.CANCELLED, RunState.CANCELLED),
        ([claims, ends], Answer.ENDED, RunState.PASSED),
        ([claims, parks, wakes, claims], Answer.ASKED, RunState.RUNNING),
    ],
    ids=["claimed", "claimed and parked", "claimed and ended", "claimed, parked, woken, claimed"],
)
def test_a_run_that_moves_while_it_is_cancelled_is_looked_at_again(edge, run, moves, answer, state):
    assert ask(edge, run, store=Moving(edge.store.table, *moves)) is answer
    assert run().state is state


def test_a_run_that_never_stands_still_is_left_with_the_advice_to_try_again(edge, run):
    store = Moving(edge.store.table, *[lambda store, run: store.call_again(run, NOW)] * 10)
    with pytest.raises(Unsteady, match="changes hands just now: try again"):
        ask(edge, run, store=store)
    assert run().state is RunState.QUEUED


def test_a_run_that_is_not_there_is_named(edge):
    with pytest.raises(NotThere, match="01X"):
        cancel("01X", SAM, edge, NOW)
