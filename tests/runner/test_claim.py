"""One claim, from its first step to its last write: what it writes, whom it tells, and what it leaves to others."""

import json
from dataclasses import replace

import pytest
from botocore.exceptions import EndpointConnectionError

from chalicelib.cancelling import Answer, cancel
from chalicelib.errors import StepFailed
from chalicelib.model import Message, RunState, StepStatus, WaitingFor
from chalicelib.queue import Queue, encode
from chalicelib.store import Store
from runner.context import Park
from runner.stopping import Why
from tests.claiming import ANN, BEN, A, B, pushed
from tests.hooks import compiled
from tests.installation import NOW, job, later
from tests.mailing import DEV
from tests.running import Action, built, in_queue, passed, queued

# --- the end --------------------------------------------------------------------------------------


def test_the_end_is_written_and_told_the_lock_is_free_and_the_message_may_go(desk, ses):
    assert desk.claim(1, Action("lint")).enact()
    ended = desk.run(1)
    assert (ended.state, ended.ended_at, ended.due_at) == (RunState.PASSED, NOW, None)
    assert desk.edge.store.lock_holder(ended.job.lock) is None
    assert ses.told == [DEV]


def test_what_came_of_every_step_stands_in_the_record(desk):
    test = Action("test", StepFailed("1 of 2 tests failed", ("a: b",), {"n": 2}))
    desk.claim(1, Action("lint", passed("lint", n=1)), test, Action("push")).enact()
    results = desk.run(1).results
    assert {index: (step.action, step.status, step.facts) for index, step in results.items()} == {
        "0": ("lint", StepStatus.PASSED, {"n": 1}),
        "1": ("test", StepStatus.FAILED, {"n": 2}),
    }


def test_what_came_of_the_last_step_is_not_lost_where_the_end_must_be_written_anew(desk):
    work = Action("lint", lambda _: desk.hand_on(2, ANN, to=desk.run(1).id) or passed("lint", n=1))
    desk.claim(1, work).enact()
    assert desk.run(1).results["0"].facts == {"n": 1}


def test_results_that_come_out_of_the_table_in_any_order_stay_where_they_belong(desk):
    class Shuffled(Store):
        def run(self, run_id):
            found = super().run(run_id)
            return replace(found, results=dict(sorted(found.results.items(), reverse=True)))

    def asked(context):
        cancel(context.run, "sam@laptop", desk.edge, NOW)
        context.stopping.ask(Why.ASKED)
        context.stopping.check()

    claim = desk.claim(1, Action("lint"), Action("test"), Action("push", asked), store=Shuffled)
    assert claim.enact()
    ended = desk.run(1)
    assert (ended.state, ended.results["0"].action, ended.results["1"].action) == (RunState.CANCELLED, "lint", "test")


def test_an_end_that_took_half_a_minute_to_write_is_told_by_whoever_finds_it_due(desk, ses):
    class Slow(Store):
        def end(self, *run, **how):
            desk.clock.pass_(30)
            return super().end(*run, **how)

    assert desk.claim(1, Action("lint"), store=Slow).enact()
    assert (ses.told, desk.run(1).due_at is None) == ([], False)


def test_a_mail_that_is_not_sent_costs_no_verdict_and_keeps_no_message(desk, ses):
    ses.says[DEV] = EndpointConnectionError(endpoint_url="https://email.invalid")
    assert desk.claim(1, Action("lint")).enact()
    ended = desk.run(1)
    assert (ended.state, ended.tell[f"email:{DEV}"]["state"]) == (RunState.PASSED, "due")


def test_older_images_of_the_branch_go_when_a_newer_one_is_there(desk, docker):
    labels = {"tau_system": "tau-test", "tau_lock": job().lock}
    docker.add_image("sha256:old", "2pisoftware/cmfive-dev:r-01aold", tau_run="01AOLD", **labels)
    docker.add_image("sha256:other", "x:r-01aold", tau_run="01AOLD", tau_system="tau-test", tau_lock="another branch")
    desk.claim(1, Action("build", built(docker, "sha256:new"))).enact()
    assert sorted(docker.image_list) == ["sha256:new", "sha256:other"]


