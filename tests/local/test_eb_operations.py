"""What is done to environments beside updates, and how they fare meanwhile; pages instead of containers."""

import io
import urllib.error
import urllib.request
import zipfile

import pytest
from botocore.exceptions import ClientError

from infra.local.elastic_beanstalk import HEALTH_EVERY_S, ElasticBeanstalk
from tests.local.beanstalks import BUCKET, EngineNobodyAsks, ask, client_at, order, page_of, pulled, s3_at
from tests.local.eb_stand_ins import Pages, Stepped

STEP_S = 10
GREETING = {"Namespace": "aws:elasticbeanstalk:application:environment", "OptionName": "GREETING", "Value": "hello"}


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    with s3_at(tmp_path_factory.mktemp("s3")) as client:
        for label in ("v1", "v2"):
            client.put_object(Bucket=BUCKET, Key=f"{label}.zip", Body=pulled(f"crm:{label}"))
        yield client


class World:
    """The application crm, with versions v1 and v2, and v1 in `crm-production`."""

    def __init__(self, s3):
        self.time, self.pages = Stepped(), Pages()
        self.service = ElasticBeanstalk(
            EngineNobodyAsks(), s3, "tau-test", STEP_S, containers=self.pages, background=self.time
        )
        self.address = self.service.start()

    def begin(self, client):
        self.client = client
        client.create_application(ApplicationName="crm")
        for label in ("v1", "v2"):
            place = {"S3Bucket": BUCKET, "S3Key": f"{label}.zip"}
            client.create_application_version(ApplicationName="crm", VersionLabel=label, SourceBundle=place)
        self.create("crm-production", "v1")

    def create(self, name, label, **more):
        self.client.create_environment(ApplicationName="crm", EnvironmentName=name, VersionLabel=label, **more)
        self.time.pass_(5 * STEP_S)
        return self.environment(name)

    def environment(self, name="crm-production"):
        (found,) = self.client.describe_environments(EnvironmentNames=[name])["Environments"]
        return found

    def update(self, label="v2"):
        self.client.update_environment(EnvironmentName="crm-production", VersionLabel=label)

    def seen(self):
        found = self.environment()
        return found["Status"], found["Health"], found["VersionLabel"]

    def messages(self):
        events = self.client.describe_events(EnvironmentName="crm-production")["Events"]
        return [event["Message"] for event in reversed(events)]

    def logs(self, kind="tail"):
        self.client.request_environment_info(EnvironmentName="crm-production", InfoType=kind)
        assert self.told(kind) == []
        self.time.pass_(STEP_S)
        (told,) = self.told(kind)
        with urllib.request.urlopen(told["Message"], timeout=10) as answer:
            return answer.read()

    def told(self, kind):
        return self.client.retrieve_environment_info(EnvironmentName="crm-production", InfoType=kind)["EnvironmentInfo"]


@pytest.fixture
def world(s3):
    made = World(s3)
    with made.service, client_at(made.address) as client:
        made.begin(client)
        yield made


def refusal(call, **asked):
    with pytest.raises(ClientError) as caught:
        call(**asked)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def must_be_ready(name="crm-production"):
    text = f"Environment named {name} is in an invalid state for this operation. Must be Ready."
    return "InvalidParameterValue", text


# --- restart, rebuild, swap ------------------------------------------------------------------------


def test_a_restart_brings_up_a_new_container_of_what_runs(world):
    (before,) = world.pages.up_now
    world.client.restart_app_server(EnvironmentName="crm-production")
    assert world.seen() == ("Updating", "Grey", "v1")
    assert refusal(world.client.rebuild_environment, EnvironmentName="crm-production") == must_be_ready()
    world.time.pass_(5 * STEP_S)
    (after,) = world.pages.up_now
    assert (after is before, after.image) == (False, "crm:v1")
    assert world.seen() == ("Ready", "Green", "v1")
    assert world.messages()[-3:] == [
        "Deploying new version to instance(s).",
        "Instance deployment completed successfully.",
        "Restarted application server on all ec2 instances.",
    ]


def test_only_an_update_can_be_aborted(world):
    world.client.restart_app_server(EnvironmentName="crm-production")
    assert world.environment()["AbortableOperationInProgress"] is False
    code, text = refusal(world.client.abort_environment_update, EnvironmentName="crm-production")
    assert (code, text.endswith("Must be pending deployment.")) == ("InvalidParameterValue", True)


def test_a_rebuild_removes_everything_first(world):
    world.client.rebuild_environment(EnvironmentName="crm-production")
    world.time.pass_(0)
    with pytest.raises(urllib.error.HTTPError, match="502") as caught:
        page_of(world.environment())
    caught.value.close()
    world.time.pass_(5 * STEP_S)
    assert (world.seen(), page_of(world.environment())) == (("Ready", "Green", "v1"), "crm:v1")


