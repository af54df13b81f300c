"""Application versions that nothing needs any more go; what anybody may still want stays."""

import logging
from dataclasses import replace
from datetime import timedelta

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from moto import mock_aws

from chalicelib.model import DeploymentState, Live
from infra.local.elastic_beanstalk import ElasticBeanstalk
from runner import pruning
from runner.pruning import Pruner, is_ours, needed_places, surplus
from tests.deploying import deployment
from tests.installation import NOW, installation
from tests.local.beanstalks import EngineNobodyAsks, pulled
from tests.local.eb_stand_ins import Pages, Stepped

BUCKET, RUN = "tau-test", "01KAW3ZB80RNRNRNRNRNRNRNRN"
OLD = NOW - timedelta(days=30)


def version(label, application="crm", made_at=OLD, **changes):
    made = {
        "ApplicationName": application,
        "VersionLabel": label,
        "Description": f"github.com/2pisoftware/crm v1.0.0 761f990, run {RUN}",
        "SourceBundle": {"S3Bucket": BUCKET, "S3Key": f"bundles/{application}/{label}.zip"},
        "DateCreated": made_at,
    }
    return {**made, **changes}


def numbered(count, **changes):
    return [version(f"v{one}", made_at=OLD + timedelta(minutes=one), **changes) for one in range(count)]


def labels(found):
    return [label for _, label in found]


def test_the_newest_of_each_application_stay():
    versions = [*reversed(numbered(5)), *numbered(3, application="erp")]
    assert labels(surplus(versions, set(), BUCKET, 3, NOW)) == ["v0", "v1"]
    assert labels(surplus(versions, set(), BUCKET, 2, NOW)) == ["v0", "v0", "v1", "v2"]


def test_what_something_needs_stays_and_counts_among_the_newest_all_the_same():
    assert labels(surplus(numbered(5), {("crm", "v0"), ("erp", "v1")}, BUCKET, 3, NOW)) == ["v1"]


def test_what_is_a_day_old_may_be_about_to_be_deployed():
    young = [version(f"v{one}", made_at=NOW - timedelta(hours=23 + one)) for one in range(4)]
    assert labels(surplus(young, set(), BUCKET, 1, NOW)) == ["v3", "v2"]


@pytest.mark.parametrize(
    "changes",
    [
        {"Description": "made by hand"},
        {"Description": None},
        {"SourceBundle": {"S3Bucket": "elsewhere", "S3Key": "bundles/crm/v1.zip"}},
        {"SourceBundle": {"S3Bucket": BUCKET, "S3Key": "bundles/crm/other.zip"}},
        {"SourceBundle": {}},
    ],
    ids=["a description of somebody", "no description", "another bucket", "another bundle", "no bundle"],
)
def test_what_tau_did_not_make_is_left_alone(changes):
    assert is_ours(version("v1"), BUCKET)
    assert not is_ours(version("v1", **changes), BUCKET)


def test_needed_is_what_runs_anywhere_what_was_good_there_and_what_is_on_its_way_with_its_way_back():
    left = Live("eu-west-1", "crm", "crm-production", "v3", "01RUN.3", NOW, good_label="v2")
    going = deployment(label="v7", previous_label="v6", good_label="v5", back_to="v4")
    environments = [{"ApplicationName": "crm", "VersionLabel": "v1"}, {"ApplicationName": "erp"}]
    assert needed_places(environments, [left], [going]) == {("crm", f"v{one}") for one in range(1, 8)}


# --- against the local Elastic Beanstalk -----------------------------------------------------------


