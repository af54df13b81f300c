"""What pydantic says about a part of ci.yml, in words and with the place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from runner.fields import shape, suggestion
from runner.yaml_places import Document, Path, Tree

_EXPECTED: Mapping[str, str] = {
    "string_type": "text",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "dict_type": "a mapping (key: value)",
    "mapping_type": "a mapping (key: value)",
    "model_type": "a mapping (key: value)",
    "model_attributes_type": "a mapping (key: value)",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
}


def complain(document: Document, error: ValidationError, model: type[BaseModel], base: Path, raw: Tree) -> None:
    """Note every error with the path that it is about.

    Args:
        model: what was to be made of `raw`, which stands at `base`.
    """
    for one in error.errors(include_url=False):
        path, is_missing = _path(one, raw), one["type"] == "missing"
        if is_missing:
            path = (*path, one["loc"][-1])
        document.complain((*base, *path), _words(one, model))


def _path(error: ErrorDetails, raw: Tree) -> Path:
    """The error's location, without the steps that pydantic took between two parts of the tree."""
    path: Path = ()
    here: Any = raw
    for part in error["loc"]:
        inside = part in here if isinstance(here, dict) else isinstance(here, list) and part in range(len(here))
        if inside:
            path, here = (*path, part), here[part]
    return path


def _words(error: ErrorDetails, model: type[BaseModel]) -> str:
    kind, got, location = error["type"], shape(error["input"]), error["loc"]
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}, got {got}"
    if kind == "missing":
        return f'"{location[-1]}" is required'
    if kind == "extra_forbidden":
        return f"unknown key; {suggestion(str(location[-1]), _keys(model, location[:-1]))}"
    if kind == "too_short":
        return "is empty; write at least one"
    return _other_words(error, got)


def _other_words(error: ErrorDetails, got: str) -> str:
    if error["type"] in {"literal_error", "enum"}:
        return f"expected {error['ctx']['expected'].replace(chr(39), '')}, got {got}"
    if error["type"] == "string_pattern_mismatch":
        return f"{got} is not of the form {error['ctx']['pattern']}"
    return error["msg"].removeprefix("Value error, ").replace("Input should be", "expected", 1)


def _keys(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The keys that the model at a location knows."""
    here: Any = model
    for part in location:
        here = _inner(here, part) or here
    found = _first(here, lambda one: isinstance(one, type) and issubclass(one, BaseModel))
    return [field.alias or name for name, field in found.model_fields.items()] if found else []


def _inner(kind: Any, part: int | str) -> Any:
    """The type of what lies under a key or an index; None where `part` is only one of pydantic's own steps."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        fields = {field.alias or name: field.annotation for name, field in kind.model_fields.items()}
        return fields.get(str(part))
    origin, inner = get_origin(kind), get_args(kind)
    if origin in {Union, UnionType}:
        return next((found for one in inner if (found := _inner(one, part))), None)
    if origin is Annotated:
        return _inner(inner[0], part)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return inner[1]
    return inner[0] if origin and isinstance(part, int) else None


def _first(kind: Any, wanted: Callable[[Any], bool]) -> Any:
    if wanted(kind):
        return kind
    return next((found for one in get_args(kind) if one is not NoneType and (found := _first(one, wanted))), None)
