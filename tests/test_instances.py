"""Instances: asked only while a version is verified, to the last page, and never for others."""

from dataclasses import replace

import pytest

from chalicelib.model import DeploymentState
from tests.deploying import World, deployment
from tests.fake_beanstalk import Environment
from tests.test_deployer_many import Many

LIVE, VERIFYING, FAILED = DeploymentState.LIVE, DeploymentState.VERIFYING, DeploymentState.FAILED
ASK = "DescribeInstancesHealth"


def given(label, status="Deployed"):
    return {"VersionLabel": label, "DeploymentId": 7, "Status": status}


def enhanced(**instances):
    return Environment(enhanced=True, instances=instances)


def world(**instances):
    return World(environments={"crm-production": enhanced(**instances)})


def asked(made):
    return made.beanstalk.calls.count(ASK)


def test_they_are_asked_only_once_the_environment_is_ready_with_the_version():
    made = world(a=given("v2"), b=given("v2"))
    for _ in range(11):
        made.tick()
        made.clock.pass_(5)
    assert (made.store.deployment("01RUN.3").state, asked(made)) == (VERIFYING, 0)
    assert made.to_the_end().state is LIVE
    assert asked(made) == 1


def test_they_are_read_to_the_last_page():
    made = world(a=given("v2"), b=given("v2"), c=given("v1"))
    assert made.beanstalk.page == 2
    record = made.to_the_end()
    assert record.state is DeploymentState.ROLLBACK_FAILED
    assert (
        "crm-production runs v2, and its health is Ok, but its instance c runs v1. The way back to v1" in record.reason
    )
    assert "but its instance a runs v2 (and 1 more of 3)" in record.reason
    assert made.beanstalk.updates == ["v2", "v1"]


def test_while_the_health_alone_decides_they_are_not_asked():
    made = world(a=given("v2"))
    made.beanstalk.fate = "Yellow"
    while made.tick().state is not DeploymentState.ROLLING_BACK:
        made.clock.pass_(60)
    assert (asked(made), made.beanstalk.updates) == (0, ["v2", "v1"])


def test_an_environment_that_shows_a_status_but_refuses_the_question_has_basic_health():
    made = World(environments={"crm-production": Environment(enhanced=True)})
    assert (made.to_the_end().state, asked(made)) == (LIVE, 1)


def test_basic_health_is_not_asked_at_all():
    made = World()
    assert (made.to_the_end().state, asked(made)) == (LIVE, 0)


def test_what_is_not_answered_is_asked_again_after_a_pause_that_doubles_and_others_go_first():
    made = Many(2)
    for one in made.beanstalk.environments.values():
        one.enhanced, one.instances = True, {"a": given("v2")}
    made.tick_all()
    made.clock.pass_(60)
    made.beanstalk.refusals[ASK] = ["Throttling"]
    made.tick_all()
    first, second = made.store.deployment("01RUN00.3"), made.store.deployment("01RUN01.3")
    assert (first.state, first.unseen, first.reason) == (
        VERIFYING,
        1,
        "DescribeInstancesHealth was refused: Throttling was ordered",
    )
    assert (second.state, second.unseen, asked(made)) == (VERIFYING, 0, 1), "nobody else is asked in that moment"
    made.clock.pass_(5)
    made.tick_all()
    assert made.states() == {LIVE: 1, VERIFYING: 1}
    made.clock.pass_(5)
    made.tick_all()
    assert made.states() == {LIVE: 2}


def test_a_right_that_is_lacking_is_told_to_the_operators_and_the_version_stays():
    made = world(a=given("v2"))
    made.beanstalk.refusals[ASK] = ["AccessDenied"] * 1000
    record = made.to_the_end()
    assert (record.state, record.ours, made.beanstalk.updates) == (FAILED, True, ["v2"])
    assert (
        "AWS does not let Tau call elasticbeanstalk:DescribeInstancesHealth: allow it in the policies" in record.reason
    )


def test_those_of_many_environments_are_asked_over_several_looks():
    made = Many(50)
    for one in made.beanstalk.environments.values():
        one.enhanced, one.instances = True, {"a": given("v2")}
    made.tick_all()
    made.clock.pass_(60)
    # Who disagrees goes last: twenty of them would keep all others from being asked.
    for name in list(made.beanstalk.environments)[:20]:
        made.beanstalk.environments[name].instances = {"a": given("v1")}
    counts = []
    for _ in range(4):
        made.asked()
        made.tick_all()
        counts.append(made.asked()[ASK])
        made.clock.pass_(5)
    assert counts[:2] == [20, 20]
    assert made.states() == {LIVE: 30, VERIFYING: 20}


@pytest.mark.parametrize("state", [DeploymentState.PREPARED, DeploymentState.WAITING_READY])
def test_nobody_is_asked_for_a_deployment_that_has_not_begun(state):
    made = world(a=given("v2"))
    made.store.deployments.clear()
    made.add(replace(deployment(label="v1"), state=state))
    made.tick()
    assert asked(made) == 0
    made.beanstalk.environments["crm-production"].instances = {"a": given("v1")}
    made.clock.pass_(5)
    assert made.tick().state is LIVE
    assert (asked(made), made.beanstalk.updates) == (1, [])
