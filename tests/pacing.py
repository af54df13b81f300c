"""Time that a test moves, for programs that wait and start threads: `runner.pace.Pace` on a clock that stands still."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import timedelta

from tests.installation import NOW

PATIENCE_S = 10
"""Nobody waits longer, by the real clock, for what does not come."""


class Clock:
    """The time of day, and seconds of a clock that only goes forward. It stands still until a test moves it."""

    def __init__(self):
        self.now = NOW
        self.changed = threading.Condition()
        self.waits = []
        """Who waits just now: on which flag, for how long, until when."""

    def __call__(self):
        return self.now

    def monotonic(self):
        return (self.now - NOW).total_seconds()

    def pass_(self, seconds):
        with self.changed:
            self.now += timedelta(seconds=seconds)
            self.waken(lambda wait: wait.until is not None and wait.until <= self.monotonic())

    def somebody_waits(self, seconds, count=1):
        """Return when so many wait for this long (None: for whatever time it takes)."""
        with self.changed:
            assert self.changed.wait_for(
                lambda: [wait.seconds for wait in self.waits].count(seconds) >= count, PATIENCE_S
            ), self.waits

    def waken(self, those):
        """They wait no longer, as of now: their threads may take a moment to see it."""
        self.waits = [wait for wait in self.waits if not those(wait)]
        self.changed.notify_all()


@dataclass(frozen=True, eq=False)
class Wait:
    """Somebody who waits on a flag; None seconds = for whatever time it takes."""

    flag: object
    seconds: float | None
    until: float | None


class Flag:
    """threading.Event by a test's clock."""

    def __init__(self, clock):
        self._clock, self._set = clock, False

    def is_set(self):
        return self._set

    def set(self):
        with self._clock.changed:
            self._set = True
            self._clock.waken(lambda wait: wait.flag is self)

    def clear(self):
        self._set = False

    def wait(self, timeout=None):
        clock = self._clock
        with clock.changed:
            if self._set or (timeout is not None and timeout <= 0):
                return self._set
            me = Wait(self, timeout, None if timeout is None else clock.monotonic() + timeout)
            clock.waits.append(me)
            clock.changed.notify_all()
            while me in clock.waits:
                assert clock.changed.wait(PATIENCE_S), "nobody came"
            return self._set


class Pace:
    """A runner's time and threads: the threads are real, and time passes when the test says so.

    Args:
        at_once: the beginning of the names of what is done before `start` returns.
    """

    def __init__(self, clock, *, at_once=()):
        self.clock, self.at_once = clock, tuple(at_once)
        self.monotonic = clock.monotonic
        self.threads = []

    def now(self):
        return self.clock.now

    def sleep(self, seconds):
        self.flag().wait(seconds)

    def flag(self):
        return Flag(self.clock)

    def start(self, work, name):
        thread = threading.Thread(target=work, name=name, daemon=True)
        self.threads.append(thread)
        thread.start()
        if name.startswith(self.at_once):
            thread.join()
        return thread

    def everything_ends(self):
        """Return when whatever was started is over."""
        for thread in self.threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive(), thread.name
