"""What a service prints in; lines of the step's log that begin with its name out, and not too many."""

from __future__ import annotations

from collections import deque

from runner.context import Log

MOST_BYTES = 1024 * 1024
_TAIL_LINES = 20
# Longer ones come in pieces: nothing waits for an end of line that never comes.
_MOST_LINE = 2000


class Said:
    """The output of one service. What goes over MOST_BYTES is counted, and left out; the tail has it all the same."""

    def __init__(self, name: str, log: Log) -> None:
        self._name, self._log = name, log
        self._open = b""
        self._bytes = 0
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)

    def write(self, chunk: bytes) -> None:
        """Whatever was printed; a line waits for its end."""
        *lines, self._open = (self._open + chunk).split(b"\n")
        while len(self._open) > _MOST_LINE:
            lines.append(self._open[:_MOST_LINE])
            self._open = self._open[_MOST_LINE:]
        for line in lines:
            self._line(line.rstrip(b"\r"))

    def finish(self) -> None:
        """Nothing more comes."""
        if self._open:
            self._line(self._open)
            self._open = b""
        left_out = self._bytes - MOST_BYTES
        if left_out > 0:
            self._log.line(f"{self._name} | {left_out} bytes more were left out")

    def tail(self) -> tuple[str, ...]:
        """The last lines."""
        return tuple(self._tail)

    def _line(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace")
        self._tail.append(text)
        self._bytes += len(line) + 1
        if self._bytes <= MOST_BYTES:
            self._log.line(f"{self._name} | {text}")
