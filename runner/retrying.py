"""A question to somebody who may not be able to answer just now; asked again a few times, as long as nobody minds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from chalicelib.errors import NotNow
from runner.building import seconds
from runner.context import Context

Answer = TypeVar("Answer")

_PAUSES_S = (1.0, 4.0, 15.0)
# Whoever wants to be left alone for longer is: the run is tried once more later.
_LONGEST_S = 60.0


def patiently(attempt: Callable[[], Answer], context: Context) -> Answer:
    """The answer of the first attempt that gets one.

    Raises:
        NotNow: the last one's, when there is no use in asking again.
        Stopped: somebody asks for it, between two attempts.
    """
    for pause_s in _PAUSES_S:
        try:
            return attempt()
        except NotNow as error:
            wait_s = max(pause_s, error.after_s)
            if wait_s > _LONGEST_S or wait_s >= context.remaining_s():
                raise
            context.log.line(f"{error}; asking again in {seconds(wait_s)}")
            _wait(wait_s, context)
    return attempt()


def _wait(wait_s: float, context: Context) -> None:
    woken = context.pace.flag()
    with context.stopping.telling(woken.set):
        woken.wait(wait_s)
    context.stopping.check()
