"""What tests of `tau doctor` share: a small ci.yml, its secrets, and one question asked of several."""

from chalicelib.config import parse
from chalicelib.errors import MissingSecret
from runner.doctor.findings import found

HOOK = "a webhook's secret of enough bytes"
LOGIN = "tau:a password made for the occasion"


def config(*, clone="ssh://git@github.com/{repository}.git", registries=None, steps=(), repository="2pisoftware/hello"):
    pipeline = {
        "name": "hello",
        "repository": f"github.com/{repository}",
        "except": [],
        "triggers": {},
        "steps": [{"action": action, "settings": settings} for action, settings in steps],
        "sources": [],
        "notify": {"to": [], "on": "never"},
        "lock": None,
        "timeout_s": 60,
        "pool": "default",
        "map": {},
    }
    return parse(
        {
            "version": 1,
            "operators": [],
            "forges": {"github.com": {"provider": "github", "clone": clone, "webhook": ["hook-2026"]}},
            "registries": registries or {},
            "pipelines": [pipeline],
            "source_sha256": "c" * 64,
        }
    )


def secret(name):
    values = {"hook-2026": HOOK, "registry": LOGIN}
    if name not in values:
        raise MissingSecret(f"the secret {name} cannot be read: set it")
    return values[name]


def asked(questions, name):
    """What is found of one thing."""
    return found(next(question for question in questions if question[0] == name))
