"""A whole installation as tests use it: what developers and forges do to it, and what can be seen of it afterwards."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from chalicelib.model import Run
from infra.local import samples
from infra.local.cloud import ROOT
from infra.local.engine import Engine
from infra.local.githost import SAM, Person
from infra.local.installation import Answered
from infra.local.processes import Child, NotStarted
from infra.local.samples import Webhook
from tests.whole.seen import IMAGE, Seen, wait_for

__all__ = ["BITBUCKET", "GITHUB", "HELLO", "IMAGE", "TOOL", "Sent", "World", "began", "slow", "wait_for", "world"]

GITHUB, BITBUCKET = "github.com", "bitbucket.org"
HELLO, TOOL = samples.HELLO, "2pisoftware/tool"
SOLUTION = "64bit Amazon Linux 2023 v4.7.2 running Docker"
_CODE_SERVER = "code-server"
_LONG_POLL_S = 20
_EMULATOR_LOOKS_AFTER_S = 0.25
_PIPELINES = Path(__file__).with_name("pipelines.yml")
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


class World(Seen):
    """An installation with the sample application in it, and a second one.

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
        for repository in (HELLO, TOOL):
            self.create(GITHUB, repository, samples.hello())

    def ci_yml(self) -> str:
        return super().ci_yml() + _PIPELINES.read_text().replace("@REGISTRY@", self.registry.host)

    @property
    def environment(self) -> dict[str, str]:
        environment = {**super().environment, "TAU_RETRY_S": str(self._retry_s)}
        return environment | ({"AWS_ENDPOINT_URL": self.endpoint} if self.endpoint else {})

    # --- what developers do -----------------------------------------------------------------------

    def commit(
        self,
        branch: str,
        files: Mapping[str, str | None] | None = None,
        *,
        repository: str = HELLO,
        by: Person = SAM,
    ) -> Webhook:
        """A commit on a branch of an application, and the webhook that GitHub is about to send of it."""
        path = self.githost.path(GITHUB, repository)
        before = self.githost.git(path, "for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}")
        own = self._on_own_base(files or {"note": str(time.time_ns())})
        sha = self.githost.commit(GITHUB, repository, branch, own, f"Work on {branch} by {by.login}", by)
        commit = self.githost.describe(GITHUB, repository, sha)
        return samples.github_push(
            repository, [commit], self.hook_secret, ref=f"refs/heads/{branch}", before=before or None, pusher=by
        )

    def push(self, branch: str, files: Mapping[str, str | None] | None = None, **how: Any) -> Sent:
        """A commit on a branch of an application, pushed; `how` as for `commit`."""
        return self.announced(self.commit(branch, files, **how))

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
        if not living:
            self._answer_polls()
        while len(living) < number:
            living.append(self.start_runner(f"runner-{len(self._runners)}"))
        _wait_until_ready(living)
        return living

    def runners_alive(self) -> list[Child]:
        return [runner for runner in self._runners if runner.running]

    def runner(
        self,
        *options: str,
        name: str = "runner",
        lease_s: float | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Child:
        """One more runner, idle, with options, and an environment, of its own."""
        if not self.runners_alive():
            self._answer_polls()
        lease = {"TAU_LEASE_S": str(lease_s)} if lease_s else {}
        runner = self.start_runner(name, *options, environ={**lease, **(environ or {})})
        _wait_until_ready([runner])
        return runner

    def holder(self, run_id: str) -> Child:
        """The process that holds a run, or held it last: every runner here has a name of its own."""
        name, _, _ = (self.run(run_id).runner or "").rpartition("-")
        (runner,) = (runner for runner in self.runners_alive() if runner.name == name)
        return runner

    def _answer_polls(self) -> None:
        """End the long polls of runners that are gone: the emulator would hand them the next messages, for a lease."""
        since = time.time() - _LONG_POLL_S
        gone = [one for one in self._runners if not one.running and one.log.stat().st_mtime > since]
        if gone and self.messages() == 0:
            queue, sqs = self.queue_url, self.cloud.client("sqs")
            for _ in gone:
                sqs.send_message(QueueUrl=queue, MessageBody="for nobody")
            time.sleep(_EMULATOR_LOOKS_AFTER_S)
            sqs.purge_queue(QueueUrl=queue)

    def wait_for_end(self, run_id: str, timeout_s: float = 120, seen: Callable[[Run], None] | None = None) -> Run:
        """The run at its end; what it said on the way is printed, which pytest shows of a test that fails."""
        run = super().wait_for_end(run_id, timeout_s, seen)
        lines = [line for step in run.results.values() for line in step.lines]
        print(f"{run.id} ({run.job.pipeline}) {run.state}: {run.reason}", *lines, sep="\n    ")  # noqa: T201 - as said
        return run

    def tau(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The `tau` command as a person runs it."""
        argv = (sys.executable, "-m", "runner", *arguments)
        return subprocess.run(argv, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False)

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


def slow(seconds: float) -> dict[str, str]:
    """The application with a test suite that takes its time."""
    suite = samples.hello()["tests/run"]
    return {"tests/run": suite.replace("set -u\n", f"set -u\nsleep {seconds}\n", 1)}


def began(run: Run) -> datetime:
    """When the work on a run began: once its claim stood, whose own time is read before it is known to stand."""
    return min(step.started_at for step in run.results.values())


def _wait_until_ready(runners: Iterable[Child]) -> None:
    for runner in runners:
        wait_for(lambda runner=runner: '"ready"' in runner.log.read_text(), f"{runner.log} to be ready")


@contextmanager
def world(
    engine: Engine, folder: Path, system: str, *, lease_s: float = 30, kind: type[World] = World
) -> Iterator[World]:
    """A world for a fixture: where one of its parts is not installed, the tests are left out with that reason."""
    with ExitStack() as stack:
        try:
            made = stack.enter_context(kind(engine, folder, system, lease_s=lease_s))
        except NotStarted as error:
            if os.environ.get("TAU_REQUIRE_ENGINE") == "1":
                raise
            pytest.skip(f"left out: {error}")
        yield made
