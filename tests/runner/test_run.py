from dataclasses import replace
from datetime import timedelta

import pytest
from runner.outcome import Ended, Halted, Parked

from chalicelib.errors import BadConfig, LostClaim, NeedsAttention, NothingToDo, StepErrored, StepFailed
from chalicelib.model import RunState, Source, Step, StepStatus, WaitingFor
from runner import actions, runlog
from runner.context import Park
from runner.made import images_of
from runner.run import enact
from runner.stopping import Stopped, Stopping, Why
from runner.submodules import Submodules
from tests.installation import NOW, event, job, later
from tests.running import Action, Branch, built, passed, queued, tools


class World:
    """One run and what enacts it, claim after claim."""

    def __init__(self, edge, folder, docker, pace, *acts, number=1, **changes):
        self.edge, self.docker, self.clock, self.stopping = edge, docker, pace.clock, Stopping()
        self.tools = tools(edge, folder, docker, pace, *acts)
        self.id = queued(edge, number, *acts, send=False, **changes).id

    @property
    def run(self):
        return self.edge.store.run(self.id)

    def claim(self):
        return self.edge.store.claim(self.run, "r1", self.clock())

    def enact(self):
        """Claim, enact, and write a parking down as the agent does."""
        held = self.claim()
        outcome = enact(held, self.tools, self.stopping)
        if isinstance(outcome, Parked):
            park = outcome.park
            assert self.edge.store.park(held, park.waiting_for, park.due_at, park.reason, outcome.entries)
            self.edge.store.wake(self.id, park.waiting_for, self.clock())
        return outcome

    def log(self):
        return b"".join(piece for _, piece in runlog.read(self.edge.objects, self.id)).decode()


@pytest.fixture
def world(edge, tmp_path, docker, pace):
    return lambda *acts, **changes: World(edge, tmp_path, docker, pace, *acts, **changes)


def statuses(ended):
    return [str(step.status) for step in ended.steps]


# --- from the first step to the end ---------------------------------------------------------------


def test_steps_that_pass_end_the_run_passed_with_all_their_results(world):
    made = world(Action("lint", passed("lint", n=1)), Action("test"), Action("push"))
    ended = made.enact()
    assert (ended.state, ended.reason, statuses(ended)) == (RunState.PASSED, None, ["passed"] * 3)
    assert made.run.results["0"].facts == {"n": 1}
    assert list(made.run.results) == ["0", "1"], "what ends the run is written with its end"


def test_a_failed_step_skips_the_rest_and_is_the_runs_reason(world):
    push = Action("push")
    made = world(Action("lint"), Action("test", StepFailed("1 of 2 tests failed", ("a: b",), {"n": 2})), push)
    ended = made.enact()
    assert (ended.state, ended.reason) == (RunState.FAILED, "1 of 2 tests failed")
    assert statuses(ended) == ["passed", "failed", "skipped"]
    assert (ended.steps[1].lines, ended.steps[1].facts) == (("a: b",), {"n": 2})
    assert push.calls == 0
    assert list(made.run.results) == ["0"], "what ends the run is written with its end"


def test_a_run_without_steps_has_passed(world):
    assert world().enact().state is RunState.PASSED


def test_what_one_step_found_out_is_there_for_the_next(world, docker):
    seen = Action("test", lambda context: passed("test", image=context.images["2pisoftware/cmfive-dev"].id))
    ended = world(Action("build", built(docker)), seen).enact()
    assert ended.steps[1].facts == {"image": "sha256:1"}


def test_a_step_gets_its_place_its_labels_and_the_time_that_is_left(world):
    lint, test = Action("lint"), Action("test")
    made = world(lint, test)
    made.enact()
    context = test.contexts[0]
    assert (context.run, context.epoch, context.index) == (made.id, 1, 1)
    assert context.labels == {
        "tau.system": "tau-test",
        "tau.run": made.id,
        "tau.epoch": "1",
        "tau.runner": "r1",
        "tau.lock": made.run.job.lock,
    }
    assert 3590 < context.remaining_s() <= 3600
    assert context.folder == lint.contexts[0].folder
    assert not context.folder.exists(), "the folder goes with its run"


