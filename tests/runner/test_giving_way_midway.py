"""A run that is stopped in its middle for a newer one, where ci.yml says so; and where it is too late for that."""

import threading

import pytest

from chalicelib import superseding
from chalicelib.cancelling import cancel
from chalicelib.model import RunState, Supersede, WaitingFor
from chalicelib.store import Store
from runner.claim import Claim
from runner.context import Park
from tests.claiming import ANN, BEAT_S, BEN, A, B, pushed
from tests.installation import NOW, later
from tests.pacing import PATIENCE_S
from tests.running import Action, passed


def newer_push(desk, commit=B, lock="another"):
    newer = desk.queued(2, pushed(commit, BEN, supersede=Supersede.RUNNING, lock=lock))
    superseding.ask_older([newer], desk.edge, NOW)


def test_a_running_run_gives_way_where_ci_yml_says_so(desk, ses):
    work, never = Action("lint", desk.until_stopped(lambda: newer_push(desk))), Action("never")
    claim = desk.claim(1, work, never, planned=pushed(A, ANN, supersede=Supersede.RUNNING))
    desk.branch.line = [A, B]
    assert claim.enact()
    gone = desk.run(1)
    assert (gone.state, never.calls, ses.told) == (RunState.SUPERSEDED, 0, [])
    assert desk.run(2).handed[gone.id].to == ANN


def test_the_run_that_waits_for_its_lock_is_woken_when_it_gives_way(desk):
    def newer():
        newer_push(desk, lock=desk.run(1).job.lock)
        assert desk.edge.store.park_for_lock(desk.run(2), NOW)

    claim = desk.claim(1, Action("lint", desk.until_stopped(newer)), planned=pushed(A, supersede=Supersede.RUNNING))
    desk.branch.line = [A, B]
    assert claim.enact()
    assert (desk.run(2).state, desk.run(2).send) == (RunState.QUEUED, 2)


@pytest.mark.parametrize("why", ["it is no newer commit", "the forge does not answer"])
def test_who_is_asked_in_vain_goes_on_and_nobody_asks_for_it_any_more(desk, why):
    def work(_):
        newer_push(desk)
        desk.beat()
        # The beat is over, so whoever compares has been started.
        desk.clock.somebody_waits(BEAT_S)
        for thread in [one for one in desk.pace.threads if one.name.startswith("compare")]:
            thread.join(PATIENCE_S)
        return passed("lint")

    claim = desk.claim(1, Action("lint", work), planned=pushed(A, supersede=Supersede.RUNNING))
    desk.branch.line = [B, A]
    desk.branch.unreachable = why == "the forge does not answer"
    assert claim.enact()
    assert (desk.run(1).state, desk.run(1).stop) == (RunState.PASSED, None)


def acting(context):
    context.journal.intend("push x")


def test_a_running_run_that_has_had_an_effect_outside_goes_on_and_nobody_asks_the_forge(desk):
    def work(context):
        acting(context)
        newer_push(desk)
        desk.beat()
        desk.clock.somebody_waits(BEAT_S)
        return passed("push")

    claim = desk.claim(1, Action("push", work), planned=pushed(A, supersede=Supersede.RUNNING))
    desk.branch.line = [A, B]
    assert claim.enact()
    assert (desk.run(1).state, desk.branch.asked) == (RunState.PASSED, 0)


def test_a_run_that_acts_in_the_moment_in_which_it_is_stopped_is_finished_by_the_next_claim(desk, ses):
    def work(context):
        newer_push(desk)
        desk.beat()
        stopped = threading.Event()
        with context.stopping.telling(stopped.set):
            assert stopped.wait(PATIENCE_S)
        acting(context)
        context.stopping.check()

    push = Action("push", work, passed("push"))
    claim = desk.claim(1, push, planned=pushed(A, ANN, supersede=Supersede.RUNNING))
    desk.branch.line = [A, B]
    assert claim.enact()
    assert (desk.run(1).state, ses.told, desk.run(2).handed) == (RunState.QUEUED, [], {})
    again = desk.edge.store.claim(desk.run(1), "r1", NOW)
    assert Claim(again, claim._received, claim._tools).enact()
    assert (desk.run(1).state, push.calls, ses.told) == (RunState.PASSED, 2, [ANN])


def test_a_parking_of_a_run_that_has_had_an_effect_is_written_though_a_newer_one_asks(desk):
    def work(context):
        acting(context)
        newer_push(desk)
        return Park(WaitingFor.DISK, later(20), "no room")

    claim = desk.claim(1, Action("push", work), planned=pushed(A, supersede=Supersede.RUNNING))
    desk.branch.line = [A, B]
    assert claim.enact()
    assert (desk.run(1).state, desk.run(1).stop, desk.branch.asked) == (RunState.WAITING, None, 0)


def test_a_parking_is_refused_to_a_run_that_should_give_way(desk):
    class Late(Store):
        def park(self, run, *how):
            if not run.stop:
                newer_push(desk)
            return super().park(run, *how)

    park = Action("lint", Park(WaitingFor.DISK, later(20), "no room"))
    claim = desk.claim(1, park, planned=pushed(A, ANN, supersede=Supersede.RUNNING), store=Late)
    desk.branch.line = [A, B]
    assert claim.enact()
    assert (desk.run(1).state, desk.run(2).handed[desk.run(1).id].to) == (RunState.SUPERSEDED, ANN)


def test_a_parking_is_written_where_the_newer_run_is_no_successor(desk):
    asked = []

    class Late(Store):
        def park(self, run, *how):
            if not asked:
                asked.append(newer_push(desk))
            return super().park(run, *how)

    park = Action("lint", Park(WaitingFor.DISK, later(20), "no room"))
    claim = desk.claim(1, park, planned=pushed(A, supersede=Supersede.RUNNING), store=Late)
    desk.branch.line = [B, A]
    assert claim.enact()
    assert (desk.run(1).state, desk.run(1).waiting_for, desk.run(1).stop) == (RunState.WAITING, WaitingFor.DISK, None)


def test_a_person_who_cancels_while_a_refused_parking_is_looked_at_is_obeyed(desk):
    asked = []

    class Late(Store):
        def park(self, run, *how):
            if not asked:
                asked.append(newer_push(desk))
            return super().park(run, *how)

    park = Action("lint", Park(WaitingFor.DISK, later(20), "no room"))
    claim = desk.claim(1, park, planned=pushed(A, supersede=Supersede.RUNNING), store=Late)
    desk.branch.line = [B, A]
    desk.branch.meanwhile = lambda: cancel(desk.run(1).id, "sam@laptop", desk.edge, NOW)
    assert claim.enact()
    assert (desk.run(1).state, desk.run(1).reason) == (RunState.CANCELLED, "cancelled by sam@laptop")
