"""Jobs in; what they do to the world, in words, out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from chalicelib.model import Job, Json, Step

Words = Mapping[str, tuple[str, str]]
"""Action -> what a push would do by it, and to which thing of several: `be pushed to {to[]}`, `as {image}`.

In braces stands a setting; `[]` behind it: each of its elements is an effect of its own; `[0]`: only the first counts.
"""

_SETTING = re.compile(r"\{(\w+)(?:\[(\d*)\])?\}")


@dataclass(frozen=True)
class Effect:
    """What an event would do by a step: `be pushed to docker.io`, `as 2pisoftware/cmfive`."""

    action: str
    does: str
    which: str = ""

    @property
    def goes_live(self) -> bool:
        """Whether people outside would see it."""
        return self.action.startswith("deploy")


def effects(jobs: Sequence[Job], words: Words) -> tuple[Effect, ...]:
    """What the jobs do, each once: what goes live first, then in the order of their steps."""
    found = dict.fromkeys(effect for job in jobs for step in job.steps for effect in _of_step(step, words))
    return tuple(sorted(found, key=lambda effect: not effect.goes_live))


def _of_step(step: Step, words: Words) -> Iterator[Effect]:
    """One for each combination of what its words name: a push to two registries is two."""
    does, which = words.get(step.action, (f"go through {step.action}", ""))
    for told in _filled(does, step.settings):
        # A step that does not say which does not need to.
        for one in _filled(which, step.settings) or [""]:
            yield Effect(step.action, told, one)


def _filled(text: str, settings: Mapping[str, Json]) -> list[str]:
    """The text with every choice of the settings that it names; none where one of them is not there."""
    marks = list(dict.fromkeys(found.group() for found in _SETTING.finditer(text)))
    choices = product(*(_choices(mark, settings) for mark in marks))
    return [_with(text, dict(zip(marks, picked, strict=True))) for picked in choices]


def _with(text: str, values: Mapping[str, str]) -> str:
    return _SETTING.sub(lambda found: values[found.group()], text)


def _choices(mark: str, settings: Mapping[str, Json]) -> Sequence[str]:
    name, index = _SETTING.fullmatch(mark).groups()  # type: ignore[union-attr] # found by this very pattern
    value = settings.get(name)
    if value is None:
        return []
    if index is None:
        return [str(value)]
    return [str(one) for one in (value[int(index) :][:1] if index else value)]
