"""Work that goes on after an answer: threads that can be told to stop, their pauses, and the time they live in."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime


class Stopping(Exception):
    """The service is being closed, or this one piece of work was aborted."""


class Work:
    """One piece of work; it asks now and then whether it should go on."""

    def __init__(self, background: Background) -> None:
        self._background = background
        self._aborted = threading.Event()

    def abort(self) -> None:
        self._aborted.set()

    @property
    def aborted(self) -> bool:
        return self._aborted.is_set() and not self._background.closing

    def go_on(self) -> None:
        """Nothing, or the end of the work.

        Raises:
            Stopping: somebody wants it to end.
        """
        if self._aborted.is_set() or self._background.closing:
            raise Stopping

    def pause(self, seconds: float) -> None:
        """Let some time pass, and go on or stop."""
        self._background.sleep(seconds)
        self.go_on()

    def ignore_abort(self, seconds: float) -> None:
        """Let some time pass, whoever wants this work to end; only with the service it does."""
        self._background.sleep(seconds)
        if self._background.closing:
            raise Stopping


class Background:
    """The threads of one service, and its time: whoever replaces `now` and `sleep` makes time pass as he likes."""

    def __init__(self) -> None:
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def closing(self) -> bool:
        return self._closing.is_set()

    def now(self) -> datetime:
        """The time of day, UTC."""
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        """Return after so long, or when the service is closed."""
        self._closing.wait(seconds)

    def start(self, do: Callable[[Work], None]) -> Work:
        """Do it in a thread of its own."""
        work = Work(self)

        def run() -> None:
            try:
                do(work)
            except Stopping:
                return

        thread = threading.Thread(target=run, name="local-eb", daemon=True)
        self._threads = [one for one in self._threads if one.is_alive()] + [thread]
        thread.start()
        return work

    def close(self, patience_s: float = 60) -> None:
        """Stop everything, and wait until it has stopped."""
        self._closing.set()
        for thread in self._threads:
            thread.join(patience_s)
