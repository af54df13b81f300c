"""An installation in memory: the table as infra/stack.yml has it, queues and a bucket, behind the real edge."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import yaml
from moto import mock_aws

from chalicelib.edge import Edge, connect
from chalicelib.model import Event, EventKind, Job, Notify, Provider, Pusher, Run, RunState, Source, Step
from chalicelib.settings import Settings

STACK = Path(__file__).parent.parent / "infra" / "stack.yml"
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SETTINGS = Settings(
    stage="test",
    table="tau-test",
    bucket="tau-test",
    queue_prefix="tau-test",
    sender="tau@2pisoftware.com",
    system="tau-test",
    lease_s=30,
)


class _Template(yaml.SafeLoader):
    """CloudFormation's short forms (`!Sub`, `!Ref`, …) read as what they hold."""


def _inner(loader: yaml.SafeLoader, _tag: str, node: yaml.Node):
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    return loader.construct_sequence(node) if isinstance(node, yaml.SequenceNode) else loader.construct_mapping(node)


_Template.add_multi_constructor("!", _inner)


@cache
def table_of_stack() -> dict:
    """The table's properties as `create_table` wants them."""
    properties = yaml.load(STACK.read_text(), Loader=_Template)["Resources"]["Table"]["Properties"]
    wanted = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")
    return {name: properties[name] for name in wanted}


@contextlib.contextmanager
def installation(monkeypatch) -> Iterator[Edge]:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "ap-southeast-2",
        "AWS_REGION": "ap-southeast-2",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        edge = _edge()
        edge.client("dynamodb").create_table(TableName="tau-test", **table_of_stack())
        edge.client("sqs").create_queue(QueueName="tau-test-default")
        edge.client("s3").create_bucket(
            Bucket="tau-test", CreateBucketConfiguration={"LocationConstraint": "ap-southeast-2"}
        )
        edge.client("sesv2").create_email_identity(EmailIdentity="2pisoftware.com")
        yield edge


@cache
def _edge() -> Edge:
    """Making clients is slow and they hold no state: one set serves every test, each with an empty cloud."""
    return connect(SETTINGS)


def event(**changes) -> Event:
    fields = {
        "forge": "github.com",
        "provider": Provider.GITHUB,
        "delivery_id": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        "kind": EventKind.PUSH,
        "repository": "2pisoftware/cmfive",
        "ref": "refs/heads/develop",
        "name": "develop",
        "before": "1" * 40,
        "after": "2" * 40,
        "commit": "2" * 40,
        "pusher": Pusher("dev", "A Developer", "dev@2pisoftware.com"),
    }
    return Event(**{**fields, **changes})


def job(*steps: Step, **changes) -> Job:
    source = Source("github.com", "2pisoftware/cmfive", "ssh://git@github.com/2pisoftware/cmfive.git")
    fields = {
        "pipeline": "cmfive-dev",
        "event": event(),
        "steps": steps,
        "source": source,
        "sources": {source.name: source},
        "registries": {},
        "lock": "cmfive-dev/github.com/2pisoftware/cmfive/refs/heads/develop",
        "notify": Notify(("pusher",), "always"),
        "operators": ("ops@2pisoftware.com",),
        "config": "c" * 64,
    }
    return Job(**{**fields, **changes})


def run(number: int = 1, *steps: Step, **changes) -> Run:
    fields = {
        "id": f"01KAQ{number:021}",
        "delivery": f"01KAQ{0:021}",
        "job": job(*steps),
        "state": RunState.QUEUED,
        "created_at": NOW,
    }
    return Run(**{**fields, **changes})


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)
