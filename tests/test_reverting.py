"""An environment is brought back by hand to the version that was live and well before."""

from dataclasses import replace

import pytest

from chalicelib.aborting import abort
from chalicelib.errors import NotThere, Outrun
from chalicelib.model import DeploymentState, EventKind, RunState
from chalicelib.redriving import NothingToRedrive, redrive
from chalicelib.reports.email import Console, render
from chalicelib.reports.whom import recipients
from chalicelib.reverting import NoWayBack, roll_back
from chalicelib.telling import result_of
from runner.pruning import needed_places
from tests.by_hand import BOB, ENVIRONMENT, REGION, Hands


@pytest.fixture
def world():
    return Hands()


def back(world, by="sam@laptop"):
    world.clock.now += world.clock.now.resolution * 1000
    return roll_back(ENVIRONMENT, REGION, by, world.edge, world.clock())


def test_it_is_a_deployment_of_its_own_that_says_who_wanted_it_and_what_it_replaces(world):
    first = world.live("v1", image="registry/crm@sha256:1")
    world.live("v2")
    begun = back(world).record
    assert (begun.label, begun.by, begun.instead_of) == ("v1", "sam@laptop", "v2")
    assert (begun.tag, begun.commit, begun.image) == ("v1", first.commit, "registry/crm@sha256:1")
    record = world.to_the_end(begun)
    assert record.state is DeploymentState.LIVE
    assert world.beanstalk.updates == ["v1", "v2", "v1"]
    live = world.store.live(REGION, ENVIRONMENT)
    assert (live.label, live.deployment, live.good_label) == ("v1", begun.id, "v2")


def test_it_is_verified_by_the_health_with_which_the_version_went_live(world):
    world.live("v1", accept="yellow", health_within_s=600, hold_s=30)
    world.live("v2")
    begun = back(world).record
    assert (begun.accept, begun.health_within_s, begun.hold_s) == ("yellow", 600, 30)


AGAIN = {
    "no earlier one": (["v1", "v1"], None),
    "twice": (["v1", "v2", "v2"], "v1"),
    "three times": (["v1", "v2", "v2", "v2"], "v1"),
    "once, then a newer one": (["v1", "v2", "v2", "v3"], "v2"),
    "an older one": (["v1", "v2", "v1"], "v2"),
}


@pytest.mark.parametrize(("labels", "before"), AGAIN.values(), ids=AGAIN)
def test_the_same_version_again_does_not_make_its_way_back_forgotten_nor_surplus(world, labels, before):
    for label in labels:
        world.live(label)
        world.pass_(60)
    live = world.store.live(REGION, ENVIRONMENT)
    assert (live.label, live.good_label) == (labels[-1], before)
    needed = needed_places([], world.store.all_live(), [])
    assert needed == {("crm", label) for label in (labels[-1], before) if label}


def test_the_same_version_again_that_somebody_else_had_replaced_keeps_its_way_back(world):
    world.live("v1")
    world.live("v2")
    world.beanstalk.add_version("v9")
    world.beanstalk.environments[ENVIRONMENT].label = "v9"
    world.live("v2")
    assert world.beanstalk.updates == ["v1", "v2", "v2"]
    assert world.store.live(REGION, ENVIRONMENT).good_label == "v1"


def test_a_newer_run_that_begins_in_the_same_moment_goes_first(world, monkeypatch):
    def outrun(*_):
        raise Outrun("run 01SUN, a newer one, deploys to crm-production", "01SUN")

    world.live("v1")
    world.live("v2")
    monkeypatch.setattr(type(world.store), "create_deployment", outrun)
    with pytest.raises(NoWayBack, match="run 01SUN, a newer one, deploys to crm-production just now"):
        back(world)


def test_its_run_does_nothing_else_and_those_who_hear_of_the_pipeline_hear_of_it(world):
    world.live("v1")
    world.live("v2")
    begun = back(world).record
    run = world.store.run(begun.run)
    assert [step.action for step in run.job.steps] == ["deploy_eb"]
    assert (run.state, run.job.event.kind, run.job.event.name) == (RunState.QUEUED, EventKind.MANUAL, "v1")
    assert run.must_finish, "it is neither cancelled nor superseded"
    told = recipients(result_of(run, RunState.PASSED, None, world.clock()), RunState.PASSED)
    assert told == ("dev1@2pisoftware.com", "dev2@2pisoftware.com", BOB), "whose version goes, and whose comes back"


def test_a_version_that_does_not_do_is_undone_as_ever(world):
    world.live("v1")
    world.live("v2")
    world.beanstalk.well = {"v2"}
    world.beanstalk.fate = "Red"
    record = world.to_the_end(back(world).record)
    assert record.state is DeploymentState.ROLLED_BACK
    assert world.beanstalk.updates == ["v1", "v2", "v1", "v2"]
    assert world.store.live(REGION, ENVIRONMENT).label == "v2"


def test_the_last_verified_one_counts_not_the_one_before_that_failed(world):
    world.live("v1")
    world.beanstalk.fate = "rolled back"
    assert world.to_the_end(world.deploy("v2")).state is DeploymentState.ROLLED_BACK
    world.beanstalk.fate = "good"
    world.live("v3")
    assert back(world).record.label == "v1"


def test_where_the_last_good_one_is_kept_no_more_an_older_one_is_taken(world):
    for label in ("v1", "v2", "v3"):
        world.live(label)
    del world.beanstalk.versions["v2"]
    assert back(world).record.label == "v1"
    world.to_the_end(world.store.deployment(next(world.store.deployments()).id))


