"""A run's memory across crashes: intents before effects, what was seen after them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from chalicelib import wire
from chalicelib.model import Json, Run
from chalicelib.store import Store

_OWN_FIELDS = {"step", "kind", "key", "epoch", "at"}


class RunJournal:
    """The journal of one step of one claim."""

    def __init__(self, store: Store, run: Run, step: int, now: Callable[[], datetime]) -> None:
        self._store = store
        self._run = run
        self._step = step
        self._now = now
        self._entries = [entry for entry in run.journal if entry.get("step") == step]

    def intend(self, key: str, **facts: Json) -> Mapping[str, Json] | None:
        """Write down what is about to be done; the facts of an earlier, unanswered intent where there is one."""
        earlier = self._last("intent", key) if self.begun(key) else None
        self._note("intent", key, facts)
        return earlier

    def observe(self, key: str, **facts: Json) -> None:
        """Write down what was seen after the effect."""
        self._note("seen", key, facts)

    def begun(self, key: str) -> bool:
        """Whether an intent was written that nothing seen answers."""
        return self.observed(key) is None and self._last("intent", key) is not None

    def observed(self, key: str) -> Mapping[str, Json] | None:
        return self._last("seen", key)

    def _note(self, kind: str, key: str, facts: Mapping[str, Json]) -> None:
        own = {"step": self._step, "kind": kind, "key": key, "epoch": self._run.epoch}
        entry = {**facts, **own, "at": wire.time_text(self._now())}
        self._store.note(self._run, entry)
        self._entries.append(entry)

    def _last(self, kind: str, key: str) -> Mapping[str, Json] | None:
        for entry in reversed(self._entries):
            if entry["kind"] == kind and entry["key"] == key:
                return {name: value for name, value in entry.items() if name not in _OWN_FIELDS}
        return None
