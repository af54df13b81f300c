"""Deployments in people's hands: memory for records and Elastic Beanstalk, and a time that a test moves."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

from chalicelib.deployer import advance_deployments
from chalicelib.model import (
    DEPLOYMENT_ENDS,
    Deployment,
    DeploymentState,
    EventKind,
    Notify,
    Pusher,
    Run,
    RunState,
    Step,
    WaitingFor,
)
from chalicelib.records.run_items import new_run
from tests.fake_beanstalk import Environment, FakeBeanstalk
from tests.installation import NOW, SETTINGS, event, job, later
from tests.sim.edges.cloud import MemoryCloud

ENVIRONMENT, REGION = "crm-production", "ap-southeast-2"
SAM, BOB = "sam@2pisoftware.com", "bob@2pisoftware.com"


class Clock:
    now = NOW

    def __call__(self):
        return self.now


class Hands:
    """`asked` holds the addresses that were asked for an approval; of those in `unreachable` SES refuses the mail."""

    def __init__(self):
        self.clock = Clock()
        made = MemoryCloud(SETTINGS, self.clock, lambda: 0.0, lambda _until: None).edge()
        self.beanstalk = FakeBeanstalk(self.clock, environments={ENVIRONMENT: Environment("v0")})
        self.beanstalk.add_version("v0")
        self.asked, self.trouble = [], {}
        self.edge = replace(made, client=self._client, now=self.clock, ask=self._ask)
        self._made, self._runs = made, 0
        self.store = made.store

    def _client(self, service, region=None):
        return self.beanstalk if service == "elasticbeanstalk" else self._made.client(service, region)

    @contextmanager
    def no_rights_at_elastic_beanstalk(self, but=()):
        """Whoever calls within it may write records, and there do nothing."""
        operations = {"DescribeEvents", "DescribeEnvironments", "DescribeApplicationVersions", "UpdateEnvironment"}
        before = self.beanstalk.refusals
        denied = {*operations, "AbortEnvironmentUpdate"} - set(but)
        self.beanstalk.refusals = {operation: ["AccessDenied"] * 10 for operation in denied}
        yield
        self.beanstalk.refusals = before

    def _ask(self, edge, deployment, address):
        assert (edge, deployment.state) == (self.edge, DeploymentState.WAITING_APPROVAL)
        if address in self.trouble:
            raise self.trouble[address]
        self.asked.append(address)
        return "message"

    def deploy(self, label, **changes) -> Deployment:
        """A run that waits for its environment, and its deployment."""
        self._runs += 1
        made = self.run(label, self._runs)
        self.beanstalk.versions.get(label) or self.beanstalk.add_version(label)
        fields = {
            "id": f"{made.id}.0",
            "run": made.id,
            "region": REGION,
            "application": "crm",
            "environment": ENVIRONMENT,
            "label": label,
            "state": DeploymentState.PREPARED,
            "number": 1,
            "created_at": self.clock(),
            "deadline_at": self.clock() + timedelta(minutes=30),
            "due_at": self.clock(),
            "tag": label,
            "commit": made.job.event.commit,
            "by": "A Developer",
        }
        record = Deployment(**{**fields, **changes})
        assert self.store.create_deployment(record)
        return record

    def run(self, label, number) -> Run:
        pushed = event(
            kind=EventKind.TAG_CREATED,
            ref=f"refs/tags/{label}",
            name=label,
            commit=f"{number}" * 40,
            pusher=Pusher("dev", "A Developer", f"dev{number}@2pisoftware.com"),
        )
        told = Notify(("pusher", BOB), "change")
        planned = job(Step("deploy_eb", {}), event=pushed, lock=f"{label}-{number}", notify=told)
        made = Run(f"01KAQ{number:021}", f"01KAQ{0:021}", planned, RunState.QUEUED, self.clock())
        self.store.table.write(new_run(made))
        held = self.store.claim(made, "r1", self.clock())
        assert self.store.park(held, WaitingFor.ENVIRONMENT, later(20), "on its way")
        return self.store.run(made.id)

    def pass_(self, seconds=0):
        """Time goes by, and the ticker ticks."""
        until = self.clock() + timedelta(seconds=seconds)
        while True:
            for due in self.store.due(self.clock()):
                if due.kind == "deployment":
                    advance_deployments([due.id], edge=self.edge, now=self.clock())
            if self.clock() >= until:
                return
            self.clock.now = min(until, self.clock() + timedelta(seconds=5))

    def live(self, label, **changes) -> Deployment:
        """A version that went live and well."""
        return self.to_the_end(self.deploy(label, **changes))

    def to_the_end(self, record):
        for _ in range(500):
            record = self.store.deployment(record.id)
            if record.state in DEPLOYMENT_ENDS and record.due_at is None:
                return record
            self.pass_(5)
        raise AssertionError(f"no end: {record}")

    def record(self, one) -> Deployment:
        return self.store.deployment(one.id)
