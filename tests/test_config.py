"""The compiled ci.yml as nouns, and when it is too old to be read."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest

from chalicelib.config import Trigger, TriggerKind, load, parse
from chalicelib.errors import StaleConfig
from chalicelib.model import Notify, Provider, Source, Step

SOURCE = b"version: 1\n"
COMPILED = {
    "version": 1,
    "source_sha256": sha256(SOURCE).hexdigest(),
    "operators": ["ops@2pisoftware.com"],
    "forges": {
        "github.com": {
            "provider": "github",
            "clone": "ssh://git@github.com/{repository}.git",
            "key": "github",
            "webhook": ["hook-2026", "hook-2025"],
            "api": "https://api.github.com",
            "token": "token-github",
        }
    },
    "registries": {"docker.io": "dockerhub", "open.example.com": None},
    "pipelines": [
        {
            "name": "cmfive",
            "repository": "github.com/2pisoftware/cmfive",
            "except": [],
            "map": {},
            "triggers": {"push": {"names": ["master"]}},
            "steps": [{"action": "build", "settings": {"image": "2pisoftware/cmfive"}}],
            "sources": ["github.com/2pisoftware/cmfive_deploy"],
            "notify": {"to": ["pusher"], "on": "always"},
            "lock": None,
            "timeout_s": 3600,
            "pool": "default",
        }
    ],
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "ci.yml").write_bytes(SOURCE)
    (tmp_path / "ci.json").write_text(json.dumps(COMPILED))
    return tmp_path


def test_the_compiled_form_becomes_nouns():
    config = parse(COMPILED)
    forge, (pipeline,) = config.forges["github.com"], config.pipelines
    assert config.hash == sha256(SOURCE).hexdigest()
    assert config.operators == ("ops@2pisoftware.com",)
    assert config.registries == {"docker.io": "dockerhub", "open.example.com": None}
    assert (forge.provider, forge.webhook) == (Provider.GITHUB, ("hook-2026", "hook-2025"))
    assert (forge.api, forge.token) == ("https://api.github.com", "token-github")
    assert pipeline.steps == (Step("build", {"image": "2pisoftware/cmfive"}),)
    assert pipeline.triggers == {TriggerKind.PUSH: Trigger(("master",))}
    assert pipeline.notify == Notify(("pusher",), "always")


def test_a_forge_says_how_a_repository_is_cloned():
    source = parse(COMPILED).forges["github.com"].source("2pisoftware/x")
    assert source == Source("github.com", "2pisoftware/x", "ssh://git@github.com/2pisoftware/x.git", "github")


def test_a_folder_with_a_fresh_ci_json_is_loaded(folder):
    assert load(folder) == parse(COMPILED)


def test_a_ci_json_without_its_source_is_loaded_as_it_is(folder):
    (folder / "ci.yml").unlink()
    assert load(folder) == parse(COMPILED)


def test_a_changed_ci_yml_makes_its_ci_json_stale(folder):
    (folder / "ci.yml").write_bytes(SOURCE + b"# one more line\n")
    with pytest.raises(StaleConfig, match=r"has changed since .* run `tau compile`"):
        load(folder)


@pytest.mark.parametrize(
    ("written", "why"),
    [
        (None, "is not there"),
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"version": 1}', "cannot be read"),
        (json.dumps({**COMPILED, "version": 2}), "has version 2, not 1"),
    ],
)
def test_a_ci_json_that_is_missing_or_strange_asks_to_be_compiled_again(folder, written, why):
    (folder / "ci.json").unlink()
    if written is not None:
        (folder / "ci.json").write_text(written)
    with pytest.raises(StaleConfig, match=f"{why}.*run `tau compile`"):
        load(folder)


def test_the_projects_own_ci_json_is_fresh_and_names_its_pipelines():
    assert [pipeline.name for pipeline in load().pipelines] == [
        *("cmfive", "cmfive-release", "cmfive-dev", "cmfive-feature"),
        *("crm", "crm-release", "crm-dev", "crm-on-cmfive", "testrunner"),
        "deployments",
    ]