def test_the_log_says_which_step_it_is_what_it_printed_and_why_it_failed(world):
    def test(context):
        context.log.write(b"FAILED\n")
        return StepFailed("the test command exited with 1")

    made = world(Action("lint"), Action("test", test))
    made.enact()
    assert made.log().splitlines() == [
        "[tau] lint (step 1 of 2)",
        "[tau] test (step 2 of 2)",
        "FAILED",
        "[tau] failed: the test command exited with 1",
    ]


# --- our own failures -----------------------------------------------------------------------------

BROKEN = [StepErrored("the registry does not answer"), ZeroDivisionError("of all things"), BadConfig("no such word")]


@pytest.mark.parametrize("error", BROKEN, ids=lambda error: type(error).__name__)
def test_our_own_first_failure_is_tried_once_more_and_the_second_one_ends_the_run(world, error):
    push = Action("push", error, error)
    made = world(Action("lint"), push)
    first = made.enact()
    assert isinstance(first, Parked)
    assert (first.park.waiting_for, first.park.due_at) == (WaitingFor.RETRY, later(30))
    assert "once more after: " in first.park.reason
    second = made.enact()
    assert isinstance(second, Ended)
    assert (second.state, statuses(second)) == (RunState.ERRORED, ["passed", "errored"])
    assert str(error) in second.reason
    assert push.calls == 2


def test_a_failure_of_ours_that_is_over_at_the_second_try_costs_nothing(world):
    build, push = Action("lint"), Action("push", StepErrored("busy"), passed("push"))
    made = world(build, push)
    made.enact()
    assert made.enact().state is RunState.PASSED
    assert (build.calls, push.calls) == (1, 2)


def test_each_run_has_one_second_try_whatever_step_it_was_for(world):
    made = world(Action("lint", StepErrored("a"), passed("lint")), Action("push", StepErrored("b")))
    made.enact()
    ended = made.enact()
    assert (ended.state, ended.reason) == (RunState.ERRORED, "b")


def test_how_long_until_the_second_try_is_a_setting(world):
    made = world(Action("lint", StepErrored("busy")))
    settings = replace(made.edge.settings, retry_s=2.5)
    made.tools = replace(made.tools, edge=replace(made.edge, settings=settings))
    assert made.enact().park.due_at == later(2.5)


def test_an_unforeseen_error_is_named_by_its_kind_and_is_limited(world):
    made = world(Action("lint", ValueError("x" * 100_000)))
    made.enact()
    (step,) = made.enact().steps
    assert (step.status, step.reason[:15], len(step.reason)) == (StepStatus.ERRORED, "ValueError: xxx", 1000)


def test_what_needs_attention_ends_the_run_without_a_second_try(world):
    script = Action("script", NeedsAttention("it was interrupted, and may be half done"))
    made = world(Action("lint"), script, Action("push"))
    ended = made.enact()
    assert (ended.state, ended.reason) == (RunState.ERRORED, "it was interrupted, and may be half done")
    assert (statuses(ended), script.calls) == (["passed", "errored", "skipped"], 1)


def test_a_failure_with_more_facts_than_a_record_holds_keeps_its_reason(world):
    ended = world(Action("test", StepFailed("no", facts={"failures": ["x" * 200_000]}))).enact()
    assert (ended.reason, ended.steps[0].facts) == ("no", {})


def test_an_action_that_this_runner_does_not_know_is_our_failure(world):
    made = world(Action("lint"), Action("teleport"))
    made.tools = replace(made.tools, action=lambda name: Action("lint") if name == "lint" else actions.find(name))
    first = made.enact()
    assert isinstance(first, Parked)
    assert "there is no action 'teleport'" in first.park.reason
    assert made.enact().state is RunState.ERRORED


def test_settings_that_this_runner_cannot_read_are_our_failure(world):
    build = Action("lint")
    build.Settings = actions.find("build").Settings
    made = world(build)
    assert isinstance(made.enact(), Parked)
    ended = made.enact()
    assert (ended.state, ended.reason) == (
        RunState.ERRORED,
        "settings of lint that this program cannot read: image: Field required (is it older than the ci.yml?)",
    )
    assert build.calls == 0


def test_each_setting_that_cannot_be_read_is_named_in_one_line(world):
    build = Action("lint", image="a/b", artefacts=["x"], args=3)
    build.Settings = actions.find("build").Settings
    made = world(build)
    made.enact()
    said = made.enact().reason
    assert "args: Input should be a valid dictionary; artefacts: Extra inputs are not permitted (is" in said
    assert "\n" not in said
    assert "http" not in said


