"""The real driver against the local Elastic Beanstalk, over HTTP: a run that deploys, from its claim to its mail."""

from __future__ import annotations

import io
import itertools
import json
import tarfile
import threading
from dataclasses import dataclass, replace
from types import SimpleNamespace
from urllib.error import HTTPError

from chalicelib.deployer import advance_deployments
from chalicelib.model import DEPLOYMENT_ENDS, Result, RunState, Source, Step
from chalicelib.reports.columns import BAR
from chalicelib.reports.email import Console, recipients, render
from infra.local.elastic_beanstalk import ElasticBeanstalk
from runner import runlog
from runner.actions import deploy_eb
from runner.fetching import fetch
from runner.outcome import Ended, Parked
from runner.run import enact
from tests.installation import NOW, SETTINGS, event, job
from tests.local.beanstalks import BUCKET, EngineNobodyAsks, ask, order, page_of, pulled
from tests.local.eb_stand_ins import Pages, Stepped
from tests.running import Action, Branch, Engine, passed, queued, tools
from tests.sim.edges.cloud import MemoryCloud

REGISTRY, IMAGE = "code.2pisoftware.com:5000", "2pisoftware/crm"
DOCKERRUN = json.dumps({"AWSEBDockerrunVersion": "1", "Ports": [{"ContainerPort": 80}]})
SOURCE = Source("github.com", "2pisoftware/crm_deploy", "ssh://git@github.com/2pisoftware/crm_deploy.git")
STEP_S = 10
# A runner looks every five seconds; where nothing happens any more, whoever comes late decides the same.
LOOK_S, LATER_S, SOON_S = 5, 300, 120
ENVIRONMENT = "crm-production"
MOST_S = 3 * 3600
"""Every deployment is over after so long: three deadlines of half an hour, and some."""
# The bucket is the same for many tests: what one run wrote there is not another's.
_NUMBERS = itertools.count(1)


class Tree(Branch):
    """A working tree that is a bundle's files and nothing else."""

    def checkout(self, source, ref, commit, into, *, remaining_s, stopping):  # noqa: ARG002 - the workspace's names
        return commit

    def archive(self, source, commit, *, stopping=None):  # noqa: ARG002 - the workspace's names
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            member = tarfile.TarInfo("Dockerrun.aws.json")
            member.size = len(DOCKERRUN)
            tar.addfile(member, io.BytesIO(DOCKERRUN.encode()))
        return packed.getvalue()


class Pace:
    """A runner whose waits let the time pass in which everything here lives."""

    def __init__(self, time):
        self._time, self.now = time, time.now

    def monotonic(self):
        return (self._time.now() - NOW).total_seconds()

    def sleep(self, seconds):
        self._time.pass_(seconds)

    def flag(self):
        made = threading.Event()
        made.wait = lambda timeout: made.is_set() or self.sleep(timeout) or made.is_set()
        return made


@dataclass(frozen=True)
class Told:
    """What came of a run.

    Args:
        mail: its text in one line, without its blanks.
        live: what the environment's address answers, as the name of the version that was deployed; or None.
        updates: how many UpdateEnvironment were asked.
    """

    state: RunState
    reason: str
    mail: str
    live: str | None
    updates: int


