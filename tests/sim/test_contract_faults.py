"""Each fault does in memory what it does at the local Elastic Beanstalk: the same answers, refusals and states."""

from dataclasses import dataclass
from datetime import UTC, datetime

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from infra.local.eb_faults import REFUSALS, Fault
from infra.local.elastic_beanstalk import ElasticBeanstalk
from tests.local.beanstalks import BUCKET, KEYS, REGION, EngineNobodyAsks, client_at, order, pulled
from tests.local.eb_stand_ins import Pages, Stepped
from tests.sim.edges.beanstalk import MemoryBeanstalk
from tests.sim.edges.eb_fates import NO_WAY_BACK, RED_LATER, ROLLED_BACK, UNANSWERED, Fate, Fates
from tests.sim.edges.worlds import Agenda
from tests.sim.fates import AT_EVERY_CALL, SHARES, fate_of

ENVIRONMENT = "crm-production"
STEP_S, SOON_S, LATER_S = 10, 30, 300
BUSY = f"InvalidParameterValue: Environment named {ENVIRONMENT} is in an invalid state for this operation. Must be "
LIVE = ["PROCESSED", "Updating Grey v2", "Ready Green v2"]
HOW_OFTEN = 20_000


@dataclass
class World:
    """A client, a way to let time pass, and one to have a fate befall the version v2."""

    client: object
    wait: object
    befall: object

    def try_(self, operation, **asked):
        try:
            return getattr(self.client, operation)(**asked), None
        except ClientError as error:
            said = error.response["Error"]
            return None, f"{said['Code']}: {said['Message']}"

    def version(self):
        asked = {"ApplicationName": "crm", "VersionLabels": ["v2"]}
        return [one["Status"] for one in self.client.describe_application_versions(**asked)["ApplicationVersions"]]

    def environment(self):
        found = self.client.describe_environments(EnvironmentNames=[ENVIRONMENT], IncludeDeleted=False)["Environments"]
        return [f"{one['Status']} {one['Health']} {one['VersionLabel']}" for one in found] or ["gone"]

    def life(self):
        """What somebody sees who makes the version, deploys it, and aborts an update that does not end."""
        bundle = {"S3Bucket": BUCKET, "S3Key": "v2.zip"}
        of = {"ApplicationName": "crm", "VersionLabel": "v2"}
        _, refused = self.try_("create_application_version", SourceBundle=bundle, Process=True, **of)
        if refused:
            _, again = self.try_("create_application_version", SourceBundle=bundle, Process=True, **of)
            yield from [refused, again or "made"]
        self.wait(SOON_S)
        yield from self.version()
        for _ in range(2):
            _, refused = self.try_("update_environment", EnvironmentName=ENVIRONMENT, **of)
            yield from [refused] if refused else self.environment()
            if not refused:
                break
        self.wait(LATER_S)
        yield from self.environment()
        if self.environment()[0].startswith("Updating"):
            self.client.abort_environment_update(EnvironmentName=ENVIRONMENT)
            yield from self.environment()
            self.wait(LATER_S)
            yield from self.environment()
            yield from filter(None, [self.try_("abort_environment_update", EnvironmentName=ENVIRONMENT)[1]])


@pytest.fixture(params=["memory", "local"])
def world(request):
    yield from _memory() if request.param == "memory" else _local()


def _memory():
    agenda, fates = Agenda(), {}
    beanstalk = MemoryBeanstalk(agenda.now)
    beanstalk.fates = Fates(lambda label: fates.get(label, Fate()))
    beanstalk.add_environment(ENVIRONMENT, "crm", label="v1", takes_s=3 * STEP_S)

    def befall(what, **more):
        fates["v2"] = Fate(RED_LATER if what is Fault.RED and more else what, **more)

    yield World(beanstalk, agenda.wait, befall)


def _local():
    with mock_aws():
        s3, time = boto3.client("s3", **KEYS), Stepped(datetime(2026, 11, 23, 12, tzinfo=UTC))
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        made = ElasticBeanstalk(
            EngineNobodyAsks(), s3, "tau-test", STEP_S, health_every_s=5000, containers=Pages(), background=time
        )
        with made as service, client_at(service.start()) as client:
            client.create_application(ApplicationName="crm")
            for label in ("v1", "v2"):
                s3.put_object(Bucket=BUCKET, Key=f"{label}.zip", Body=pulled(label))
            place = {"S3Bucket": BUCKET, "S3Key": "v1.zip"}
            client.create_application_version(ApplicationName="crm", VersionLabel="v1", SourceBundle=place)
            client.create_environment(ApplicationName="crm", EnvironmentName=ENVIRONMENT, VersionLabel="v1")
            time.pass_(10 * STEP_S)
            address = client.meta.endpoint_url
            yield World(client, time.pass_, lambda what, **more: order(address, ENVIRONMENT, fault=what, **more))


