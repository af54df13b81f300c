"""The commands about deployments, as somebody types them."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

import runner.cli
from chalicelib.model import DeploymentState
from tests.by_hand import BOB, ENVIRONMENT, REGION, SAM, Hands

ENVIRON = {"TZ": "Australia/Sydney", "LOGNAME": "sam"}


@pytest.fixture
def world():
    return Hands()


def tau(world, *arguments):
    command = runner.cli.main.commands[arguments[0]]
    return CliRunner().invoke(command, arguments[1:], obj=lambda: world.edge, env=ENVIRON)


def test_deployments_are_listed_with_version_state_who_when_and_why(world):
    world.live("v1")
    record = world.deploy("v2")
    world.pass_(15)
    tau(world, "abort", ENVIRONMENT, "--by", "sam@laptop")
    world.to_the_end(record)
    header, aborted, live = tau(world, "deploys").stdout.splitlines()
    assert header.split()[:4] == ["environment", "version", "state", "by"]
    assert aborted.split()[:3] == [ENVIRONMENT, "v2", "rolled_back"]
    assert "A Developer" in aborted
    assert aborted.endswith(f"{record.run}  aborted by sam@laptop")
    assert live.split()[:3] == [ENVIRONMENT, "v1", "live"]


def test_one_environment_alone_and_no_more_than_so_many_are_listed_when_asked(world):
    for label in ("v1", "v2", "v3"):
        world.live(label)
    assert len(tau(world, "deploys", ENVIRONMENT, "-n", "2").stdout.splitlines()) == 3
    assert tau(world, "deploys", "another").stdout == "No deployments.\n"


def test_a_label_cannot_write_on_the_terminal(world):
    world.deploy("v1")
    record = next(world.store.deployments())
    world.store.move_deployment(record, replace(record, reason="\x1b[2J[bold]"))
    said = tau(world, "deploys").stdout
    assert "\x1b" not in said
    assert "[bold]" in said


def test_an_abort_says_what_came_of_it_and_a_second_one_the_same_person(world):
    world.deploy("v1")
    assert tau(world, "abort", ENVIRONMENT).stdout.startswith("v1 is cancelled: cancelled by sam@")
    assert tau(world, "abort", ENVIRONMENT, "--by", "bob").stdout.startswith("v1 was stopped before, by sam@")
    refused = tau(world, "abort", "another")
    assert (refused.exit_code, type(refused.exception).__name__) == (1, "NotThere")


def test_a_rollback_says_which_run_does_it_and_the_list_says_what_it_replaces(world):
    world.live("v1")
    world.live("v2")
    said = tau(world, "rollback", ENVIRONMENT, "--by", "sam@laptop").stdout
    run = said.split()[0]
    assert said == f"{run} brings {ENVIRONMENT} back to v1: prepared\n"
    assert world.to_the_end(world.store.deployment(f"{run}.0")).state is DeploymentState.LIVE
    listed = tau(world, "deploys", "-n", "1").stdout.splitlines()[1]
    assert listed.endswith(f"{run}  instead of v2")
    assert "sam@laptop" in listed


def test_a_rollback_reaches_an_environment_of_another_region_that_is_named(world):
    refused = tau(world, "rollback", ENVIRONMENT, "--region", "us-east-1")
    assert str(refused.exception).startswith(f"Tau has brought no version to {ENVIRONMENT} in us-east-1 yet")
    assert REGION != "us-east-1"


def test_an_approver_says_who_he_is(world):
    record = world.deploy("v1", approvers=(SAM, BOB), approve_within_s=600)
    world.pass_(5)
    listed = tau(world, "deploys").stdout.splitlines()[1]
    assert listed.endswith(f"v1 waits for the approval of {SAM} or {BOB}")
    refused = tau(world, "approve", record.run)
    assert (refused.exit_code, type(refused.exception).__name__) == (1, "NotAnApprover")
    said = tau(world, "approve", record.run.lower(), "--by", SAM).stdout
    assert said == f"v1 is approved by {SAM}, and on its way to {ENVIRONMENT}\n"
    world.to_the_end(record)
    assert tau(world, "deploys").stdout.splitlines()[1].endswith(f"approved by {SAM}")


def test_an_approver_may_refuse(world):
    record = world.deploy("v1", approvers=(SAM,), approve_within_s=600)
    world.pass_(5)
    said = tau(world, "approve", record.run, "--refuse", "--by", SAM).stdout
    assert said.startswith(f"v1 is cancelled: refused by {SAM}")
    assert type(tau(world, "approve", "01NOBODY").exception).__name__ == "NotThere"


def test_times_are_the_readers_own(world):
    world.deploy("v1", created_at=datetime(2026, 11, 23, 12, 0, tzinfo=UTC))
    assert datetime(2026, 11, 23, 12, 0, tzinfo=UTC).astimezone().strftime("%d %b %H:%M:%S") in (
        tau(world, "deploys").stdout
    )
