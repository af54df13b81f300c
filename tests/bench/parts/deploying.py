"""A real runner beside the local cloud and a local Elastic Beanstalk over HTTP, with pages in place of containers."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3

from chalicelib.edge import Edge, connect
from chalicelib.model import Deployment, DeploymentState
from chalicelib.settings import Settings
from infra.local import processes
from infra.local.cloud import LocalCloud
from infra.local.elastic_beanstalk import ElasticBeanstalk
from infra.local.engine import ensure_engine
from parts import ROOT
from tests.local.beanstalks import EngineNobodyAsks, pulled
from tests.local.eb_stand_ins import Pages

APPLICATION, REGION = "shop", "ap-southeast-2"
PATIENCE_S = 300
_SYSTEM = "tau-bench-deploying"


class Counted(ElasticBeanstalk):
    """The service, counting what it is asked."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.asked: Counter[str] = Counter()

    def _operation(self, name: str) -> Any:
        self.asked[name] += 1
        return super()._operation(name)


@dataclass
class Deploying:
    """The records, Elastic Beanstalk, and perhaps a runner."""

    edge: Edge
    service: Counted
    client: Any
    runner: processes.Child | None

    def create_environments(self, number: int) -> None:
        """So many, each with the version v1 live."""
        self.client.create_application(ApplicationName=APPLICATION)
        self.create_version("v1")
        for one in range(number):
            self.client.create_environment(
                ApplicationName=APPLICATION, EnvironmentName=environment_name(one), VersionLabel="v1"
            )
        until = time.monotonic() + PATIENCE_S
        while any(one["Status"] != "Ready" for one in self.client.describe_environments()["Environments"]):
            if time.monotonic() > until:
                raise SystemExit("the environments did not become Ready")
            time.sleep(1)

    def create_version(self, label: str) -> None:
        """One that can be deployed at once."""
        key = f"bundles/{APPLICATION}/{label}.zip"
        self.edge.objects.put_once(key, pulled(label))
        place = {"S3Bucket": self.edge.settings.bucket, "S3Key": key}
        self.client.create_application_version(
            ApplicationName=APPLICATION, VersionLabel=label, SourceBundle=place, Process=True
        )
        asked = {"ApplicationName": APPLICATION, "VersionLabels": [label]}
        while self.client.describe_application_versions(**asked)["ApplicationVersions"][0]["Status"] != "PROCESSED":
            time.sleep(0.2)

    def states(self, ids: list[str]) -> Counter[DeploymentState]:
        found = map(self.edge.store.deployment, ids)
        return Counter(one.state for one in found if one)


@contextmanager
def deploying(step_s: float, *, a_runner: bool = True) -> Iterator[Deploying]:
    """All of it.

    Args:
        step_s: how long Elastic Beanstalk takes over each step of an update.
        a_runner: whether one is up.
    """
    with ExitStack() as parts:
        folder = Path(parts.enter_context(tempfile.TemporaryDirectory(prefix="tau-bench-")))
        cloud = parts.enter_context(LocalCloud(folder / "cloud"))
        service = Counted(EngineNobodyAsks(), cloud.client("s3"), _SYSTEM, step_s, containers=Pages())
        cloud.front.elastic_beanstalk = parts.enter_context(service)
        runner = None
        if a_runner:
            engine = parts.enter_context(ensure_engine())
            runner = _start({**cloud.environment, **engine.environ, "TAU_SYSTEM": _SYSTEM}, folder)
            parts.callback(runner.stop)
        yield Deploying(_edge_of(cloud.environment, cloud.url), service, cloud.client("elasticbeanstalk"), runner)


def _start(environment: dict[str, str], folder: Path) -> processes.Child:
    argv = (sys.executable, "-m", "runner", "runner", "--folder", str(folder / "runner"))
    child = processes.start(
        "runner", argv, folder / "runner.log", env={**os.environ, **environment}, cwd=ROOT, at_our_death="KILL"
    )
    processes.wait_until(lambda: '"ready"' in child.tail(), child, 60)
    return child


def _edge_of(environment: dict[str, str], url: str) -> Edge:
    session = boto3.Session(
        environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"], region_name=environment["AWS_REGION"]
    )
    return connect(Settings.from_env(environment), session, url)


def environment_name(number: int) -> str:
    return f"{APPLICATION}-{number:02}"


def deployment(edge: Edge, number: int, label: str, **changes: Any) -> Deployment:
    """A record as `deploy_eb` makes it, written: so the runners and the Lambda find it."""
    now = edge.now()
    fields = {
        "id": f"01KAW3ZB80{number:016}.1",
        "run": f"01KAW3ZB80{number:016}",
        "region": REGION,
        "application": APPLICATION,
        "environment": environment_name(number),
        "label": label,
        "state": DeploymentState.PREPARED,
        "number": 1,
        "created_at": now,
        "deadline_at": now + timedelta(minutes=30),
        "due_at": now,
    }
    made = Deployment(**{**fields, **changes})
    edge.store.create_deployment(made)
    return made
