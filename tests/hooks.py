"""Signed webhooks and a small ci.yml, for tests of what receives them."""

from __future__ import annotations

from datetime import UTC, datetime

from chalicelib.config import Config, parse
from infra.local.githost import SAM, Commit
from infra.local.samples import Webhook, github_push

SECRET = "a secret made for the occasion"
SECRET_NAME = "hook-test"
REPOSITORY = "2pisoftware/hello"


def pipeline(name: str = "hello", **changes) -> dict:
    return {
        "name": name,
        "repository": f"github.com/{REPOSITORY}",
        "except": [],
        "map": {},
        "triggers": {"push": {"names": ["develop"]}, "tag": {"names": ["*"]}},
        "steps": [{"action": "build", "settings": {"image": REPOSITORY}}],
        "sources": [],
        "notify": {"to": ["pusher"], "on": "always"},
        "lock": None,
        "timeout_s": 3600,
        "pool": "default",
        **changes,
    }


def compiled(*pipelines: dict) -> dict:
    github = {"provider": "github", "clone": "https://github.com/{repository}", "key": None, "webhook": [SECRET_NAME]}
    bitbucket = {**github, "provider": "bitbucket_cloud", "clone": "https://bitbucket.org/{repository}"}
    return {
        "version": 1,
        "source_sha256": "c" * 64,
        "operators": ["ops@2pisoftware.com"],
        "forges": {"github.com": github, "bitbucket.org": bitbucket},
        "registries": {},
        "pipelines": list(pipelines or (pipeline(),)),
    }


def config(*pipelines: dict) -> Config:
    return parse(compiled(*pipelines))


def commit(sha: str = "2" * 40) -> Commit:
    return Commit(sha, "3" * 40, "1" * 40, SAM, datetime(2026, 11, 23, tzinfo=UTC), "A change")


def push(sha: str = "2" * 40, secret: str = SECRET, repository: str = REPOSITORY, **changes) -> Webhook:
    """GitHub's push of one commit to develop."""
    return github_push(repository, [commit(sha)], secret, **{"before": "1" * 40, **changes})


def headers_of(webhook: Webhook) -> dict[str, tuple[str, ...]]:
    """As the intake gets them: names lower-cased, with every value."""
    return {name.lower(): (value,) for name, value in webhook.headers.items()}