def test_an_engine_that_is_gone_between_two_claims_is_our_failure_and_kills_no_runner(world, docker):
    made = world(Action("build", built(docker)), Action("test", StepErrored("busy"), passed("test"), needs_image=True))
    made.enact()
    docker.gone = True
    ended = made.enact()
    assert (ended.state, statuses(ended)[0]) == (RunState.ERRORED, "passed")
    assert "the Docker engine does not answer" in ended.reason


def test_a_folder_that_cannot_be_made_is_our_failure(world, tmp_path):
    made = world(Action("lint"))
    (tmp_path / "runs").rmdir()
    (tmp_path / "runs").write_text("a file in the way")
    first = made.enact()
    assert isinstance(first, Parked)
    assert "cannot be made" in first.park.reason


# --- what an earlier claim did --------------------------------------------------------------------


def test_the_results_of_an_earlier_claim_are_kept(world, docker):
    build, test = Action("build", built(docker)), Action("test", needs_image=True)
    push = Action("push", StepErrored("busy"), passed("push"), needs_image=True)
    made = world(build, test, push)
    made.enact()
    assert made.enact().state is RunState.PASSED
    assert (build.calls, test.calls, push.calls) == (1, 1, 2)
    assert [context.epoch for context in push.contexts] == [1, 2]


def test_an_image_that_is_gone_from_the_engine_is_built_and_tested_again(world, docker):
    build = Action("build", built(docker, "sha256:1"), built(docker, "sha256:2"))
    test = Action("test", needs_image=True)
    push = Action(
        "push", StepErrored("busy"), lambda c: passed("push", id=next(iter(c.images.values())).id), needs_image=True
    )
    made = world(build, test, push)
    made.enact()
    docker.image_list.clear()
    ended = made.enact()
    assert (build.calls, test.calls, push.calls) == (2, 2, 2)
    assert ended.steps[2].facts == {"id": "sha256:2"}
    assert made.run.results["0"].facts["image"]["id"] == "sha256:2"


def test_a_step_that_needs_no_image_builds_none_again(world, docker):
    build = Action("build", built(docker))
    deploy = Action("deploy_eb", Park(WaitingFor.ENVIRONMENT, later(20), "x"), passed("deploy_eb"))
    made = world(build, Action("push", needs_image=True), deploy)
    made.enact()
    docker.image_list.clear()
    assert made.enact().state is RunState.PASSED
    assert build.calls == 1


def test_deploying_needs_the_record_of_a_push_and_no_image_in_this_engine():
    """A parked deployment is woken on whatever code server is free."""
    needed = [name for name in actions.names() if actions.find(name).NEEDS_IMAGE]
    assert ("deploy_eb" in needed, {"push", "test"} <= set(needed)) == (False, True)


def test_a_step_that_has_begun_what_needs_no_image_any_more_builds_none_again(world, docker):
    def push(context):
        context.journal.intend("tag", needs_image=False)
        return StepErrored("the registry does not answer")

    build = Action("build", built(docker))
    made = world(build, Action("push", push, passed("push"), needs_image=True))
    made.enact()
    docker.image_list.clear()
    assert made.enact().state is RunState.PASSED
    assert build.calls == 1


def test_steps_before_the_image_that_is_gone_are_kept(world, docker):
    first = Action("lint")
    build = Action("build", built(docker, "sha256:1"), built(docker, "sha256:2"))
    made = world(first, build, Action("test", StepErrored("busy"), passed("test"), needs_image=True))
    made.enact()
    docker.image_list.clear()
    assert made.enact().state is RunState.PASSED
    assert (first.calls, build.calls) == (1, 2)


def test_a_failure_is_no_result_to_keep(world):
    """A claim that died after it wrote the failure down and before it ended the run."""
    test = Action("test", StepFailed("no"), passed("test"))
    made = world(Action("lint"), test)
    enact(made.claim(), made.tools)
    again = made.edge.store.take_over(made.run, "r2", later(60))
    assert enact(again, made.tools).state is RunState.PASSED


# --- parking --------------------------------------------------------------------------------------


