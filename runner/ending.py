"""A container that runs in; its end out, at the latest when its time or its room is over, or somebody asks."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from chalicelib.errors import StepErrored
from runner import images
from runner.aside import aside
from runner.pace import Real
from runner.stopping import Stopping, Why

_GRACE_S = 10
_AGAIN_S = 1
# The engine counts file by file.
_LOOK_S = 5
_PACE = Real()


@dataclass(frozen=True)
class Limits:
    """How long it may run, and how long we wait for its end then, or when somebody has asked for it.

    That is the grace, and as long again as an engine may be stubborn. Who is asked to stop gets none where nobody needs
    what it would still do.

    Args:
        disk_bytes: how much it may have written at a time; None = as much as there is.
        beside: the containers whose files count too.
    """

    timeout_s: float
    stopping_s: float = _GRACE_S + 60
    asked_grace_s: int = 0
    asked_s: float = 10
    disk_bytes: int | None = None
    look_s: float = _LOOK_S
    beside: tuple[str, ...] = ()


class Ending:
    """Ends a container that takes too long, or should stop; an engine that does not let it is not waited for."""

    def __init__(self, docker: Any, container: str, output: Any, limits: Limits, stopping: Stopping) -> None:
        self.timed_out = threading.Event()
        self.filled = threading.Event()
        self._docker, self._container, self._output = docker, container, output
        self._stopping, self._limits = stopping, limits
        self._gone = threading.Event()
        self._over = threading.Event()
        self._refusal = "it still runs"

    def __enter__(self) -> Self:
        self._undo = contextlib.ExitStack()
        self._beside(self._stop_in_time)
        if self._limits.disk_bytes is not None:
            self._beside(self._stop_when_full)
        self._undo.enter_context(self._stopping.telling(self._asked))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._undo.close()
        self._gone.set()

    def exit_code(self) -> int:
        """Wait for the end: a container may close its output long before.

        Raises:
            StepErrored: it does not end.
            Stopped: the same, and somebody asked for its end.
        """
        code = aside(lambda: int(self._docker.api.wait(self._container)["StatusCode"]), _PACE)
        code.add_done_callback(lambda _: self._over.set())
        self._over.wait()
        if code.done():
            return code.result()
        self._stopping.check()
        raise StepErrored(f"the container could not be stopped: {self._refusal}")

    def _stop_in_time(self) -> None:
        if self._gone.wait(self._limits.timeout_s):
            return
        self.timed_out.set()
        self._beside(lambda: self._give_up(self._limits.stopping_s))
        self._insist(_GRACE_S, _GRACE_S)

    def _stop_when_full(self) -> None:
        while not self._gone.wait(self._limits.look_s):
            if self._written() > (self._limits.disk_bytes or 0):
                self.filled.set()
                self._beside(lambda: self._give_up(self._limits.stopping_s))
                self._insist()
                return

    def _written(self) -> int:
        """How many bytes the containers' files have that their images have not; 0 where the engine does not say."""
        ids = [self._container, *self._limits.beside]
        try:
            with images.answering():
                found = self._docker.api.containers(all=True, size=True, filters={"id": ids})
        except StepErrored:
            return 0
        return sum(int(one.get("SizeRw") or 0) for one in found)

    def _asked(self) -> None:
        grace_s = 0 if self._stopping.why is Why.LOST else self._limits.asked_grace_s
        graces_s = (grace_s,) if grace_s else ()
        self._beside(lambda: self._give_up(self._limits.asked_s))
        self._beside(lambda: self._insist(*graces_s))

    def _insist(self, *graces_s: int) -> None:
        """Stop it, with so many seconds to end by itself; in the end kill it, again and again."""
        api = self._docker.api
        for grace_s in itertools.chain(graces_s, itertools.repeat(0)):
            if self._gone.is_set():
                return
            try:
                with images.answering():
                    api.stop(self._container, timeout=grace_s) if grace_s else api.kill(self._container)
            except StepErrored as error:
                # It may have ended this very moment: then nobody asks for the reason.
                self._refusal = str(error)
            self._gone.wait(_AGAIN_S)

    def _give_up(self, after_s: float) -> None:
        if self._gone.wait(after_s):
            return
        self._over.set()
        # Wakes the thread that reads. The engine may have hung up already.
        with contextlib.suppress(OSError):
            self._output.close()

    @staticmethod
    def _beside(work: Callable[[], object]) -> None:
        # A thread for each: a call to the engine may hang, and the end of the waiting must not hang with it.
        _PACE.start(work, "container")
