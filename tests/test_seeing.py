"""Events are asked for from where they matter on: a busy region writes thousands in the days of an approval."""

from datetime import timedelta

import pytest

from chalicelib.approving import approve
from chalicelib.environment import CLOCKS_DIFFER
from chalicelib.model import DeploymentState
from chalicelib.seeing import notices_of
from tests.by_hand import ENVIRONMENT, SAM, Hands

WEEK = timedelta(days=7)


@pytest.fixture
def world():
    made = Hands()
    made.starts, told = [], made.beanstalk.describe_events

    def describe_events(**asked):
        made.starts.append(asked["StartTime"])
        return told(**asked)

    made.beanstalk.describe_events = describe_events
    made.beanstalk.page = 1000
    return made


def wait_and_approve(world, days=6):
    """`v2` is approved so many days after it began to wait."""
    world.live("v1")
    record = world.deploy("v2", approvers=(SAM,), approve_within_s=int(WEEK.total_seconds()))
    world.pass_(5)
    world.beanstalk.happens("ERROR", "It burned, and was put out.", EnvironmentName=ENVIRONMENT)
    world.clock.now += timedelta(days=days)
    world.starts.clear()
    approve(record.run, SAM, world.edge, world.clock(), yes=True)
    return record


def test_after_a_late_approval_events_are_asked_for_from_shortly_before_it_on(world):
    approved_at = world.clock() + timedelta(days=6)
    record = wait_and_approve(world)
    assert world.to_the_end(record).state is DeploymentState.LIVE
    assert min(world.starts) >= approved_at - CLOCKS_DIFFER
    assert world.record(record).reason is None, "what burned days ago is none of its errors"


def test_after_a_late_approval_what_goes_wrong_is_told_as_ever(world):
    world.beanstalk.fate = "rolled back"
    world.beanstalk.well.add("v1")
    ended = world.to_the_end(wait_and_approve(world))
    assert ended.reason == "Elastic Beanstalk rolled back to v1: Failed to deploy application."
    texts = [notice.message for notice in notices_of(ended, world.beanstalk)]
    assert texts == [
        "Environment update is starting.",
        "Failed to deploy application.",
        "Environment update completed.",
    ]


def test_who_stood_in_line_for_long_asks_for_no_event_of_all_that_time(world):
    world.live("v1")
    world.beanstalk.takes_s = 1700
    world.deploy("v2")
    world.pass_(5)
    record = world.deploy("v3", created_at=world.clock())
    world.pass_(1700)
    world.starts.clear()
    world.beanstalk.takes_s = 60
    world.to_the_end(record)
    assert min(world.starts) >= record.created_at + timedelta(seconds=1700) - CLOCKS_DIFFER - timedelta(seconds=10)


def test_an_event_of_the_moment_before_the_call_is_none_that_followed_it(world):
    world.live("v1")
    world.pass_(60)
    world.beanstalk.happens("ERROR", "It burned.", EnvironmentName=ENVIRONMENT)
    world.pass_(5)
    ended = world.live("v2")
    assert (ended.state, ended.reason) == (DeploymentState.LIVE, None)
