"""How many runs a runner has in hand, and of which repositories."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from runner.pace import Flag, Pace


class Slots:
    """Places for `most` runs. Of one repository's runs all but one place may be taken: the others get their turn."""

    def __init__(self, most: int, pace: Pace) -> None:
        self.most = most
        self._free = most
        self._of: Counter[str] = Counter()
        self._lent = self._owed = 0
        self._waiting: set[str] = set()
        self._pace = pace
        self._lock = threading.Lock()
        self._listeners: list[Flag] = []

    def take(self, stopping: Flag) -> bool:
        """Wait for a free place and take it; False when the runner stops."""
        return self._take(stopping, lambda: self._free > self._owed)

    def give(self) -> None:
        """A place is free again."""
        with self._lock:
            self._free += 1
        self.wake()

    def wake(self) -> None:
        """Whoever waits looks again."""
        with self._lock:
            listeners, self._listeners = self._listeners, []
        for changed in listeners:
            changed.set()

    @property
    def wanted_back(self) -> bool:
        """Whether somebody who lent a place waits for one, now or soon."""
        return self._lent > 0

    @contextmanager
    def lent(self, stopping: Flag) -> Iterator[None]:
        """While the block lasts, somebody else may have the place; at its end one is waited for, unless we stop."""
        with self._lock:
            self._lent += 1
        self.give()
        try:
            yield
        finally:
            self._take_back(stopping)

    def enter(self, repository: str) -> bool:
        """Count a run of a repository; False when it has its share already."""
        with self._lock:
            if self._of[repository] >= max(1, self.most - 1):
                return False
            self._of[repository] += 1
            return True

    def enter_soon(self, repository: str, wait_s: float, stopping: Flag) -> bool:
        """The same, after waiting for its turn; False when time is over, we stop, or one of its runs waits already."""
        with self._lock:
            if repository in self._waiting:
                return False
            self._waiting.add(repository)
        until = self._pace.monotonic() + wait_s
        try:
            with self.lent(stopping):
                return self._entered(repository, until, stopping)
        finally:
            with self._lock:
                self._waiting.discard(repository)

    def leave(self, repository: str) -> None:
        with self._lock:
            self._of[repository] -= 1
        self.wake()

    def rest(self, seconds: float) -> None:
        """Until something has changed, so long at most."""
        with self._lock:
            changed = self._listen()
        changed.wait(seconds)

    def wait_until_idle(self) -> None:
        """Return when every place is free."""
        while True:
            with self._lock:
                if self._free >= self.most:
                    return
                changed = self._listen()
            changed.wait()

    def _take(self, stopping: Flag, is_ours: Callable[[], bool]) -> bool:
        while not stopping.is_set():
            with self._lock:
                if is_ours():
                    self._free -= 1
                    return True
                changed = self._listen()
            changed.wait()
        return False

    def _take_back(self, stopping: Flag) -> None:
        """Who lent a place goes before those who come for one."""
        with self._lock:
            self._owed += 1
        got = self._take(stopping, lambda: self._free > 0)
        with self._lock:
            self._owed -= 1
            self._lent -= 1
            # Without a place there is one less to give back: who stops begins nothing with it.
            self._free -= not got
        self.wake()

    def _entered(self, repository: str, until: float, stopping: Flag) -> bool:
        while not stopping.is_set():
            with self._lock:
                changed = self._listen()
            if self.enter(repository):
                return True
            left_s = until - self._pace.monotonic()
            if left_s <= 0:
                return False
            changed.wait(left_s)
        return False

    def _listen(self) -> Flag:
        """What is set at the next change: under the lock, so that none is missed."""
        changed = self._pace.flag()
        self._listeners.append(changed)
        return changed
