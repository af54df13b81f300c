"""Jobs in; what they do to the world, in words, out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from chalicelib.model import Job, Json, Step

Words = Mapping[str, tuple[str, str]]
"""Action -> what a push would do by it (`be pushed to {to}`), and to which thing of several (`as {image}`)."""

_SETTING = re.compile(r"\{(\w+)\}")


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
    """One for each combination of the settings that its words name: a push to two registries is two."""
    does, which = words.get(step.action, (f"go through {step.action}", ""))
    names = sorted({*_SETTING.findall(does), *_SETTING.findall(which)})
    for picked in product(*(_each(step.settings.get(name)) for name in names)):
        settings = dict(zip(names, picked, strict=True))
        yield Effect(step.action, _filled(does, settings), _filled(which, settings))


def _each(value: Json) -> Sequence[str]:
    return [str(one) for one in value] if isinstance(value, list | tuple) else [str(value)]


def _filled(text: str, settings: Mapping[str, str]) -> str:
    return _SETTING.sub(lambda found: settings[found[1]], text)