def test_a_step_that_parks_is_called_again_and_keeps_the_runner_free(world):
    park = Park(WaitingFor.ENVIRONMENT, later(20), "Elastic Beanstalk works")
    deploy = Action("deploy_eb", park, park, passed("deploy_eb"))
    made = world(Action("lint"), deploy)
    assert made.enact().park == park
    assert made.enact().park == park
    assert made.enact().state is RunState.PASSED
    assert deploy.calls == 3
    assert made.log().count("deploy_eb (step 2 of 2)") == 1


def test_parking_is_no_failure_and_costs_no_second_try(world):
    park = Park(WaitingFor.ENVIRONMENT, later(20), "x")
    made = world(Action("deploy_eb", park, StepErrored("busy"), passed("deploy_eb")))
    made.enact()
    assert made.enact().park.waiting_for is WaitingFor.RETRY
    assert made.enact().state is RunState.PASSED


def test_a_step_that_was_parked_and_fails_has_taken_all_the_time_since_its_first_deed(world):
    def begin(context):
        context.journal.intend("deploy x")
        made.clock.pass_(90)
        return Park(WaitingFor.ENVIRONMENT, later(100), "x")

    made = world(Action("deploy_eb", begin, StepFailed("rolled back")))
    began = made.clock()
    made.enact()
    (step,) = made.enact().steps
    assert (step.started_at, step.ended_at) == (began, began + timedelta(seconds=90))


# --- the deadline ---------------------------------------------------------------------------------


def test_a_run_that_took_too_long_fails_before_its_next_step(world):
    lint, test = Action("lint", lambda _: made.clock.pass_(90) or passed("lint")), Action("test")
    steps = tuple(Step(action.name, {}) for action in (lint, test))
    made = world(lint, test, job=replace(job(*steps), timeout_s=90))
    ended = made.enact()
    assert (ended.state, ended.reason) == (RunState.FAILED, "the run took longer than its 1m 30s")
    assert test.calls == 0


def test_every_claim_has_all_of_the_time(world):
    lint = Action("lint", lambda _: made.clock.pass_(80) or StepErrored("busy"), passed("lint"))
    made = world(lint, job=replace(job(Step("lint", {})), timeout_s=90))
    made.enact()
    assert made.enact().state is RunState.PASSED


# --- stopping -------------------------------------------------------------------------------------


@pytest.mark.parametrize("why", [Why.ASKED, Why.HANDED_BACK])
def test_who_should_stop_does_no_further_step_and_keeps_what_passed(world, why):
    test = Action("test")
    made = world(Action("lint", lambda _: made.stopping.ask(why) or passed("lint")), test)
    assert made.enact() == Halted(why)
    assert (test.calls, list(made.run.results), made.run.state) == (0, ["0"], RunState.RUNNING)


@pytest.mark.parametrize("error", [Stopped(Why.ASKED), StepFailed("exited with 143"), OSError("bad descriptor")])
def test_whatever_breaks_in_a_step_that_should_stop_is_no_failure_and_the_log_says_so(world, error):
    made = world(Action("lint", lambda _: made.stopping.ask(Why.ASKED) or error))
    assert made.enact() == Halted(Why.ASKED)
    assert made.run.results == {}
    assert made.log().splitlines() == ["[tau] lint (step 1 of 1)", "[tau] stopped"]


def test_who_passed_its_last_step_before_it_heard_has_passed(world):
    made = world(Action("lint", lambda _: made.stopping.ask(Why.HANDED_BACK) or passed("lint")))
    assert made.enact().state is RunState.PASSED


def test_what_an_interrupted_step_has_to_say_goes_with_it(world):
    def work(_):
        made.stopping.ask(Why.ASKED)
        stopped = Stopped(Why.ASKED)
        stopped.add_note("its script may be half done")
        return stopped

    made = world(Action("script", work))
    assert made.enact() == Halted(Why.ASKED, "its script may be half done")


def test_a_claim_that_was_lost_is_no_stop_but_lost(world):
    made = world(Action("lint", lambda _: made.stopping.ask(Why.LOST) or passed("lint")), Action("test"))
    with pytest.raises(LostClaim):
        made.enact()


# --- the claim ------------------------------------------------------------------------------------


def test_a_claim_that_is_lost_stops_before_the_next_step_and_writes_nothing_more(world):
    second = Action("push")

    def build(_):
        made.edge.store.take_over(made.run, "r2", later(60))
        return passed("lint")

    made = world(Action("lint", build), second)
    with pytest.raises(LostClaim):
        made.enact()
    assert second.calls == 0
    after = made.run
    assert (after.state, after.epoch, after.results) == (RunState.RUNNING, 2, {})


