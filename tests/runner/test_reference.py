"""docs/ci.yml.md, held against the definitions: every key stands in its section's table, and no other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import pydantic
import pytest
import yaml

from runner import actions
from runner.compiler import compile_text
from runner.grammar import CiFile, Forge, Notify, Pipeline, Registry
from runner.triggers import Changes, Names, Schedule, Trigger

REFERENCE = (Path(__file__).parents[2] / "docs" / "ci.yml.md").read_text()
SECTIONS = dict(re.findall(r"^##+ (.*)\n((?:(?!##).*\n)*)", REFERENCE, re.MULTILINE))
MODELS = {
    "The whole file": (CiFile,),
    "A forge": (Forge,),
    "A registry": (Registry,),
    "A pipeline": (Pipeline,),
    "`trigger`": (Trigger, Names, Changes, Schedule),
    "`notify`": (Notify,),
    **{f"`{name}`": (actions.find(name).Settings,) for name in actions.names()},
}


def fields(section):
    return {field.alias or name: field for model in MODELS[section] for name, field in model.model_fields.items()}


def rows(section):
    """The cells of the tables whose first column are keys."""
    for table in re.findall(r"^\| key .*\n\|[-|]*\n((?:\|.*\n)*)", SECTIONS[section], re.MULTILINE):
        for line in table.splitlines():
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))]


def described(section):
    return [key for cells in rows(section) for key in re.findall(r"`([^`]*)`", cells[0])]


@pytest.mark.parametrize("section", MODELS)
def test_a_section_describes_every_key_once_and_no_other(section):
    assert sorted(described(section)) == sorted(fields(section))


@pytest.mark.parametrize("section", MODELS)
def test_what_is_required_is_said_to_be_and_nothing_else_is(section):
    for cells in rows(section):
        names = re.findall(r"`([^`]*)`", cells[0])
        if len(cells) > 2 and len(names) == 1 and cells[1] in {"required", ""}:
            assert fields(section)[names[0]].is_required() == (cells[1] == "required"), names[0]


@pytest.mark.parametrize("section", MODELS)
def test_a_default_that_is_shown_is_the_one_that_counts(section):
    for cells in rows(section):
        names, shown = re.findall(r"`([^`]*)`", cells[0]), re.fullmatch(r"`([^`]*)`", cells[1])
        if len(names) == 1 and len(cells) > 2 and shown:
            field = fields(section)[names[0]]
            kind = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
            assert pydantic.TypeAdapter(kind).validate_python(yaml.load(shown[1], yaml.BaseLoader)) == field.default, (
                names[0]
            )


def inner_models(kind):
    """The models that a type is made of."""
    if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel):
        yield kind
    for part in getattr(kind, "__args__", ()):
        yield from inner_models(part)


@pytest.mark.parametrize("name", actions.names())
def test_the_keys_of_a_mapping_inside_of_an_action_stand_in_its_section(name):
    inner = [
        one for field in actions.find(name).Settings.model_fields.values() for one in inner_models(field.annotation)
    ]
    for key in [field.alias or name for one in inner for name, field in one.model_fields.items()]:
        assert f"`{key}`" in SECTIONS[f"`{name}`"], key


def test_there_is_no_section_of_an_action_that_there_is_not():
    shown = re.findall(r"^### `(.*)`$", REFERENCE.partition("\n## Steps\n")[2], re.MULTILINE)
    assert sorted(shown) == sorted(actions.names())


def test_the_reference_shows_a_file_that_compiles():
    assert compile_text(REFERENCE.split("```yaml\n")[1].split("```")[0])["pipelines"][0]["name"] == "cmfive"
