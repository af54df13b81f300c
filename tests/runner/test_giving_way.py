"""A run in whose place a newer one goes on, before its first step: which one, and who hears of it."""

from dataclasses import replace

import pytest

from chalicelib import wire
from chalicelib.cancelling import cancel
from chalicelib.errors import Outrun
from chalicelib.model import Handed, RunState, WaitingFor
from chalicelib.records.run_items import run_place
from chalicelib.records.table import Change
from chalicelib.store import Store
from runner.claim import Claim
from runner.context import Park
from tests.claiming import ANN, BEN, CAT, A, B, C, pushed
from tests.installation import NOW, event, job, later
from tests.running import Action, passed

# --- giving way before the first step -------------------------------------------------------------


def test_a_run_whose_commit_a_newer_push_holds_gives_way_and_hands_its_people_on(desk, ses):
    lint = Action("lint")
    claim = desk.claim(1, lint, planned=pushed(A, ANN))
    desk.queued(2, pushed(B, BEN), lint)
    desk.branch.line = [A, B]
    assert claim.enact()
    gone, heir = desk.run(1), desk.run(2)
    assert (gone.state, lint.calls, ses.told) == (RunState.SUPERSEDED, 0, [])
    assert gone.reason == f"a newer push of develop (bbbbbbb) takes its place: run {heir.id}"
    assert heir.handed[gone.id].to == ANN
    assert desk.edge.store.lock_holder(gone.job.lock) is None
    assert desk.claim(2, lint, run=heir).enact()
    assert sorted(ses.told) == [ANN, BEN]


def test_people_are_handed_on_from_run_to_run(desk, ses):
    lint = Action("lint")
    desk.branch.line = [A, B, C]
    first = desk.claim(1, lint, planned=pushed(A, ANN))
    desk.queued(2, pushed(B, BEN), lint)
    assert first.enact()
    second = desk.claim(2, lint, run=desk.run(2))
    third = desk.queued(3, pushed(C, CAT), lint)
    assert second.enact()
    assert desk.claim(3, lint, run=third).enact()
    assert sorted(ses.told) == [ANN, BEN, CAT]
    assert lint.calls == 1


def test_deliveries_may_come_in_any_order_it_is_the_commits_that_say_which_is_newer(desk):
    lint = Action("lint")
    desk.queued(1, pushed(B, BEN), lint)
    late = desk.claim(2, lint, planned=pushed(A, ANN))
    desk.branch.line = [A, B]
    assert late.enact()
    assert (desk.run(2).state, desk.run(1).state) == (RunState.SUPERSEDED, RunState.QUEUED)


def test_who_holds_the_newest_commit_gives_way_to_nobody(desk):
    lint = Action("lint")
    claim = desk.claim(2, lint, planned=pushed(B))
    desk.queued(1, pushed(A), lint)
    desk.branch.line = [A, B]
    assert claim.enact()
    assert (desk.run(2).state, lint.calls) == (RunState.PASSED, 1)


def test_who_was_forced_away_gives_way_to_what_was_pushed_later(desk):
    lint = Action("lint")
    claim = desk.claim(1, lint, planned=pushed(A))
    desk.queued(2, pushed(B), lint)
    desk.branch.line = [B]
    assert claim.enact()
    assert (desk.run(1).state, lint.calls) == (RunState.SUPERSEDED, 0)


def test_who_was_forced_back_to_is_built(desk):
    lint = Action("lint")
    claim = desk.claim(3, lint, planned=pushed(A))
    desk.queued(2, pushed(B), lint)
    desk.branch.line = [A]
    assert claim.enact()
    assert desk.run(3).state is RunState.PASSED


def test_a_forge_that_does_not_answer_makes_nobody_give_way(desk):
    lint = Action("lint")
    claim = desk.claim(1, lint, planned=pushed(A))
    desk.queued(2, pushed(B), lint)
    desk.branch.unreachable = True
    assert claim.enact()
    assert desk.run(1).state is RunState.PASSED


def test_nobody_asks_the_forge_where_there_is_no_other_run(desk):
    desk.claim(1, Action("lint")).enact()
    assert desk.branch.asked == 0


def test_who_has_had_an_effect_outside_goes_on(desk):
    def push(context):
        context.journal.intend("push x")
        return Park(WaitingFor.DISK, later(5), "no room")

    action = Action("push", push, passed("push"))
    claim = desk.claim(1, action, planned=pushed(A))
    desk.queued(2, pushed(B), action)
    assert claim.enact()
    desk.branch.line = [A, B]
    desk.edge.store.wake(desk.run(1).id, None, NOW)
    again = desk.edge.store.claim(desk.run(1), "r1", NOW)
    assert Claim(again, claim._received, claim._tools).enact()
    assert desk.run(1).state is RunState.PASSED


def test_of_a_tag_that_was_moved_the_newer_run_wins(desk):
    tag = event(ref="refs/tags/v1", name="v1")
    claim = desk.claim(1, Action("lint"), planned=job(event=replace(tag, commit=A)))
    desk.queued(2, job(event=replace(tag, commit=B)))
    assert claim.enact()
    assert desk.run(1).reason.startswith("a newer tag of v1 (bbbbbbb) takes its place")
    assert desk.branch.asked == 0


def test_a_step_that_is_outrun_makes_the_run_give_way_to_whoever_outran_it(desk, ses):
    newer = desk.queued(2, pushed(B, BEN, lock="another"))
    work = Action("deploy_eb", Outrun(f"run {newer.id}, a newer one, deploys to crm-production", newer.id))
    assert desk.claim(1, work, planned=pushed(A, ANN)).enact()
    assert (desk.run(1).state, ses.told) == (RunState.SUPERSEDED, [])
    assert "deploys to crm-production" in desk.run(1).reason
    assert desk.run(2).handed[desk.run(1).id].to == ANN


