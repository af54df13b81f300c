"""The JSON Schema of ci.yml, held against files as an editor reads them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from chalicelib.globs import matches
from runner import actions
from runner.cli import main
from runner.compiler import known_actions
from runner.schema import schema

ROOT = Path(__file__).parents[2]
BROKEN = Path(__file__).parent / "broken"
SCHEMA = schema(known_actions())


class Editor(yaml.SafeLoader):
    """YAML 1.2, as editors read it: numbers are numbers, and `on` is a word."""


Editor.yaml_implicit_resolvers = {
    letter: [(tag, regex) for tag, regex in known if tag != "tag:yaml.org,2002:bool"]
    for letter, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Editor.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("true|false"), list("tf"))


def read(text):
    return yaml.load(text, Editor)


def wrong(text):
    """The places of which the schema complains, as `a.b.0`."""
    errors = Draft202012Validator(SCHEMA).iter_errors(read(text))
    return sorted({".".join(map(str, error.absolute_path)) for error in errors})


def shipped():
    return (ROOT / "chalicelib" / "ci.yml").read_text()


def test_it_is_a_schema():
    Draft202012Validator.check_schema(SCHEMA)


def test_the_shipped_file_is_valid():
    assert wrong(shipped()) == []


def test_the_file_of_the_reference_is_valid():
    text = (ROOT / "docs" / "ci.yml.md").read_text()
    assert wrong(text.split("```yaml\n")[1].split("```")[0]) == []


def test_what_reads_as_a_number_or_a_truth_value_is_text():
    text = shipped().replace("trigger: {push: [master]}", "trigger: {push: [1.10, 7, true]}", 1)
    assert wrong(text) == []


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("misspelled-keys", ["pipelines.cmfive", "pipelines.cmfive.trigger", "pipelines.cmfive.steps.*"]),
        ("values-that-yaml-would-change", ["pipelines.cmfive.trigger.push", "pipelines.cmfive.notify.on"]),
        ("forges", ["forges.ours.provider", "forges.bitbucket.org.provider", "forges.data.center.webhooks*"]),
        ("steps", ["pipelines.cmfive.steps.0", "pipelines.cmfive.steps.1", "pipelines.cmfive.steps.2"]),
        ("schedules", ["pipelines.strange.steps", "pipelines.strange.trigger.schedule"]),
    ],
)
def test_an_editor_marks_the_places_of_which_tau_check_complains(name, places):
    found = wrong((BROKEN / f"{name}.yml").read_text())
    for place in places:
        assert any(matches(place.replace("*", "**"), one) for one in found), f"{place} is not among {found}"


@pytest.mark.parametrize(
    ("text", "place"), [("{}", "pipelines.a.trigger"), ('{push: [""]}', "pipelines.a.trigger.push")]
)
def test_an_editor_marks_a_trigger_that_nothing_can_meet(text, place):
    pipeline = f"{{repository: github.com/o/n, trigger: {text}, steps: [{{build: {{image: a}}}}]}}"
    head, pipelines, _ = shipped().partition("\npipelines:\n")
    assert wrong(f"{head}{pipelines}  a: {pipeline}\n") == [place]


def test_every_action_is_a_step_and_no_other_word_is():
    step = SCHEMA["$defs"]["Pipeline"]["properties"]["steps"]["items"]
    assert sorted(step["properties"]) == sorted(actions.names())


def test_tau_schema_prints_it():
    result = CliRunner().invoke(main, ["schema"])
    assert (result.exit_code, json.loads(result.output)) == (0, SCHEMA)