def test_a_claim_that_is_lost_inside_a_step_is_no_failure_of_the_step(world):
    def push(context):
        made.edge.store.take_over(made.run, "r2", later(60))
        context.journal.intend("push")
        raise AssertionError("the effect")

    made = world(Action("push", push))
    with pytest.raises(LostClaim):
        made.enact()
    assert (made.run.results, made.run.journal) == ({}, ())
    assert "another runner has taken this run over" in made.log()


# --- images ---------------------------------------------------------------------------------------


def test_the_digests_of_a_push_belong_to_the_image_that_was_pushed():
    results = {
        "0": passed("build", image={"name": "a", "id": "sha256:1"}),
        "1": passed("build", image={"name": "b", "id": "sha256:2"}),
        "2": passed("push", image={"name": "a", "id": "sha256:1"}, digests={"registry:5000": "sha256:d1"}),
        "3": passed("push", image={"name": "a", "id": "sha256:1"}, digests={"docker.io": "sha256:d2"}),
    }
    found = images_of(results)
    assert found["a"].digests == {"registry:5000": "sha256:d1", "docker.io": "sha256:d2"}
    assert (found["b"].id, found["b"].digests) == ("sha256:2", {})


def test_times_of_steps_are_the_runners(world):
    ended = world(Action("lint", StepFailed("no"))).enact()
    assert (ended.steps[0].started_at, ended.steps[0].ended_at) == (NOW, NOW)


# --- steps for when something went wrong ----------------------------------------------------------


def test_a_failed_run_has_its_last_words_and_ends_as_it_failed(world):
    push, onfail, always = Action("push"), Action("onfail", when="failure"), Action("always", when="always")
    ended = world(Action("test", StepFailed("1 of 2 tests failed")), push, onfail, always).enact()
    assert (ended.state, ended.reason) == (RunState.FAILED, "1 of 2 tests failed")
    assert statuses(ended) == ["failed", "skipped", "passed", "passed"]
    assert [result.status for result in onfail.contexts[0].so_far] == [StepStatus.FAILED]


def test_a_run_that_passes_has_no_words_of_failure(world):
    onfail, always = Action("onfail", when="failure"), Action("always", when="always")
    ended = world(Action("test"), onfail, always).enact()
    assert (ended.state, statuses(ended)) == (RunState.PASSED, ["passed", "skipped", "passed"])


def test_last_words_that_fail_change_nothing(world):
    acts = (
        Action("test", StepFailed("no")),
        Action("onfail", StepErrored("chat is down"), when="failure"),
        Action("always", when="always"),
    )
    ended = world(*acts).enact()
    assert (ended.state, ended.reason, statuses(ended)) == (RunState.FAILED, "no", ["failed", "errored", "passed"])


def test_our_own_failure_has_its_last_words_after_the_second_try_only(world):
    onfail = Action("onfail", when="failure")
    made = world(Action("test", StepErrored("the engine broke")), onfail)
    assert isinstance(made.enact(), Parked)
    assert onfail.calls == 0
    assert (made.enact().state, onfail.calls) == (RunState.ERRORED, 1)


def test_a_failed_step_is_not_tried_again_by_who_takes_over_its_last_words(world):
    test = Action("test", StepFailed("no"), passed("test"))
    onfail = Action("onfail", LostClaim("a frozen runner"), passed("onfail"), when="failure")
    made = world(test, onfail)
    with pytest.raises(LostClaim):
        made.enact()
    ended = enact(made.run, made.tools, made.stopping)
    assert (ended.state, ended.reason, statuses(ended)) == (RunState.FAILED, "no", ["failed", "passed"])
    assert test.calls == 1


def test_a_step_that_finds_nothing_to_do_ends_the_run_skipped_without_last_words(world):
    always = Action("always", when="always")
    made = world(Action("build", NothingToDo("it has no Dockerrun.aws.json")), Action("push"), always)
    ended = made.enact()
    assert (ended.state, ended.reason) == (RunState.SKIPPED, "it has no Dockerrun.aws.json")
    assert (statuses(ended), always.calls) == (["skipped"] * 3, 0)
    assert "skipped: it has no Dockerrun.aws.json" in made.log()


# --- secrets --------------------------------------------------------------------------------------


