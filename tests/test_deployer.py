"""Deployments are driven against an Elastic Beanstalk with a memory: every fault has an end and a sentence."""

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest

from chalicelib.beanstalk import lock_name
from chalicelib.deployer import to_the_millisecond
from chalicelib.model import DeploymentState
from tests.deploying import START, MemoryStore, World, deployment
from tests.fake_beanstalk import Environment

LIVE, FAILED = DeploymentState.LIVE, DeploymentState.FAILED
BACK, LOST = DeploymentState.ROLLED_BACK, DeploymentState.ROLLBACK_FAILED


def test_a_version_goes_live_with_one_update_and_its_run_is_woken():
    world = World()
    record = world.to_the_end()
    assert (record.state, record.url) == (LIVE, "http://crm-production.example")
    assert world.beanstalk.updates == ["v2"]
    assert world.queue.sent == [("01RUN", "default", "2pisoftware/crm_deploy")]
    assert world.store.locks == {}
    assert world.clock() - START < timedelta(seconds=60 + 7)


def test_the_record_says_what_is_about_to_happen_before_it_happens():
    world = World()
    world.tick()
    intent, answer = world.store.writes[:2]
    assert (intent.state, intent.called, intent.previous_label) == (DeploymentState.UPDATING, False, "v1")
    assert (answer.state, answer.called) == (DeploymentState.VERIFYING, True)


def test_what_is_not_due_is_left_alone():
    world = World()
    world.tick()
    calls = len(world.beanstalk.calls)
    world.clock.pass_(3)
    world.tick()
    assert len(world.beanstalk.calls) == calls


def test_an_end_is_not_asked_about_again():
    world = World()
    world.to_the_end()
    calls = len(world.beanstalk.calls)
    world.clock.pass_(600)
    assert world.tick().state is LIVE
    assert len(world.beanstalk.calls) == calls


def test_a_deployment_that_is_not_there_is_nobody():
    assert World().tick("01OTHER.0") is None


ENDS = {
    "rolled back": ({"fate": "rolled back"}, BACK, "v2", "rolled back to v1: Failed to deploy application."),
    "Red": ({"fate": "Red"}, BACK, "v2 v1", "its health is Red (it was Green before). Tau rolled back to v1"),
    "Yellow": ({"fate": "Yellow"}, BACK, "v2 v1", "is Yellow (it was Green before). Tau rolled back to v1"),
    "Grey": ({"fate": "Grey"}, BACK, "v2 v1", "says nothing about its health (Grey). Tau rolled back to v1"),
    "stuck": ({"takes_s": 10**6}, BACK, "v2", "it is still Updating"),
    "stuck, and not to be aborted": (
        {"takes_s": 10**6, "aborts_in_s": 10**6},
        LOST,
        "v2",
        "it is still Updating. The way back to v1 failed too: waited 30m for crm-production to be Ready with v1",
    ),
    "Red, and so is the old one": (
        {"fate": "Red", "back": "Red"},
        LOST,
        "v2 v1",
        "The way back to v1 failed too: it runs again, but its health is Red (it was Green before)",
    ),
    "Red, and the old one does not start": (
        {"fate": "Red", "back": "rolled back"},
        LOST,
        "v2 v1",
        "The way back to v1 failed too: it still runs v2",
    ),
    "quick": ({"takes_s": 0}, LIVE, "v2", None),
    "quickly rolled back": ({"takes_s": 0, "fate": "rolled back"}, BACK, "v2", "rolled back to v1"),
    "answer lost": ({"lost": 1}, LIVE, "v2", None),
    "answer lost, rolled back": ({"lost": 1, "takes_s": 3, "fate": "rolled back"}, BACK, "v2", "rolled back to v1"),
    "answers lost, Red": ({"lost": 2, "fate": "Red"}, BACK, "v2 v1", "Tau rolled back to v1"),
    "call never arrived": ({"dropped": 1}, LIVE, "v2", None),
    "calls never arrive": ({"dropped": 10**6}, FAILED, "", "shows no trace of it"),
    "no environment": ({"environments": {}}, FAILED, "", "there is no environment crm-production"),
    "version refused": ({"processed": "FAILED"}, FAILED, "", "could not process the version v2: bad Dockerrun"),
    "describe throttled": ({"refusals": {"DescribeEnvironments": ["Throttling"] * 5}}, LIVE, "v2", None),
    "events throttled": ({"refusals": {"DescribeEvents": ["ThrottlingException"] * 5}}, LIVE, "v2", None),
    "throttled for ever": ({"refusals": {"DescribeEvents": ["Throttling"] * 999}}, FAILED, "", "waited 30m: Describe"),
    "update throttled": ({"refusals": {"UpdateEnvironment": ["Throttling"] * 3}}, LIVE, "v2", None),
    "server error": ({"refusals": {"UpdateEnvironment": ["InternalFailure"]}}, LIVE, "v2", None),
    "may not look": (
        {"refusals": {"DescribeEnvironments": ["AccessDenied"]}},
        FAILED,
        "",
        "AWS does not let Tau call elasticbeanstalk:DescribeEnvironments",
    ),
    "may not update": (
        {"refusals": {"UpdateEnvironment": ["InsufficientPrivilegesException"]}},
        FAILED,
        "",
        "AWS does not let Tau call elasticbeanstalk:UpdateEnvironment",
    ),
    "update refused": (
        {"refusals": {"UpdateEnvironment": ["InvalidParameterValue"]}},
        FAILED,
        "",
        "UpdateEnvironment was refused: InvalidParameterValue was ordered",
    ),
}


