"""An installation in, four pushes and two refusals told and checked out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chalicelib.model import Run, RunState
from chalicelib.reports.words import commit
from infra.local import demo_checks as checks
from infra.local import samples
from infra.local.cloud import ROOT
from infra.local.demo_checks import equal
from infra.local.demo_view import Check, Line, View
from infra.local.githost import MAIN, SAM
from infra.local.installation import Answered, Installation, NotSo
from infra.local.mailbox import SentMail
from infra.local.processes import Child
from infra.local.samples import CLIENT, CLIENT_FORGE, HELLO, HELLO_FORGE, Webhook

VERSION, BAD_VERSION = "v1.2.0", "v1.3.0"
APPLICATION, ENVIRONMENT = "client", "client-production"
# https://docs.aws.amazon.com/elasticbeanstalk/latest/platforms/platforms-supported.html#platforms-supported.docker
_PLATFORM = "64bit Amazon Linux 2023 v4.7.2 running Docker"
NOTHING: Mapping[str, str] = {}
_RUN_S = 180
_READY_S = 60


@dataclass(frozen=True)
class Told:
    """One push with all that came of it."""

    webhook: Webhook
    answered: Answered
    run: Run
    mails: list[SentMail]
    log: str


class Story:
    """What the demo does and looks at.

    Args:
        logs: gets each run's log.
    """

    def __init__(self, installation: Installation, runner: Child, view: View, logs: Path) -> None:
        self._at = installation
        self._runner = runner
        self._view = view
        self._logs = logs
        self._checks: list[Check] = []
        self._beanstalk = installation.cloud.client("elasticbeanstalk")

    def prepare(self) -> None:
        """What stands before the first push: two repositories, and an environment without a version."""
        self._first = self._at.create(HELLO_FORGE, HELLO, samples.hello())
        self._at.create(CLIENT_FORGE, CLIENT, samples.client(VERSION))
        self._beanstalk.create_application(ApplicationName=APPLICATION)
        self._beanstalk.create_environment(
            ApplicationName=APPLICATION, EnvironmentName=ENVIRONMENT, SolutionStackName=_PLATFORM
        )
        until = time.monotonic() + _READY_S
        while (status := self.environment()["Status"]) != "Ready":
            if time.monotonic() > until:
                raise NotSo(f"the environment {ENVIRONMENT} is still {status} after {_READY_S} s")
            time.sleep(0.1)

    def tell(self) -> list[Check]:
        """All of it; every check that was made."""
        passed = self._push_to_develop()
        self._push_that_breaks_a_test(passed)
        tagged = self._tag_goes_live()
        self._bad_version_is_rolled_back(checks.facts(tagged.run, "deploy_eb").get("deployment", {}).get("label", ""))
        self._what_starts_nothing(tagged)
        return self._checks

    def environment(self) -> dict[str, Any]:
        """The Elastic Beanstalk environment, as AWS would describe it."""
        found = self._beanstalk.describe_environments(EnvironmentNames=[ENVIRONMENT])
        environment: dict[str, Any] = found["Environments"][0]
        return environment

    def page(self) -> str:
        return f"http://{self.environment()['EndpointURL'].removeprefix('http://')}"

    # --- the chapters -----------------------------------------------------------------------------

    def _push_to_develop(self) -> Run:
        self._view.title(f"1. Sam pushes to {MAIN}: it is built, tested, pushed to the registry, and Sam gets a mail")
        told = self._github_push(self._first, None, "1-passed")
        run = told.run
        subject = f"passed: {HELLO} {MAIN} {commit(self._first)}"
        self._look(
            self._answered(told),
            checks.ends(run, RunState.PASSED, ("build", "test", "push")),
            checks.tests(run, 3, 0),
            *self._registry(run, ("latest", MAIN)),
            self._image_record(run),
            self._nothing_left(run),
            *checks.mailed(told.mails, SAM.email, subject, ("3 passed",)),
            self._readable(told, "3 tests, 0 failed"),
        )
        return run

    def _push_that_breaks_a_test(self, passed: Run) -> None:
        self._view.title("2. Sam pushes a slip: a test fails, nothing is pushed, and the mail shows the failing lines")
        sha = self._at.githost.commit(HELLO_FORGE, HELLO, MAIN, samples.broken_hello(), "Greet everybody")
        told = self._github_push(sha, self._first, "2-failed")
        run, wrong = told.run, "got 'Hello, wrold'"
        name, digest = next(iter(checks.pushed(passed).items()), ("", ""))
        self._look(
            self._answered(told),
            checks.ends(run, RunState.FAILED, ("build", "test")),
            checks.tests(run, 2, 1),
            equal(f"the registry still has the image of push 1 under {MAIN}", self._digest(name, MAIN), digest),
            self._nothing_left(run),
            *checks.mailed(told.mails, SAM.email, f"failed: {HELLO} {MAIN} {commit(sha)}", (wrong,)),
            self._readable(told, "FAIL  the page greets the world"),
        )

    def _tag_goes_live(self) -> Told:
        self._view.title(f"3. Sam tags the deployment repository {VERSION}: the version goes live")
        tag = self._at.githost.tag(CLIENT_FORGE, CLIENT, VERSION)
        head = self._at.githost.describe(CLIENT_FORGE, CLIENT, tag.commit)
        self._view.line(Line("git", f"{SAM.name} tags {commit(tag.commit)} of {CLIENT_FORGE}/{CLIENT} {VERSION}"))
        told = self._follow(samples.bitbucket_tag(CLIENT, tag, head, self._at.hook_secret), "Bitbucket", "3-live")
        run = told.run
        live, made = self.environment(), checks.facts(run, "deploy_eb").get("deployment", {})
        status = f"{live['Status']}, {live['Health']}, {live.get('VersionLabel')}"
        self._look(
            self._answered(told),
            checks.ends(run, RunState.PASSED, ("build", "test", "push", "deploy_eb")),
            *self._registry(run, (VERSION,)),
            self._image_record(run),
            equal(
                f"Elastic Beanstalk runs that version in {ENVIRONMENT}", status, f"Ready, Green, {made.get('label')}"
            ),
            self._same_image(run),
            self._served(),
            self._nothing_left(run),
            *checks.mailed(told.mails, SAM.email, f"passed: {CLIENT} {VERSION}", (ENVIRONMENT,)),
            self._readable(told, f"is live in {ENVIRONMENT}"),
        )
        self._live()
        return told

    def _bad_version_is_rolled_back(self, good: str) -> None:
        self._view.title(
            f"4. Sam tags {BAD_VERSION}, whose server does not start: the old version stays, and Sam hears why"
        )
        self._at.githost.commit(CLIENT_FORGE, CLIENT, MAIN, samples.broken_client(BAD_VERSION), "A newer server")
        tag = self._at.githost.tag(CLIENT_FORGE, CLIENT, BAD_VERSION)
        head = self._at.githost.describe(CLIENT_FORGE, CLIENT, tag.commit)
        told = self._follow(
            samples.bitbucket_tag(CLIENT, tag, head, self._at.hook_secret), "Bitbucket", "4-rolled-back"
        )
        live = self.environment()
        self._look(
            self._answered(told),
            checks.ends(told.run, RunState.FAILED, ("build", "test", "push", "deploy_eb")),
            equal(
                f"{ENVIRONMENT} runs {good} again", f"{live['Status']}, {live.get('VersionLabel')}", f"Ready, {good}"
            ),
            self._served(),
            *checks.mailed(told.mails, SAM.email, f"failed: {CLIENT} {BAD_VERSION}", ("rolled back to", good)),
            self._readable(told, "eb: ERROR"),
        )
        self._live()

    def _live(self) -> None:
        self._view.say("What `tau live` says:")
        self._view.ansi(tau(self._at, "live", environ=self._view.environment).rstrip())

    def _what_starts_nothing(self, told: Told) -> None:
        self._view.title(
            "5. What starts nothing: a delivery that comes twice, and one that is not signed with our secret"
        )
        before, mails = self._runs(), len(self._at.cloud.mails())
        again = self._deliver(told.webhook, "the same delivery once more")
        body = told.webhook.body.replace(VERSION.encode(), b"v6.6.6")
        headers = {**told.webhook.headers, "X-Hub-Signature": samples.signature("a secret of somebody else", body)}
        forged = self._deliver(Webhook(headers, body), "a tag v6.6.6, signed with another secret")
        ids = [json.loads(answer.body).get("runs") for answer in (told.answered, again)]
        self._look(
            equal("the same delivery was answered 200", again.status, 200),
            equal("with the same run", ids[1], ids[0]),
            equal("the wrong signature was answered 401", forged.status, 401),
            equal("no run began or changed", self._runs() == before, True),
            equal("nobody got another mail", len(self._at.cloud.mails()), mails),
        )

    # --- doing ------------------------------------------------------------------------------------

    def _github_push(self, sha: str, before: str | None, name: str) -> Told:
        head = self._at.githost.describe(HELLO_FORGE, HELLO, sha)
        said = f"{SAM.name} commits {commit(sha)} to {HELLO_FORGE}/{HELLO}: {head.message}"
        self._view.line(Line("git", said))
        return self._follow(samples.github_push(HELLO, [head], self._at.hook_secret, before=before), "GitHub", name)

    def _deliver(self, webhook: Webhook, said: str) -> Answered:
        self._view.busy(f"webhook: {said}")
        began = time.monotonic()
        answered = self._at.deliver(webhook)
        took_s = time.monotonic() - began
        self._view.line(Line("webhook", f"{said}: answered {answered.status}", took_s))
        return answered

    def _follow(self, webhook: Webhook, forge: str, name: str) -> Told:
        """Deliver, and show the run as it goes until everybody was told."""
        sent = len(self._at.cloud.mails())
        answered = self._deliver(webhook, f"signed, from {forge}")
        ids = json.loads(answered.body).get("runs", []) if answered.status == 202 else []
        if len(ids) != 1:
            raise NotSo(f"the webhook should have been answered 202 with one run, and was: {answered}")
        shown = 0

        def seen(run: Run) -> None:
            nonlocal shown
            lines = checks.story(run)
            for line in lines[shown:]:
                self._view.line(line)
            shown = len(lines)
            self._view.busy(checks.under_way(run))
            if not self._runner.running:
                raise NotSo(f"the runner ended by itself, with exit code {self._runner.process.returncode}")

        run = self._at.wait_for_end(ids[0], _RUN_S, seen)
        seen(run)
        mails = self._at.cloud.mails()[sent:]
        for mail in mails:
            self._view.line(Line("mail", f"to {', '.join(mail.to)}: {mail.subject}"))
        return Told(webhook, answered, run, mails, self._keep_log(run, name))

    def _keep_log(self, run: Run, name: str) -> str:
        """The run's log by the command that people use, kept as a file."""
        printed = tau(self._at, "log", run.id)
        self._logs.joinpath(f"{name}.log").write_text(printed, encoding="utf-8")
        return printed

    # --- looking ----------------------------------------------------------------------------------

    def _look(self, *found: Check) -> None:
        self._view.calm()
        self._view.checks(found)
        self._checks += found

    def _answered(self, told: Told) -> Check:
        return equal("the webhook was answered 202 with one run", told.answered.status, 202)

    def _registry(self, run: Run, tags: Iterable[str]) -> list[Check]:
        """Each tag has, over HTTP, the digest that the run's record says."""
        known = checks.pushed(run)
        name = next(iter(known), "").rpartition(":")[0]
        return [
            equal(
                f"the registry has the record's digest under {tag}", self._digest(name, tag), known.get(f"{name}:{tag}")
            )
            for tag in tags
        ]

    def _digest(self, name: str, tag: str) -> str | None:
        repository = name.partition("/")[2]
        return self._at.registry.manifest_digest(repository.partition(":")[0], tag) if repository else "nothing pushed"

    def _image_record(self, run: Run) -> Check:
        image, tag = checks.facts(run, "build").get("image", {}).get("name", ""), run.job.event.name or ""
        known = self._at.edge.store.known_image(image, tag)
        return equal("the table knows the image, and which run made it", known and known.run, run.id)

    def _same_image(self, run: Run) -> Check:
        kind = {"label": [f"tau.system={self._at.system}", "tau.kind=local-eb"]}
        found = [container["ImageID"] for container in self._at.docker.api.containers(filters=kind)]
        built = checks.facts(run, "build").get("image", {}).get("id")
        return equal("its container runs the very image that was tested", found, [built])

    def _served(self) -> Check:
        with urllib.request.urlopen(self.page(), timeout=10) as answer:
            page = answer.read().decode()
        return Check(f"{self.page()} says: This is version {VERSION}.", f"This is version {VERSION}." in page, page)

    def _nothing_left(self, run: Run) -> Check:
        mine = {"label": [f"tau.run={run.id}", "tau.kind=step"]}
        found = [container["Names"][0] for container in self._at.docker.api.containers(all=True, filters=mine)]
        return equal("none of its containers is left", found, [])

    def _readable(self, told: Told, text: str) -> Check:
        return Check(f"`tau log {told.run.id}` shows it", text in told.log, "a log without it")

    def _runs(self) -> list[tuple[str, RunState, int]]:
        """Today's runs, as they stand."""
        today = datetime.now(UTC).date().isoformat()
        return [(run.id, run.state, run.epoch) for run in self._at.edge.store.runs_of_day(today, 100)]


def tau(installation: Installation, *arguments: str, environ: Mapping[str, str] = NOTHING) -> str:
    """What the `tau` command prints, as somebody at this installation's code server sees it.

    Args:
        environ: what else its environment has.

    Raises:
        NotSo: it failed.
    """
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8", **installation.environment, **environ}
    argv = (sys.executable, "-m", "runner", *arguments)
    done = subprocess.run(argv, capture_output=True, check=False, cwd=ROOT, env=environment, timeout=60)
    if done.returncode:
        complaint = done.stderr.decode(errors="replace").strip()
        raise NotSo(f"`tau {' '.join(arguments)}` failed with exit code {done.returncode}: {complaint}")
    return done.stdout.decode(errors="replace")
