"""The local cloud's one address: who gets which request, and what passes through it unchanged."""

import http.client
import json
import os
import threading
import time
from urllib.parse import urlsplit

import pytest

from infra.local.cloud import LocalCloud
from infra.local.front import Front
from tests.local.beanstalks import order

pytestmark = pytest.mark.cloud


class FakeBeanstalk:
    """Remembers what it was asked; knows no application."""

    def __init__(self):
        self.asked = []

    def handle(self, method, path, headers, body):
        self.asked.append((method, path, headers.get("content-type"), body))
        if path.startswith("/_elasticbeanstalk/"):
            return 200, {"Content-Type": "application/json"}, b"{}"
        answer = b"<R><DescribeApplicationsResult><Applications/></DescribeApplicationsResult></R>"
        return 200, {"Content-Type": "text/xml"}, answer


@pytest.fixture(scope="module")
def beanstalk():
    return FakeBeanstalk()


@pytest.fixture(scope="module")
def cloud(tmp_path_factory, beanstalk):
    with LocalCloud(tmp_path_factory.mktemp("cloud"), elastic_beanstalk=beanstalk) as running:
        yield running


def test_only_requests_signed_for_elastic_beanstalk_go_to_the_mounted_service(cloud, beanstalk):
    before = len(beanstalk.asked)
    assert cloud.client("elasticbeanstalk").describe_applications()["Applications"] == []
    cloud.client("sqs").list_queues()
    assert [body for *_, body in beanstalk.asked[before:]] == [b"Action=DescribeApplications&Version=2010-12-01"]


def test_faults_of_elastic_beanstalk_are_ordered_at_the_same_address_unsigned(cloud, beanstalk):
    order(cloud.url, "crm-production", fault="red")
    method, path, _, body = beanstalk.asked[-1]
    assert (method, path) == ("POST", "/_elasticbeanstalk/environments/crm-production/faults")
    assert json.loads(body) == {"fault": "red"}


def test_a_large_object_comes_back_as_it_went(cloud):
    body = os.urandom(8_000_000)
    s3, bucket = cloud.client("s3"), cloud.environment["TAU_BUCKET"]
    s3.put_object(Bucket=bucket, Key="bundles/large", Body=body)
    assert s3.get_object(Bucket=bucket, Key="bundles/large")["Body"].read() == body
    assert s3.head_object(Bucket=bucket, Key="bundles/large")["ContentLength"] == len(body)


def test_a_long_poll_is_woken_by_a_message_and_holds_up_nobody_else(cloud):
    sqs = cloud.client("sqs")
    queue = sqs.create_queue(QueueName="tau-local-poll")["QueueUrl"]
    got = []

    def poll():
        answer = cloud.client("sqs").receive_message(QueueUrl=queue, WaitTimeSeconds=20)
        got.append((time.monotonic(), answer["Messages"][0]["Body"]))

    poller = threading.Thread(target=poll)
    poller.start()
    time.sleep(0.3)
    sent_at = time.monotonic()
    sqs.send_message(QueueUrl=queue, MessageBody="wake up", MessageGroupId="github.com/2pisoftware/cmfive")
    poller.join(timeout=10)
    assert got[0][1] == "wake up"
    assert got[0][0] - sent_at < 2


def test_while_the_emulator_is_not_there_the_answer_says_so():
    front = Front()
    try:
        connection = http.client.HTTPConnection(urlsplit(front.url).netloc, timeout=5)
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (502, b"the local cloud's emulator does not answer\n")
        connection.close()
    finally:
        front.stop()
