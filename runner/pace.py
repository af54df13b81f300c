"""Time and threads, as the runner uses them: everything that waits goes through here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from chalicelib.clock import steady


class Flag(Protocol):
    """`threading.Event`, as far as it is used."""

    def is_set(self) -> bool: ...

    def set(self) -> None: ...

    def clear(self) -> None: ...

    def wait(self, timeout: float | None = None) -> bool: ...


class Work(Protocol):
    """Something that was started and goes on by itself."""

    def join(self, timeout: float | None = None) -> None: ...

    def is_alive(self) -> bool: ...


class Pace(Protocol):
    """What a process may do with time."""

    def now(self) -> datetime:
        """The time of day, UTC: only for records and people, never to measure with."""

    def monotonic(self) -> float:
        """Seconds of a clock that only goes forward."""

    def sleep(self, seconds: float) -> None: ...

    def flag(self) -> Flag: ...

    def start(self, work: Callable[[], object], name: str) -> Work:
        """Do it beside everything else."""


class Real:
    """The machine's own clocks and threads.

    Args:
        now: the time of day; AWS's where that is known (`Edge.now`).
    """

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.now = now
        # Also while the machine sleeps: a runner that wakes up must know how long it was away.
        self.monotonic = steady
        self.sleep = time.sleep

    def flag(self) -> Flag:
        return threading.Event()

    def start(self, work: Callable[[], object], name: str) -> Work:
        thread = threading.Thread(target=work, name=name, daemon=True)
        thread.start()
        return thread
