"""Runs and logs in, what a person reads on a terminal out."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, timedelta

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from chalicelib.edge import Edge
from chalicelib.model import Run, RunState
from chalicelib.reports.words import clean, commit, duration, sign
from runner import runlog

_COLOURS = {RunState.PASSED: "green", RunState.FAILED: "red", RunState.ERRORED: "magenta", RunState.RUNNING: "cyan"}
_FOLLOW_S = 1.0
_ANY_WIDTH = 1000
_DAYS = 7


def list_runs(runs: Sequence[Run], now: datetime) -> None:
    """A table of runs: what came of each, since when, for how long, of what, and why.

    In a terminal the last column is wrapped within itself; elsewhere every run is one line, for grep.
    """
    console = Console(highlight=False)
    if not runs:
        console.print("No runs.")
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("run", "state", f"began ({now.astimezone().tzname()})", "took"):
        table.add_column(column, no_wrap=True, justify="right" if column == "took" else "left")
    table.add_column("of", overflow="fold")
    for run in runs:
        colour = _COLOURS.get(run.state, "default")
        table.add_row(
            run.id,
            f"[{colour}]{sign(run.state)} {state_words(run)}[/]",
            local(run.started_at or run.created_at),
            took(run, now),
            escape(of(run)),
        )
    if console.is_terminal:
        console.print(table)
        return
    console.width = _ANY_WIDTH
    with console.capture() as printed:
        console.print(table)
    console.out("\n".join(line.rstrip() for line in printed.get().splitlines()), highlight=False)


def of(run: Run) -> str:
    """What a run is of, as its mail's subject says it, and why it ended or waits."""
    event = run.job.event
    words = (clean(event.repository or ""), clean(event.name or ""), commit(event.commit), f"({run.job.pipeline})")
    return " ".join(word for word in words if word) + (f": {clean(run.reason)}" if run.reason else "")


def took(run: Run, now: datetime) -> str:
    """How long it took; of a run that goes on, how long so far."""
    if run.started_at is None:
        return ""
    return duration((run.ended_at or now) - run.started_at) + ("" if run.ended else " …")


def state_words(run: Run) -> str:
    return f"waiting for {run.waiting_for}" if run.waiting_for else str(run.state)


def local(moment: datetime) -> str:
    """A time by the reader's own clock."""
    return moment.astimezone().strftime("%d %b %H:%M:%S")


def latest(runs_of_day: Callable[[str, int], Iterable[Run]], today: date, most: int) -> list[Run]:
    """The latest runs, newest first, from the last `_DAYS` days.

    Records are kept by UTC's days, and a reader's day is another one: yesterday's runs may be this morning's.
    """
    found: list[Run] = []
    for back in range(_DAYS):
        if len(found) < most:
            day = (today - timedelta(days=back)).isoformat()
            found += runs_of_day(day, most - len(found))
    return found


def print_log(edge: Edge, run_id: str, *, follow: bool) -> None:
    """The pieces of a run's log as they come; with `follow` until its end.

    Raises:
        NotThere: there is no such run.
    """
    last = ""
    while True:
        run = edge.store.run(run_id)
        for key, piece in runlog.read(edge.objects, run_id, last):
            last = key
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
        if run.ended or not follow:
            break
        time.sleep(_FOLLOW_S)
    print(f"{runlog.PREFIX}{run_id}: {state_words(run)}{f': {run.reason}' if run.reason else ''}", file=sys.stderr)  # noqa: T201 - a command's answer
