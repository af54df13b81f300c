"""The commands that look at an installation and act on it: runs, logs, runners, dead letters."""

from __future__ import annotations

import getpass
import re
import socket
import sys
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

import click

from chalicelib.errors import NotThere

if TYPE_CHECKING:
    from chalicelib.edge import Edge

# What needs boto3 is imported by the command that needs it: `tau --help` answers at once.
# ruff: noqa: PLC0415, FBT001 - and flags are click's way

Connect = Callable[[], "Edge"]
"""What a command gets to reach the installation with: it is called by those alone that need one."""


def somebody() -> str:
    """Who types this, as far as the machine knows."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):
        # A container's user may have a number and no name.
        return f"somebody@{socket.gethostname()}"


_by = click.option("--by", default=somebody, help="Who wants it, for the records.  [default: you, at this host]")


def full_sha(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    """Runs are found by whole shas only."""
    if value and not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", value.lower()):
        raise click.BadParameter(f"{value} is no full sha; `git rev-parse {value}` says it")
    return value.lower() if value else None


# --- runs -----------------------------------------------------------------------------------------


@click.command()
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), help="Only the runs of a UTC day, such as 2026-11-23.")
@click.option("--commit", callback=full_sha, help="Only the runs of this commit, by its full sha.")
@click.option("-n", "most", default=20, show_default=True, type=click.IntRange(1), help="How many at most.")
@click.pass_obj
def runs(connect: Connect, day: datetime | None, commit: str | None, most: int) -> None:
    """List the latest runs, newest first."""
    from runner.listing import latest, list_runs

    edge = connect()
    store, now = edge.store, edge.now()
    if commit:
        found = list(store.runs_of_commit(commit, most))
    elif day:
        found = list(store.runs_of_day(day.date().isoformat(), most))
    else:
        found = latest(store.runs_of_day, now.date(), most)
    list_runs(found, now)


@click.command()
@click.argument("run")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run is at an end.")
@click.option("--step", type=click.IntRange(min=1), metavar="N", help="Only step N; the first is 1.")
@click.option("--failed", is_flag=True, help="Only the steps that did not pass.")
@click.option("--raw", is_flag=True, help="Byte for byte as it is stored, also on a terminal: with escape sequences.")
@click.pass_obj
def log(connect: Connect, run: str, follow: bool, step: int | None, failed: bool, raw: bool) -> None:
    """Print the log of a run, with a line above each step.

    Into a file or a pipe it goes as it is stored.
    """
    from runner.following import Part, print_log
    from runner.pace import Real

    if follow and failed:
        raise click.UsageError("--failed shows steps that are over: leave out --follow, or name one with --step")
    part = Part(step, failed, as_stored=raw or not sys.stdout.isatty())
    edge = connect()
    try:
        print_log(edge, run.upper(), Real(edge.now), follow=follow, part=part)
    except NotThere as error:
        raise NotThere(f"{error}: `tau runs` lists the latest") from error


@click.command()
@click.argument("run")
@_by
@click.pass_obj
def cancel(connect: Connect, run: str, by: str) -> None:
    """Stop a run, whether it waits or is worked on."""
    from chalicelib.cancelling import Answer
    from chalicelib.cancelling import cancel as ask

    edge = connect()
    try:
        answer = ask(run.upper(), by, edge, edge.now())
    except NotThere as error:
        raise NotThere(f"{error}: `tau runs` lists the latest") from error
    click.echo(_cancelled(answer, run.upper(), edge))
    if answer is Answer.DEPLOYING:
        sys.exit(1)


def _cancelled(answer: str, run_id: str, edge: Edge) -> str:
    """What became of the wish, in words; where a runner was asked, after giving it time to stop."""
    from chalicelib.cancelling import Answer
    from runner.following import wait_for_end
    from runner.listing import state_words
    from runner.pace import Real

    if answer == Answer.DEPLOYING:
        return f"run {run_id} goes on: its deployment has begun; `tau abort ENVIRONMENT` stops that"
    run = wait_for_end(edge, run_id, Real(edge.now)) if answer == Answer.ASKED else edge.store.run(run_id)
    if not run.ended:
        return f"run {run_id} is still {state_words(run)}: its runner was asked to stop it, `tau log -f {run_id}` shows"
    before = "had ended before: " if answer == Answer.ENDED else ""
    return f"run {run_id} {before}{run.state}{f': {run.reason}' if run.reason else ''}"


# --- what nobody could act on ---------------------------------------------------------------------


@click.command()
@click.option("--all", "closed", is_flag=True, help="Those too that were redriven or discarded in the last 90 days.")
@click.pass_obj
def dead(connect: Connect, closed: bool) -> None:
    """List dead letters, and the repositories whose runs are parked."""
    from runner.listing import list_dead

    edge = connect()
    now = edge.now()
    list_dead(edge.store.dead_letters(closed=closed), edge.store.parked(now), now)


@click.command()
@click.argument("what")
@_by
@click.pass_obj
def redrive(connect: Connect, what: str, by: str) -> None:
    """Have it done again: a dead letter, a run that ended badly, or a parked repository (FORGE/OWNER/NAME)."""
    from chalicelib.redriving import redrive

    edge = connect()
    click.echo(redrive(what, by, edge, edge.now()))


@click.command()
@click.argument("letter")
@_by
@click.pass_obj
def discard(connect: Connect, letter: str, by: str) -> None:
    """Close a dead letter without doing anything."""
    from chalicelib.redriving import discard

    edge = connect()
    click.echo(discard(letter, by, edge, edge.now()))


# --- who does the work ----------------------------------------------------------------------------


@click.command()
@click.pass_obj
def runners(connect: Connect) -> None:
    """List the runners that live."""
    from runner.listing import list_runners

    edge = connect()
    now = edge.now()
    list_runners(edge.store.runners(now), now)


# --- what it came to ------------------------------------------------------------------------------


@click.command()
@click.option("--wide", is_flag=True, help="Every column, whatever the terminal holds.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, one object for each environment.")
@click.pass_obj
def live(connect: Connect, wide: bool, as_json: bool) -> None:
    """List what is live in each environment of Elastic Beanstalk; exit code 1 where somebody else changed it."""
    from chalicelib import wire
    from chalicelib.lives import lives
    from runner.listing import list_live

    edge = connect()
    found = lives(edge)
    if as_json:
        now = [{"health": one.health, "drift": one.drift, "unseen": one.unseen} for one in found]
        click.echo(wire.dumps([{**wire.to_json(one.left), "now": how} for one, how in zip(found, now, strict=True)]))
    else:
        list_live(found, edge.now(), wide=wide)
    if any(one.drift for one in found):
        sys.exit(1)


COMMANDS = (runs, log, cancel, dead, redrive, discard, runners, live)
