"""Many deployments at once: few questions for all of them, to each its part of the answers, patience when refused."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from botocore.exceptions import ClientError

from chalicelib.deployer import LOOK_HOLDS, advance_deployments
from chalicelib.model import DeploymentState
from tests.deploying import START, World, deployment
from tests.fake_beanstalk import Environment

LIVE, BACK, FAILED = DeploymentState.LIVE, DeploymentState.ROLLED_BACK, DeploymentState.FAILED


class Many(World):
    """So many environments of one application, a deployment on its way to each."""

    def __init__(self, number=50, **beanstalk):
        names = [f"crm-{one:02}" for one in range(number)]
        super().__init__(environments={name: Environment() for name in names}, page=1000, **beanstalk)
        self.store.deployments.clear()
        for at, name in enumerate(names):
            self.add(deployment(f"01RUN{at:02}", environment=name))

    def tick_all(self):
        advance_deployments(list(self.store.deployments), edge=self.edge(), now=self.clock())

    def asked(self):
        """How often each operation was, since the last time."""
        counted = Counter(self.beanstalk.calls)
        self.beanstalk.calls.clear()
        return counted

    def states(self):
        return Counter(one.state for one in self.store.deployments.values())


def test_all_deployments_of_a_region_are_looked_at_by_one_question_of_each_kind():
    world = Many()
    world.tick_all()
    assert world.asked() == {
        "DescribeEvents": 1,
        "DescribeEnvironments": 1,
        "DescribeApplicationVersions": 1,
        "UpdateEnvironment": 50,
    }
    world.clock.pass_(5)
    world.tick_all()
    assert world.asked() == {"DescribeEvents": 1, "DescribeEnvironments": 1}
    world.clock.pass_(60)
    world.tick_all()
    assert world.asked() == {"DescribeEvents": 1, "DescribeEnvironments": 1}
    assert world.states() == {LIVE: 50}


def test_a_record_that_breaks_what_looks_at_it_holds_up_no_other(caplog):
    world = Many(5)
    sick = world.store.deployments["01RUN00.3"]
    world.store.deployments[sick.id] = replace(sick, timeout_s="30m")
    for _ in range(20):
        world.tick_all()
        world.clock.pass_(5)
    assert world.states() == {LIVE: 4, DeploymentState.PREPARED: 1}
    assert {(said.message, said.id) for said in caplog.records if said.levelname == "ERROR"} == {("broke", sick.id)}
    assert "TypeError" in caplog.text


def test_what_went_wrong_at_many_is_asked_for_once_too():
    world = Many(fate="rolled back")
    world.tick_all()
    world.asked()
    world.clock.pass_(60)
    world.tick_all()
    assert world.asked() == {"DescribeEvents": 2, "DescribeEnvironments": 1}
    assert world.states() == {BACK: 50}


def test_answers_in_pages_are_read_to_their_end():
    world = Many(5)
    world.beanstalk.page = 2
    world.tick_all()
    world.asked()
    world.clock.pass_(60)
    world.tick_all()
    assert world.asked() == {"DescribeEvents": 5, "DescribeEnvironments": 1}, "ten events"
    assert world.states() == {LIVE: 5}


def test_each_is_told_only_what_is_about_its_own_environment():
    world = Many(2)
    world.beanstalk.environments["crm-01"].status = "Terminating"
    world.tick_all()
    world.clock.pass_(5)
    world.beanstalk.happens("ERROR", "it burns", EnvironmentName="crm-00")
    world.beanstalk.happens("ERROR", "elsewhere", EnvironmentName="crm-00", ApplicationName="other")
    world.clock.pass_(55)
    world.tick_all()
    first, second = world.store.deployment("01RUN00.3"), world.store.deployment("01RUN01.3")
    assert (first.state, first.reason) == (LIVE, "live, although Elastic Beanstalk reported: it burns")
    assert (second.state, second.reason) == (FAILED, "crm-01 is being terminated: nothing was deployed")


def test_an_environment_of_the_same_name_in_another_application_is_not_the_one():
    world = World()
    world.store.deployments.clear()
    world.add(deployment(application="erp"))
    assert world.tick().reason.startswith("there is no environment crm-production of the application erp in")


def test_each_region_is_asked_by_itself_and_one_that_does_not_answer_keeps_no_other_waiting():
    world, other = World(), World()
    other.beanstalk.refusals["DescribeEvents"] = ["Throttling"]
    world.add(deployment("01FAR", region="eu-west-1"))
    edge = world.edge()
    regions = {"ap-southeast-2": world.beanstalk, "eu-west-1": other.beanstalk}
    edge.client = lambda _, region: regions[region]
    advance_deployments(["01FAR.3", "01RUN.3"], edge=edge, now=START)
    assert (world.beanstalk.updates, other.beanstalk.updates) == (["v2"], [])
    assert world.store.deployment("01FAR.3").reason == "DescribeEvents was refused: Throttling was ordered"


def test_one_whose_record_cannot_be_written_keeps_no_other_waiting():
    world = Many(3)
    move = world.store.move_deployment

    def moved(old, new, **live):
        if old.id == "01RUN01.3":
            raise ClientError({"Error": {"Code": "InternalServerError"}}, "UpdateItem")
        return move(old, new, **live)

    world.store.move_deployment = moved
    world.tick_all()
    assert world.states() == {DeploymentState.VERIFYING: 2, DeploymentState.PREPARED: 1}


def test_nothing_is_decided_by_a_look_that_was_long_ago():
    world = Many(5)
    update = world.beanstalk.update_environment
    world.beanstalk.update_environment = lambda **asked: (update(**asked), world.clock.pass_(3))
    world.tick_all()
    assert timedelta(seconds=3) < LOOK_HOLDS < timedelta(seconds=6)
    assert world.asked()["DescribeEnvironments"] == 3, "two of them take longer than that, and five were due"
    assert len(world.beanstalk.updates) == 5


@pytest.mark.parametrize("operation", ["DescribeEvents", "DescribeEnvironments"])
def test_who_is_throttled_asks_more_and_more_rarely(operation):
    world = World()
    world.beanstalk.refusals[operation] = ["Throttling"] * 6
    pauses = []
    for _ in range(6):
        record = world.tick()
        pauses.append((record.due_at - world.clock()).total_seconds())
        world.clock.pass_(pauses[-1])
    assert pauses == [10, 20, 40, 60, 60, 60]
    assert world.tick().unseen == 0
    assert world.tick().state is DeploymentState.VERIFYING


def test_a_pause_does_not_go_past_the_deadline():
    world = World()
    world.beanstalk.refusals["DescribeEvents"] = ["Throttling"] * 9
    stored = world.store.deployment("01RUN.3")
    world.store.deployments["01RUN.3"] = replace(stored, unseen=5, deadline_at=START + timedelta(seconds=12))
    assert world.tick().due_at == START + timedelta(seconds=12)
    world.clock.pass_(12)
    assert world.tick().reason == "waited 30m: DescribeEvents was refused: Throttling was ordered"
