"""Secrets as they are read in; what must not be shown of a run, and of this process, out.

Nobody has to say that a value is secret: whatever comes out of the store through here is known from then on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Any

from chalicelib.model import Job, StepResult
from runner.disguises import SHORTEST, too_short
from runner.redaction import Matcher, Redactor

PRINTED = "printed_secrets"
"""A fact of a step: the names of the secrets that its output held."""
# By these later steps, and other runs, find what was made: names of ci.yml, tags, labels and digests.
_FOR_MACHINES = frozenset({"image", "digests", "bases", "commits", "spared", "pushed", "moved", "deployment"})
_MOST_VALUES = 8

Get = Callable[[str], str]


class Handed:
    """Every secret that this process was handed. One that was changed in the store is still known by its old values."""

    def __init__(self) -> None:
        self._values: dict[str, tuple[str, ...]] = {}
        self._changing = threading.Lock()

    def listening(self, get: Get) -> Get:
        """`get`, and what it answers is known."""

        def listened(name: str) -> str:
            value = get(name)
            self._remember(name, value)
            return value

        return listened

    def matcher(self, names: Iterable[str] | None = None) -> Matcher:
        """What finds these secrets; None = all of them."""
        values = self._values
        wanted = values if names is None else {name for name in names if name in values}
        return _matcher(frozenset((name, values[name]) for name in wanted))

    def text(self, text: str) -> str:
        """A text of this process, without any secret."""
        return _hidden(text, Redactor(self.matcher))

    def _remember(self, name: str, value: str) -> None:
        with self._changing:
            known = self._values.get(name, ())
            if value not in known:
                self._values = {**self._values, name: (*known, value)[-_MOST_VALUES:]}


@lru_cache(maxsize=16)
def _matcher(secrets: frozenset[tuple[str, tuple[str, ...]]]) -> Matcher:
    """Made once for all runs that know the same."""
    return Matcher(dict(secrets))


class Guard:
    """What one run was handed, and what opens its repositories and registries: none of it is shown by this run.

    Another run's secrets are nothing to it: whoever may print anything could find them by guessing.
    """

    def __init__(self, handed: Handed, job: Job) -> None:
        keys = {source.key for source in (job.source, *job.sources.values(), *job.submodules) if source}
        self._names = frozenset(name for name in (*keys, *job.registries.values()) if name)
        self._read: frozenset[str] = frozenset()
        self._handed = handed

    def secret(self, get: Get, said: Callable[[str], object]) -> Get:
        """`get` for an action of this run.

        Args:
            said: is told where one cannot be hidden.
        """
        listening = self._handed.listening(get)

        def handed(name: str) -> str:
            value = listening(name)
            if name not in self._read and too_short(value):
                said(f"the secret {name} is shorter than {SHORTEST} characters: it is not hidden where it is printed")
            self._read |= {name}
            return value

        return handed

    def matcher(self) -> Matcher:
        return self._handed.matcher(self._names | self._read)

    def text(self, text: str) -> str:
        return _hidden(text, Redactor(self.matcher))

    def result(self, result: StepResult, printed: Iterable[str] = ()) -> StepResult:
        """What came of a step, with no secret in what people read of it.

        Args:
            printed: the names of those that its output held.
        """
        facts = {name: held if name in _FOR_MACHINES else self._clean(held) for name, held in result.facts.items()}
        names = sorted(printed)
        return replace(
            result,
            reason=None if result.reason is None else self.text(result.reason),
            lines=tuple(self.text(line) for line in result.lines),
            facts={**facts, PRINTED: names} if names else facts,
        )

    def _clean(self, held: Any) -> Any:
        if isinstance(held, str):
            return self.text(held)
        if isinstance(held, dict):
            return {self.text(name): self._clean(one) for name, one in held.items()}
        return [self._clean(one) for one in held] if isinstance(held, list | tuple) else held


def _hidden(text: str, redactor: Redactor) -> str:
    raw = text.encode("utf-8", "surrogateescape")
    passed = redactor.whole(raw)
    return text if passed is raw else passed.decode("utf-8", "surrogateescape")