@pytest.mark.parametrize(("faults", "state", "updates", "sentence"), ENDS.values(), ids=ENDS)
def test_every_fault_has_an_end_a_sentence_and_one_update_each_way_at_most(faults, state, updates, sentence):
    world = World(**faults)
    world.beanstalk.happens("ERROR", "bad Dockerrun", VersionLabel="v2")
    record = world.to_the_end()
    assert (record.state, " ".join(world.beanstalk.updates)) == (state, updates), record.reason
    assert sentence in record.reason if sentence else record.reason is None
    assert world.store.locks == {}
    assert len(world.queue.sent) == 1


def test_an_update_of_somebody_else_is_waited_for():
    world = World()
    world.beanstalk.occupy("crm-production", 300)
    record = world.to_the_end()
    assert (record.state, world.beanstalk.updates) == (LIVE, ["v2"])


def test_an_environment_that_became_busy_in_the_last_moment_is_waited_for():
    world = World()

    class Sneaky:
        def __getattr__(self, name):
            return getattr(world.beanstalk, name)

        def update_environment(self, **asked):
            world.beanstalk.occupy("crm-production", 60)
            return world.beanstalk.update_environment(**asked)

    record = world.drive(world.store.deployment("01RUN.3"), client=Sneaky())
    assert record.state is DeploymentState.WAITING_READY
    assert "Must be Ready" in record.reason
    assert world.to_the_end().state is LIVE
    assert world.beanstalk.updates == ["v2"]


def test_a_refusal_of_a_repeated_call_is_not_taken_for_a_refusal():
    # botocore sent it, lost the answer, sent it again, and was told that the environment is busy: with our update.
    world = World(fate="rolled back")

    class Retrying:
        def __getattr__(self, name):
            return getattr(world.beanstalk, name)

        def update_environment(self, **asked):
            world.beanstalk.update_environment(**asked)
            raise world.beanstalk.error("UpdateEnvironment", "InvalidParameterValue", "Must be Ready.", retries=1)

    world.drive(world.store.deployment("01RUN.3"), client=Retrying())
    record = world.to_the_end()
    assert (record.state, world.beanstalk.updates) == (BACK, ["v2"])
    assert "rolled back to v1" in record.reason


def test_who_was_held_up_after_writing_leaves_the_call_to_others():
    world = World()
    store = world.store
    move = store.move_deployment
    held_up = SimpleNamespace(
        live=store.live,
        deployment=store.deployment,
        acquire_in_order=store.acquire_in_order,
        move_deployment=lambda old, new, **live: (move(old, new, **live), world.clock.pass_(20))[0],
    )
    world.drive(store.deployment("01RUN.3"), store=held_up)
    assert world.beanstalk.updates == []
    assert world.to_the_end().state is LIVE
    assert world.beanstalk.updates == ["v2"]


def test_the_loser_of_the_write_makes_no_call():
    world = World()
    stale = world.store.deployment("01RUN.3")
    world.tick()
    record = world.drive(stale)
    assert record == world.store.deployment("01RUN.3")
    assert world.beanstalk.updates == ["v2"]


def test_two_deployments_to_one_environment_go_one_after_the_other():
    world = World()
    world.beanstalk.add_version("v3")
    world.add(deployment("01SECOND", label="v3"))
    first, second = world.to_the_end("01RUN.3", "01SECOND.3")
    assert (first.state, second.state) == (LIVE, LIVE)
    assert world.beanstalk.updates == ["v2", "v3"]
    assert second.previous_label == "v2"
    assert {run for run, _, _ in world.queue.sent} == {"01RUN", "01SECOND"}


def test_a_lock_that_an_ended_deployment_left_behind_is_taken():
    world = World()
    world.store.create_deployment(deployment("01DEAD", state=FAILED, due_at=None))
    world.store.acquire_lock(lock_name(deployment()), "01DEAD.3", 0)
    assert world.to_the_end().state is LIVE


def test_a_crash_after_the_end_was_written_still_frees_the_lock_and_wakes_the_run():
    world = World()
    record = world.store.deployment("01RUN.3")
    for _ in range(100):
        record = world.drive(record)
        if record.state is LIVE:
            break
        world.clock.pass_(5)
    assert (len(world.store.locks), world.queue.sent) == (1, [])
    world.clock.pass_(5)
    world.tick()
    assert (world.store.locks, len(world.queue.sent)) == ({}, 1)


def test_a_run_that_is_not_waiting_is_not_woken():
    world = World()
    world.store.waiting.clear()
    assert world.to_the_end().due_at is None
    assert world.queue.sent == []


def test_an_environment_without_a_version_can_get_its_first():
    world = World(environments={"crm-production": Environment(label=None, health="Red")})
    assert world.to_the_end().state is LIVE


def test_the_clock_of_records_counts_milliseconds():
    assert to_the_millisecond(START.replace(microsecond=123456)).microsecond == 123000


def test_who_was_held_up_after_writing_it_down_does_not_abort_what_may_be_anothers_update():
    world = World(takes_s=10**6)
    world.tick()
    world.clock.pass_(30)
    world.store.deployments["01RUN.3"] = replace(world.store.deployments["01RUN.3"], stopped_by="sam", due_at=START)

    class HeldUp(MemoryStore):
        def move_deployment(self, *args, **kwargs):
            written = super().move_deployment(*args, **kwargs)
            world.clock.pass_(6)
            return written

    quick, world.store = world.store, HeldUp()
    vars(world.store).update(vars(quick))
    world.tick()
    assert world.store.deployments["01RUN.3"].state is DeploymentState.ROLLING_BACK
    assert world.beanstalk.aborted == 0
    world.store = quick
    world.clock.pass_(40)
    world.tick()
    assert world.beanstalk.aborted == 1, "the next one who looks does it"