def test_the_image_of_the_run_that_got_the_lock_in_between_stays(desk, docker):
    class Quick(Store):
        """A store beside which the next run of the lock has built its image as soon as it was free."""

        def end(self, *run, **how):
            refused = super().end(*run, **how)
            after = desk.edge.store.claim(queued(desk.edge, 2, send=False), "r2", NOW)
            labels = {"tau_system": "tau-test", "tau_lock": after.job.lock, "tau_run": after.id}
            docker.add_image("sha256:next", "x:r-next", **labels)
            return refused

    desk.claim(1, Action("build", built(docker, "sha256:mine")), store=Quick).enact()
    assert sorted(docker.image_list) == ["sha256:mine", "sha256:next"]


def test_a_run_that_built_nothing_lets_the_older_images_be(desk, docker):
    docker.add_image("sha256:old", "x", tau_run="01AOLD", tau_system="tau-test", tau_lock=job().lock)
    desk.claim(1, Action("build", StepFailed("no"))).enact()
    assert list(docker.image_list) == ["sha256:old"]


def test_an_engine_that_forgets_nothing_costs_no_verdict(desk, docker):
    def work(context):
        built(docker)(context)
        docker.gone = True
        return passed("build")

    assert desk.claim(1, Action("build", work)).enact()
    assert desk.run(1).state is RunState.PASSED


# --- whom to tell ---------------------------------------------------------------------------------


def ended_before(desk, number, state, planned):
    held = desk.edge.store.claim(queued(desk.edge, number, send=False, job=planned), "r", NOW)
    desk.edge.store.end(held, state, reason=None, tell={}, now=NOW)


@pytest.mark.parametrize(
    ("before", "outcome", "told"),
    [
        ([RunState.PASSED], passed("lint"), []),
        ([RunState.FAILED], passed("lint"), [DEV]),
        ([], passed("lint"), [DEV]),
        ([RunState.PASSED], StepFailed("no"), [DEV]),
        ([RunState.FAILED], StepFailed("no"), []),
        ([RunState.FAILED, RunState.SUPERSEDED], StepFailed("no"), []),
    ],
    ids=["still passed", "repaired", "the first", "broken", "still broken", "an end without a verdict between"],
)
def test_on_change_the_pusher_hears_only_of_a_change(desk, ses, before, outcome, told):
    on_change = pushed(A, notify="change")
    for number, state in enumerate(before, 1):
        ended_before(desk, number, state, on_change)
    desk.claim(9, Action("lint", outcome), planned=on_change).enact()
    assert ses.told == told


def test_another_pipelines_verdict_on_the_same_branch_is_no_change(desk, ses):
    on_change = pushed(A, notify="change")
    ended_before(desk, 1, RunState.PASSED, on_change)
    ended_before(desk, 2, RunState.FAILED, replace(on_change, pipeline="another", lock="another"))
    desk.claim(9, Action("lint"), planned=on_change).enact()
    assert ses.told == []


def test_a_newer_runs_verdict_is_no_earlier_one(desk, ses):
    on_change = pushed(A, notify="change")
    claim = desk.claim(1, Action("lint"), planned=on_change)
    ended_before(desk, 2, RunState.PASSED, replace(on_change, lock="another"))
    claim.enact()
    assert ses.told == [DEV]


def test_people_who_are_handed_on_while_the_run_goes_on_are_told_too(desk, ses):
    work = Action("lint", lambda _: desk.hand_on(2, ANN, to=desk.run(1).id) or passed("lint"))
    assert desk.claim(1, work, planned=pushed(B, BEN)).enact()
    assert sorted(ses.told) == [ANN, BEN]
    assert (desk.run(1).state, desk.run(2).state) == (RunState.PASSED, RunState.SUPERSEDED)
    assert all(b"Change a" in raw and b"As asked" not in raw for _, raw in ses.taken)


# --- a claim that is lost -------------------------------------------------------------------------


def untouched(desk, ses):
    after = desk.run(1)
    assert (after.state, after.epoch, after.runner) == (RunState.RUNNING, 2, "r2")
    assert (after.reason, after.ended_at, after.tell) == (None, None, {})
    assert ("handed_back" in str(after.journal), ses.told) == (False, [])


def test_a_claim_that_is_lost_before_its_end_is_written_ends_nothing(desk, ses):
    class Late(Store):
        def end(self, run, state, **more):
            self.take_over(self.run(run.id), "r2", later(60))
            return super().end(run, state, **more)

    assert not desk.claim(1, Action("lint"), store=Late).enact()
    untouched(desk, ses)


