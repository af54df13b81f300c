"""A forge on loopback, its webhooks, and an installation that compares the two, for tests of the reconciler."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import timedelta

from chalicelib.config import parse
from chalicelib.intake import receive
from chalicelib.reconciler import reconcile
from infra.local.githost import Tag
from infra.local.samples import Webhook, bitbucket_tag, github_push, signature
from tests.forge_stand_ins import TOKEN, BitbucketStandIn, sha
from tests.hooks import REPOSITORY, SECRET, SECRET_NAME, commit, compiled, headers_of, pipeline
from tests.installation import NOW

GONE = "0" * 40
OTHER = "2pisoftware/other"
TOKEN_NAME = "token-test"
SECRETS = {SECRET_NAME: SECRET, TOKEN_NAME: TOKEN}


def put_secrets(edge):
    for name, value in SECRETS.items():
        edge.client("ssm").put_parameter(Name=f"{edge.settings.secrets_prefix}{name}", Value=value, Type="SecureString")
    edge.secrets._kept.clear()


def reasons(looked):
    return {one.repository: one.reason for one in looked}


def of(path_part, trouble):
    """Trouble with those addresses only that have a part in them."""
    return lambda path: trouble if path_part in path else None


class Clock:
    """The time of day, which a test moves."""

    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now

    def pass_(self, seconds):
        self.now += timedelta(seconds=seconds)


class World:
    """One repository at one forge: what happens to it is told by webhooks, which may be lost."""

    def __init__(self, edge, forge, *pipelines, repository=REPOSITORY, more=()):
        self.clock = Clock()
        self.edge = replace(edge, now=self.clock)
        self.forge = forge
        self.name = forge_name(forge)
        self.full_name = repository
        self.repository = forge.repository(repository)
        form = compiled(*(pipelines or (pipeline(repository=f"{self.name}/{repository}", triggers=ANY),)))
        asked = {forge_name(one): {"api": one.api, "token": TOKEN_NAME} for one in (forge, *more)}
        form["forges"] = {name: form["forges"][name] | opened for name, opened in asked.items()}
        self.form = form
        self.config = parse(form)
        self.made = 0

    # --- what happens at the forge ---

    def new(self):
        self.made += 1
        return sha(f"{self.full_name} {self.made}")

    def push(self, branch, at=None):
        at = at or self.new()
        before, self.repository.branches[branch] = self.repository.branches.get(branch), at
        return self._told(f"refs/heads/{branch}", before, at)

    def tag(self, name, *, annotated=False):
        made, before = self.new(), self.repository.tags.get(name)
        at = self.new() if annotated else made
        self.repository.tags[name] = at, made
        return self._told(f"refs/tags/{name}", before and before[0], at, made)

    def delete(self, branch):
        return self._told(f"refs/heads/{branch}", self.repository.branches.pop(branch), None)

    def delete_tag(self, name):
        return self._told(f"refs/tags/{name}", self.repository.tags.pop(name)[0], None)

    def _told(self, ref, before, after, made=None):
        tell = _by_bitbucket if isinstance(self.forge, BitbucketStandIn) else _by_github
        return tell(self.full_name, ref, before, after, made or after)

    # --- what the installation does ---

    def deliver(self, webhook):
        self.clock.pass_(1)
        return receive(
            headers_of(webhook),
            webhook.body,
            pinned=self.name,
            config=self.config,
            edge=self.edge,
            now=self.clock(),
            keep_config=self.keep_config,
        )

    def keep_config(self):
        self.edge.store.put_config(self.config.hash, json.dumps(self.form).encode())

    def look(self, minutes=15, budget_s=600, **wanted):
        """What a look finds, so many minutes later."""
        self.clock.pass_(60 * minutes)
        deadline = self.clock() + timedelta(seconds=budget_s)
        made = reconcile(
            self.edge, self.config, deadline=deadline, keep_config=self.keep_config, timeout_s=0.5, **wanted
        )
        return list(made)

    def look_at_one(self, **wanted):
        (looked,) = (one for one in self.look(**wanted) if one.repository == self.full_name)
        return looked

    # --- what is recorded ---

    def runs(self):
        days = {(self.clock() - timedelta(days=back)).date().isoformat() for back in range(4)}
        return [run for day in days for run in self.edge.store.runs_of_day(day, 1000)]

    def built(self):
        """How many runs there are of each commit of each ref."""
        return Counter((run.job.event.ref, run.job.event.commit) for run in self.runs())

    def heads(self):
        branches = {(f"refs/heads/{name}", at) for name, at in self.repository.branches.items()}
        return branches | {(f"refs/tags/{name}", made) for name, (_, made) in self.repository.tags.items()}


ANY = {"push": {"names": ["**"]}, "tag": {"names": ["**"]}}


def forge_name(forge):
    return "bitbucket.org" if isinstance(forge, BitbucketStandIn) else "github.com"


def happened(looked):
    """What a look found, in few words."""
    return sorted((event.kind, event.name) for event in looked.found)


def _by_github(repository, ref, before, after, made):
    webhook = github_push(repository, [commit(made or "2" * 40)], SECRET, ref=ref, before=before)
    body = json.loads(webhook.body)
    body["after"] = after or GONE
    if after is None:
        body |= {"deleted": True, "created": False, "commits": [], "head_commit": None}
    raw = json.dumps(body).encode()
    return Webhook({**webhook.headers, "X-Hub-Signature-256": signature(SECRET, raw)}, raw)


def _by_bitbucket(repository, ref, before, after, made):
    _, kind, name = ref.split("/", 2)
    webhook = bitbucket_tag(repository, Tag(name, made or GONE, made or GONE), commit(made or GONE), SECRET)
    body = json.loads(webhook.body)
    (change,) = body["push"]["changes"]
    side = {**change["new"], "type": "branch" if kind == "heads" else "tag"}
    # Bitbucket tells commits only, also of what an annotated tag was.
    old = {**side, "target": {**side["target"], "hash": before}} if before else None
    change |= {"old": old, "new": side if after else None, "created": before is None, "closed": after is None}
    raw = json.dumps(body).encode()
    return Webhook({**webhook.headers, "X-Hub-Signature": signature(SECRET, raw)}, raw)
