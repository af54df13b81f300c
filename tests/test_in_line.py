"""Deployments to one environment stand in line: each waits for the one before, and has its own time in its turn."""

from datetime import timedelta

from chalicelib.beanstalk import lock_name
from chalicelib.model import DeploymentState
from tests.deploying import START, World, deployment

S = DeploymentState
NEXT = "01SECOND.3"


def two(**beanstalk):
    """`v2` goes first, and `v3` stands in line behind it."""
    world = World(**beanstalk)
    world.beanstalk.add_version("v3")
    assert world.tick().state is S.VERIFYING
    world.add(deployment("01SECOND", label="v3"))
    return world


def both(world, until_s, step_s=15):
    """Time goes by; the states that the second has been in."""
    seen = set()
    while world.clock() < START + timedelta(seconds=until_s):
        world.tick()
        seen.add(world.tick(NEXT).state)
        world.clock.pass_(step_s)
    return seen


def test_it_is_waited_for_as_long_as_what_goes_first_may_take_and_said_for_whom():
    # An update and the way back from it, each in its time.
    world = two(takes_s=1500, fate="Red")
    assert both(world, 2900) == {S.PREPARED}
    waits = world.store.deployment(NEXT)
    assert waits.reason == "v3 waits for v2 of run 01RUN, which is rolling_back"
    world.beanstalk.fate = "good"
    first, second = world.to_the_end("01RUN.3", NEXT)
    assert (first.state, second.state) == (S.ROLLED_BACK, S.LIVE)
    assert world.beanstalk.updates == ["v2", "v1", "v3"]


def test_its_time_to_find_the_environment_ready_begins_when_its_turn_comes():
    world = two(takes_s=1500)
    both(world, 1500)
    assert world.tick().state is S.LIVE
    # Somebody else has begun an update in between.
    world.beanstalk.occupy("crm-production", 1700)
    assert both(world, 1500 + 1650) == {S.WAITING_READY}
    assert world.to_the_end(NEXT).state is S.LIVE


def test_what_stands_still_before_it_is_not_waited_for_for_ever():
    world = World()
    world.store.acquire_lock(lock_name(deployment()), "01SECOND.3", 0)
    world.store.create_deployment(deployment("01SECOND", due_at=None, state=S.UPDATING))
    record = world.to_the_end()
    assert (record.state, world.beanstalk.updates) == (S.FAILED, [])
    assert record.reason == (
        "v2 of run 01SECOND goes first, and is updating though its time was over 30m 0s ago: nothing was deployed"
    )
    assert world.clock() - START == timedelta(minutes=60)
