"""A whole installation as tests use it: what developers and forges do to it, and what can be seen of it afterwards."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from boto3.dynamodb.types import TypeDeserializer

from chalicelib.model import Run, RunState
from infra.local import samples
from infra.local.cloud import ROOT
from infra.local.engine import Engine
from infra.local.installation import Answered, Installation, NotSo
from infra.local.mailbox import SentMail
from infra.local.processes import Child, NotStarted
from infra.local.samples import Webhook

GITHUB, BITBUCKET = "github.com", "bitbucket.org"
HELLO = samples.HELLO
IMAGE = "2pisoftware/hello"
SOLUTION = "64bit Amazon Linux 2023 v4.7.2 running Docker"
_CODE_SERVER = "code-server"
_NO_MAIL = {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "ses:SendEmail", "Resource": "*"}]}


@dataclass(frozen=True)
class Sent:
    """A webhook that was delivered, and what it was answered."""

    webhook: Webhook
    answered: Answered

    @property
    def run(self) -> str:
        """The one run that it started."""
        (run,) = json.loads(self.answered.body)["runs"]
        return run

    @property
    def commit(self) -> str:
        """The commit that GitHub told of."""
        return json.loads(self.webhook.body)["after"]


class World(Installation):
    """An installation with the sample application in it.

    Args:
        system: its name in the engine; the demo, or a user's own, may run beside it.
        retry_s: between a first failure of ours and the second try; production waits longer.
    """

    def __init__(self, engine: Engine, folder: Path, system: str, *, lease_s: float = 30, retry_s: float = 2) -> None:
        super().__init__(engine, folder, lease_s=lease_s, system=system)
        self._retry_s = retry_s
        self.endpoint: str | None = None
        """The address of the cloud for what is started from now on; None = its own."""

    def _start(self) -> None:
        super()._start()
        self.create(GITHUB, HELLO, samples.hello())

    @property
    def environment(self) -> dict[str, str]:
        environment = {**super().environment, "TAU_RETRY_S": str(self._retry_s)}
        return environment | ({"AWS_ENDPOINT_URL": self.endpoint} if self.endpoint else {})

    # --- what developers do -----------------------------------------------------------------------

    def commit(self, branch: str, files: Mapping[str, str | None] | None = None) -> Webhook:
        """A commit on a branch of the application, and the webhook that GitHub is about to send of it."""
        path = self.githost.path(GITHUB, HELLO)
        before = self.githost.git(path, "for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}")
        own = self._on_own_base(files or {"note": str(time.time_ns())})
        sha = self.githost.commit(GITHUB, HELLO, branch, own, f"Work on {branch}")
        commit = self.githost.describe(GITHUB, HELLO, sha)
        return samples.github_push(HELLO, [commit], self.hook_secret, ref=f"refs/heads/{branch}", before=before or None)

    def push(self, branch: str, files: Mapping[str, str | None] | None = None) -> Sent:
        """A commit on a branch of the application, pushed."""
        return self.announced(self.commit(branch, files))

    def announced(self, webhook: Webhook) -> Sent:
        """A webhook delivered."""
        return Sent(webhook, self.deliver(webhook))

    def release(self, client: str, version: str, files: Mapping[str, str | None] | None = None) -> Sent:
        """A tag in a client's deployment repository, which is made where it is new."""
        repository = f"2pisoftware/{client}_deploy"
        wanted = self._on_own_base({**samples.client(version), **(files or {})})
        if not self.githost.path(BITBUCKET, repository).exists():
            self.githost.create(BITBUCKET, repository, {"README": client})
        self.githost.commit(BITBUCKET, repository, "develop", wanted, f"Release {version}")
        tag = self.githost.tag(BITBUCKET, repository, version)
        commit = self.githost.describe(BITBUCKET, repository, tag.commit)
        return self.announced(samples.bitbucket_tag(repository, tag, commit, self.hook_secret))

    def _on_own_base(self, files: Mapping[str, str | None]) -> dict[str, str | None]:
        return {path: text and text.replace(samples.BASE_IMAGE, self.base) for path, text in files.items()}

    def create_environment(self, client: str) -> None:
        """The application `<client>` with its environment `<client>-production` at Elastic Beanstalk, Ready."""
        beanstalk = self.cloud.client("elasticbeanstalk")
        beanstalk.create_application(ApplicationName=client)
        beanstalk.create_environment(
            ApplicationName=client, EnvironmentName=f"{client}-production", SolutionStackName=SOLUTION
        )
        wait_for(lambda: self.environment_of(client)["Status"] == "Ready", f"{client}-production to be Ready")

    # --- what strangers do ------------------------------------------------------------------------

    def request(self, method: str, path: str, body: bytes = b"", headers: tuple[tuple[str, str], ...] = ()) -> Answered:
        """One HTTP request to the API, with every header as often as it is given."""
        address = urlsplit(self.api)
        with closing(http.client.HTTPConnection(address.hostname, address.port, timeout=30)) as connection:
            connection.putrequest(method, address.path + path)
            for name, value in (*headers, ("Content-Length", str(len(body)))):
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return Answered(answer.status, answer.read().decode())

    # --- runners ----------------------------------------------------------------------------------

    def runners(self, number: int) -> list[Child]:
        """Exactly so many runners, each with a name of its own, each waiting for work or at it."""
        living = self.runners_alive()
        while len(living) > number:
            living.pop().stop()
        while len(living) < number:
            living.append(self.start_runner(f"runner-{len(self._runners)}"))
        for runner in living:
            wait_for(lambda runner=runner: '"ready"' in runner.log.read_text(), f"{runner.log} to be ready")
        return living

    def runners_alive(self) -> list[Child]:
        return [runner for runner in self._runners if runner.running]

    def tau(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The `tau` command as a person runs it."""
        argv = (sys.executable, "-m", "runner", *arguments)
        return subprocess.run(argv, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False)

    # --- what can be seen -------------------------------------------------------------------------

    def run(self, run_id: str) -> Run:
        return self.edge.store.run(run_id)

    def wait_for_state(self, run_id: str, *states: RunState, timeout_s: float = 30) -> Run:
        wait_for(lambda: self.run(run_id).state in states, f"run {run_id} to be {' or '.join(states)}", timeout_s)
        return self.run(run_id)

    def mails(self, run_id: str) -> list[SentMail]:
        """The mails about a run, oldest first."""
        return [mail for mail in self.cloud.mails() if run_id in mail.text]

    def items(self) -> dict[tuple[str, str], Mapping[str, Any]]:
        """Everything that is remembered, but for the runners' signs of life, by its key."""
        pages = self.cloud.client("dynamodb").get_paginator("scan").paginate(TableName=self.edge.settings.table)
        plain = [_plain(item) for page in pages for item in page["Items"]]
        return {(item["pk"], item["sk"]): item for item in plain if item["sk"] != "runner"}

    def messages(self) -> int:
        """How many messages lie in the queue, those in somebody's hands too."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.cloud.client("sqs").get_queue_attributes(QueueUrl=self.queue_url, AttributeNames=names)
        return sum(int(found["Attributes"][name]) for name in names)

    @property
    def queue_url(self) -> str:
        return self.edge.queue.url("default")

    def digest(self, tag: str, image: str = IMAGE) -> str | None:
        return self.registry.manifest_digest(image, tag)

    def environment_of(self, client: str) -> Mapping[str, str]:
        found = self.cloud.client("elasticbeanstalk").describe_environments(
            ApplicationName=client, EnvironmentNames=[f"{client}-production"]
        )
        return found["Environments"][0]

    def page(self, client: str) -> str:
        """What the client's environment serves."""
        address = urlsplit(f"//{self.environment_of(client)['EndpointURL'].removeprefix('http://')}")
        with closing(http.client.HTTPConnection(address.hostname, address.port, timeout=10)) as connection:
            connection.request("GET", "/")
            return connection.getresponse().read().decode()

    def events(self, client: str) -> list[str]:
        """What Elastic Beanstalk says of a client's environment, oldest first."""
        found = self.cloud.client("elasticbeanstalk").describe_events(EnvironmentName=f"{client}-production")
        return [event["Message"] for event in reversed(found["Events"])]

    def versions(self, client: str) -> list[str]:
        """The labels of a client's application versions."""
        found = self.cloud.client("elasticbeanstalk").describe_application_versions(ApplicationName=client)
        return [version["VersionLabel"] for version in found["ApplicationVersions"]]

    def remains(self, run_id: str) -> list[str]:
        """The containers and networks of a run that still exist."""
        mine = {"label": f"tau.run={run_id}"}
        found = [*self.docker.api.containers(all=True, filters=mine), *self.docker.api.networks(filters=mine)]
        # Whatever runs the image has the image's labels too: Elastic Beanstalk's containers.
        return [thing["Id"] for thing in found if thing["Labels"]["tau.kind"] in {"step", "service", "network"}]

    # --- what time and other people do ------------------------------------------------------------

    def make_due(self, run_id: str) -> None:
        """Let what the run waits for be due, as if the time had passed."""
        self.cloud.client("dynamodb").update_item(
            TableName=self.edge.settings.table,
            Key={"pk": {"S": f"run#{run_id}"}, "sk": {"S": "run"}},
            UpdateExpression="SET due_at = :past",
            ConditionExpression="attribute_exists(due_at)",
            ExpressionAttributeValues={":past": {"N": str(int(time.time()) - 5)}},
        )

    def forbid_mail(self) -> None:
        """Take from the code server the right to send mail; the ticker keeps its own."""
        self.cloud.client("iam").put_user_policy(
            UserName=_CODE_SERVER, PolicyName="no-mail", PolicyDocument=json.dumps(_NO_MAIL)
        )

    def allow_mail(self) -> None:
        self.cloud.client("iam").delete_user_policy(UserName=_CODE_SERVER, PolicyName="no-mail")


def _plain(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: TypeDeserializer().deserialize(value) for name, value in item.items()}


def slow(seconds: float) -> dict[str, str]:
    """The application with a test suite that takes its time."""
    suite = samples.hello()["tests/run"]
    return {"tests/run": suite.replace("set -u\n", f"set -u\nsleep {seconds}\n", 1)}


def terminate(runner: Child) -> None:
    """What `systemctl stop` does first."""
    runner.process.send_signal(signal.SIGTERM)


def wait_for(there: Callable[[], bool], what: str, timeout_s: float = 30) -> None:
    """Return as soon as it is there.

    Raises:
        NotSo: it did not come.
    """
    until = time.monotonic() + timeout_s
    while not there():
        if time.monotonic() > until:
            raise NotSo(f"waited {timeout_s:.0f} s in vain for {what}")
        time.sleep(0.05)


@contextmanager
def world(engine: Engine, folder: Path, system: str, *, lease_s: float = 30) -> Iterator[World]:
    """A world for a fixture: where one of its parts is not installed, the tests are left out with that reason."""
    with ExitStack() as stack:
        try:
            made = stack.enter_context(World(engine, folder, system, lease_s=lease_s))
        except NotStarted as error:
            if os.environ.get("TAU_REQUIRE_ENGINE") == "1":
                raise
            pytest.skip(f"left out: {error}")
        yield made
