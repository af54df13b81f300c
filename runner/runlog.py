"""A step's output in, pieces in the bucket out, while the step runs, without secrets; each piece is written once."""

from __future__ import annotations

import json
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib import wire
from chalicelib.objects import Objects
from runner.capping import PREFIX, Capped
from runner.pace import Pace, Real
from runner.redaction import NOTHING_SECRET, Matcher, Redactor

# A request costs 3 ms of CPU, however large its piece: smaller ones would be most of what a fast log costs.
_PIECE_BYTES = 2 * 1024 * 1024
# How long a piece may wait while somebody reads along; how long each does while nobody does, the last one for ever.
# A step that ends soon is stored as a whole, and a long one costs a request a minute.
_LIVE_S = 1.0
_PAUSES_S = (2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
_TAIL_LINES = 200
_TAIL_LINE_BYTES = 2000
# So much may wait for the bucket: then the step waits too, for a moment, and then only the log's end is kept.
_SLOWLY_BYTES = 4 * 1024 * 1024
_MOST_UNSENT = 8 * 1024 * 1024
_SLOWLY_S = 2.0
_REAL = Real()

log = logging.getLogger("tau.log")


@dataclass(frozen=True)
class Piece:
    """One object of a log: which bytes and lines of the step it holds, and when they were written."""

    n: int
    first_byte: int
    bytes: int
    first_line: int
    lines: int
    from_: str
    to: str


def step_prefix(run: str, epoch: int, step: int) -> str:
    """Where the pieces of a step lie; keys sort in the order of epochs, steps and pieces."""
    return f"logs/{run}/{epoch:04}/{step:03}/"


class StepLog:
    """The log of one step under one claim. Writing never fails: what the bucket refuses is kept and tried again.

    Args:
        live: whether somebody reads the log as it is written; asked every second.
        matcher: what must not stand in it.
        capped: how much of it is kept.
    """

    def __init__(
        self,
        objects: Objects,
        prefix: str,
        now: Callable[[], datetime],
        live: Callable[[], bool] = lambda: True,
        pace: Pace = _REAL,
        *,
        matcher: Callable[[], Matcher] = lambda: NOTHING_SECRET,
        capped: Capped | None = None,
    ) -> None:
        self._objects = objects
        self._prefix = prefix
        self._now = now
        self._live = live
        self._monotonic = pace.monotonic
        self._pauses = iter(_PAUSES_S)
        self._pause_s = next(self._pauses)
        self._flushed_at = pace.monotonic()
        self._buffer = bytearray()
        self._buffer_from: datetime | None = None
        self._pieces: list[Piece] = []
        self._waiting: tuple[Piece, bytes] | None = None
        self._refused = False
        self._found: set[str] = set()
        self._redactor = Redactor(matcher, self._found.add)
        self._capped = capped or Capped()
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._closed = pace.flag()
        self._tail: deque[bytes] = deque(maxlen=_TAIL_LINES)
        self._open_line = b""
        self._line_begins = True
        self._start = pace.start
        self._work = pace.start(self._flush_regularly, "log")

    @property
    def printed(self) -> frozenset[str]:
        """The names of the secrets that would stand in it."""
        return frozenset(self._found)

    def line(self, text: str) -> None:
        """A line of our own."""
        with self._lock:
            before = "" if self._line_begins else "\n"
            whole = f"{before}{PREFIX}{text}\n".encode("utf-8", "backslashreplace")
            self._take(self._redactor.whole(whole), ours=True)

    def write(self, chunk: bytes) -> None:
        """Whatever the step printed."""
        with self._lock:
            passed = self._redactor.feed(chunk)
            self._take(passed)
        self._remember(passed)
        if len(self._buffer) < _PIECE_BYTES:
            return
        # A bucket that refuses is not waited for: the thread tries again.
        if self._refused:
            return
        if len(self._buffer) >= _SLOWLY_BYTES:
            # It is slower than the step.
            self._flush(wait_s=_SLOWLY_S)
        elif not self._flushing.locked():
            self._start(self._flush, "log-piece")

    def tail(self, most: int = 20) -> tuple[str, ...]:
        """The last lines that the step itself printed."""
        open_line = self._open_line + self._redactor.kept
        lines = [*self._tail, open_line] if open_line else list(self._tail)
        return tuple(line.decode(errors="replace") for line in lines[-most:])

    def finish(self) -> None:
        """Nothing more comes: what is left, and the index, are written while others go on."""
        if self._closed.is_set():
            return
        with self._lock:
            passed = self._redactor.end()
            self._take(passed)
        self._remember(passed)
        for name in sorted(self._found):
            self.line(f"the secret {name} was printed by this step: it is hidden here, wherever else it may have gone")
        self._closed.set()

    def close(self) -> None:
        """Finish, and wait until all is written."""
        self.finish()
        self._work.join()

    def _take(self, text: bytes, *, ours: bool = False) -> None:
        if len(self._buffer) >= _MOST_UNSENT:
            self._buffer += self._capped.end_head()
        self._line_begins = text.endswith(b"\n") if text else self._line_begins
        stored = self._capped.feed(text, ours=ours)
        if stored:
            self._buffer_from = self._buffer_from or self._now()
            self._buffer += stored

    def _remember(self, chunk: bytes) -> None:
        # What stands before the last lines comes as one piece, and is forgotten first.
        *whole, rest = (self._open_line + chunk).rsplit(b"\n", _TAIL_LINES + 1)
        self._tail.extend(line[:_TAIL_LINE_BYTES].rstrip(b"\r") for line in whole)
        self._open_line = rest[:_TAIL_LINE_BYTES]

    def _flush_regularly(self) -> None:
        while not self._closed.wait(_LIVE_S):
            if self._due():
                self._flush()
        for block in self._capped.end():
            with self._lock:
                self._buffer += block
            if len(self._buffer) >= _PIECE_BYTES and not self._refused:
                self._flush()
        self._flush()
        if len(self._pieces) > 1:
            index = "".join(f"{json.dumps(asdict(piece))}\n" for piece in self._pieces)
            self._put("index", index.encode(), {})

    def _due(self) -> bool:
        """Whether what has gathered should wait no longer."""
        if not (self._buffer or self._waiting):
            return False
        if len(self._buffer) >= _PIECE_BYTES or self._live():
            return True
        if self._monotonic() - self._flushed_at < self._pause_s:
            return False
        self._pause_s = next(self._pauses, self._pause_s)
        return True

    def _flush(self, wait_s: float = -1) -> None:
        """Store the piece that waits, then what has gathered since.

        Args:
            wait_s: for how long another one may be at it; below 0 = until it is done.
        """
        if not self._flushing.acquire(timeout=wait_s):
            self._refused = True
            return
        try:
            self._flushed_at = self._monotonic()
            self._store()
            if self._waiting is None:
                self._cut()
                self._store()
        finally:
            self._flushing.release()

    def _cut(self) -> None:
        """Make a piece of what has gathered.

        A refused one stays as it was cut: the bucket may have taken it, with only the answer lost.
        """
        with self._lock:
            if self._buffer and self._waiting is None:
                chunk = bytes(self._buffer)
                self._waiting = self._next_piece(chunk), chunk
                self._buffer.clear()
                self._buffer_from = None

    def _store(self) -> None:
        if self._waiting is None:
            return
        piece, chunk = self._waiting
        stored = self._put(f"{piece.n:06}", chunk, {name: str(value) for name, value in asdict(piece).items()})
        self._refused = not stored
        if stored:
            self._pieces.append(piece)
            self._waiting = None

    def _next_piece(self, chunk: bytes) -> Piece:
        last = self._pieces[-1] if self._pieces else Piece(-1, 0, 0, 0, 0, "", "")
        now = self._now()
        return Piece(
            n=last.n + 1,
            first_byte=last.first_byte + last.bytes,
            bytes=len(chunk),
            first_line=last.first_line + last.lines,
            lines=chunk.count(b"\n"),
            from_=wire.time_text(self._buffer_from or now),
            to=wire.time_text(now),
        )

    def _put(self, name: str, body: bytes, metadata: dict[str, str]) -> bool:
        try:
            self._objects.put_once(f"{self._prefix}{name}", body, {k.strip("_"): v for k, v in metadata.items()})
        except (ClientError, BotoCoreError) as error:
            # The verdict does not hang on the log: it is kept, and tried again with the next piece.
            log.warning("log not stored yet", extra={"key": f"{self._prefix}{name}", "error": str(error)})
            return False
        return True


def place(key: str) -> tuple[int, int]:
    """The epoch and the step (from 0) of a piece."""
    _, _, epoch, step, _ = key.split("/")
    return int(epoch), int(step)


def read(
    objects: Objects, run: str, after: str = "", wanted: Callable[[int], bool] = lambda _: True
) -> Iterator[tuple[str, bytes]]:
    """The pieces of a run's log behind the key `after`, in order: (key, bytes).

    Args:
        wanted: whether a step (from 0) is; the others are not fetched.
    """
    for key in objects.keys(f"logs/{run}/"):
        if key > after and not key.endswith("/index") and wanted(place(key)[1]):
            yield key, objects.get(key)
