"""A long answer of the engine in, its messages out one by one; what takes too long, or should stop, is cut off.

By a connection that is cut the engine learns that nobody waits any more, and gives up the build, the pull or the push.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any

import requests.exceptions
import urllib3.exceptions
from docker.errors import DockerException, StreamParseError
from docker.types import CancellableStream

from chalicelib.errors import StepFailed
from chalicelib.reports.words import duration
from runner.aside import aside, settled
from runner.context import Context
from runner.stopping import Stopped

_CUT = (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, StreamParseError, OSError)


@contextlib.contextmanager
def opened(what: str, begin: Callable[[], Any], context: Context) -> Iterator[Iterator[Mapping[str, Any]]]:
    """The messages of a build, a pull or a push, to be read while the block lasts.

    Args:
        what: how it is called, for whoever is told that it took too long.
        begin: asks the engine, and returns its decoded stream.

    Raises:
        StepFailed: the run's time is over.
        Stopped: somebody asks for it.
    """
    stream = _begun(what, begin, context)
    with _cut_in_time(stream, context):
        yield _messages(what, stream, context)


def _begun(what: str, begin: Callable[[], Any], context: Context) -> Any:
    """The stream, once the engine has said its first word: before that there is no connection to cut."""
    _go_on(what, context)
    answer = aside(begin, context.pace)
    if settled(answer, context.stopping, context.pace, context.remaining_s()):
        return answer.result()
    answer.add_done_callback(_unwanted)
    context.stopping.check()
    raise too_long(what, context)


def _unwanted(answer: Future[Any]) -> None:
    if answer.exception() is None and (response := _response(answer.result())):
        response.close()


@contextlib.contextmanager
def _cut_in_time(stream: Any, context: Context) -> Iterator[None]:
    response = _response(stream)
    if response is None:
        yield
        return
    cut = _cutting(stream, response)
    over = context.pace.flag()
    context.pace.start(lambda: over.wait(max(context.remaining_s(), 0)) or cut(), "deadline")
    try:
        with context.stopping.telling(cut):
            yield
    finally:
        over.set()
        response.close()


def _messages(what: str, stream: Any, context: Context) -> Iterator[Mapping[str, Any]]:
    try:
        for message in stream:
            _go_on(what, context)
            yield message
    except _CUT:
        # What we have cut is not broken.
        _go_on(what, context)
        raise
    _go_on(what, context)


def _go_on(what: str, context: Context) -> None:
    # Not `check`: while AWS is away for a minute nothing is lost by building on. What comes after makes sure.
    if context.stopping.why is not None:
        raise Stopped(context.stopping.why)
    if context.remaining_s() <= 0:
        raise too_long(what, context)


def too_long(what: str, context: Context) -> StepFailed:
    """The failure of what the run has no time left for."""
    return StepFailed(f"the {what} took longer than the run's {duration(context.job.timeout_s)}", context.log.tail())


def _response(stream: Any) -> Any:
    """What a stream is read from, as long as it is: the SDK hands out a generator, and no other handle."""
    return inspect.getgeneratorlocals(stream).get("response")


def _cutting(stream: Any, response: Any) -> Callable[[], None]:
    """What cuts the connection, from any thread, at any time."""
    cancellable = CancellableStream(stream, response)

    def cut() -> None:
        # The engine, or we, may have closed it just now.
        with contextlib.suppress(OSError, AttributeError, DockerException):
            cancellable.close()

    return cut
