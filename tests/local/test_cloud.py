"""The local cloud as its users meet it: its stack, its rights, its mail, its end."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.exceptions import ClientError

from infra.local.cloud import ROOT, CloudError, LocalCloud
from infra.local.stacks import StackError, apply
from tests.local.echo_app import made_in, post, processes

pytestmark = pytest.mark.cloud

POOL = ROOT / "infra" / "pool.yml"
KEY = {"pk": {"S": "run#00"}, "sk": {"S": "run"}}


# --- what stack.yml makes -------------------------------------------------------------------------


def test_the_stack_makes_table_queue_and_bucket_as_the_environment_names_them(cloud):
    environment = cloud.environment
    table = cloud.client("dynamodb").describe_table(TableName=environment["TAU_TABLE"])["Table"]
    assert {index["IndexName"] for index in table["GlobalSecondaryIndexes"]} == {"due", "by_ref", "by_commit", "by_day"}
    cloud.client("s3").head_bucket(Bucket=environment["TAU_BUCKET"])
    queue = cloud.client("sqs").get_queue_url(QueueName=f"{environment['TAU_QUEUE_PREFIX']}-default")["QueueUrl"]
    attributes = cloud.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    assert json.loads(attributes["RedrivePolicy"])["deadLetterTargetArn"].endswith("-default-dead")


def test_a_child_process_uses_the_cloud_by_its_environment_alone(cloud):
    code = (
        f"import boto3; print(boto3.client('dynamodb').get_item(TableName='tau-local', Key={KEY})['ResponseMetadata'])"
    )
    environment = {"PATH": os.environ["PATH"], **cloud.environment}
    done = subprocess.run((sys.executable, "-c", code), env=environment, capture_output=True, text=True, check=True)
    assert "'HTTPStatusCode': 200" in done.stdout


def test_a_stack_that_is_refused_says_which_resource_and_why(cloud):
    unknown = {"Type": "AWS::CloudWatch::CompositeAlarm", "Properties": {"AlarmRule": "TRUE"}}
    with pytest.raises(StackError, match=r"the stack bad was refused: .*CompositeAlarm"):
        apply(cloud.client("cloudformation"), "bad", json.dumps({"Resources": {"Unknown": unknown}}), {})
    taken = {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": cloud.environment["TAU_BUCKET"]}}
    with pytest.raises(StackError, match=r"the stack bad is .*: Taken: .*already exists"):
        apply(cloud.client("cloudformation"), "bad", json.dumps({"Resources": {"Taken": taken}}), {})


def test_a_secret_is_kept_as_a_secure_string_and_may_be_changed(cloud):
    cloud.put_secret("hook-2026", "old")
    cloud.put_secret("hook-2026", "new")
    ssm = cloud.client("ssm")
    found = ssm.get_parameter(Name="/tau/local/secrets/hook-2026", WithDecryption=True)["Parameter"]
    assert (found["Value"], found["Type"]) == ("new", "SecureString")


# --- rights ---------------------------------------------------------------------------------------


def code_server(cloud, service):
    keys = {name.lower(): cloud.environment[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    return boto3.client(service, endpoint_url=cloud.url, region_name=cloud.environment["AWS_REGION"], **keys)


def test_the_code_server_may_do_its_work(cloud):
    bucket, table = cloud.environment["TAU_BUCKET"], cloud.environment["TAU_TABLE"]
    s3, dynamodb, sqs = (code_server(cloud, service) for service in ("s3", "dynamodb", "sqs"))
    s3.put_object(Bucket=bucket, Key="logs/01/1/0/0", Body=b"line\n", IfNoneMatch="*")
    assert s3.list_objects_v2(Bucket=bucket, Prefix="logs/01/")["KeyCount"] == 1
    assert s3.get_object(Bucket=bucket, Key="logs/01/1/0/0")["Body"].read() == b"line\n"
    key = {"pk": {"S": "run#01"}, "sk": {"S": "run"}}
    held = {"Put": {"TableName": table, "Item": {**key, "due_shard": {"S": "0"}, "due_at": {"N": "1"}}}}
    other = {"pk": {"S": "lock#01"}, "sk": {"S": "lock"}}
    free = {"ConditionCheck": {"TableName": table, "Key": other, "ConditionExpression": "attribute_not_exists(pk)"}}
    dynamodb.transact_write_items(TransactItems=[held, free])
    due = {"KeyConditionExpression": "due_shard = :s", "ExpressionAttributeValues": {":s": {"S": "0"}}}
    assert key.items() <= dynamodb.query(TableName=table, IndexName="due", **due)["Items"][0].items()
    queue = sqs.get_queue_url(QueueName=f"{cloud.environment['TAU_QUEUE_PREFIX']}-default")["QueueUrl"]
    sqs.send_message(QueueUrl=queue, MessageBody="wake up", MessageGroupId="github.com/2pisoftware/cmfive")
    message = sqs.receive_message(QueueUrl=queue)["Messages"][0]
    sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=60)
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    cloud.put_secret("registry", "user:password")
    parameter = code_server(cloud, "ssm").get_parameter(Name="/tau/local/secrets/registry", WithDecryption=True)
    assert parameter["Parameter"]["Value"] == "user:password"


@pytest.mark.parametrize(
    ("service", "call", "arguments"),
    [
        ("s3", "delete_object", {"Bucket": "2pisoftware-tau-local", "Key": "logs/01/1/0/0"}),
        ("s3", "put_object", {"Bucket": "2pisoftware-tau-local", "Key": "packages/evil.zip", "Body": b""}),
        ("dynamodb", "delete_item", {"TableName": "tau-local", "Key": {"pk": {"S": "a"}, "sk": {"S": "b"}}}),
        ("ssm", "put_parameter", {"Name": "/tau/local/secrets/hook", "Value": "x", "Type": "SecureString"}),
        ("ssm", "get_parameter", {"Name": "/tau/prod/secrets/hook"}),
        ("iam", "list_users", {}),
    ],
)
def test_the_code_server_may_do_nothing_else(cloud, service, call, arguments):
    with pytest.raises(ClientError, match="not authorized"):
        getattr(code_server(cloud, service), call)(**arguments)


def test_a_further_pool_is_a_stack_of_its_own_and_read_by_those_who_have_its_policy(cloud):
    with pytest.raises(StackError, match="no -dead at its end"):
        apply(cloud.client("cloudformation"), "bad-pool", POOL.read_text(), {"Stage": "local", "Pool": "arm-dead"})
    outputs = apply(cloud.client("cloudformation"), "pool", POOL.read_text(), {"Stage": "local", "Pool": "arm"})
    assert (outputs["Queue"], outputs["DeadQueue"]) == ("tau-local-arm", "tau-local-arm-dead")
    sqs = code_server(cloud, "sqs")
    url = sqs.get_queue_url(QueueName="tau-local-arm")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="wake up", MessageGroupId="github.com/2pisoftware/cmfive")
    with pytest.raises(ClientError, match="not authorized"):
        sqs.receive_message(QueueUrl=url)
    cloud.client("iam").attach_user_policy(UserName="code-server", PolicyArn=outputs["RunnerPolicy"])
    message = sqs.receive_message(QueueUrl=url)["Messages"][0]
    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])


@pytest.mark.parametrize("call", ["receive_message", "purge_queue"])
def test_the_code_server_does_not_read_dead_letters(cloud, call):
    with pytest.raises(ClientError, match="not authorized"):
        getattr(code_server(cloud, "sqs"), call)(QueueUrl=cloud.outputs["DefaultDeadQueueUrl"])


# --- mail -----------------------------------------------------------------------------------------


def test_sent_mail_can_be_read_back_and_opened_as_files(cloud, tmp_path):
    cloud.client("sesv2").send_email(
        FromEmailAddress=cloud.environment["TAU_SENDER"],
        Destination={"ToAddresses": ["dev@2pisoftware.com"]},
        Content={
            "Simple": {
                "Subject": {"Data": "passed ✓ cmfive"},
                "Body": {"Text": {"Data": "hé"}, "Html": {"Data": "<b>hé</b>"}},
            }
        },
    )
    last = cloud.mails()[-1]
    assert (last.to, last.subject, last.text) == (("dev@2pisoftware.com",), "passed ✓ cmfive", "hé")
    path = cloud.save_mails(tmp_path)[-1]
    assert path.name.endswith("-passed-cmfive.eml")
    assert b"multipart/alternative" in path.read_bytes()
    assert path.with_name(f"{path.stem}.html").read_text() == "<b>hé</b>"


def test_nobody_sends_in_the_name_of_a_domain_that_is_not_verified(cloud):
    with pytest.raises(ClientError, match="not verified"):
        cloud.client("sesv2").send_email(
            FromEmailAddress="ci@elsewhere.example",
            Destination={"ToAddresses": ["dev@2pisoftware.com"]},
            Content={"Simple": {"Subject": {"Data": "x"}, "Body": {"Text": {"Data": "x"}}}},
        )


# --- its end --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    return made_in(tmp_path_factory.mktemp("app"))


def test_it_stops_without_leaving_a_process_a_thread_or_a_temporary_file(tmp_path, app):
    threads = set(threading.enumerate())
    with LocalCloud(tmp_path) as cloud:
        post(f"{cloud.deploy_app(app=app)}/echo", b"{}")
        assert processes(tmp_path)
        url = cloud.url
    assert set(threading.enumerate()) <= threads
    assert processes(tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == ["ministack.log"]
    with pytest.raises(ConnectionRefusedError):
        http.client.HTTPConnection(urlsplit(url).netloc).request("GET", "/")


def test_it_dies_with_us_even_when_we_are_killed(tmp_path, app):
    code = f"""
import sys, time, urllib.request
from pathlib import Path
from infra.local.cloud import LocalCloud
with LocalCloud(Path({str(tmp_path)!r})) as cloud:
    url = cloud.deploy_app(app=Path({str(app)!r}))
    request = urllib.request.Request(url + "/echo", b"{{}}", {{"Content-Type": "application/json"}})
    urllib.request.urlopen(request).read()
    print("up", flush=True)
    time.sleep(60)
"""
    ours = subprocess.Popen((sys.executable, "-c", code), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    with ours:
        assert ours.stdout.readline() == "up\n"
        assert len(processes(tmp_path)) >= 2  # the emulator, and the function's worker
        ours.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 5
    while processes(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes(tmp_path) == []


def test_what_is_not_running_says_so(tmp_path):
    with pytest.raises(CloudError, match="not running"):
        LocalCloud(tmp_path).client("sqs")


def test_our_own_environment_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    with LocalCloud(tmp_path) as cloud:
        assert cloud.client("sqs").list_queues()["QueueUrls"]
        assert cloud.client("sqs").meta.region_name == "ap-southeast-2"
