"""A claim that somebody wants to stop: in its middle, at its end, and where it is too late."""

import threading
from dataclasses import replace

import pytest
from botocore.exceptions import EndpointConnectionError

from chalicelib import superseding
from chalicelib.cancelling import Answer, cancel
from chalicelib.errors import StepFailed
from chalicelib.model import RunState, Supersede, WaitingFor
from chalicelib.queue import Queue
from chalicelib.store import Store
from runner.claim import Claim
from runner.context import Park
from runner.holding import LONGEST_S
from runner.stopping import Why
from tests.claiming import BEAT_S, A, B, C, pushed
from tests.installation import NOW, later
from tests.mailing import DEV, OPS
from tests.pacing import PATIENCE_S
from tests.running import Action, passed

# --- cancelled ------------------------------------------------------------------------------------


def test_a_run_that_is_cancelled_stops_in_the_middle_of_its_step_and_says_by_whom(desk, ses):
    asked = []
    work = desk.until_stopped(lambda: asked.append(cancel(desk.run(1).id, "sam@laptop", desk.edge, NOW)))
    never = Action("never")
    assert desk.claim(1, Action("lint", work), never).enact()
    ended = desk.run(1)
    assert (asked, never.calls) == ([Answer.ASKED], 0)
    assert (ended.state, ended.reason) == (RunState.CANCELLED, "cancelled by sam@laptop")
    assert ses.told == [DEV]
    assert desk.edge.store.lock_holder(ended.job.lock) is None


def test_a_step_that_broke_because_it_was_stopped_has_not_failed(desk):
    def work(context):
        cancel(desk.run(1).id, "sam@laptop", desk.edge, NOW)
        desk.beat()
        stopped = threading.Event()
        with context.stopping.telling(stopped.set):
            stopped.wait(PATIENCE_S)
        raise StepFailed("the container exited with 143")

    assert desk.claim(1, Action("lint", work)).enact()
    assert (desk.run(1).state, desk.run(1).results) == (RunState.CANCELLED, {})


def test_a_run_that_was_asked_to_stop_under_an_earlier_claim_does_no_step(desk):
    lint = Action("lint")
    claim = desk.claim(1, lint)
    cancel(desk.run(1).id, "sam@laptop", desk.edge, NOW)
    again = desk.edge.store.take_over(desk.run(1), "r2", later(60))
    assert Claim(again, claim._received, claim._tools).enact()
    assert (lint.calls, desk.run(1).state) == (0, RunState.CANCELLED)


def test_a_person_is_obeyed_also_while_a_newer_run_is_looked_at(desk):
    def work(context):
        newer = desk.queued(2, pushed(B, supersede=Supersede.RUNNING))
        superseding.ask_older([newer], desk.edge, NOW)
        for _ in range(3):
            desk.beat()
        assert desk.comparing.wait(PATIENCE_S)
        cancel(desk.run(1).id, "sam@laptop", desk.edge, NOW)
        desk.until_stopped()(context)

    desk.comparing = threading.Event()
    goes_on = threading.Event()
    lint = Action("lint", work)
    claim = desk.claim(1, lint, planned=pushed(A, supersede=Supersede.RUNNING))
    desk.branch.line = [C]
    desk.branch.meanwhile = lambda: desk.comparing.set() or goes_on.wait(PATIENCE_S)
    assert claim.enact()
    goes_on.set()
    assert (desk.run(1).state, desk.run(1).reason) == (RunState.CANCELLED, "cancelled by sam@laptop")
    assert desk.branch.asked == 1, "not anew at every beat"


def test_a_person_is_obeyed_also_while_the_queue_does_not_answer(desk, edge):
    class Mute:
        def change_message_visibility(self, **_):
            raise EndpointConnectionError(endpoint_url="https://sqs.invalid")

        def __getattr__(self, name):
            return getattr(edge.client("sqs"), name)

    def work(context):
        desk.clock.somebody_waits(BEAT_S)
        desk.clock.pass_(20)
        desk.until_stopped(lambda: cancel(desk.run(1).id, "sam@laptop", edge, NOW))(context)

    lint = Action("lint", work)
    claim = desk.claim(1, lint)
    mute = replace(claim._tools, edge=replace(edge, queue=Queue(Mute(), "tau-test")))
    assert Claim(desk.run(1), claim._received, mute).enact()
    assert desk.run(1).state is RunState.CANCELLED


def test_a_parking_is_refused_to_a_run_that_was_cancelled_meanwhile(desk):
    class Late(Store):
        def park(self, run, *how):
            cancel(run.id, "sam@laptop", desk.edge, NOW)
            return super().park(run, *how)

    assert desk.claim(1, Action("lint", Park(WaitingFor.DISK, later(20), "no room")), store=Late).enact()
    assert desk.run(1).state is RunState.CANCELLED


def test_a_run_that_passed_in_the_last_moment_has_passed(desk):
    class Late(Store):
        def end(self, run, state, **more):
            cancel(run.id, "sam@laptop", desk.edge, NOW)
            return super().end(run, state, **more)

    assert desk.claim(1, Action("lint"), store=Late).enact()
    assert desk.run(1).state is RunState.PASSED


