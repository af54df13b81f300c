"""Everything outside in memory, behind the edges that the real programs get."""

from functools import partial

from chalicelib.edge import Edge
from chalicelib.queue import Queue
from chalicelib.secrets import Secrets
from chalicelib.store import Store
from tests.sim.edges.beanstalk import MemoryBeanstalk
from tests.sim.edges.engine import MemoryEngine, MemoryRegistries
from tests.sim.edges.point import at_once
from tests.sim.edges.services import MemoryS3, MemorySes, MemorySsm
from tests.sim.edges.sqs import MemorySqs
from tests.sim.edges.table import MemoryTable


class MemoryCloud:
    """One cloud.

    Args:
        now: AWS's time of day, UTC.
        monotonic: seconds of a clock that only goes forward.
        idle: returns at the given moment of that clock, or earlier.
        point: see tests/sim/edges/point.py.
        changed: see MemorySqs.
        nasty: see MemorySqs.
        lag: see MemoryTable.
    """

    def __init__(self, settings, now, monotonic, idle, *, point=at_once, changed=lambda: None, nasty=None, lag=None):
        self.settings, self._now, self._monotonic = settings, now, monotonic
        self.table = MemoryTable(point=point, lag=lag, name=settings.table)
        self.sqs = MemorySqs(monotonic, idle, changed=changed, point=point, nasty=nasty)
        self.s3, self.ssm, self.ses = MemoryS3(point=point), MemorySsm(point=point), MemorySes(point=point)
        self.beanstalk = MemoryBeanstalk(now, point=point)
        self.registries = MemoryRegistries(point=point)
        self.engine = partial(MemoryEngine, self.registries, point=point)
        """Makes the Docker engine of one host."""
        self._clients = {
            "sqs": self.sqs,
            "s3": self.s3,
            "ssm": self.ssm,
            "sesv2": self.ses,
            "elasticbeanstalk": self.beanstalk,
        }
        self.add_pool("default")

    def add_pool(self, pool, most_receives=50):
        self.sqs.add_queue(f"{self.settings.queue_prefix}-{pool}", most_receives)

    def put_secret(self, name, value):
        self.ssm.parameters[f"{self.settings.secrets_prefix}{name}"] = value

    def client(self, service, region=None):  # noqa: ARG002 - every region is the same one
        return self._clients[service]

    def edge(self, now=None):
        """What one process gets: it shares nothing with another but the cloud.

        Args:
            now: how it sees AWS's time; None = exactly.
        """
        return Edge(
            settings=self.settings,
            store=Store(self.table),
            queue=Queue(self.sqs, self.settings.queue_prefix),
            secrets=Secrets(self.ssm, self.settings.secrets_prefix, self._monotonic),
            region="ap-southeast-2",
            client=self.client,
            now=now or self._now,
        )
