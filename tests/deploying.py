"""What tests of deployments stand on: records in memory, a queue that remembers, and a time that a test moves."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

from chalicelib.deployer import advance_deployments, drive
from chalicelib.edge import by_http
from chalicelib.model import DEPLOYMENT_ENDS, Deployment, DeploymentState, Message
from chalicelib.seeing import look
from tests.fake_beanstalk import FakeBeanstalk

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


class Clock:
    def __init__(self):
        self.now = START

    def __call__(self):
        return self.now

    def pass_(self, seconds):
        self.now += timedelta(seconds=seconds)


class MemoryStore:
    """The records that a deployment touches, with the conditions of the real ones."""

    def __init__(self):
        self.deployments, self.locks, self.waiting, self.writes = {}, {}, set(), []
        self.lives = {}

    def deployment(self, deployment_id):
        return self.deployments.get(deployment_id)

    def read_deployments(self, ids):
        return [self.deployments[one] for one in ids if one in self.deployments]

    def create_deployment(self, deployment):
        return self.deployments.setdefault(deployment.id, deployment) is deployment

    def live(self, region, environment):
        return self.lives.get((region, environment))

    def move_deployment(self, old, new, *, live=None):
        if self.deployments[old.id].number != old.number:
            return False
        self.deployments[old.id] = replace(new, number=old.number + 1)
        self.writes.append(self.deployments[old.id])
        if live:
            self.lives[live.region, live.environment] = live
        return True

    def acquire_lock(self, name, holder, epoch=0):  # noqa: ARG002 - the real one wants it
        return self.locks.setdefault(name, holder) == holder

    def acquire_in_order(self, name, holder, run):  # noqa: ARG002 - every deployment here is of the newest run
        return self.acquire_lock(name, holder, 0)

    def release_lock(self, name, holder):
        if self.locks.get(name) == holder:
            del self.locks[name]

    def lock_holder(self, name):
        return self.locks.get(name)

    def wake(self, run_id, *_):
        if run_id not in self.waiting:
            return None
        self.waiting.remove(run_id)
        return Message(run_id, 2)

    def run(self, _):
        source = SimpleNamespace(repository="2pisoftware/crm_deploy")
        return SimpleNamespace(job=SimpleNamespace(pool="default", source=source))


class Outbox:
    def __init__(self):
        self.sent = []

    def call(self, message, job):
        self.send(message, pool=job.pool, group=job.source.repository)

    def send(self, message, *, pool, group):
        self.sent.append((message.run, pool, group))


def deployment(run="01RUN", **fields):
    record = Deployment(
        id=f"{run}.3",
        run=run,
        region="ap-southeast-2",
        application="crm",
        environment="crm-production",
        label="v2",
        state=DeploymentState.PREPARED,
        number=1,
        created_at=START,
        deadline_at=START + timedelta(seconds=1800),
        due_at=START,
    )
    return replace(record, **fields)


class World:
    """A store, a queue and Elastic Beanstalk, and the time."""

    def __init__(self, **beanstalk):
        self.clock, self.store, self.queue = Clock(), MemoryStore(), Outbox()
        self.beanstalk = FakeBeanstalk(self.clock, **beanstalk)
        for label in ("v1", "v2"):
            self.beanstalk.add_version(label)
        self.add(deployment())

    def add(self, record):
        self.store.create_deployment(record)
        self.store.waiting.add(record.run)

    def edge(self, client=None):
        return SimpleNamespace(
            store=self.store,
            queue=self.queue,
            client=lambda *_: client or self.beanstalk,
            now=self.clock,
            probe=by_http,
        )

    def tick(self, deployment_id="01RUN.3"):
        advance_deployments([deployment_id], edge=self.edge(), now=self.clock())
        return self.store.deployment(deployment_id)

    def drive(self, record, client=None, store=None):
        """One look, one decision, and what follows it, with no regard to what is due."""
        client = client or self.beanstalk
        seen = look([record], client)[record.id]
        return drive(record, seen, store=store or self.store, client=client, clock=self.clock)

    def to_the_end(self, *ids, step_s=5, most=2000):
        ids = ids or ("01RUN.3",)
        for _ in range(most):
            records = [self.tick(one) for one in ids]
            if all(record.state in DEPLOYMENT_ENDS and record.due_at is None for record in records):
                return records[0] if len(records) == 1 else records
            self.clock.pass_(step_s)
        raise AssertionError(f"no end: {records}")
