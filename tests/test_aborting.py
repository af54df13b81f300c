"""What is on its way to an environment is stopped by hand: cancelled where it waits, undone where it is under way."""

from datetime import timedelta

import pytest

from chalicelib.aborting import CannotStop, abort
from chalicelib.errors import NotThere
from chalicelib.model import DeploymentState, RunState, WaitingFor
from tests.by_hand import ENVIRONMENT, REGION, SAM, Hands
from tests.fake_beanstalk import Environment


@pytest.fixture
def world():
    return Hands()


def stop(world, by="sam@laptop", **how):
    return abort(ENVIRONMENT, REGION, by, world.edge, world.clock(), **how)


def test_what_is_under_way_is_aborted_and_the_version_before_runs_again(world):
    world.live("v1")
    record = world.deploy("v2")
    world.pass_(15)
    calls = list(world.beanstalk.calls)
    assert stop(world) == [
        "v2 goes no further, as sam@laptop wants: a runner or the ticker takes it back; `tau deploys` shows its end"
    ]
    assert world.beanstalk.calls == calls, "whose rights may not reach so far"
    world.pass_(5)
    assert stop(world) == [
        "v2 is undone, as sam@laptop wants: crm-production is on its way back to v1; `tau deploys` shows its end"
    ]
    ended = world.to_the_end(record)
    assert (ended.state, ended.reason) == (DeploymentState.ROLLED_BACK, "aborted by sam@laptop")
    assert (world.beanstalk.updates, world.beanstalk.aborted) == (["v1", "v2"], 1)
    assert world.beanstalk.environments[ENVIRONMENT].label == world.store.live(REGION, ENVIRONMENT).label == "v1"
    run = world.store.run(record.run)
    assert (run.state, run.waiting_for) == (RunState.QUEUED, None), "the end wakes its run"


def test_who_asks_a_second_time_is_told_who_was_first_and_nothing_more_happens(world):
    world.live("v1")
    record = world.deploy("v2")
    world.pass_(15)
    stop(world)
    assert "as sam@laptop wants" in stop(world, "bob@laptop")[0]
    world.to_the_end(record)
    assert stop(world, "bob@laptop") == ["v2 was stopped before, by sam@laptop: it is rolled_back"]
    assert (world.beanstalk.updates, world.beanstalk.aborted) == (["v1", "v2"], 1)


def test_an_update_that_elastic_beanstalk_does_not_abort_is_undone_when_it_has_ended(world):
    world.live("v1")
    record = world.deploy("v2")
    world.pass_(15)
    world.beanstalk.refusals["AbortEnvironmentUpdate"] = ["InvalidParameterValue"] * 10
    stop(world)
    ended = world.to_the_end(record)
    assert (ended.state, ended.reason) == (
        DeploymentState.ROLLED_BACK,
        "aborted by sam@laptop. Tau rolled back to v1",
    )
    assert world.beanstalk.updates == ["v1", "v2", "v1"]


def test_a_version_that_has_come_to_its_place_before_anybody_looked_is_undone_all_the_same(world):
    world.live("v1")
    record = world.deploy("v2")
    world.pass_(15)
    world.clock.now += timedelta(seconds=100)
    stop(world)
    assert world.to_the_end(record).state is DeploymentState.ROLLED_BACK
    assert world.store.live(REGION, ENVIRONMENT).label == "v1"


def test_rollback_never_does_not_keep_people_from_taking_a_version_back(world):
    world.live("v1")
    record = world.deploy("v2", rolls_back=False)
    world.pass_(15)
    stop(world)
    assert world.to_the_end(record).state is DeploymentState.ROLLED_BACK


def test_what_waits_is_cancelled_at_once_and_says_by_whom(world):
    world.beanstalk.occupy(ENVIRONMENT, 10**6)
    record = world.deploy("v1")
    world.pass_(10)
    assert world.record(record).state is DeploymentState.WAITING_READY
    said = "v1 is cancelled: cancelled by sam@laptop: v1 was not deployed to crm-production"
    assert stop(world) == [said]
    assert world.record(record).due_at is None
    assert world.beanstalk.updates == []
    assert world.store.lock_holder(f"eb/{REGION}/{ENVIRONMENT}") is None
    assert stop(world, "bob@laptop") == ["v1 was stopped before, by sam@laptop: it is cancelled"]


def test_it_is_cancelled_though_elastic_beanstalk_does_not_answer(world):
    record = world.deploy("v1")
    world.beanstalk.refusals["DescribeEvents"] = ["InternalFailure"] * 100
    stop(world)
    assert world.record(record).state is DeploymentState.CANCELLED


def test_what_waits_behind_is_named_and_stopped_only_when_that_is_asked_for(world):
    world.live("v1")
    world.deploy("v2")
    world.pass_(15)
    behind = world.deploy("v3")
    world.pass_(5)
    assert stop(world)[1] == "v3 waits behind it, and is not stopped: `tau abort crm-production --waiting`"
    assert world.record(behind).state is DeploymentState.PREPARED
    assert stop(world, waiting=True)[0].startswith("v3 is cancelled")


