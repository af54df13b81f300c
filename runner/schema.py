"""The definitions of ci.yml in; their JSON Schema, for editors, out.

An editor reads `1.10` as a number and `no` as a truth value, where Tau reads the text that was written: wherever text
is meant, the schema lets both pass. What no schema can say (that a placeholder fits its place) is left to `tau check`.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from runner.grammar import CiFile, Pipeline

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_PLACE = "#/$defs/{model}"
_SCALARS = ["string", "number", "boolean"]

Schema = dict[str, Any]


def schema(actions: Mapping[str, type[BaseModel]]) -> Schema:
    """The JSON Schema of ci.yml.

    Args:
        actions: the Settings of every action by its word.
    """
    models: list[type[BaseModel]] = [CiFile, Pipeline, *actions.values()]
    placed, definitions = models_json_schema([(model, "validation") for model in models], ref_template=_PLACE)
    places: Mapping[object, Schema] = {model: place for (model, _), place in placed.items()}
    defined: Schema = copy.deepcopy(definitions["$defs"])
    step = {word: places[settings] for word, settings in actions.items()}
    _of(defined, places[Pipeline])["properties"]["steps"]["items"] = {
        "description": "One action with its settings.",
        "type": "object",
        "properties": step,
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
    whole = _of(defined, places[CiFile])
    pipelines = whole["properties"]["pipelines"]["patternProperties"]
    pipelines.update(dict.fromkeys(pipelines, places[Pipeline]))
    return {
        "$schema": DIALECT,
        "title": "ci.yml",
        **{key: _as_written(part) for key, part in whole.items() if key != "title"},
        "$defs": {name: _as_written(part) for name, part in defined.items() if part is not whole},
    }


def _of(definitions: Schema, place: Mapping[str, Any]) -> Schema:
    found: Schema = definitions[place["$ref"].rpartition("/")[2]]
    return found


def _as_written(part: Any) -> Any:
    """A part of the schema for what stands in the file: any scalar is text, and nothing is null."""
    if isinstance(part, list):
        return [_as_written(one) for one in part]
    if not isinstance(part, dict):
        return part
    named = {name: _as_written(of) for name, of in part.get("properties", {}).items()}
    rest = {key: _as_written(of) for key, of in part.items() if key not in {"properties", "default", "title"}}
    written = {**rest, "properties": named} if named else rest
    if "patternProperties" in written:
        written["additionalProperties"] = False
    if written.get("type") == "string":
        written["type"] = _types(written.get("pattern", ""))
    if "const" in written:
        written["enum"] = [written.pop("const")]
    if "enum" in written:
        # A word that looks like a number is one to an editor.
        written["enum"] += [int(word) for word in written["enum"] if word.isdigit()]
    options = [one for one in written.pop("anyOf", []) if one != {"type": "null"}]
    if len(options) == 1:
        return {**options[0], **written}
    return {**written, "anyOf": options} if options else written


def _types(pattern: str) -> list[str] | str:
    """As what an editor may read a text of this form."""
    return _SCALARS if not pattern or re.search(pattern, "1") else "string"
