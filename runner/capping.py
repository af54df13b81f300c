"""A stream in, its beginning and its end out, however long it is; where something is left out, it says how much."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from chalicelib.reports.words import size

PREFIX = "[tau] "
HEAD_BYTES = 64 * 1024 * 1024
TAIL_BYTES = 8 * 1024 * 1024
_BLOCK_BYTES = 64 * 1024


@dataclass
class _Block:
    text: bytearray
    ours: bool


class Capped:
    """The first bytes pass as they come; of the others the last are kept, and our own lines, each in its place."""

    def __init__(self, head_bytes: int = HEAD_BYTES, tail_bytes: int = TAIL_BYTES) -> None:
        self._room = head_bytes
        self._tail_bytes = tail_bytes
        self._blocks: deque[_Block] = deque()
        self._held = 0
        self._dropped = 0
        self._line_begins = True

    def feed(self, chunk: bytes, *, ours: bool = False) -> bytes:
        """What of it, and of what came before, can be stored now."""
        if not self._room:
            return self._later(chunk, ours=ours)
        passed = self._out(chunk if ours else chunk[: self._room])
        self._room = max(0, self._room - len(passed))
        if self._room:
            return passed
        return passed + self._end_of_head() + self._later(chunk[len(passed) :], ours=ours)

    def end_head(self) -> bytes:
        """From here on nothing passes before the end; what there is to say of that."""
        if not self._room:
            return b""
        self._room = 0
        return self._end_of_head()

    def end(self) -> Iterator[bytes]:
        """Nothing more comes: what was kept, block by block."""
        if self._dropped:
            yield self._marker()
        while self._blocks:
            yield bytes(self._blocks.popleft().text)

    def _end_of_head(self) -> bytes:
        return self._own(f"this log is long: the last {size(self._tail_bytes)} of what follows come when the step ends")

    def _later(self, chunk: bytes, *, ours: bool) -> bytes:
        for at in range(0, len(chunk), _BLOCK_BYTES):
            self._keep(chunk[at : at + _BLOCK_BYTES], ours=ours)
        return b"".join(self._too_much())

    def _keep(self, text: bytes, *, ours: bool) -> None:
        last = self._blocks[-1] if self._blocks else None
        if last and last.ours == ours and len(last.text) + len(text) <= _BLOCK_BYTES:
            last.text += text
        else:
            self._blocks.append(_Block(bytearray(text), ours))
        self._held += 0 if ours else len(text)

    def _too_much(self) -> Iterator[bytes]:
        """Let go of what is too old: what was printed is dropped, what we said goes out."""
        while self._blocks:
            first = self._blocks[0]
            if not first.ours and self._held - len(first.text) < self._tail_bytes:
                return
            if first.ours and self._held <= self._tail_bytes and not self._dropped:
                return
            self._blocks.popleft()
            if first.ours:
                yield (self._marker() if self._dropped else b"") + self._out(bytes(first.text))
            else:
                self._dropped += len(first.text)
                self._held -= len(first.text)

    def _marker(self) -> bytes:
        dropped, self._dropped = self._dropped, 0
        return self._own(f"{dropped} bytes dropped here ({size(dropped)})")

    def _own(self, text: str) -> bytes:
        """A line of ours, on a line of its own."""
        return self._out(f"{'' if self._line_begins else chr(10)}{PREFIX}{text}\n".encode())

    def _out(self, text: bytes) -> bytes:
        if text:
            self._line_begins = text.endswith(b"\n")
        return text
