"""A call that may block in; its answer out, or none for whoever should not wait for it any longer."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from runner.pace import Pace
from runner.stopping import Stopping

Answer = TypeVar("Answer")


def aside(call: Callable[[], Answer], pace: Pace) -> Future[Answer]:
    """Do it beside everything else; nobody has to wait for its end."""
    future: Future[Answer] = Future()

    def work() -> None:
        try:
            answer = call()
        except BaseException as error:  # noqa: BLE001 - for whoever wants the answer, where it is raised again
            future.set_exception(error)
        else:
            future.set_result(answer)

    pace.start(work, "aside")
    return future


def settled(future: Future[Answer], stopping: Stopping, pace: Pace, most_s: float | None = None) -> bool:
    """Wait for an answer, for so long at most and only as long as nobody asks to stop; whether it is there."""
    woken = pace.flag()
    future.add_done_callback(lambda _: woken.set())
    with stopping.telling(woken.set):
        woken.wait(most_s)
    return future.done()


def ask(question: Callable[[], Answer], stopping: Stopping, pace: Pace) -> Answer:
    """The answer to a question that changes nothing, and may be left unheard.

    Raises:
        Stopped: somebody asks for it.
    """
    future = aside(question, pace)
    settled(future, stopping, pace)
    stopping.check()
    return future.result()