def test_a_claim_that_is_lost_while_its_people_are_read_anew_writes_nothing_under_the_others_epoch(desk, ses):
    class Late(Store):
        def end(self, run, state, **more):
            desk.hand_on(2, ANN, to=run.id)
            refused = super().end(run, state, **more)
            self.take_over(self.run(run.id), "r2", later(60))
            return refused

    assert not desk.claim(1, Action("lint"), store=Late).enact()
    untouched(desk, ses)


def test_a_claim_that_is_lost_while_a_parking_is_refused_writes_nothing_under_the_others_epoch(desk, ses):
    class Late(Store):
        def park(self, run, *how):
            assert cancel(run.id, "sam@laptop", desk.edge, NOW) is Answer.ASKED
            refused = super().park(run, *how)
            self.take_over(self.run(run.id), "r2", later(60))
            return refused

    deploy = Action("deploy_eb", Park(WaitingFor.APPROVAL, later(20), "x"))
    assert not desk.claim(1, deploy, store=Late).enact()
    untouched(desk, ses)


def test_a_claim_that_is_lost_while_it_gives_way_hands_nobody_on(desk, ses):
    class Late(Store):
        def supersede(self, run, successor, **how):
            self.take_over(self.run(run.id), "r2", later(60))
            return super().supersede(run, successor, **how)

    claim = desk.claim(1, Action("lint"), planned=pushed(A, ANN), store=Late)
    desk.queued(2, pushed(B, BEN))
    desk.branch.line = [A, B]
    assert not claim.enact()
    untouched(desk, ses)
    assert desk.run(2).handed == {}


def test_a_step_that_is_at_work_when_the_claim_is_lost_is_stopped_and_leaves_nothing(desk, ses):
    taken = desk.until_stopped(lambda: desk.edge.store.take_over(desk.run(1), "r2", later(60)))
    assert not desk.claim(1, Action("lint", taken)).enact()
    untouched(desk, ses)
    assert desk.run(1).results == {}


# --- handed back ----------------------------------------------------------------------------------


def test_what_is_handed_back_is_queued_with_a_new_message_and_tells_nobody(desk, ses):
    claim = desk.claim(
        1, Action("lint", lambda _: claim.stopping.ask(Why.HANDED_BACK) or passed("lint")), Action("push")
    )
    assert claim.enact()
    back = desk.run(1)
    assert (back.state, back.send, list(back.results), ses.told) == (RunState.QUEUED, 2, ["0"], [])
    assert desk.edge.queue.receive("default", wait_s=0, hidden_s=1).body == encode(Message(back.id, 2))


def test_who_is_handed_back_and_cancelled_is_cancelled(desk):
    claim = desk.claim(1, Action("lint"))
    cancel(desk.run(1).id, "sam@laptop", desk.edge, NOW)
    claim.stopping.ask(Why.HANDED_BACK)
    assert claim.enact()
    assert desk.run(1).state is RunState.CANCELLED


def test_a_queue_that_does_not_answer_leaves_what_is_handed_back_to_the_ticker(desk):
    class Mute:
        def __getattr__(self, name):
            raise EndpointConnectionError(endpoint_url="https://sqs.invalid")

    claim = desk.claim(1, Action("lint"))
    claim._edge = replace(desk.edge, queue=Queue(Mute(), "tau-test"))
    claim.stopping.ask(Why.HANDED_BACK)
    assert claim.enact(), "its own message has done its work"
    assert (desk.run(1).state, in_queue(desk.edge)) == (RunState.QUEUED, 1)
    assert [due.id for due in desk.edge.store.due(later(120))] == [desk.run(1).id]


# --- what ci.yml does not want any more -----------------------------------------------------------


def test_a_run_that_todays_ci_yml_does_not_want_is_cancelled_with_the_reason_and_told(desk, ses):
    lint = Action("lint")
    claim = desk.claim(1, lint, planned=job(config="d" * 64))
    desk.edge.store.put_config("c" * 64, json.dumps(compiled()).encode())
    desk.edge.store.put_in_force("c" * 64, later(1))
    assert claim.enact()
    ended = desk.run(1)
    assert (ended.state, lint.calls, ses.told) == (RunState.CANCELLED, 0, [DEV])
    assert "ci.yml has changed since this was pushed" in ended.reason
