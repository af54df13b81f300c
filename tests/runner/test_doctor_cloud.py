"""`tau doctor` at AWS: each right is asked for, what is missing is named, and nothing is changed."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ClientError

from runner.doctor import cloud
from runner.doctor.findings import Mark, found
from tests.doctoring import asked, config
from tests.installation import NOW, installation


class Ses:
    """What SES knows of identities and of the account."""

    class exceptions:  # noqa: N801 - boto3's name
        class NotFoundException(Exception):
            pass

    def __init__(self, verified, **account):
        self.verified, self.account = verified, account

    def get_email_identity(self, *, EmailIdentity):  # noqa: N803 - boto3's name
        if EmailIdentity not in self.verified:
            raise self.exceptions.NotFoundException
        return {"VerifiedForSendingStatus": self.verified[EmailIdentity]}

    def get_account(self):
        return {"SendingEnabled": True, "ProductionAccessEnabled": True, **self.account}


@pytest.fixture
def edge(monkeypatch):
    with installation(monkeypatch) as made:
        as_s3_answers_a_part_of_no_upload(made.client("s3"), monkeypatch)
        yield with_ses(made, Ses({"2pisoftware.com": True}))


def as_s3_answers_a_part_of_no_upload(client, monkeypatch):
    """The emulator in memory breaks at it. https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html"""
    real = client._make_api_call

    def answered(operation, parameters):
        if operation == "UploadPart":
            raise ClientError({"Error": {"Code": "NoSuchUpload", "Message": "there is none"}}, operation)
        return real(operation, parameters)

    monkeypatch.setattr(client, "_make_api_call", answered)


def with_ses(edge, ses):
    real = edge.client
    return replace(edge, client=lambda *which: ses if which[0] == "sesv2" else real(*which))


def of_cloud(edge, name, **how):
    return asked(cloud.questions(edge, config(**how), "default"), name)


def test_an_installation_that_is_whole_is_well_and_nothing_of_it_is_changed(edge):
    edge.store.put_in_force("c" * 64, NOW)
    edge.client("sqs").send_message(QueueUrl=edge.queue.url("default"), MessageBody="{}")
    before = edge.client("dynamodb").scan(TableName="tau-test")["Items"]
    findings = [found(one) for one in cloud.questions(edge, config(), "default")]
    assert {one.what: one.said for one in findings if one.mark is not Mark.OK} == {}
    assert asked(cloud.questions(edge, config(), "default"), "queue default").said == "1 message waiting"
    assert edge.client("dynamodb").scan(TableName="tau-test")["Items"] == before
    assert edge.client("s3").list_objects_v2(Bucket="tau-test")["KeyCount"] == 0
    assert edge.client("s3").list_multipart_uploads(Bucket="tau-test").get("Uploads", []) == []
    assert edge.queue.receive("default", wait_s=0, hidden_s=1).receives == 1
    assert "123456789012" in cloud.identity(edge)


@pytest.mark.parametrize(
    ("service", "call", "name"),
    [
        ("dynamodb", "GetItem", "table"),
        ("dynamodb", "BatchGetItem", "table"),
        ("dynamodb", "Query", "table"),
        ("dynamodb", "TransactWriteItems", "table"),
        ("sqs", "GetQueueAttributes", "queue default"),
        ("sqs", "ChangeMessageVisibility", "queue default"),
        ("sqs", "DeleteMessage", "queue default"),
        ("s3", "ListObjectsV2", "bucket"),
        ("s3", "GetObject", "bucket"),
        ("s3", "UploadPart", "bucket"),
        ("elasticbeanstalk", "DescribeEnvironments", "Elastic Beanstalk ap-southeast-2"),
    ],
)
def test_a_right_that_is_missing_is_named_with_what_gives_it(edge, monkeypatch, service, call, name):
    client = edge.client(*(service, edge.region) if service == "elasticbeanstalk" else (service,))
    real = client._make_api_call

    def refusing(operation, parameters):
        if operation == call:
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": f"not authorized: {call}"}}, call)
        return real(operation, parameters)

    monkeypatch.setattr(client, "_make_api_call", refusing)
    steps = [("deploy_eb", {"application": {"template": "{client}"}, "environment": "x"})]
    finding = of_cloud(edge, name, steps=steps)
    assert finding.mark is Mark.BROKEN
    assert f"not authorized: {call}" in finding.said
    assert "attach the policies that infra/stack.yml makes" in finding.said


def test_what_was_never_made_is_named(edge):
    elsewhere = replace(edge, settings=replace(edge.settings, bucket="tau-none", table="tau-none"))
    assert "ResourceNotFound" in of_cloud(elsewhere, "table").said
    assert "NoSuchBucket" in of_cloud(elsewhere, "bucket").said
    of_arm = asked(cloud.questions(edge, config(), "arm"), "queue arm")
    assert (of_arm.mark, of_arm.said) == (
        Mark.BROKEN,
        "there is no queue of the pool arm: deploy infra/pool.yml for it",
    )


def test_an_environment_that_is_not_there_is_named(edge):
    steps = [("deploy_eb", {"application": "acme", "environment": "acme-production"})]
    finding = of_cloud(edge, "Elastic Beanstalk ap-southeast-2", steps=steps)
    assert "there is no environment acme-production of acme" in finding.said
    client = edge.client("elasticbeanstalk")
    client.create_application(ApplicationName="acme")
    client.create_environment(
        ApplicationName="acme", EnvironmentName="acme-production", SolutionStackName="64bit Amazon Linux 2"
    )
    assert of_cloud(edge, "Elastic Beanstalk ap-southeast-2", steps=steps).said == "1 environment"


@pytest.mark.parametrize(
    ("ses", "mark", "words"),
    [
        (Ses({"tau@2pisoftware.com": True}), Mark.OK, "SES sends for tau@2pisoftware.com"),
        (Ses({}), Mark.BROKEN, "knows neither tau@2pisoftware.com nor its domain"),
        (Ses({"2pisoftware.com": False}), Mark.BROKEN, "has not verified 2pisoftware.com yet"),
        (Ses({"2pisoftware.com": True}, ProductionAccessEnabled=False), Mark.MIND, "in its sandbox"),
        (Ses({"2pisoftware.com": True}, SendingEnabled=False), Mark.BROKEN, "does not send for this account"),
    ],
)
def test_whether_mails_leave_is_told_with_the_reason(edge, ses, mark, words):
    finding = of_cloud(with_ses(edge, ses), "mail")
    assert (finding.mark, words in finding.said) == (mark, True)


@pytest.mark.parametrize(
    ("seconds", "mark"), [(2, Mark.OK), (-90, Mark.MIND), (90, Mark.MIND), (400, Mark.BROKEN), (-400, Mark.BROKEN)]
)
def test_a_clock_that_goes_wrong_is_told_and_from_five_minutes_on_it_is_broken(edge, seconds, mark):
    wrong = replace(edge, now=lambda: datetime.now(UTC) - timedelta(seconds=seconds))
    assert of_cloud(wrong, "clock").mark is mark


def test_another_ci_yml_in_force_is_told_by_both_hashes(edge):
    assert of_cloud(edge, "ci.yml in force").mark is Mark.MIND
    edge.store.put_in_force("d" * 64, NOW)
    finding = of_cloud(edge, "ci.yml in force")
    assert (finding.mark, "ddddddd, and here is ccccccc" in finding.said) == (Mark.MIND, True)
