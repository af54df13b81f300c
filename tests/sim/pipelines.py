"""The ci.yml of the simulation, as it would be compiled: two repositories, tags that go live, a schedule."""

import json
from functools import cache

from chalicelib import wire
from chalicelib.config import parse
from tests.hooks import compiled, pipeline
from tests.sim.forge import OTHER_REPOSITORY, REPOSITORY

HOST = "code.example:5000"
IMAGE, TOOLS, STANDING = "2pisoftware/app", "2pisoftware/tools", "2pisoftware/standing"
ENVIRONMENT = "app-production"
APPROVERS = "kim@example.com", "lee@example.com"
SOURCES = {
    "app": f"github.com/{REPOSITORY}",
    "release": f"github.com/{REPOSITORY}",
    "tools": f"github.com/{OTHER_REPOSITORY}",
    "standing": f"github.com/{OTHER_REPOSITORY}",
    "nightly": f"github.com/{OTHER_REPOSITORY}",
}
"""Pipeline -> the repository that it is of, `forge/owner/name`."""


@cache
def form(supersede, retry, cron, approve, probe):
    """What `tau compile` would have written.

    Args:
        supersede: of every pipeline.
        retry: of the script.
        approve: whether what goes live has to be approved.
        probe: whether it has to answer.
        cron: when `nightly` is due; None = there is no such pipeline.
    """
    schedule = {"schedule": {"cron": cron, "timezone": "UTC", "ref": "develop"}}
    nightly = [_pipeline("nightly", schedule, [_build(TOOLS)], supersede)] if cron else []
    return compiled(
        *nightly,
        _pipeline("app", {"push": {"names": ["develop"]}}, [_build(IMAGE), _push("branch")], supersede),
        _pipeline(
            "release", {"tag": {"names": ["*"]}}, [_build(IMAGE), _push("tag"), _deploy(approve, probe)], supersede
        ),
        _pipeline("standing", {"image": {"names": [f"{IMAGE}:develop"]}}, [_build(STANDING)], supersede),
        _pipeline("tools", {"push": {"names": ["develop"]}}, [_build(TOOLS), _script(retry)], supersede),
    )


@cache
def config(supersede, retry, cron, approve, probe):
    """The same, read."""
    return parse(json.loads(json.dumps(form(supersede, retry, cron, approve, probe))))


def in_force(compiled_form):
    """The items that say so."""
    key, text = compiled_form["source_sha256"], json.dumps(compiled_form).encode()
    yield {"pk": f"config#{key}", "sk": "config", "v": 1, "compiled": wire.zipped(text)}
    yield {"pk": "config", "sk": "current", "v": 1, "hash": key, "since": "2026-01-01T00:00:00.000Z"}


def _pipeline(name, triggers, steps, supersede):
    return pipeline(name, repository=SOURCES[name], triggers=triggers, steps=steps, supersede=supersede)


def _build(image):
    return {"action": "build", "settings": {"image": image}}


def _push(named_by):
    tag = {"template": f"{{{named_by}}}", "sink": "image_tag"}
    return {"action": "push", "settings": {"image": IMAGE, "to": [HOST], "tags": [tag]}}


def _script(retry):
    return {"action": "script", "settings": {"run": ["/opt/deploy", "live"], "image": TOOLS, "retry": retry}}


def _deploy(approve, probe):
    settings = {"image": IMAGE, "application": "app", "environment": ENVIRONMENT, "timeout": 600}
    if approve:
        settings["approve"] = {"by": list(APPROVERS), "within": 300}
    if probe:
        settings["probe"] = "/health"
    return {"action": "deploy_eb", "settings": settings}