ROWS = {
    Fault.REFUSE: ({}, ["PROCESSED", f"{BUSY}Ready.", *LIVE[1:]]),
    Fault.DENY: ({}, ["PROCESSED", "InsufficientPrivilegesException: Access Denied", *LIVE[1:]]),
    Fault.QUOTA: (
        {},
        [
            f"{REFUSALS[Fault.QUOTA].code}: {REFUSALS[Fault.QUOTA].message}",
            "made",
            *LIVE,
        ],
    ),
    Fault.OTHER_REGION: (
        {},
        [
            f"{REFUSALS[Fault.OTHER_REGION].code}: {REFUSALS[Fault.OTHER_REGION].message}",
            "made",
            *LIVE,
        ],
    ),
    Fault.LABEL_EXISTS: (
        {"same_bundle": True},
        [*["InvalidParameterValue: Application Version v2 already exists."] * 2, *LIVE],
    ),
    Fault.CANNOT_PROCESS: (
        {},
        [
            "FAILED",
            *["InvalidParameterValue: Application version v2 cannot be deployed: its status is FAILED."] * 2,
            "Ready Green v1",
        ],
    ),
    Fault.NEVER_PROCESS: (
        {},
        [
            "PROCESSING",
            *["InvalidParameterValue: Application version v2 cannot be deployed: its status is PROCESSING."] * 2,
            "Ready Green v1",
        ],
    ),
    Fault.STUCK: (
        {},
        [*LIVE[:2], "Updating Grey v2", "Aborting Grey v2", "Ready Green v1", f"{BUSY}pending deployment."],
    ),
    Fault.STUCK_FOR_GOOD: (
        {},
        [*LIVE[:2], "Updating Grey v2", "Aborting Grey v2", "Aborting Grey v2", f"{BUSY}pending deployment."],
    ),
    Fault.SILENT_ROLLBACK: ({}, [*LIVE[:2], "Ready Green v1"]),
    Fault.TERMINATE: ({}, [*LIVE[:2], "gone"]),
    Fault.MIXED: ({}, LIVE),
    Fault.YELLOW: ({}, [*LIVE[:2], "Ready Yellow v2"]),
    Fault.RED: ({}, [*LIVE[:2], "Ready Red v2"]),
    Fault.GREY: ({}, [*LIVE[:2], "Ready Grey v2"]),
}


def test_without_a_fault_a_version_goes_live(world):
    assert list(world.life()) == LIVE


@pytest.mark.parametrize("fault", ROWS, ids=str)
def test_a_fault_is_the_same_in_memory_and_over_http(world, fault):
    more, seen = ROWS[fault]
    world.befall(fault, **more)
    assert list(world.life()) == seen


def test_a_version_that_somebody_else_made_is_of_another_bundle(world):
    world.befall(Fault.LABEL_EXISTS)
    list(world.life())
    (found,) = world.client.describe_application_versions(VersionLabels=["v2"])["ApplicationVersions"]
    assert found["SourceBundle"] == {"S3Bucket": BUCKET, "S3Key": "another/v2.zip"}


def test_health_that_changes_later_is_good_until_then(world):
    world.befall(Fault.RED, after_s=LATER_S)
    assert list(world.life()) == LIVE
    world.wait(LATER_S)
    assert world.environment() == ["Ready Red v2"]


def test_of_two_instances_one_stays_behind_until_the_next_update(world):
    def versions():
        asked = {"EnvironmentName": ENVIRONMENT, "AttributeNames": ["All"]}
        instances = world.client.describe_instances_health(**asked)["InstanceHealthList"]
        return sorted(one["Deployment"]["VersionLabel"] for one in instances)

    world.befall(Fault.MIXED)
    list(world.life())
    assert versions() == ["v1", "v2"]
    world.client.update_environment(ApplicationName="crm", EnvironmentName=ENVIRONMENT, VersionLabel="v1")
    world.wait(LATER_S)
    assert versions() == ["v1"]


def test_why_a_version_could_not_be_processed_is_told_of_the_version_alone(world):
    world.befall(Fault.CANNOT_PROCESS)
    list(world.life())
    told = world.client.describe_events(StartTime=datetime(2020, 1, 1, tzinfo=UTC), Severity="ERROR")["Events"]
    assert [(event["Message"], event.get("VersionLabel"), event.get("EnvironmentName")) for event in told] == [
        ("Failed to process application version v2: so it was ordered", "v2", None)
    ]


def test_every_fault_that_can_be_ordered_is_in_the_schedules_and_has_its_row_here():
    assert set(Fault) == set(ROWS) | set(AT_EVERY_CALL)
    of_ours = {ROLLED_BACK, RED_LATER, NO_WAY_BACK, UNANSWERED}
    assert set(SHARES) == set(ROWS) | of_ours
    met = [fate_of(f"v{number}-1a2b3c4").what for number in range(HOW_OFTEN)]
    for what, share in SHARES.items():
        assert 0.7 * share < 100 * met.count(what) / HOW_OFTEN < 1.3 * share, what
