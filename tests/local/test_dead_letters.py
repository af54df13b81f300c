"""The real ticker in the local cloud, with the rights that its policy gives it: dead letters into the records."""

import json

import pytest

from chalicelib.edge import connect
from chalicelib.model import Message
from chalicelib.queue import encode
from chalicelib.settings import Settings
from infra.local.cloud import ROOT, LocalCloud
from infra.local.stacks import apply

pytestmark = pytest.mark.cloud


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    with LocalCloud(tmp_path_factory.mktemp("cloud")) as running:
        running.deploy_app()
        yield running


@pytest.fixture
def store(cloud, monkeypatch):
    for name, value in cloud.environment.items():
        monkeypatch.setenv(name, value)
    return connect(Settings.from_env(cloud.environment), endpoint=cloud.url).store


def give_up_on(cloud, body):
    """A message as SQS moves it: received again and again, and never deleted."""
    sqs, url = cloud.client("sqs"), cloud.outputs["DefaultQueueUrl"]
    sent = sqs.send_message(QueueUrl=url, MessageBody=body)["MessageId"]
    for _ in range(51):
        sqs.receive_message(QueueUrl=url, VisibilityTimeout=0)
    return sent


def test_what_sqs_gives_up_on_is_a_letter_after_the_next_tick_and_is_counted(cloud, store):
    sent = give_up_on(cloud, encode(Message("01NONE", 1)))
    cloud.tick()
    (letter,) = store.dead_letters()
    assert (letter.id, letter.pool, letter.run) == (sent, "default", "01NONE")
    assert letter.reason == "there is no run 01NONE"
    assert letter.attempts > 50
    dead = cloud.client("sqs").get_queue_attributes(
        QueueUrl=cloud.outputs["DefaultDeadQueueUrl"],
        AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
    )["Attributes"]
    assert set(dead.values()) == {"0"}
    metrics = [json.loads(line) for line in cloud.logs() if '"DeadLetters"' in line and '"_aws"' in line]
    assert [(metric["DeadLetters"], metric["service"], metric["stage"]) for metric in metrics][-1] == (
        *([1.0], "ticker"),
        "local",
    )


def test_the_dead_letters_of_a_pool_that_ci_yml_does_not_name_are_left_alone(cloud, store):
    template = (ROOT / "infra" / "pool.yml").read_text()
    outputs = apply(cloud.client("cloudformation"), "pool", template, {"Stage": "local", "Pool": "arm"})
    cloud.client("sqs").send_message(QueueUrl=outputs["DeadQueueUrl"], MessageBody="nobody's")
    before = store.dead_letters()
    cloud.tick()
    assert store.dead_letters() == before
