"""What a run prints in; all of it out, for as long as somebody reads it. Then the run is asked to stop."""

from __future__ import annotations

import contextlib
import os
from typing import IO, Protocol

from runner.stopping import Stopping, Why

_STDERR = 2


class Output(Protocol):
    """What can be printed to."""

    def write(self, piece: bytes, /) -> object: ...
    def flush(self) -> object: ...


class Outlet:
    """Prints, and never raises: where nobody reads (`| head`, or a pager that was left) the run ends, as by Ctrl-C.

    Args:
        output: a file of this process.
        errors: the descriptor to which that is said.
    """

    def __init__(self, output: IO[bytes], stopping: Stopping, errors: int = _STDERR) -> None:
        self._output, self._stopping, self._errors = output, stopping, errors

    def write(self, piece: bytes, /) -> None:
        try:
            self._output.write(piece)
        except OSError as error:
            self._lost(error)

    def flush(self) -> None:
        try:
            self._output.flush()
        except OSError as error:
            self._lost(error)

    def _lost(self, error: OSError) -> None:
        with contextlib.suppress(OSError):
            os.write(self._errors, f"tau: nothing more can be printed: {error.strerror}\n".encode())
        # Then nothing fails any more, nor when Python ends. https://docs.python.org/3/library/signal.html#note-on-sigpipe
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._output.fileno())
        os.close(nowhere)
        self._stopping.ask(Why.ASKED)
