"""A whole Tau on this machine: engine, registry, git host, cloud and Elastic Beanstalk, put together as ci.yml says."""

from __future__ import annotations

import os
import secrets
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import boto3
import docker

from chalicelib.edge import Edge, connect
from chalicelib.model import Run
from chalicelib.settings import Settings
from infra.local import processes, samples
from infra.local.alone import alone
from infra.local.base import base_image
from infra.local.cloud import ROOT, LocalCloud
from infra.local.elastic_beanstalk import ElasticBeanstalk
from infra.local.engine import Engine
from infra.local.githost import GitHost
from infra.local.registry import Registry
from infra.local.samples import Webhook
from infra.local.sweep import sweep
from infra.local.traces import leftovers
from runner.compiler import compile_source, render

SYSTEM = "tau-local"
USER = "tau"
_POLL_S = 0.1
# What infra/code-server/tau-runner.service sets.
_AS_A_SERVICE = {"MALLOC_TRIM_THRESHOLD_": "65536"}
_NOTHING: Mapping[str, str] = {}


class NotSo(RuntimeError):
    """Something that was waited for did not come; says what, and what was there instead."""


@dataclass(frozen=True)
class Answered:
    """What the hook's address answered."""

    status: int
    body: str


def deliver(api: str, webhook: Webhook) -> Answered:
    """POST a webhook to the hook's address, as a forge does."""
    request = urllib.request.Request(f"{api}/hooks", data=webhook.body, headers=dict(webhook.headers), method="POST")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return Answered(answer.status, answer.read().decode())
    except urllib.error.HTTPError as error:
        return Answered(error.code, error.read().decode())


class Installation:
    """Everything that a push needs on its way, alive while it is entered.

    Args:
        engine: a Docker engine that answers; it is left as it was found.
        folder: for every part's files and logs.
        lease_s: the runners' lease; short where runners are killed.
        system: value of the label `tau.system` on everything in the engine; whatever bears it is removed at both ends,
            so there is one installation of a name at a time.
        patience_s: how long another of the same name may take to come to its end.
    """

    def __init__(
        self, engine: Engine, folder: Path, *, lease_s: float = 30, system: str = SYSTEM, patience_s: float = 120
    ) -> None:
        self.engine = engine
        self.system = system
        self.base = samples.BASE_IMAGE if system == SYSTEM else f"{system}/base:latest"
        self.folder = folder
        self.docker: docker.DockerClient = engine.client()
        self.hook_secret = secrets.token_hex(20)
        self.password = secrets.token_hex(12)
        self._lease_s = lease_s
        self._patience_s = patience_s
        self._parts = ExitStack()
        self._runners: list[processes.Child] = []

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._parts.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._parts.close()

    def _start(self) -> None:
        self._parts.enter_context(alone(self.system, self._patience_s))
        sweep(self.docker, self.system)  # what a predecessor left behind that was killed
        self._parts.callback(sweep, self.docker, self.system)
        base_image(self.docker, self.base, self.system)
        self.registry = self._parts.enter_context(Registry(self.folder / "registry", {USER: self.password}))
        self.githost = self._parts.enter_context(GitHost(self.folder / "git"))
        self.cloud = self._parts.enter_context(LocalCloud(self.folder / "cloud"))
        self.beanstalk = self._parts.enter_context(ElasticBeanstalk(self.docker, self.cloud.client("s3"), self.system))
        self.cloud.front.elastic_beanstalk = self.beanstalk
        self.cloud.put_secret("hook-local", self.hook_secret)
        self.cloud.put_secret("registry", f"{USER}:{self.password}")
        self.deploy(self.ci_yml())
        self.edge = self._edge()
        self._parts.callback(self.stop_runners)

    def deploy(self, ci_yml: str) -> None:
        """Compile a ci.yml and deploy the app with it; once more replaces it, as `make deploy` does."""
        source = ci_yml.encode()
        compiled = render(compile_source(source).form).encode()
        files = {"chalicelib/ci.yml": source, "chalicelib/ci.json": compiled}
        self.api = self.cloud.deploy_app({"TAU_SYSTEM": self.system}, files=files)

    def ci_yml(self) -> str:
        """The sample ci.yml with this installation's addresses."""
        text = (samples.FOLDER / "ci.yml").read_text()
        for mark, value in {
            "@GITHUB@": self.githost.clone_template("github.com"),
            "@BITBUCKET@": self.githost.clone_template("bitbucket.org"),
            "@REGISTRY@": self.registry.host,
        }.items():
            text = text.replace(mark, value)
        return text

    # --- runners ----------------------------------------------------------------------------------

    @property
    def environment(self) -> dict[str, str]:
        """What a runner's, or a person's, environment has to be."""
        return {
            **self.cloud.environment,
            **self.engine.environ,
            "TAU_SYSTEM": self.system,
            "TAU_LEASE_S": str(self._lease_s),
        }

    def start_runner(
        self, name: str = "runner", *options: str, environ: Mapping[str, str] = _NOTHING
    ) -> processes.Child:
        """A runner as a process of its own, as on a code server.

        Args:
            options: further ones of `tau runner`.
            environ: what else its environment has.
        """
        number = len(self._runners)
        folder = self.folder / f"{name}-{number}"
        argv = (sys.executable, "-m", "runner", "runner", "--folder", str(folder), "--name", name, *options)
        log = self.folder / f"{name}-{number}.log"
        # When we die the cloud is gone too: there is nobody left to whom it could say how its run ended.
        env = {**os.environ, **self.environment, **_AS_A_SERVICE, **environ}
        child = processes.start(name, argv, log=log, env=env, cwd=ROOT, at_our_death="KILL")
        self._runners.append(child)
        return child

    def stop_runners(self, grace_s: float = 15) -> None:
        """End them; each may finish the run that it has in hand, as long as its grace lasts."""
        for child in self._runners:
            child.stop(grace_s)

    # --- what a forge does ------------------------------------------------------------------------

    def create(self, forge: str, repository: str, files: Mapping[str, str]) -> str:
        """A sample repository at the git host, upon this installation's base image; returns its first commit."""
        own = {path: text.replace(samples.BASE_IMAGE, self.base) for path, text in files.items()}
        return self.githost.create(forge, repository, own)

    def deliver(self, webhook: Webhook) -> Answered:
        """POST a webhook to the hook's address, as a forge does."""
        return deliver(self.api, webhook)

    # --- what came of it --------------------------------------------------------------------------

    def _edge(self) -> Edge:
        environment = self.environment
        session = boto3.Session(
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
            region_name=environment["AWS_REGION"],
        )
        return connect(Settings.from_env(environment), session, self.cloud.url)

    def wait_for_end(self, run_id: str, timeout_s: float = 120, seen: Callable[[Run], None] | None = None) -> Run:
        """The run at its end, everybody told.

        Args:
            seen: is shown the run whenever it was looked at.

        Raises:
            NotSo: it did not come to an end in time.
        """
        run = self.edge.store.run(run_id)
        until = time.monotonic() + timeout_s
        while not (run.ended and all(notice["state"] != "due" for notice in run.tell.values())):
            if time.monotonic() > until:
                raise NotSo(f"run {run_id} is still {run.state} after {timeout_s:.0f} s: {run.reason}")
            time.sleep(_POLL_S)
            run = self.edge.store.run(run_id)
            if seen:
                seen(run)
        return run

    def leftovers(self, before: Any) -> tuple[str, ...]:
        return leftovers(self.docker, before)