def test_it_is_refused_where_there_is_no_version_to_go_back_to(world):
    with pytest.raises(NotThere, match="Tau has brought no version to crm-production in ap-southeast-2 yet"):
        back(world)
    world.live("v1")
    with pytest.raises(NoWayBack, match="crm-production has had no version before v1 that was well"):
        back(world)
    world.live("v2")
    del world.beanstalk.versions["v1"]
    with pytest.raises(NoWayBack, match="Elastic Beanstalk keeps no version any more to which to go back: v1"):
        back(world)


def test_it_is_refused_while_a_deployment_is_under_way(world):
    world.live("v1")
    world.live("v2")
    under_way = world.deploy("v3")
    world.pass_(15)
    with pytest.raises(NoWayBack, match="v3 is under way to crm-production: `tau abort crm-production` takes it back"):
        back(world)
    world.to_the_end(under_way)


def test_nothing_that_waits_goes_over_it(world):
    world.live("v1")
    world.live("v2")
    waits = world.deploy("v3", approvers=(BOB,), approve_within_s=600)
    world.pass_(5)
    begun = back(world).record
    assert world.to_the_end(begun).state is DeploymentState.LIVE
    assert world.record(waits).state is DeploymentState.SUPERSEDED


def test_it_can_itself_be_aborted(world):
    world.live("v1")
    world.live("v2")
    begun = back(world).record
    world.pass_(10)
    abort(ENVIRONMENT, REGION, "bob@laptop", world.edge, world.clock())
    assert world.to_the_end(begun).reason == "aborted by bob@laptop"
    assert world.beanstalk.environments[ENVIRONMENT].label == "v2"


def test_who_may_not_deploy_asks_for_the_way_back_all_the_same(world):
    world.live("v1")
    world.live("v2")
    with world.no_rights_at_elastic_beanstalk(but=["DescribeApplicationVersions"]):
        begun = back(world).record
    assert world.to_the_end(begun).state is DeploymentState.LIVE
    assert world.beanstalk.updates == ["v1", "v2", "v1"]


def test_where_the_versions_that_are_kept_cannot_be_asked_for_nothing_is_begun_and_that_is_said(world):
    world.live("v1")
    world.live("v2")
    said = "Elastic Beanstalk cannot be asked which versions are kept, so nothing was begun: .*AccessDenied"
    with world.no_rights_at_elastic_beanstalk(), pytest.raises(NoWayBack, match=said):
        back(world)
    assert len(list(world.store.deployments())) == 2


def ended(world, state, **changes):
    """A way back whose run ended so, and its run."""
    world.live("v1")
    world.live("v2")
    run = world.store.run(back(world).record.run)
    told = result_of(run, state, "crm-production runs v9: somebody else deployed it", world.clock())
    return run, replace(told, **changes)


@pytest.mark.parametrize("state", [RunState.FAILED, RunState.CANCELLED, RunState.ERRORED])
def test_a_mail_about_one_that_failed_names_the_command_that_asks_for_it_again(world, state):
    run, told = ended(world, state)
    text = render(told, to="ops@2pisoftware.com", console=Console()).text
    assert f"tau rollback {ENVIRONMENT} --region {REGION}" in text
    assert "redrive" not in text
    assert f"tau log {run.id}" in text


def test_one_that_failed_is_not_redriven_and_that_is_said_with_the_command(world):
    run, _ = ended(world, RunState.FAILED)
    held = world.store.claim(run, "r1", world.clock())
    world.store.end(held, RunState.FAILED, reason="it burned", tell={}, now=world.clock())
    said = f"run {run.id} was a way back: `tau rollback {ENVIRONMENT} --region {REGION}` asks for it again"
    with pytest.raises(NothingToRedrive, match=said):
        redrive(run.id, "sam", world.edge, world.clock())


def stays(world):
    """`v2` is not well, and the way back from it fails too."""
    world.live("v1")
    world.beanstalk.fate, world.beanstalk.back = "Red", "rolled back"
    return world.to_the_end(world.deploy("v2"))


def test_a_version_whose_way_back_failed_is_what_goes_and_the_good_one_before_it_comes(world):
    failed = stays(world)
    assert (failed.state, world.beanstalk.environments[ENVIRONMENT].label) == (DeploymentState.ROLLBACK_FAILED, "v2")
    world.beanstalk.back = "good"
    begun = back(world).record
    assert (begun.label, begun.instead_of) == ("v1", "v2")
    run = world.store.run(begun.run)
    told = recipients(result_of(run, RunState.PASSED, None, world.clock()), RunState.PASSED)
    assert told == ("dev1@2pisoftware.com", "dev2@2pisoftware.com", BOB)
    assert world.to_the_end(begun).state is DeploymentState.LIVE
    assert world.beanstalk.environments[ENVIRONMENT].label == "v1"


def test_a_version_that_stayed_as_it_may_not_go_back_by_itself_is_what_goes(world):
    world.live("v0")
    world.live("v1")
    world.beanstalk.fate = "Red"
    assert world.to_the_end(world.deploy("v2", rolls_back=False)).state is DeploymentState.FAILED
    assert back(world).record.label == "v1"


def test_a_version_that_failed_and_does_not_run_is_not_what_goes(world):
    stays(world)
    world.beanstalk.environments[ENVIRONMENT].label = "v1"
    with pytest.raises(NoWayBack, match="no version before v1 that was well"):
        back(world)