class World:
    """An application with eleven versions of Tau's, v0 in an environment, and one of somebody's."""

    def __init__(self, edge, service, time):
        self.time, self.service = time, service
        once = Config(retries={"total_max_attempts": 1})
        keys = {"region_name": "ap-southeast-2", "aws_access_key_id": "test", "aws_secret_access_key": "test"}
        self.client = boto3.client("elasticbeanstalk", endpoint_url=service.start(), config=once, **keys)
        self.s3 = edge.client("s3")
        real = edge.client
        self.edge = replace(
            edge,
            now=time.now,
            client=lambda service, region=None: self.client if service == "elasticbeanstalk" else real(service, region),
        )
        self.client.create_application(ApplicationName="crm")
        for number in range(11):
            self.create(f"v{number}")
            time.pass_(60)
        self.create("by-hand", Description="made by hand")
        self.client.create_environment(ApplicationName="crm", EnvironmentName="crm-production", VersionLabel="v0")
        time.pass_(3 * 86400)

    def create(self, label, **changes):
        said = version(label, **changes)
        said["SourceBundle"]["S3Bucket"] = self.edge.settings.bucket
        self.s3.put_object(Bucket=said["SourceBundle"]["S3Bucket"], Key=said["SourceBundle"]["S3Key"], Body=pulled("x"))
        del said["DateCreated"]
        self.client.create_application_version(**said)

    def left(self):
        found = self.client.describe_application_versions(ApplicationName="crm")["ApplicationVersions"]
        return {one["VersionLabel"] for one in found}

    def bundles(self):
        found = self.s3.list_objects_v2(Bucket=self.edge.settings.bucket, Prefix="bundles/").get("Contents", [])
        return {one["Key"].removeprefix("bundles/crm/").removesuffix(".zip") for one in found}


@pytest.fixture
def world(monkeypatch):
    with installation(monkeypatch) as edge, mock_aws():
        time = Stepped(NOW)
        service = ElasticBeanstalk(
            EngineNobodyAsks(),
            edge.client("s3"),
            "tau-test",
            1,
            health_every_s=86400,
            containers=Pages(),
            background=time,
        )
        with service:
            made = World(edge, service, time)
            live(made, "v8", good_label="v1")
            yield made
            made.client.close()


def live(world, label, **more):
    going = deployment(f"01RUN{label}", label=label)
    world.edge.store.create_deployment(going)
    left = Live(going.region, "crm", "crm-production", label, going.id, NOW, **more)
    ended = replace(going, state=DeploymentState.LIVE, due_at=None)
    assert world.edge.store.move_deployment(going, ended, live=left)


def test_versions_go_with_their_bundles_and_what_is_needed_stays(world):
    world.edge.store.create_deployment(deployment("01RUNz", label="v2", previous_label="v3", due_at=NOW))
    gone = Pruner(world.edge, 3, None).prune()
    assert labels(gone) == ["v4", "v5", "v6", "v7"]
    assert world.left() == {"v0", "v1", "v2", "v3", "v8", "v9", "v10", "by-hand"}
    assert world.bundles() == world.left()
    assert Pruner(world.edge, 3, None).prune() == []


def test_unless_it_is_set_nothing_goes(world):
    assert Pruner(world.edge, 0, None).prune() == []
    assert len(world.left()) == 12


def test_a_region_that_comes_near_its_quota_is_warned_about(world, monkeypatch, caplog):
    monkeypatch.setattr(pruning, "WARN_FROM", 13)
    caplog.set_level(logging.WARNING)
    Pruner(world.edge, 0, None).prune()
    assert caplog.messages == []
    world.create("v11")
    Pruner(world.edge, 0, None).prune()
    (said,) = caplog.messages
    assert said.startswith("13 application versions in ap-southeast-2, of 1000 that AWS allows by default: delete old")


def test_one_that_cannot_be_removed_keeps_no_other(world):
    delete = world.client.delete_application_version

    def refused(**asked):
        if asked["VersionLabel"] == "v4":
            raise ClientError({"Error": {"Code": "SourceBundleDeletionFailure"}}, "DeleteApplicationVersion")
        return delete(**asked)

    world.client.delete_application_version = refused
    assert labels(Pruner(world.edge, 3, None).prune()) == ["v2", "v3", "v5", "v6", "v7"]
    assert "v4" in world.left()


def test_where_tau_never_deployed_nobody_is_asked(monkeypatch):
    with installation(monkeypatch) as edge:
        assert Pruner(replace(edge, client=None), 3, None).prune() == []


def test_it_is_done_once_an_hour_and_what_fails_is_done_the_next_time(edge, pace, clock, caplog):
    rounds = []

    class Counted(Pruner):
        def prune(self):
            rounds.append(clock)
            raise ClientError({"Error": {"Code": "Throttling"}}, "DescribeApplicationVersions")

    stopping = pace.flag()
    pace.start(Counted(edge, 3, stopping).run, "pruner")
    clock.somebody_waits(3600)
    clock.pass_(3600)
    clock.somebody_waits(3600)
    assert len(rounds) == 2
    assert "versions are not in order" in caplog.messages
    stopping.set()