# --- longer than SQS keeps a message --------------------------------------------------------------


def test_a_step_that_heeds_no_limit_is_stopped_before_sqs_gives_its_message_back_and_everybody_hears(desk, ses):
    lint = Action("lint", desk.until_stopped(lambda: hours_pass(desk, LONGEST_S)))
    assert desk.claim(1, lint, Action("never")).enact()
    ended = desk.run(1)
    assert ended.state is RunState.ERRORED
    assert ended.reason == "stopped after 11h 30m: its step heeded no time limit, and SQS keeps a message for 12 hours"
    assert sorted(ses.told) == [DEV, OPS]
    assert desk.edge.store.lock_holder(ended.job.lock) is None


def test_a_run_that_takes_its_eleven_hours_is_left_alone(desk):
    def work(context):
        hours_pass(desk, 11 * 3600)
        desk.beat()
        context.stopping.check()
        return passed("lint")

    assert desk.claim(1, Action("lint", work)).enact()
    assert desk.run(1).state is RunState.PASSED


def test_a_step_that_does_not_even_stop_then_is_given_up_and_another_runner_may_have_its_run(desk):
    def work(_):
        hours_pass(desk, LONGEST_S)
        desk.beat()
        hours_pass(desk, 0.4 * 3600)
        assert desk.lost.wait(PATIENCE_S)
        beat = desk.run(1).beat
        desk.clock.pass_(600)
        assert desk.run(1).beat == beat, "whoever watches sees it stand still"
        desk.edge.store.take_over(desk.run(1), "r2", later(12 * 3600))
        return passed("lint")

    desk.lost = threading.Event()
    claim = desk.claim(1, Action("lint", work))
    with claim.stopping.telling(lambda: claim.stopping.why is Why.LOST and desk.lost.set()):
        assert not claim.enact()
    assert (desk.run(1).state, desk.run(1).epoch) == (RunState.RUNNING, 2), "and it writes nothing more"


def test_a_deployment_that_was_begun_goes_on_with_another_message(desk):
    def work(context):
        deploying(context)
        desk.until_stopped(lambda: hours_pass(desk, LONGEST_S))(context)

    assert desk.claim(1, Action("deploy_eb", work)).enact()
    assert (desk.run(1).state, desk.run(1).send) == (RunState.QUEUED, 2)


def hours_pass(desk, seconds):
    desk.clock.somebody_waits(BEAT_S)
    desk.clock.pass_(seconds)


# --- what is begun at an environment is finished --------------------------------------------------


def deploying(context):
    context.journal.intend("deploy crm-production", label="v1", must_finish=True)


def test_a_run_that_deploys_is_not_stopped(desk):
    def work(context):
        deploying(context)
        assert cancel(desk.run(1).id, "sam@laptop", desk.edge, NOW) is Answer.DEPLOYING
        return passed("deploy_eb")

    assert desk.claim(1, Action("deploy_eb", work)).enact()
    assert desk.run(1).state is RunState.PASSED


def test_who_begins_to_deploy_just_after_it_was_asked_to_stop_goes_on_and_parks(desk):
    def work(context):
        cancel(desk.run(1).id, "sam@laptop", desk.edge, NOW)
        deploying(context)
        desk.beat()
        desk.clock.somebody_waits(BEAT_S)
        return Park(WaitingFor.ENVIRONMENT, later(20), "Elastic Beanstalk works")

    assert desk.claim(1, Action("deploy_eb", work)).enact()
    parked = desk.run(1)
    assert (parked.state, parked.waiting_for) == (RunState.WAITING, WaitingFor.ENVIRONMENT)


@pytest.mark.parametrize("asked_by", ["a person", "a newer run"])
def test_who_is_stopped_after_it_began_to_deploy_is_left_to_the_next_claim(desk, asked_by):
    def work(context):
        if asked_by == "a person":
            cancel(desk.run(1).id, "sam@laptop", desk.edge, NOW)
        else:
            newer = desk.queued(2, pushed(B, supersede=Supersede.RUNNING))
            superseding.ask_older([newer], desk.edge, NOW)
        desk.until_stopped()(_Checked(context))
        deploying(context)
        context.stopping.check()

    deploy = Action("deploy_eb", work, passed("deploy_eb"))
    claim = desk.claim(1, deploy, planned=pushed(A, supersede=Supersede.RUNNING))
    desk.branch.line = [A, B]
    assert claim.enact()
    assert (desk.run(1).state, desk.run(1).send) == (RunState.QUEUED, 2)
    again = desk.edge.store.claim(desk.run(1), "r1", later(9))
    assert Claim(again, claim._received, claim._tools).enact()
    assert (desk.run(1).state, deploy.calls) == (RunState.PASSED, 2)


class _Checked:
    """The context of a step that has looked whether to stop a moment too early."""

    def __init__(self, context):
        self.stopping = self
        self.telling = context.stopping.telling

    def check(self):
        pass
