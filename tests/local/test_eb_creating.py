"""An environment that is not there, over HTTP: made once from a saved configuration whatever goes wrong, or refused."""

import pytest

from chalicelib.model import RunState
from tests.local.beanstalks import client_at, s3_at
from tests.local.deploying_here import World

PASSED, FAILED, ERRORED = RunState.PASSED, RunState.FAILED, RunState.ERRORED
CREATE = {"create": {"template": "usual"}}
STAYS = "There is no version to go back to: the environment stays as it is"
GREETING = {"Namespace": "aws:elasticbeanstalk:application:environment", "OptionName": "GREETING", "Value": "hello"}


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    with s3_at(tmp_path_factory.mktemp("s3")) as client:
        yield client


@pytest.fixture
def world(s3, tmp_path):
    """The application crm has an environment, and the saved configuration `usual`; crm-staging is not there."""
    made = World(s3, tmp_path)
    with made.beanstalk, client_at(made.address) as client:
        made.begin(client)
        (there,) = client.describe_environments()["Environments"]
        client.create_configuration_template(
            ApplicationName="crm", TemplateName="usual", EnvironmentId=there["EnvironmentId"], OptionSettings=[GREETING]
        )
        made.environment = "crm-staging"
        yield made


def somebody_creates(world):
    world.client.create_environment(ApplicationName="crm", EnvironmentName="crm-staging", VersionLabel="v1")


def template_goes(world):
    world.client.delete_configuration_template(ApplicationName="crm", TemplateName="usual")


def breaks(world):
    world.pages.broken["sha256:1"] = "could not reach the database"


def answers_404(world):
    world.pages.statuses["sha256:1"] = 404


def ordered(fault, **more):
    return lambda world: world.order(fault, **more)


# name: (what happens, how the run ends, what the mail says, what is live, how many Create- and UpdateEnvironment)
ROWS = {
    "all is well": (lambda _: None, PASSED, "was created from the saved configuration usual", "run 1", (1, 0)),
    "the answer is lost": (
        ordered("lose answer", operation="CreateEnvironment"),
        PASSED,
        "was created from the saved configuration usual",
        "run 1",
        (1, 0),
    ),
    "throttled": (
        ordered("throttle", operation="CreateEnvironment", times=3),
        PASSED,
        "is live on crm-staging",
        "run 1",
        (4, 0),
    ),
    "may not create": (
        ordered("deny", operation="CreateEnvironment"),
        ERRORED,
        "(Access Denied). Who creates an environment needs AWS's AdministratorAccess-AWSElasticBeanstalk",
        None,
        (1, 0),
    ),
    "red": (ordered("red"), FAILED, "health is Severe", "run 1", (1, 0)),
    "grey": (ordered("grey"), FAILED, "says nothing about its health (Grey)", "run 1", (1, 0)),
    "it does not start": (
        breaks,
        FAILED,
        "crm-staging was created, and does not run",
        None,
        (1, 0),
    ),
    "it does not answer": (answers_404, FAILED, "/health answers 404", None, (1, 0)),
    "it is launched for ever": (
        ordered("stuck for good"),
        FAILED,
        "waited 30m for crm-staging to be Ready with v2",
        None,
        (1, 0),
    ),
}
NO_TEMPLATE = (
    "crm has no saved configuration usual in ap-southeast-2: save one of an environment that is as it should be"
)


@pytest.mark.parametrize(("happens", "state", "sentence", "live", "asked"), ROWS.values(), ids=ROWS)
def test_what_is_not_there_is_created_once_and_has_no_way_back(world, happens, state, sentence, live, asked):
    happens(world)
    probe = {"probe": "/health"} if happens is answers_404 else {}
    told = world.tag(**CREATE, **probe).to_the_end()
    assert (told.state, told.live) == (state, live), told
    assert sentence in told.mail, told
    assert (world.asked("CreateEnvironment"), told.updates) == asked
    if state is FAILED:
        assert STAYS in told.mail or live is None, told


def test_an_environment_has_the_settings_of_the_saved_configuration(world):
    world.tag(**CREATE).to_the_end()
    told = world.client.describe_configuration_settings(ApplicationName="crm", EnvironmentName="crm-staging")
    assert told["ConfigurationSettings"][0]["OptionSettings"] == [GREETING]


def test_one_that_is_there_is_updated_and_the_next_version_has_a_way_back(world):
    first = world.tag(**CREATE).to_the_end()
    world.order("red")
    second = world.tag("v3", **CREATE).to_the_end()
    assert (first.state, second.state, second.live) == (PASSED, FAILED, "run 1")
    assert "Tau rolled back to v2" in second.mail
    assert (world.asked("CreateEnvironment"), second.updates) == (1, 2)


def test_one_that_failed_stays_and_the_next_version_mends_it(world):
    breaks(world)
    assert world.tag(**CREATE).to_the_end().state is FAILED
    mended = world.tag("v3", **CREATE).to_the_end()
    assert (mended.state, mended.live) == (PASSED, "run 2")
    assert (world.asked("CreateEnvironment"), mended.updates) == (1, 1)


def test_one_that_somebody_else_creates_meanwhile_is_updated(world):
    world.at(5, somebody_creates)
    told = world.tag(**CREATE).to_the_end()
    assert (told.state, told.live, told.updates) == (PASSED, "run 1", 1), told
    assert "was created from" not in told.mail


def test_one_that_somebody_else_creates_in_the_very_moment_is_updated(world):
    begun = []

    def somebody_is_faster(**_):
        if not begun:
            begun.append(True)
            somebody_creates(world)

    world.client.meta.events.register("before-call.elastic-beanstalk.CreateEnvironment", somebody_is_faster)
    told = world.tag(**CREATE).to_the_end()
    assert (told.state, told.live, told.updates, begun) == (PASSED, "run 1", 1, [True]), told
    assert (world.asked("CreateEnvironment"), "was created from" in told.mail) == (2, False)


def test_a_saved_configuration_that_is_not_there_is_named_and_nothing_is_uploaded(world):
    template_goes(world)
    told = world.tag(**CREATE).to_the_end()
    assert (told.state, told.live, world.asked("CreateEnvironment")) == (FAILED, None, 0)
    assert NO_TEMPLATE in told.mail
    assert "--template-name usual --environment-id ID" in told.mail
    labels = [one["VersionLabel"] for one in world.client.describe_application_versions()["ApplicationVersions"]]
    assert labels == ["v1"]


def test_a_saved_configuration_that_goes_meanwhile_is_named_too(world):
    world.at(5, template_goes)
    told = world.tag(**CREATE).to_the_end()
    assert (told.state, told.live, world.asked("CreateEnvironment")) == (FAILED, None, 1)
    assert NO_TEMPLATE in told.mail


def test_one_that_is_not_there_and_not_to_be_created_is_refused_with_the_command_that_makes_it(world):
    told = world.tag().to_the_end()
    assert (told.state, told.live, world.asked("CreateEnvironment")) == (FAILED, None, 0)
    assert (
        "`aws elasticbeanstalk create-environment --region ap-southeast-2 --application-name crm "
        "--environment-name crm-staging --template-name TEMPLATE`"
    ) in told.mail


def test_one_that_is_terminated_while_it_is_created_ends_it(world):
    world.order("grey")
    world.at(120, lambda world: world.client.terminate_environment(EnvironmentName="crm-staging"))
    told = world.tag(**CREATE).to_the_end()
    assert (told.state, told.live, world.asked("CreateEnvironment")) == (FAILED, None, 1)
    assert "crm-staging was terminated while it was created with v2" in told.mail