def test_settings_outlive_a_restart(world):
    world.create("crm-staging", "v1", OptionSettings=[GREETING])
    world.client.restart_app_server(EnvironmentName="crm-staging")
    world.time.pass_(5 * STEP_S)
    assert page_of(world.environment("crm-staging")) == "crm:v1 hello"


def test_two_environments_swap_their_addresses(world):
    green = world.create("crm-green", "v2")
    blue = world.environment()
    names = {"SourceEnvironmentName": "crm-production", "DestinationEnvironmentName": "crm-green"}
    world.client.swap_environment_cnames(**names)
    assert refusal(world.client.swap_environment_cnames, **names) == must_be_ready()
    world.time.pass_(STEP_S)
    assert world.environment()["CNAME"] == green["CNAME"]
    assert world.environment("crm-green")["CNAME"] == blue["CNAME"]
    assert (page_of(green), page_of(blue)) == ("crm:v1", "crm:v2")
    assert (world.seen(), world.environment("crm-green")["Status"]) == (("Ready", "Green", "v1"), "Ready")
    assert world.messages()[-1] == "Completed swapping CNAMEs for environments 'crm-production' and 'crm-green'."
    world.client.terminate_environment(EnvironmentName="crm-green")
    world.time.pass_(2 * STEP_S)
    assert page_of(green) == "crm:v1"


def test_an_environment_swaps_with_another_that_is_ready(world):
    itself = {"SourceEnvironmentName": "crm-production", "DestinationEnvironmentName": "crm-production"}
    assert "with itself" in refusal(world.client.swap_environment_cnames, **itself)[1]
    world.client.create_environment(ApplicationName="crm", EnvironmentName="crm-green")
    other = {**itself, "DestinationEnvironmentName": "crm-green"}
    assert refusal(world.client.swap_environment_cnames, **other) == must_be_ready("crm-green")
    assert world.seen()[0] == "Ready"


def test_settings_are_told_with_what_was_set(world):
    world.create("crm-staging", "v1", OptionSettings=[GREETING])
    (told,) = world.client.describe_configuration_settings(ApplicationName="crm", EnvironmentName="crm-staging")[
        "ConfigurationSettings"
    ]
    assert (told["DeploymentStatus"], told["OptionSettings"]) == ("deployed", [GREETING])
    assert told["SolutionStackName"].endswith("running Docker")


# --- logs ------------------------------------------------------------------------------------------


def test_the_tail_of_the_logs_holds_the_agents_and_the_containers(world):
    world.pages.up_now[0].lines += ["a first line", "a last line"]
    text = world.logs().decode()
    assert f"{'-' * 40}\n/var/log/eb-engine.log\n{'-' * 40}\n2026/11/23 12:00:10.000000 [INFO] " in text
    assert "/var/log/eb-docker/containers/eb-current-app/stdouterr.log" in text
    assert text.endswith("a first line\na last line\n")
    assert world.messages()[-3:] == [
        "requestEnvironmentInfo is starting.",
        f"[Instance: {world.told('tail')[0]['Ec2InstanceId']}] Successfully finished tailing 2 log(s)",
        "Pulled logs for environment instances.",
    ]


def test_the_tail_says_why_a_version_did_not_start(world):
    world.pages.broken["crm:v2"] = "could not reach the database\ngiving up"
    world.update()
    world.time.pass_(5 * STEP_S)
    assert world.seen() == ("Ready", "Green", "v1")
    text = world.logs().decode()
    assert "[ERROR] An error occurred during execution of command [app-deploy]" in text
    assert "could not reach the database\ngiving up" in text


def test_the_bundle_of_the_logs_is_a_zip_file(world):
    with zipfile.ZipFile(io.BytesIO(world.logs("bundle"))) as files:
        assert files.namelist() == [
            "var/log/eb-engine.log",
            "var/log/eb-docker/containers/eb-current-app/stdouterr.log",
        ]


def test_a_new_request_makes_the_old_logs_unfindable(world):
    world.logs()
    world.client.request_environment_info(EnvironmentName="crm-production", InfoType="tail")
    assert world.told("tail") == []


# --- health ----------------------------------------------------------------------------------------


def test_a_container_that_answers_no_more_turns_its_environment_red_and_green_again(world):
    (page,) = world.pages.up_now
    page.status = 503
    world.time.pass_(2 * HEALTH_EVERY_S)
    assert world.seen() == ("Ready", "Green", "v1"), "once or twice is nothing"
    world.time.pass_(HEALTH_EVERY_S)
    assert world.seen() == ("Ready", "Red", "v1")
    (cause,) = world.client.describe_environment_health(EnvironmentName="crm-production", AttributeNames=["Causes"])[
        "Causes"
    ]
    assert cause == "The version that runs does not answer as it should."
    page.status = 404
    world.time.pass_(HEALTH_EVERY_S)
    assert world.seen() == ("Ready", "Green", "v1")
    assert world.messages()[-2:] == [
        "Environment health has transitioned from Ok to Severe.",
        "Environment health has transitioned from Severe to Ok.",
    ]