class World:
    """The application crm, whose version v1 (deployed by hand) is live in crm-production."""

    def __init__(self, s3, folder):
        self.time, self.pages = Stepped(NOW), Pages()
        self.beanstalk = ElasticBeanstalk(
            EngineNobodyAsks(), s3, "tau-test", STEP_S, health_every_s=30, containers=self.pages, background=self.time
        )
        self.address = self.beanstalk.start()
        self._s3, self._folder, self._number = s3, folder, 0
        self._later = []
        self.environment = ENVIRONMENT
        self.pace = Pace(self.time)

    def begin(self, client):
        self.client = client
        # The records are in memory: what is tried here is on the other side of them.
        settings = replace(SETTINGS, bucket=BUCKET)
        made = MemoryCloud(settings, self.time.now, self.pace.monotonic, idle=lambda _: None).edge()
        clients = {"s3": self._s3, "elasticbeanstalk": client}
        self.edge = replace(
            made, client=lambda service, region=None: clients.get(service) or made.client(service, region)
        )
        client.create_application(ApplicationName="crm")
        self._s3.put_object(Bucket=BUCKET, Key="by-hand.zip", Body=pulled("by-hand"))
        place = {"S3Bucket": BUCKET, "S3Key": "by-hand.zip"}
        client.create_application_version(ApplicationName="crm", VersionLabel="v1", SourceBundle=place)
        client.create_environment(ApplicationName="crm", EnvironmentName=ENVIRONMENT, VersionLabel="v1")
        self.time.pass_(5 * STEP_S)

    def order(self, fault, **more):
        order(self.address, self.environment, fault=fault, **more)

    # --- what a runner and the ticker do ----------------------------------------------------------

    def tag(self, name="v2", **more):
        """A run for a tag, before its first claim."""
        self._number += 1
        digest = "sha256:" + f"{self._number}" * 64
        push = Action("push", passed("push", image={"name": IMAGE, "id": digest}, digests={REGISTRY: digest}))
        said = {"application": "crm", "environment": self.environment, "image": IMAGE, **more}
        deploy = SimpleNamespace(
            name="deploy_eb", said=said, NEEDS_IMAGE=False, Settings=deploy_eb.Settings, run=deploy_eb.run
        )
        tagged = event(repository="2pisoftware/crm_deploy", ref=f"refs/tags/{name}", name=name, commit=digest[7:47])
        planned = job(
            *(Step(action.name, action.said) for action in (push, deploy)),
            event=tagged,
            source=SOURCE,
            sources={SOURCE.name: SOURCE},
            registries={REGISTRY: None},
            lock=f"deployments/{name}",
            timeout_s=MOST_S,
        )
        run = queued(self.edge, next(_NUMBERS), job=planned, send=False)
        made = tools(self.edge, Tree(self._folder), Engine(), self.pace, push, deploy)
        return Tagged(self, run.id, replace(made, fetch=fetch))

    def at(self, seconds, action):
        """Do something when so much time has passed from now."""
        self._later.append((self.pace.monotonic() + seconds, action))

    def look(self, seconds=LOOK_S):
        """The ticker's turn, and some time."""
        due_now = [one for one in self._later if one[0] <= self.pace.monotonic()]
        for one in due_now:
            self._later.remove(one)
            one[1](self)
        for due in self.edge.store.due(self.time.now()):
            if "." in due.id:
                advance_deployments([due.id], edge=self.edge, now=self.time.now())
        self.time.pass_(seconds)

    # --- what is seen -----------------------------------------------------------------------------

    def live(self):
        """Which version answers, by the label that its bundle was made for; None where nothing does."""
        (found,) = self.client.describe_environments(EnvironmentNames=[self.environment])["Environments"] or [None]
        if found is None or found["Status"] != "Ready" or "VersionLabel" not in found:
            return None
        try:
            page = page_of(found)
        except HTTPError:
            return None
        return "v1" if page == "by-hand" else f"run {page.rpartition(':')[2][0]}"

    def asked(self, operation):
        """How many requests of an operation came, for the environment."""
        return ask(self.address, "GET", self.environment)["asked"].get(operation, 0)


class Tagged:
    """One run."""

    def __init__(self, world, run_id, made):
        self._world, self.id, self._tools = world, run_id, made

    def claim(self):
        """Claim it and do what can be done; parked is put down as the agent does it."""
        store, now = self._world.edge.store, self._world.time.now()
        held = store.claim(store.run(self.id), "r1", now)
        outcome = enact(held, self._tools)
        if isinstance(outcome, Parked):
            park = outcome.park
            assert store.park(held, park.waiting_for, park.due_at, park.reason, outcome.entries)
        return outcome

    def deployment(self):
        return self._world.edge.store.deployment(f"{self.id}.1")

    def wake(self):
        """Claim it again when it was woken, or its pause is over."""
        run = self._world.edge.store.run(self.id)
        if run.state is not RunState.QUEUED:
            self._world.edge.store.wake(self.id, run.waiting_for, self._world.time.now())
        return self.claim()

    def to_the_end(self):
        """From the first claim to what is told."""
        outcome = self.claim()
        began = self._world.pace.monotonic()
        until = began + MOST_S
        while not isinstance(outcome, Ended):
            assert isinstance(outcome, Parked), outcome
            deployment = self.deployment()
            while deployment and not (deployment.state in DEPLOYMENT_ENDS and deployment.due_at is None):
                assert self._world.pace.monotonic() < until, deployment
                self._world.look(LOOK_S if self._world.pace.monotonic() < began + SOON_S else LATER_S)
                deployment = self.deployment()
            outcome = self.wake()
        return self.told(outcome)

    def told(self, ended):
        run, world = self._world.edge.store.run(self.id), self._world
        result = Result(run.id, run.job, ended.state, NOW, world.time.now(), ended.steps, ended.reason)
        # Of several the last: where something of ours broke, an operator, who is told what.
        *_, to = recipients(result, None)
        text = render(result, to=to, console=Console(log_command=f"tau log {run.id}")).text
        return Told(
            ended.state,
            ended.reason or "",
            " ".join(text.replace(BAR.strip(), "").split()),
            world.live(),
            world.asked("UpdateEnvironment"),
        )

    def log(self):
        return b"".join(piece for _, piece in runlog.read(self._world.edge.objects, self.id)).decode()