def test_a_secret_that_a_step_was_given_stands_nowhere_in_what_is_kept_of_the_run(world, edge):
    edge.client("ssm").put_parameter(Name="/tau/test/secrets/chat", Value="bot:s3cret-value", Type="SecureString")

    def test(context):
        user, password = context.secret("chat").split(":")
        context.log.write(f"login {user} s3cre".encode())
        context.log.write(b"t-value\n")
        context.log.line(f"$ login --password {password}")
        raise StepFailed(f"{password} was refused", (*context.log.tail(), password), {"tests": {"message": password}})

    made = world(Action("test", test))
    ended = made.enact()
    assert "s3cret" not in made.log() + repr(ended)
    assert (ended.reason, ended.steps[0].lines) == ("*** was refused", ("login bot ***", "***"))
    assert ended.steps[0].facts == {"tests": {"message": "***"}, "printed_secrets": ["chat"]}
    assert "[tau] the secret chat was printed by this step" in made.log()
    assert made.log().count("was printed by this step") == 1


def test_an_action_can_look_for_what_nobody_may_read_in_what_it_keeps(world, edge):
    edge.client("ssm").put_parameter(Name="/tau/test/secrets/chat", Value="s3cret-value", Type="SecureString")
    seen = []

    def look(context):
        context.secret("chat")
        seen.extend(name for name, _ in context.matcher().look(b"it is s3cret-value").secrets)
        return passed("test")

    world(Action("test", look)).enact()
    assert seen == ["chat"]


def test_an_error_that_nobody_foresaw_tells_no_secret_either(world, edge):
    edge.client("ssm").put_parameter(Name="/tau/test/secrets/chat", Value="s3cret-value", Type="SecureString")

    def test(context):
        raise ValueError("x" * 980 + context.secret("chat"))

    parked = world(Action("test", test)).enact()
    assert "s3cret" not in repr(parked)
    assert parked.park.reason.endswith("x***")


@pytest.mark.parametrize(("fork", "laid"), [(False, True), (True, False)])
def test_submodules_are_laid_as_the_job_allows_them_and_none_for_a_fork(world, fork, laid):
    allowed = (Source("github.com", "2pisoftware/*", "https://github.com/{repository}"),)
    asked, said = [], []

    class Asked(Branch):
        def submodules(self, source, commit, into, allowed, remaining_s, *, stopping):  # noqa: ARG002
            asked.append((source.name, commit, into.name, allowed))
            return Submodules()

    def lay(context):
        said.append(context.submodules("github.com/2pisoftware/cmfive", "2" * 40, context.folder / "tree"))
        return passed("build")

    made = world(Action("build", lay), job=job(Step("build", {}), submodules=allowed, event=event(fork=fork)))
    made.tools = replace(made.tools, workspace=Asked(made.tools.workspace._folder))
    assert made.enact().state is RunState.PASSED
    assert asked == ([("github.com/2pisoftware/cmfive", "2" * 40, "tree", allowed)] if laid else [])
    assert said == [Submodules() if laid else None]


# --- the run before ---------------------------------------------------------------------------------


def test_a_step_gets_to_know_its_suite_of_the_branchs_run_before(edge, tmp_path, docker, pace):
    def ended(number, facts, **changes):
        acts = Action("lint"), Action("test")
        run = edge.store.claim(queued(edge, number, *acts, send=False, **changes), "r1", pace.clock())
        results = {0: passed("lint"), 1: passed("test", **facts)}
        assert edge.store.end(run, RunState.PASSED, reason=None, tell={}, now=pace.clock(), results=results) is None
        return run

    older = {"tests": {"passed": 1, "failed": 0, "skipped": 0, "failures": []}}
    run = ended(1, older)
    ended(2, {})
    steps = Step("lint", {}), Step("test", {})
    ended(3, {"tests": {"passed": 9}}, job=replace(job(*steps), pipeline="another"))
    look = Action("test", lambda context: passed("test", seen=[context.before().run, context.before().facts]))
    none = Action("lint", lambda context: passed("lint", seen=context.before()))
    made = World(edge, tmp_path, docker, pace, none, look, number=4)
    steps = made.enact().steps
    assert steps[0].facts == {"seen": None}
    assert steps[1].facts["seen"][0] == run.id
    assert steps[1].facts["seen"][1]["passed"] == 1
