"""Each fault of Elastic Beanstalk, ordered: how it ends, what the mail says, what is live, and what was asked."""

import pytest

from chalicelib.model import RunState
from tests.local.beanstalks import client_at, s3_at
from tests.local.deploying_here import ENVIRONMENT, World

PASSED, FAILED, ERRORED = RunState.PASSED, RunState.FAILED, RunState.ERRORED
NEW, OLD = "run 1", "v1"


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    with s3_at(tmp_path_factory.mktemp("s3")) as client:
        yield client


@pytest.fixture
def world(s3, tmp_path):
    made = World(s3, tmp_path)
    with made.beanstalk, client_at(made.address) as client:
        made.begin(client)
        yield made


def delete_v1(world):
    world.client.delete_application_version(ApplicationName="crm", VersionLabel="v1")


def somebody_updates(world):
    option = {"Namespace": "aws:elasticbeanstalk:application:environment", "OptionName": "A", "Value": "b"}
    world.client.update_environment(EnvironmentName=ENVIRONMENT, OptionSettings=[option])


# name: (what is ordered, how the run ends, what the mail says, what is live, how many UpdateEnvironment)
ROWS = {
    "no fault": ([], PASSED, "is live on crm-production", NEW, 1),
    # F41
    "busy in the last moment": ([("refuse", {"times": 2})], PASSED, "is live on crm-production", NEW, 3),
    "somebody else updates": (somebody_updates, PASSED, "is live on crm-production", NEW, 2),
    # F42
    "the label exists, of our bundle": ([("label exists", {"same_bundle": True})], PASSED, "is live on", NEW, 1),
    "the label exists, of another": ([("label exists", {})], FAILED, "was made from another bundle", OLD, 0),
    # F43
    "it cannot be processed": (
        [("cannot process", {})],
        FAILED,
        "Elastic Beanstalk could not process the version",
        OLD,
        0,
    ),
    "it is never processed": ([("never process", {})], FAILED, "waited 30m for Elastic Beanstalk to process", OLD, 0),
    # F44
    "red": ([("red", {})], FAILED, "health is Severe (it was Ok before). Tau rolled back to v1", OLD, 2),
    "yellow": ([("yellow", {})], FAILED, "health is Warning (it was Ok before). Tau rolled back to v1", OLD, 2),
    "grey": ([("grey", {})], FAILED, "says nothing about its health (Grey). Tau rolled back to v1", OLD, 2),
    "red once it was live": ([("red", {"after_s": 120})], PASSED, "is live on crm-production", NEW, 1),
    "a silent rollback": ([("silent rollback", {})], FAILED, "rolled back to v1: it gives no reason", OLD, 1),
    "stuck": ([("stuck", {})], FAILED, "it is still Updating", OLD, 1),
    # F45
    "red, and so is the old one": (
        [("red", {"times": 2})],
        ERRORED,
        "The way back to v1 failed too: it runs again, but its health is Severe (it was Ok before)",
        OLD,
        2,
    ),
    "red, and the old version is gone": (
        lambda world: (world.order("red"), world.at(60, delete_v1)),
        ERRORED,
        "The way back to v1 failed too: UpdateEnvironment was refused: No Application Version named 'v1' found.",
        NEW,
        2,
    ),
    "stuck for good": ([("stuck for good", {})], ERRORED, "The way back to v1 failed too: waited 30m", None, 1),
    "mixed: one instance stays on the old version": (
        [("mixed", {})],
        FAILED,
        " runs v1. Tau rolled back to v1",
        OLD,
        2,
    ),
    "mixed, and so is the way back": (
        [("mixed", {"times": 2})],
        ERRORED,
        "The way back to v1 failed too: waited 30m; crm-production runs v1, and its health is Ok, but its instance i-1",
        OLD,
        2,
    ),
    "terminated meanwhile": ([("terminate", {})], FAILED, "crm-production was terminated while", None, 1),
    # F46
    "no more versions": ([("quota", {"times": 2})], ERRORED, "the quota of application versions", OLD, 0),
    "another region": ([("other region", {})], FAILED, "bundles lie in another region than ap-southeast-2", OLD, 0),
    "may not make versions": (
        [("deny", {"operation": "CreateApplicationVersion", "times": 2})],
        ERRORED,
        "elasticbeanstalk:CreateApplicationVersion was refused",
        OLD,
        0,
    ),
    "may not update": ([("deny", {})], ERRORED, "AWS does not let Tau call elasticbeanstalk:UpdateEnvironment", OLD, 1),
    # Beside the list: what is asked is not always answered.
    "throttled looks": ([("throttle", {"operation": "DescribeEvents", "times": 5})], PASSED, "is live on", NEW, 1),
    "throttled instances": (
        [("throttle", {"operation": "DescribeInstancesHealth", "times": 2})],
        PASSED,
        "is live on crm-production",
        NEW,
        1,
    ),
    "throttled updates": ([("throttle", {"operation": "UpdateEnvironment", "times": 3})], PASSED, "is live on", NEW, 4),
    "the answer is lost": ([("lose answer", {})], PASSED, "is live on crm-production", NEW, 1),
}


