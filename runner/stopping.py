"""A claim that should end before its steps are done: who asks, and how whoever is at work hears of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum


class Why(StrEnum):
    """Why a claim stops early.

    *lost*: another epoch has the run; nothing may be written. *asked*: the record says cancel. *superseded*: a newer
    run takes its place, if this one has not begun what must not be left half done. *too long*: its steps went on past
    every limit of their own, and SQS will not keep its message hidden any longer. *handed back*: this runner stops, and
    another one goes on.
    """

    LOST = "lost"
    ASKED = "asked"
    TOO_LONG = "too_long"
    SUPERSEDED = "superseded"
    HANDED_BACK = "handed_back"


# Who asks for a run's end does not want another runner to go on with it; of a lost claim nothing may be written at all.
_WEIGHT = {Why.HANDED_BACK: 0, Why.SUPERSEDED: 1, Why.TOO_LONG: 2, Why.ASKED: 3, Why.LOST: 4}


class Stopped(BaseException):
    """Raised between two effects when the claim should stop. Not an Exception: no step may take it for its failure."""

    def __init__(self, why: Why) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True)
class _Listener:
    call: Callable[[], object]


class Stopping:
    """The wish to stop one claim. Thread-safe; whoever listens is called at once, in the asker's thread.

    `fresh` says whether a beat got through lately: before an effect, a claim that may be another's by
    now counts as lost.

    A listener must be quick and must not raise: it closes a socket, sends a signal, or starts a thread of its own. It
    may be called once more when its block is just over.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._why: Why | None = None
        self._listeners: list[_Listener] = []
        self.fresh: Callable[[], bool] = lambda: True

    @property
    def why(self) -> Why | None:
        """Why to stop; None = go on."""
        return self._why

    def ask(self, why: Why) -> None:
        """Ask it to stop. A weightier reason takes a lighter one's place, and whoever listens is called again."""
        with self._lock:
            if self._why is not None and _WEIGHT[why] <= _WEIGHT[self._why]:
                return
            self._why = why
            listeners = list(self._listeners)
        for listener in listeners:
            listener.call()

    def check(self) -> None:
        """Go on, or not.

        Raises:
            Stopped: somebody has asked for it, or the claim may be another's.
        """
        if self._why is not None:
            raise Stopped(self._why)
        self.check_held()

    def check_held(self) -> None:
        """Go on, unless the claim may be another's: asked in the middle of what is not left half done.

        Raises:
            Stopped: lost.
        """
        if self._why is Why.LOST or not self.fresh():
            raise Stopped(Why.LOST)

    @contextmanager
    def telling(self, call: Callable[[], object]) -> Iterator[None]:
        """`call` is called if somebody asks while the block lasts; at once if somebody has asked already."""
        listener = _Listener(call)
        with self._lock:
            self._listeners.append(listener)
            asked = self._why is not None
        try:
            if asked:
                call()
            yield
        finally:
            with self._lock:
                self._listeners.remove(listener)
