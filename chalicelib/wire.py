"""Nouns to plain dictionaries and back: what lies in records, in ci.json's jobs and on the command line."""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import Enum
from functools import cache
from types import MappingProxyType, NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from chalicelib.errors import BadRecord
from chalicelib.model import Json

Noun = TypeVar("Noun")
Reader = Callable[[Json], Any]


def to_json(noun: object) -> Json:
    """A noun as JSON-able data: enums as text, times as UTC text, tuples as lists."""
    if noun.__class__ in _PLAIN:
        return noun
    if dataclasses.is_dataclass(noun) and not isinstance(noun, type):
        return {field.name: to_json(getattr(noun, field.name)) for field in dataclasses.fields(noun)}
    if isinstance(noun, Mapping):
        return {str(key): to_json(value) for key, value in noun.items()}
    if isinstance(noun, tuple | list):
        return [to_json(value) for value in noun]
    if isinstance(noun, datetime):
        return time_text(noun)
    return noun.value if isinstance(noun, Enum) else noun


_PLAIN = frozenset({str, int, bool, float, NoneType})


def from_json(kind: type[Noun], data: Json, **known: object) -> Noun:
    """Data that `to_json` made, as the noun again; fields of a newer version are passed over.

    Args:
        known: fields that have been read already.

    Raises:
        BadRecord: a field is missing, or holds what this program does not know.
    """
    try:
        noun: Noun = _read_noun(kind, data, known) if known else _reader(cast(Any, kind))(data)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadRecord(f"this is no {kind.__name__} that this program can read: {error!r}") from error
    return noun


def dumps(noun: object) -> str:
    """A noun as compact ASCII text: SQS and DynamoDB refuse some characters, ASCII never."""
    return _ENCODER.encode(noun)


def _plain(noun: object) -> Json:
    """What `json` does not know itself, one level deep: it goes on from there, in C."""
    if dataclasses.is_dataclass(noun):
        return vars(noun)
    if isinstance(noun, datetime):
        return time_text(noun)
    if isinstance(noun, Mapping):
        return dict(noun)
    raise TypeError(f"{type(noun).__name__} is no noun")


_ENCODER = json.JSONEncoder(separators=(",", ":"), sort_keys=True, default=_plain)


def loads(kind: type[Noun], text: str) -> Noun:
    return from_json(kind, json.loads(text))


def zipped(data: bytes) -> bytes:
    # On webhooks level 3 takes 0.6 of level 6's time and leaves 7 % more.
    return zlib.compress(data, 3)


def unzipped(data: bytes) -> bytes:
    return zlib.decompress(data)


def time_text(moment: datetime) -> str:
    """`2026-11-23T14:21:06.123Z`: sorts as text in the order of time."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def time_of(text: str) -> datetime:
    return datetime.fromisoformat(text)


def key(*parts: str) -> str:
    """Parts as one key that no other parts make: `3:a#b1:c` is neither `1:a3:b#c` nor anything else."""
    return "".join(f"{len(part)}:{part}" for part in parts)


@cache
def _reader(kind: Any) -> Reader:  # noqa: PLR0911 - one return for each kind of type
    """How data of a type is read; worked out once for each type, since records are read all the time."""
    origin, inside = get_origin(kind), get_args(kind)
    if origin in {Union, UnionType}:
        (inner,) = (_reader(option) for option in inside if option is not NoneType)
        return lambda data: None if data is None else inner(data)
    if origin is tuple:
        item = _reader(inside[0])
        return lambda data: tuple([item(value) for value in data])
    if origin is not None and issubclass(origin, Mapping):
        value_of = _reader(inside[1])
        return lambda data: {name: value_of(value) for name, value in data.items()}
    if kind is datetime:
        return time_of
    if dataclasses.is_dataclass(kind):
        return lambda data: _read_noun(kind, data)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind
    return _as_it_is


def _as_it_is(data: Json) -> Any:
    return data


def _read_noun(kind: Any, data: Mapping[str, Json], known: Mapping[str, object] = MappingProxyType({})) -> Any:
    fields = dict(known)
    for name, read, needed in _fields(kind):
        if name not in fields and (needed or name in data):
            fields[name] = read(data[name])
    return kind(**fields)


@cache
def _fields(kind: Any) -> tuple[tuple[str, Reader, bool], ...]:
    """Name and reader of each field, and whether it has no default."""
    hints = get_type_hints(kind)
    missing = dataclasses.MISSING
    return tuple(
        (field.name, _reader(hints[field.name]), field.default is missing and field.default_factory is missing)
        for field in dataclasses.fields(kind)
    )