@pytest.mark.parametrize(("ordered", "state", "sentence", "live", "updates"), ROWS.values(), ids=ROWS)
def test_every_fault_has_an_end_a_mail_and_no_update_too_many(world, ordered, state, sentence, live, updates):
    if callable(ordered):
        ordered(world)
    else:
        for fault, more in ordered:
            world.order(fault, **more)
    told = world.tag().to_the_end()
    assert told.state is state, told
    assert sentence in told.mail, told
    assert (told.live, told.updates) == (live, updates), told


# --- what has to answer ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "state", "sentence", "live", "updates"),
    [(200, PASSED, "is live on crm-production", NEW, 1), (404, FAILED, "/health answers 404. Tau rolled back", OLD, 2)],
    ids=["it does", "it does not"],
)
def test_a_version_that_is_well_has_to_answer_where_ci_yml_says_so(world, answers, state, sentence, live, updates):
    world.pages.statuses["sha256:1"] = answers
    told = world.tag(probe="/health").to_the_end()
    assert (told.state, told.updates, sentence in told.mail) == (state, updates, True), told
    assert told.live == live


# --- two at once (F47) -----------------------------------------------------------------------------


def test_deployments_to_one_environment_go_one_after_the_other_and_the_newest_goes_last(world):
    first, second, third = (world.tag(name) for name in ("v2", "v3", "v4"))
    for run in (first, second, third):
        run.claim()
        for _ in range(4):
            world.look()
    for _ in range(40):
        world.look()
    assert [run.deployment().state.value for run in (first, second, third)] == ["live", "superseded", "live"]
    outrun = second.wake()
    assert (outrun.by, outrun.reason) == (third.id, f"run {third.id}, a newer one, deploys to {ENVIRONMENT}")
    assert (world.live(), world.asked("UpdateEnvironment")) == ("run 3", 2)


# --- what the logs say -----------------------------------------------------------------------------


def test_why_a_version_did_not_start_stands_in_the_mail_and_its_logs_in_the_runs(world):
    world.pages.broken["sha256:1"] = "could not reach the database\ngiving up"
    run = world.tag()
    told = run.to_the_end()
    assert (told.state, told.live, told.updates) == (FAILED, OLD, 1)
    assert "log: Docker container quit unexpectedly after launch: could not reach the database" in told.mail
    log = run.log()
    assert "[tau] eb: the end of the logs of i-" in log
    assert "\n/var/log/eb-engine.log\n" in log
    assert "\ngiving up." in log


def test_why_the_old_version_did_not_start_again_is_told_to_the_operators(world):
    world.order("red")
    world.pages.broken["by-hand"] = "its licence has run out"
    told = world.tag().to_the_end()
    assert (told.state, told.live, told.updates) == (ERRORED, NEW, 2)
    assert "The way back to v1 failed too: it still runs v2" in told.reason
    assert "Its log says: Docker container quit unexpectedly after launch: its licence has run out." in told.mail


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        ("RequestEnvironmentInfo", "the logs of crm-production cannot be had: An error occurred (Insufficient"),
        ("RetrieveEnvironmentInfo", "the logs of crm-production cannot be had: An error occurred (Insufficient"),
    ],
)
def test_logs_that_cannot_be_had_change_no_verdict(world, operation, said):
    world.order("silent rollback")
    world.order("deny", operation=operation)
    run = world.tag()
    told = run.to_the_end()
    assert (told.state, told.updates) == (FAILED, 1)
    assert "rolled back to v1: it gives no reason" in told.mail
    assert said in run.log()


def test_logs_of_a_deployment_that_never_began_are_not_asked_for(world):
    world.order("cannot process")
    world.tag().to_the_end()
    assert world.asked("RequestEnvironmentInfo") == 0
