"""Two ci.yml in; what the second says differently, pipeline by pipeline, out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from chalicelib import wire
from chalicelib.config import Config, Pipeline
from chalicelib.model import Json, Step
from chalicelib.reports.words import duration, size

# What ci.yml itself calls them.
_NAMES = {"except_": "except", "timeout_s": "timeout", "pool": "runs_on", "triggers": "trigger"}
_UNITS = {"timeout": duration, "memory": size}


Values = tuple[str, ...]
"""One text, or each of a list."""


class Change(StrEnum):
    """What became of a pipeline."""

    NEW = "new"
    GONE = "gone"
    CHANGED = "changed"


@dataclass(frozen=True)
class Setting:
    """A setting that has another value: `push.tags`, from (`latest`, `{branch}`) to (`latest`); () where it is not."""

    name: str
    old: Values
    new: Values


@dataclass(frozen=True)
class RuleChange:
    """What became of one pipeline; without a name, of what holds for all of them."""

    pipeline: str
    change: Change
    settings: tuple[Setting, ...] = ()


def rule_changes(old: Config, new: Config) -> tuple[RuleChange, ...]:
    """What is new or changed in the order of the new ci.yml, then what is gone."""
    before, after = ({one.name: one for one in config.pipelines} for config in (old, new))
    changes = [RuleChange("", Change.CHANGED, _settings(_of_all(old), _of_all(new)))]
    for name, pipeline in after.items():
        if name in before:
            changes.append(RuleChange(name, Change.CHANGED, _of_pipelines(before[name], pipeline)))
        else:
            changes.append(RuleChange(name, Change.NEW))
    changes += [RuleChange(name, Change.GONE) for name in before if name not in after]
    return tuple(one for one in changes if one.settings or one.change is not Change.CHANGED)


def _of_all(config: Config) -> dict[str, Values]:
    registries = {host: secret or "without credentials" for host, secret in config.registries.items()}
    said = {"operators": config.operators, "forges": config.forges, "registries": registries}
    return dict(_flat(wire.to_json(said), ()))


def _of_pipelines(old: Pipeline, new: Pipeline) -> tuple[Setting, ...]:
    (old_steps, new_steps), (old_rest, new_rest) = zip(*map(_parts, (old, new)), strict=True)
    # The settings of a step that only one of them has are no news beside that.
    both = [word for word in old_steps if word in new_steps]
    inside = [
        setting
        for word in both
        for setting in _settings(dict(_flat(old_steps[word], (word,))), dict(_flat(new_steps[word], (word,))))
    ]
    return (*_settings(old_rest, new_rest), *inside)


def _parts(pipeline: Pipeline) -> tuple[dict[str, Json], dict[str, Values]]:
    """The steps' settings by their words, the second `build` being `build 2`; and the rest, with the steps' order."""
    words = _words(pipeline.steps)
    said = wire.to_json(pipeline)
    # Which repositories it names follows from its steps.
    rest = {key: value for key, value in said.items() if key not in {"name", "sources", "steps", "triggers"}}
    rest["triggers"] = {kind: _said(trigger) for kind, trigger in said["triggers"].items()}
    steps = dict(zip(words, (step["settings"] for step in said["steps"]), strict=True))
    return steps, dict(_flat({**rest, "steps": words}, ()))


def _said(trigger: Mapping[str, Json]) -> dict[str, Json]:
    """A trigger as ci.yml says it: only a schedule has a time zone, and `push: []` without a name is no trigger."""
    return {key: value for key, value in trigger.items() if key != "timezone" or trigger["cron"]}


def _words(steps: Sequence[Step]) -> list[str]:
    seen: Counter[str] = Counter()
    words = []
    for step in steps:
        seen[step.action] += 1
        words.append(step.action if seen[step.action] == 1 else f"{step.action} {seen[step.action]}")
    return words


def _settings(old: Mapping[str, Values], new: Mapping[str, Values]) -> tuple[Setting, ...]:
    both = (Setting(name, old.get(name, ()), new.get(name, ())) for name in dict.fromkeys((*old, *new)))
    return tuple(one for one in both if one.old != one.new)


def _flat(value: Json, path: tuple[str, ...]) -> Iterator[tuple[str, Values]]:
    """Every setting with its place, `trigger.push.names`, and what it says; what is empty is not there."""
    if isinstance(value, Mapping) and not _is_template(value):
        for key, inner in value.items():
            yield from _flat(inner, (*path, _named(key)))
    elif value not in (None, [], ()):
        values = value if isinstance(value, list | tuple) else [value]
        yield ".".join(path), tuple(_text(one, path[-1]) for one in values)


def _named(key: str) -> str:
    return _NAMES.get(key, key)


def _text(value: Json, key: str) -> str:
    if _is_template(value):
        return str(value["template"])
    unit = _UNITS.get(key) if isinstance(value, int) else None
    return unit(value) if unit else str(value)


def _is_template(value: Json) -> bool:
    return isinstance(value, Mapping) and set(value) == {"template", "sink"}
