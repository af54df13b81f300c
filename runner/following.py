"""A run that goes on in; its log as it is written, and its end, out."""

from __future__ import annotations

import sys
from datetime import timedelta

from chalicelib.edge import Edge
from chalicelib.model import Run
from runner import runlog
from runner.capping import PREFIX
from runner.listing import state_words
from runner.pace import Pace

FOLLOWED_FOR = timedelta(seconds=60)
"""So long a runner writes in small pieces for somebody who reads along; who goes on reading says so in time."""
_SAY_EVERY_S = 30.0
_LOOK_EVERY_S = 1.0
_END_WITHIN_S = 15.0
_END_LOOK_EVERY_S = 0.5


def print_log(edge: Edge, run_id: str, pace: Pace, *, follow: bool) -> None:
    """The pieces of a run's log as they come; with `follow` until its end.

    Raises:
        NotThere: there is no such run.
    """
    last, said_s = "", None
    while True:
        run = edge.store.run(run_id)
        if follow and not run.ended and (said_s is None or pace.monotonic() - said_s >= _SAY_EVERY_S):
            said_s = pace.monotonic()
            edge.store.follow(run_id, pace.now() + FOLLOWED_FOR)
        for key, piece in runlog.read(edge.objects, run_id, last):
            last = key
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
        if run.ended or not follow:
            break
        pace.sleep(_LOOK_EVERY_S)
    print(f"{PREFIX}{run_id}: {state_words(run)}{f': {run.reason}' if run.reason else ''}", file=sys.stderr)  # noqa: T201 - a command's answer


def wait_for_end(edge: Edge, run_id: str, pace: Pace, limit_s: float = _END_WITHIN_S) -> Run:
    """The run as soon as it is at its end, or as it stands after `limit_s`."""
    until = pace.monotonic() + limit_s
    run = edge.store.run(run_id)
    while not run.ended and pace.monotonic() < until:
        pace.sleep(_END_LOOK_EVERY_S)
        run = edge.store.run(run_id)
    return run