@pytest.mark.parametrize("state", [RunState.SUPERSEDED, RunState.CANCELLED, RunState.PASSED])
def test_who_is_outrun_for_good_ends_whatever_became_of_the_newer_one(desk, ses, state):
    newer = desk.queued(2, pushed(B, BEN, lock="another"))
    desk.end(2, state)
    outrun = Outrun(f"run {newer.id}, a newer one, deploys to crm-production", newer.id)
    assert desk.claim(1, Action("deploy_eb", outrun), planned=pushed(A, ANN)).enact()
    assert (desk.run(1).state, ses.told, desk.run(2).handed) == (RunState.SUPERSEDED, [ANN], {})


# --- a successor that is not there any more -------------------------------------------------------


@pytest.mark.parametrize("state", [RunState.PASSED, RunState.FAILED, RunState.ERRORED])
def test_where_the_successor_has_ended_its_people_hear_of_it_themselves(desk, ses, state):
    claim = desk.claim(1, Action("lint"), planned=pushed(A, ANN))
    desk.queued(2, pushed(B, BEN, lock="another"))
    desk.end(2, state)
    desk.branch.line = [A, B]
    assert claim.enact()
    assert (desk.run(1).state, ses.told, desk.run(2).handed) == (RunState.SUPERSEDED, [ANN], {})


def test_where_the_successor_ends_just_now_the_people_hear_of_it_themselves(desk, ses):
    class Late(Store):
        def supersede(self, run, successor, **how):
            desk.end(2, RunState.PASSED)
            return super().supersede(run, successor, **how)

    claim = desk.claim(1, Action("lint"), planned=pushed(A, ANN), store=Late)
    desk.queued(2, pushed(B, BEN, lock="another"))
    desk.branch.line = [A, B]
    assert claim.enact()
    assert (desk.run(1).state, ses.told, desk.run(2).handed) == (RunState.SUPERSEDED, [ANN], {})


def test_a_run_that_stands_for_a_hundred_others_is_handed_no_more_whose_people_hear_at_once(desk, ses):
    claim = desk.claim(1, Action("lint"), planned=pushed(A, ANN))
    newer = desk.queued(2, pushed(B, BEN, lock="another"))
    hundred = {f"R{number}": Handed(B, BEN, "Ben", None) for number in range(100)}
    place = run_place(newer.id)
    desk.edge.store.table.write(Change(place, values={"handed": wire.to_json(hundred), "hands": 100}))
    desk.branch.line = [A, B]
    assert claim.enact()
    assert (desk.run(1).state, ses.told, len(desk.run(2).handed)) == (RunState.SUPERSEDED, [ANN], 100)


@pytest.mark.parametrize("to", [1, 2], ids=["who gives way", "the successor"])
def test_where_one_of_the_two_is_handed_people_just_now_nobody_is_forgotten(desk, to):
    once = []

    class Late(Store):
        def supersede(self, run, successor, **how):
            if not once:
                once.append(desk.hand_on(3, CAT, to=desk.run(to).id))
            return super().supersede(run, successor, **how)

    claim = desk.claim(1, Action("lint"), planned=pushed(A, ANN), store=Late)
    desk.queued(2, pushed(B, BEN, lock="another"))
    desk.branch.line = [A, B]
    assert claim.enact()
    assert sorted(one.to for one in desk.run(2).handed.values()) == [ANN, CAT]


def give_up(desk, number):
    """Cancelled by a person in the very moment in which the forge is asked."""
    cancel(desk.run(number).id, "sam@laptop", desk.edge, NOW)


def test_a_run_whose_successor_was_cancelled_meanwhile_is_built_after_all(desk, ses):
    lint = Action("lint")
    claim = desk.claim(1, lint, planned=pushed(A, ANN))
    desk.queued(2, pushed(B, BEN), lint)
    desk.branch.line = [A, B]
    desk.branch.meanwhile = lambda: give_up(desk, 2)
    assert claim.enact()
    assert (desk.run(1).state, desk.run(1).send, lint.calls) == (RunState.QUEUED, 2, 0)
    again = desk.edge.store.claim(desk.run(1), "r1", NOW)
    assert Claim(again, claim._received, claim._tools).enact()
    assert desk.run(1).state is RunState.PASSED
    assert ses.told == [BEN, ANN]


def test_a_run_whose_successor_gave_way_meanwhile_gives_way_to_the_third(desk):
    claim = desk.claim(1, Action("lint"), planned=pushed(A, ANN))
    desk.queued(2, pushed(B, BEN))
    desk.branch.line = [A, B, C]

    def third_comes():
        desk.branch.meanwhile = lambda: None
        desk.queued(3, pushed(C, CAT))
        give_up(desk, 2)

    desk.branch.meanwhile = third_comes
    assert claim.enact()
    assert (desk.run(1).state, desk.run(3).handed[desk.run(1).id].to) == (RunState.SUPERSEDED, ANN)


def test_an_index_that_names_a_cancelled_successor_again_and_again_is_no_endless_work(desk):
    class Behind(Store):
        """An index that lags behind: nobody has given up yet."""

        def runs_of_ref(self, *wanted):
            return (replace(run, state=RunState.QUEUED) for run in super().runs_of_ref(*wanted))

    claim = desk.claim(1, Action("lint"), planned=pushed(A), store=Behind)
    desk.queued(2, pushed(B))
    give_up(desk, 2)
    desk.branch.line = [A, B]
    assert claim.enact()
    assert (desk.run(1).state, desk.branch.asked) == (RunState.QUEUED, 2)
