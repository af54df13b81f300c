"""Elastic Beanstalk in memory and the local cloud's give the same answers, as far as no container has to run."""

from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from moto import mock_aws

from infra.local.elastic_beanstalk import ElasticBeanstalk
from infra.local.emulator import REGION
from tests.sim.edges.beanstalk import MemoryBeanstalk
from tests.sim.edges.worlds import Agenda

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
KEYS = {"region_name": REGION, "aws_access_key_id": "test", "aws_secret_access_key": "test"}
BUNDLE = {"S3Bucket": "bundles", "S3Key": "v1.zip"}
VERSION = {"ApplicationName": "crm", "SourceBundle": BUNDLE, "AutoCreateApplication": False, "Process": True}
NOBODY = SimpleNamespace(containers=SimpleNamespace(list=lambda **_: []), images=SimpleNamespace(list=lambda **_: []))
"""An engine that is asked for leftovers, and has none."""


@dataclass
class World:
    """A client; `crm-busy`, an environment of the application crm, has no version and is not Ready."""

    client: object

    def refusal(self, operation, **asked):
        with pytest.raises(ClientError) as refused:
            getattr(self.client, operation)(**asked)
        error = refused.value.response["Error"]
        return error["Code"], error["Message"]

    def environments(self, *names, application="crm"):
        asked = {"ApplicationName": application, "EnvironmentNames": list(names), "IncludeDeleted": False}
        return self.client.describe_environments(**asked)["Environments"]

    def events(self, start):
        asked = {"ApplicationName": "crm", "EnvironmentName": "crm-busy", "StartTime": start}
        return self.client.describe_events(**asked)["Events"]


@pytest.fixture(params=["memory", "local"])
def world(request):
    yield from _memory() if request.param == "memory" else _local()


def _memory():
    beanstalk = MemoryBeanstalk(Agenda().now)
    beanstalk.add_environment("crm-busy", "crm", label=None, health="Red")
    beanstalk.occupy("crm-busy", 100)
    yield World(beanstalk)


def _local():
    with mock_aws():
        s3 = boto3.client("s3", **KEYS)
        s3.create_bucket(Bucket="bundles", CreateBucketConfiguration={"LocationConstraint": REGION})
        s3.put_object(Bucket="bundles", Key="v1.zip", Body=b"never looked at: it takes too long to get there")
        # Whoever begins something waits for a day in its first step.
        with ElasticBeanstalk(NOBODY, s3, "tau-test", 86400) as service:
            once = Config(retries={"total_max_attempts": 1})
            client = boto3.client("elasticbeanstalk", endpoint_url=service.start(), config=once, **KEYS)
            client.create_application(ApplicationName="crm")
            client.create_environment(ApplicationName="crm", EnvironmentName="crm-busy")
            yield World(client)
            client.close()


def test_a_version_is_of_an_application_that_is_there_and_made_once(world):
    said = "InvalidParameterValue", "No Application named 'x' found."
    assert world.refusal("create_application_version", VersionLabel="v1", **{**VERSION, "ApplicationName": "x"}) == said
    made = world.client.create_application_version(VersionLabel="v1", **VERSION)["ApplicationVersion"]
    assert (made["VersionLabel"], made["SourceBundle"], made["Status"]) == ("v1", BUNDLE, "PROCESSING")
    said = "InvalidParameterValue", "Application Version v1 already exists."
    assert world.refusal("create_application_version", VersionLabel="v1", **VERSION) == said


def test_of_the_versions_that_are_asked_for_those_are_told_that_are_there(world):
    world.client.create_application_version(VersionLabel="v1", **VERSION)
    told = world.client.describe_application_versions(ApplicationName="crm", VersionLabels=["v1", "v2"])
    (found,) = told["ApplicationVersions"]
    assert (found["VersionLabel"], found["Status"], found["SourceBundle"]) == ("v1", "PROCESSING", BUNDLE)


def test_an_environment_is_told_only_with_its_own_application(world):
    (found,) = world.environments("crm-busy", "crm-nowhere")
    assert found["EnvironmentName"] == "crm-busy"
    assert found["Status"] != "Ready"
    assert (found["Health"], found["HealthStatus"]) == ("Grey", "Pending")
    assert found.get("VersionLabel") is None
    assert world.environments("crm-busy", application="x") == []


def test_an_instance_to_which_nothing_was_deployed_tells_of_no_version(world):
    asked = {"EnvironmentName": "crm-busy", "AttributeNames": ["Deployment"]}
    (instance,) = world.client.describe_instances_health(**asked)["InstanceHealthList"]
    assert instance["InstanceId"].startswith("i-")
    assert instance.get("Deployment") is None
    said = "InvalidParameterValue", "No Environment found for EnvironmentName = 'crm-nowhere'."
    assert world.refusal("describe_instances_health", **{**asked, "EnvironmentName": "crm-nowhere"}) == said


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        (
            {"EnvironmentName": "crm-nowhere", "VersionLabel": "v1"},
            "No Environment found for EnvironmentName = 'crm-nowhere'.",
        ),
        ({"EnvironmentName": "crm-busy", "VersionLabel": "v9"}, "No Application Version named 'v9' found."),
        (
            {"EnvironmentName": "crm-busy", "VersionLabel": "v1"},
            "Application version v1 cannot be deployed: its status is PROCESSING.",
        ),
        (
            {"EnvironmentName": "crm-busy", "VersionLabel": "v2"},
            "Environment named crm-busy is in an invalid state for this operation. Must be Ready.",
        ),
    ],
    ids=["no environment", "no version", "not processed", "not ready"],
)
def test_an_update_is_refused_with_the_same_words_and_for_the_first_of_several_reasons(world, asked, text):
    world.client.create_application_version(VersionLabel="v1", **VERSION)
    world.client.create_application_version(VersionLabel="v2", **{**VERSION, "Process": False})
    assert world.refusal("update_environment", ApplicationName="crm", **asked) == ("InvalidParameterValue", text)


def test_events_are_told_from_the_start_that_is_named_newest_first(world):
    told = world.events(LONG_AGO)
    assert told
    moments = [event["EventDate"] for event in told]
    assert moments == sorted(moments, reverse=True)
    assert world.events(moments[0])[0] == told[0], "the start counts"
    assert world.events(moments[0].replace(year=moments[0].year + 1)) == []
