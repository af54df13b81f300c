"""Signals and other reasons to stop in, one at a time out: handlers only write a byte, so they can disturb nobody."""

from __future__ import annotations

import contextlib
import select
import signal
import socket
from collections.abc import Callable
from types import FrameType

ENDED = b"e"
"""The agent has returned."""
HURRY = b"h"
"""Stop at once: SIGQUIT, or a machine that is about to go."""
STOP = b"s"
"""Finish what is in hand: SIGTERM, SIGINT or SIGHUP."""

_MEANS = {signal.SIGTERM: STOP, signal.SIGINT: STOP, signal.SIGHUP: STOP, signal.SIGQUIT: HURRY}


class Signals:
    """A line of reasons to stop, from any thread and from signal handlers."""

    def __init__(self) -> None:
        self._reading, self._writing = socket.socketpair()
        self._writing.setblocking(False)
        self._error: BaseException | None = None
        self.last: bytes | None = None
        self._before = {number: signal.signal(number, self._handle) for number in _MEANS}

    def say(self, why: bytes) -> None:
        """Put a reason into the line."""
        # Full: there are reasons enough. Closed: nobody waits for any.
        with contextlib.suppress(OSError):
            self._writing.send(why)

    def wait(self, timeout_s: float | None) -> bytes | None:
        """The next reason; None after `timeout_s`."""
        ready, _, _ = select.select([self._reading], [], [], timeout_s)
        self.last = self._reading.recv(1) if ready else None
        return self.last

    def ended_by(self, work: Callable[[], None]) -> None:
        """Do it, and say that it ended, also when it broke: how is for `raise_what_ended_it`."""
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again, where the process can end of it
            self._error = error
        finally:
            self.say(ENDED)

    def raise_what_ended_it(self) -> None:
        """The process must not end well when its work did not."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Nobody waits any more: signals mean what they meant before."""
        for number, before in self._before.items():
            signal.signal(number, before)
        self._reading.close()
        self._writing.close()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.say(_MEANS[signal.Signals(number)])