def test_a_call_that_left_no_trace_is_not_made_again(world):
    world.live("v1")
    world.beanstalk.dropped = 1
    record = world.deploy("v2")
    world.pass_(0)
    assert world.record(record).state is DeploymentState.UPDATING
    assert stop(world)[0].startswith("v2 goes no further, as sam@laptop wants: ")
    ended = world.to_the_end(record)
    assert ended.state is DeploymentState.CANCELLED
    assert world.beanstalk.updates == ["v1"]


def test_the_first_version_has_nothing_to_go_back_to_and_goes_on(world):
    world.beanstalk.environments[ENVIRONMENT] = Environment(label=None, health="Red")
    record = world.deploy("v1")
    world.pass_(15)
    with pytest.raises(CannotStop, match="no earlier version that is known to be well: v1 goes on"):
        stop(world)
    assert world.to_the_end(record).state is DeploymentState.LIVE


def test_where_nothing_is_on_its_way_that_is_said(world):
    with pytest.raises(NotThere, match="nothing is on its way to crm-production in ap-southeast-2"):
        stop(world)
    world.live("v1")
    with pytest.raises(NotThere):
        stop(world)


def test_the_next_deployment_comes_after_the_way_back(world):
    world.live("v1")
    record = world.deploy("v2")
    world.pass_(15)
    stop(world)
    later = world.deploy("v3")
    assert world.to_the_end(later).state is DeploymentState.LIVE
    assert world.record(record).state is DeploymentState.ROLLED_BACK
    assert world.beanstalk.updates == ["v1", "v2", "v3"]
    assert world.store.run(later.run).waiting_for is not WaitingFor.ENVIRONMENT


RIGHTS = {"waits": (0, "PROCESSING", "cancelled"), "is under way": (15, "PROCESSED", "rolled_back")}


@pytest.mark.parametrize(("after_s", "version", "end"), RIGHTS.values(), ids=RIGHTS)
def test_who_may_not_ask_elastic_beanstalk_stops_all_the_same(world, after_s, version, end):
    world.live("v1")
    world.beanstalk.processed = version
    record = world.deploy("v2")
    world.pass_(after_s)
    with world.no_rights_at_elastic_beanstalk():
        (said,) = stop(world)
    assert said.startswith("v2 ")
    assert "sam@laptop" in said
    ended = world.to_the_end(record)
    assert (ended.state, ended.ours) == (end, False)
    assert "by sam@laptop" in ended.reason


def test_a_wish_that_is_written_down_was_heard_whatever_is_refused_after_it(world, monkeypatch):
    world.live("v1")
    record = world.deploy("v2")
    world.pass_(15)
    write, table = world.store.table.write, world.store.table

    def once(change):
        monkeypatch.setattr(table, "get", refuse)
        return write(change)

    def refuse(*_):
        raise world.beanstalk.error("GetItem", "ProvisionedThroughputExceededException")

    monkeypatch.setattr(table, "write", once)
    assert "as sam@laptop wants" in stop(world)[0]
    monkeypatch.undo()
    assert world.to_the_end(record).state is DeploymentState.ROLLED_BACK


REPEATS = {
    "waits for its version": ({}, "PROCESSING", "prepared"),
    "waits for its approval": ({"approvers": (SAM,), "approve_within_s": 600}, "PROCESSED", "waiting_approval"),
    "waits for its environment": ({}, "PROCESSED", "waiting_ready"),
}


@pytest.mark.parametrize(("asked", "version", "state"), REPEATS.values(), ids=REPEATS)
def test_of_a_repeat_that_is_stopped_it_is_not_said_that_it_was_not_deployed(world, asked, version, state):
    world.live("v1")
    world.beanstalk.add_version("v1", status=version)
    if state == "waiting_ready":
        world.beanstalk.occupy(ENVIRONMENT, 600)
    record = world.deploy("v1", **asked)
    world.pass_(5)
    assert world.record(record).state == state
    already = "nothing was changed, crm-production runs v1 already, as Tau left it"
    assert stop(world) == [f"v1 is cancelled: cancelled by sam@laptop: {already}"]
    assert world.beanstalk.updates == ["v1"]


def test_of_a_version_that_somebody_else_replaced_and_that_was_not_brought_back_it_is_said(world):
    world.live("v1")
    world.beanstalk.add_version("v9")
    world.beanstalk.environments[ENVIRONMENT].label = "v9"
    world.beanstalk.dropped = 1
    record = world.deploy("v1")
    world.pass_(0)
    stop(world)
    assert world.to_the_end(record).reason == "cancelled by sam@laptop: v1 was not deployed to crm-production"
