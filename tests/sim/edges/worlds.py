"""Three clouds for one set of tests: ours in memory, moto, and the local one."""

import contextlib
import heapq
import json
import threading
import time
from datetime import timedelta
from functools import cache
from itertools import count

import boto3
import pytest

from chalicelib.edge import connect
from chalicelib.records.table import Put, Table, plain
from chalicelib.settings import Settings
from infra.local.emulator import REGION
from tests.installation import NOW, SETTINGS, installation, table_of_stack
from tests.sim.edges.cloud import MemoryCloud
from tests.sim.edges.table import MemoryTable

WORLDS = ["memory", "moto", pytest.param("cloud", marks=pytest.mark.cloud)]
_NUMBERS = count(1)
PLACE = ("run#1", "run")


def item(pk="run#1", **attributes):
    return Put({"pk": pk, "sk": "run", **attributes})


def exact(value):
    """A value with the kinds of all its parts, since 1 == 1.0 == True."""
    if isinstance(value, dict):
        return {name: exact(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [exact(inner) for inner in value]
    if isinstance(value, set):
        return {exact(inner) for inner in value}
    return type(value), value


class Agenda:
    """Virtual time: it goes on when somebody idles, and what was planned happens on the way."""

    def __init__(self):
        self.seconds, self._planned = 0.0, []

    def monotonic(self):
        return self.seconds

    def now(self):
        return NOW + timedelta(seconds=self.seconds)

    def idle(self, until):
        """Up to that moment, or to the next thing that happens."""
        if self._planned and self._planned[0][0] <= until:
            at, _, do = heapq.heappop(self._planned)
            self.seconds = max(self.seconds, at)
            do()
        else:
            self.seconds = max(self.seconds, until)

    def wait(self, seconds):
        until = self.seconds + seconds
        while self.seconds < until:
            self.idle(until)

    def soon(self, seconds, do):
        heapq.heappush(self._planned, (self.seconds + seconds, next(_NUMBERS), do))


class Memory:
    """Ours."""

    def __init__(self):
        self._agenda = Agenda()
        self.wait, self.soon, self.monotonic = self._agenda.wait, self._agenda.soon, self._agenda.monotonic
        self.cloud = MemoryCloud(SETTINGS, self._agenda.now, self._agenda.monotonic, self._agenda.idle)
        self.queue = self.cloud.edge().queue
        self.objects = self.cloud.edge().objects

    def table(self):
        return MemoryTable()

    @staticmethod
    def items(table):
        return dict(table.items)

    def pool(self, most_receives=None):
        name = f"pool{next(_NUMBERS)}"
        self.cloud.add_pool(name, most_receives)
        return name


class Aws:
    """What speaks AWS's protocol: real time, real clients."""

    wait, monotonic = staticmethod(time.sleep), staticmethod(time.monotonic)

    def __init__(self, edge):
        self._edge = edge
        self.queue, self.objects = edge.queue, edge.objects

    def table(self):
        name, client = f"contract-{next(_NUMBERS)}", self._edge.client("dynamodb")
        client.create_table(TableName=name, **table_of_stack())
        client.get_waiter("table_exists").wait(TableName=name)
        return Table(client, name)

    def items(self, table):
        pages = self._edge.client("dynamodb").get_paginator("scan").paginate(TableName=table.name, ConsistentRead=True)
        read = [plain(item) for page in pages for item in page["Items"]]
        return {(item["pk"], item["sk"]): item for item in read}

    def pool(self, most_receives=None):
        name, client, attributes = f"pool{next(_NUMBERS)}", self._edge.client("sqs"), {}
        queue = f"{self._edge.settings.queue_prefix}-{name}"
        if most_receives:
            dead = client.create_queue(QueueName=f"{queue}-dead")["QueueUrl"]
            arn = client.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
            redrive = {"deadLetterTargetArn": arn, "maxReceiveCount": most_receives}
            attributes["RedrivePolicy"] = json.dumps(redrive)
        client.create_queue(QueueName=queue, Attributes=attributes)
        return name

    @staticmethod
    def soon(seconds, do):
        threading.Timer(seconds, do).start()


@contextlib.contextmanager
def entered(request, errs=None):
    """The world of a parametrised fixture.

    Args:
        errs: world -> the cases in which it is known not to be like AWS; should it become so, the test says it.
    """
    name = request.param
    case = request.node.name.replace(f"[{name}]", "").replace(f"[{name}-", "[")
    if case in (errs or {}).get(name, ()):
        request.applymarker(pytest.mark.xfail(reason=f"{name} is not like AWS here", strict=True))
    if name == "memory":
        yield Memory()
    elif name == "moto":
        with installation(request.getfixturevalue("monkeypatch")) as edge:
            yield Aws(edge)
    else:
        yield Aws(_edge_of(request.getfixturevalue("cloud")))


@cache
def _edge_of(cloud):
    """With all rights: here tables and queues come and go."""
    session = boto3.Session("test", "test", region_name=REGION)
    return connect(Settings.from_env(cloud.environment), session, cloud.url)