def test_an_environment_that_is_set_to_basic_health_tells_a_colour_and_nothing_of_its_instances(world):
    basic = {"Namespace": "aws:elasticbeanstalk:healthreporting:system", "OptionName": "SystemType", "Value": "basic"}
    world.client.update_environment(EnvironmentName="crm-production", OptionSettings=[basic])
    world.time.pass_(100)
    (found,) = world.client.describe_environments(EnvironmentNames=["crm-production"])["Environments"]
    assert (found["Health"], found.get("HealthStatus")) == ("Green", None)
    for operation in ("describe_instances_health", "describe_environment_health"):
        with pytest.raises(ClientError, match="is not supported") as refused:
            getattr(world.client, operation)(EnvironmentName="crm-production", AttributeNames=["All"])
        assert refused.value.response["Error"]["Code"] == "InvalidRequestException"


# --- what there is ---------------------------------------------------------------------------------


def test_what_an_environment_consists_of_and_may_cost_is_told(world):
    resources = world.client.describe_environment_resources(EnvironmentName="crm-production")["EnvironmentResources"]
    health = world.client.describe_instances_health(EnvironmentName="crm-production", AttributeNames=["All"])
    assert resources["Instances"] == [{"Id": health["InstanceHealthList"][0]["InstanceId"]}]
    quotas = world.client.describe_account_attributes()["ResourceQuotas"]
    assert quotas["ApplicationVersionQuota"]["Maximum"] == 1000


def test_the_platform_is_found_by_what_it_is(world):
    (stack,) = world.client.list_available_solution_stacks()["SolutionStacks"]
    docker = [{"Type": "PlatformName", "Operator": "contains", "Values": ["Docker"]}]
    (found,) = world.client.list_platform_versions(Filters=docker)["PlatformSummaryList"]
    told = world.client.describe_platform_version(PlatformArn=found["PlatformArn"])["PlatformDescription"]
    assert told["SolutionStackName"] == stack
    for operator, values, count in (("=", ["PHP"], 0), ("!=", ["PHP"], 1), ("begins_with", ["Docker"], 1)):
        chosen = [{"Type": "PlatformName", "Operator": operator, "Values": values}]
        assert len(world.client.list_platform_versions(Filters=chosen)["PlatformSummaryList"]) == count


def test_descriptions_can_be_changed(world):
    world.client.update_application(ApplicationName="crm", Description="customers")
    world.client.update_application_version(ApplicationName="crm", VersionLabel="v1", Description="the first")
    assert world.client.describe_applications()["Applications"][0]["Description"] == "customers"
    described = world.client.describe_application_versions(VersionLabels=["v1"])["ApplicationVersions"]
    assert described[0]["Description"] == "the first"


# --- the admin route -------------------------------------------------------------------------------


def test_an_order_counts_down_and_can_be_taken_back(world):
    order(world.address, "crm-production", fault="throttle", operation="DescribeEnvironments", times=3)
    with pytest.raises(ClientError, match="Rate exceeded"):
        world.environment()
    (left,) = ask(world.address, "GET", "crm-production")["faults"]
    assert (left["fault"], left["times"], left["operation"]) == ("throttle", 2, "DescribeEnvironments")
    assert world.client.describe_events()["Events"]
    assert ask(world.address, "DELETE", "crm-production")["faults"] == []
    assert world.environment()["Status"] == "Ready"


def test_it_counts_what_was_asked_for_an_environment_and_no_other(world):
    world.create("crm-staging", "v1")
    world.update()
    asked = ask(world.address, "GET", "crm-production")["asked"]
    assert asked["UpdateEnvironment"] == 1
    assert "UpdateEnvironment" not in ask(world.address, "GET", "crm-staging")["asked"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("POST", "environments/crm/faults", b"{", 400, "no JSON"),
        ("POST", "environments/crm/faults", b'{"fault": "fire"}', 400, "names no fault; there are: throttle, "),
        ("POST", "environments/crm/faults", b'{"fault": "red", "after": 3}', 400, "after: 3 is not understood"),
        ("POST", "environments/crm/faults", b'{"fault": "red", "times": "x"}', 400, "times: 'x' is not understood"),
        ("PUT", "environments/crm/faults", b"", 405, "POST, GET or DELETE"),
        ("GET", "environments", b"", 404, "environments/NAME/faults"),
    ],
)
def test_an_order_that_cannot_be_followed_says_why(world, method, path, body, status, said):
    answered, _, text = world.service.handle(method, f"/_elasticbeanstalk/{path}", {}, body)
    assert (answered, said in text.decode()) == (status, True), text
