"""What a pipeline of ci.yml may answer to, as pydantic models."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, TypeAlias
from zoneinfo import available_timezones

from annotated_types import MinLen
from cronsim import CronSim, CronSimError
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from chalicelib.providers.reading import NOT_A_REF
from runner.fields import GlobText, PathGlob, complaint, shape, suggestion

_CRON_FIELDS = 5


class Part(BaseModel):
    """A part of ci.yml: nothing but the keys that are known."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class _Of(Part):
    """A part that must have at least one of its keys."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})


def _cron(text: str) -> str:
    """Five fields, and a time that comes."""
    if len(text.split()) != _CRON_FIELDS:
        raise complaint(f'expected five fields (minute hour day month weekday) such as "0 3 * * *", got {shape(text)}')
    try:
        next(CronSim(text, datetime(2024, 1, 1, tzinfo=UTC)))
    except (CronSimError, StopIteration) as error:
        why = str(error) or "that time never comes"
        raise complaint(f'expected a time as cron says it, such as "0 3 * * *", got {shape(text)}: {why}') from error
    return text


# It reads the whole folder of them each time.
_zones = cache(available_timezones)


def _timezone(text: str) -> str:
    known = _zones()
    if text not in known:
        raise complaint(f"{shape(text)} is no time zone; {suggestion(text, sorted(known))}")
    return text


def _ref(text: str) -> str:
    """The name of a branch, or a full ref."""
    full = text if text.startswith("refs/") else f"refs/heads/{text}"
    if not re.fullmatch(r"refs/(heads|tags)/.+", full) or NOT_A_REF.search(full):
        raise complaint(f"expected a branch's name or refs/tags/NAME, got {shape(text)}")
    return text


class _Short:
    """Marks a mapping that may be written as the list of its names alone."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._listed, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        names = {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1}
        return {"anyOf": [names, handler(schema)]}

    @staticmethod
    def _listed(value: object) -> object:
        if isinstance(value, str):
            raise complaint(f"expected a list, got {shape(value)}")
        return {"names": value} if isinstance(value, list | tuple) else value


class Names(Part):
    """Names that a pipeline answers to: of branches or tags."""

    names: Annotated[tuple[GlobText, ...], MinLen(1)]
    except_: Annotated[tuple[GlobText, ...], MinLen(1)] | None = Field(None, alias="except")


class Changes(Names):
    """The same, where a change is one only if one of these files changed."""

    paths: Annotated[tuple[PathGlob, ...], MinLen(1)] | None = None


class Schedule(Part):
    """A time to start at, as cron says it.

    Args:
        ref: a branch's name, or `refs/tags/…`; None = the default branch.
    """

    cron: Annotated[str, AfterValidator(_cron)]
    timezone: Annotated[str, AfterValidator(_timezone)] = "UTC"
    ref: Annotated[str, AfterValidator(_ref)] | None = None


class Manual(Part):
    """Nothing but a person starts it."""


Listed: TypeAlias = Annotated[Names, _Short()]
ListedChanges: TypeAlias = Annotated[Changes, _Short()]


class Trigger(_Of):
    """What a pipeline answers to.

    Args:
        push: branches that are pushed to. `branch` is their whole life: made, pushed to, deleted.
        image: images with their tags, `2pisoftware/cmfive:latest`, that a run has pushed.
        pull_request: the branches that it wants to go into.
    """

    push: ListedChanges | None = None
    branch: Listed | None = None
    tag: Listed | None = None
    image: Listed | None = None
    pull_request: ListedChanges | None = None
    schedule: Schedule | None = None
    manual: Manual | None = None

    @model_validator(mode="after")
    def _any(self) -> Trigger:
        if not self.model_fields_set:
            raise complaint(f"expected one of {', '.join(Trigger.model_fields)}")
        return self
