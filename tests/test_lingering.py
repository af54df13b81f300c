"""The Lambda alone: a deployment is looked at as often as by a runner, and where a runner is up only once a minute."""

from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.lingering import SILENT_FOR, linger
from chalicelib.model import DeploymentState
from chalicelib.ticker import tick
from tests.deploying import Clock, deployment
from tests.fake_beanstalk import FakeBeanstalk
from tests.installation import installation

FACTS = {"host": "h", "version": "1", "pools": ["default"], "jobs": 1, "runs": [], "free_gb": 1.0}


class World:
    def __init__(self, edge):
        self.clock = Clock()
        self.beanstalk = FakeBeanstalk(self.clock)
        for label in ("v1", "v2"):
            self.beanstalk.add_version(label)
        real = edge.client

        def client(service, region=None):
            return self.beanstalk if service == "elasticbeanstalk" else real(service, region)

        self.edge = replace(edge, client=client, now=self.clock)
        self.edge.store.create_deployment(deployment())

    def minute(self):
        """What the schedule does, and the rest of its minute."""
        began = self.clock()
        tick(self.edge, began, bury=False)
        ticks = linger(self.edge, began + timedelta(seconds=55), self.clock.pass_)
        self.clock.now = max(self.clock(), began + timedelta(seconds=60))
        return ticks

    def state(self):
        return self.edge.store.deployment("01RUN.3").state


@pytest.fixture
def world(monkeypatch):
    with installation(monkeypatch) as edge:
        yield World(edge)


def test_without_a_runner_the_end_is_seen_within_seconds(world):
    world.beanstalk.takes_s = 33
    began = world.clock()
    tick(world.edge, began, bury=False)
    assert linger(world.edge, began + timedelta(seconds=55), world.clock.pass_) == 7
    assert world.state() is DeploymentState.LIVE
    assert world.clock() - began == timedelta(seconds=35)


def test_it_ends_in_time_and_the_next_minute_goes_on(world):
    world.beanstalk.takes_s = 100
    assert world.minute() == 11
    assert world.state() is DeploymentState.VERIFYING
    world.minute()
    assert world.state() is DeploymentState.LIVE


def test_where_a_runner_is_up_it_is_left_to_it(world):
    world.beanstalk.takes_s = 600
    world.edge.store.put_runner("r1", FACTS, world.clock())
    world.clock.pass_(SILENT_FOR.total_seconds() - 1)
    assert world.minute() == 0
    world.clock.pass_(1)
    assert world.minute() > 0, "it has not been heard of for too long"


def test_where_nothing_is_deployed_nothing_is_waited_for(world):
    world.beanstalk.takes_s = 0
    world.minute()
    world.minute()
    before = world.clock()
    assert linger(world.edge, before + timedelta(seconds=55), world.clock.pass_) == 0
    assert world.clock() == before


def test_a_deployment_that_is_due_and_cannot_be_advanced_is_no_reason_to_hurry(world):
    world.edge.store.create_deployment(deployment("01FAR", region="nowhere at all"))
    assert world.minute() == 11


def test_what_waits_for_an_approval_is_no_reason_to_stay(world):
    world.beanstalk.takes_s = 0
    world.minute()
    world.minute()
    until = world.clock() + timedelta(days=7)
    asks = deployment(
        "01SAM",
        state=DeploymentState.WAITING_APPROVAL,
        approvers=("sam@2pisoftware.com",),
        deadline_at=until,
        due_at=world.clock() + timedelta(seconds=20),
    )
    world.edge.store.create_deployment(asks)
    assert world.minute() == 0
    world.clock.now = until - timedelta(seconds=30)
    assert world.minute() == 0, "nobody's word in time is none a minute later too"


def test_what_was_approved_and_goes_on_is_stayed_for(world):
    world.beanstalk.takes_s = 30
    said = deployment("01SAM", state=DeploymentState.WAITING_APPROVAL, approved_by="sam@2pisoftware.com")
    world.edge.store.create_deployment(said)
    assert world.minute() > 3


def test_beside_one_that_waits_for_its_approval_another_is_stayed_for(world):
    world.beanstalk.takes_s = 33
    due_at = world.clock() + timedelta(seconds=3)
    asks = deployment("01SAM", environment="crm-staging", state=DeploymentState.WAITING_APPROVAL, due_at=due_at)
    world.edge.store.create_deployment(replace(asks, deadline_at=world.clock() + timedelta(days=7)))
    assert world.minute() == 7
    assert world.state() is DeploymentState.LIVE
