"""Runs, runners and dead letters in, what a person reads on a terminal out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, timedelta

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from chalicelib import pinning
from chalicelib.lives import Standing
from chalicelib.model import Deployment, DeploymentState, Run, RunState
from chalicelib.records.breakers import Breaker
from chalicelib.records.dead import Letter, LetterKind, LetterState
from chalicelib.records.sundry import Runner
from chalicelib.reports.words import built_there, clean, commit, counted, digest, duration, sign

_COLOURS = {RunState.PASSED: "green", RunState.FAILED: "red", RunState.ERRORED: "magenta", RunState.RUNNING: "cyan"}
_OF_DEPLOYMENTS = {
    DeploymentState.LIVE: "green",
    DeploymentState.FAILED: "red",
    DeploymentState.ROLLED_BACK: "red",
    DeploymentState.ROLLBACK_FAILED: "magenta",
    DeploymentState.WAITING_APPROVAL: "yellow",
}
_ANY_WIDTH = 1000
_DAYS = 7
_RIGHT = ("took", "tries", "runs", "size")


# --- runs -----------------------------------------------------------------------------------------


def list_runs(runs: Sequence[Run], now: datetime) -> None:
    """A table of runs: what came of each, since when, for how long, of what, and why."""
    if not runs:
        _say("No runs.")
        return
    table = _table("run", "state", f"began ({_zone(now)})", "took", last="of")
    for run in runs:
        colour = _COLOURS.get(run.state, "default")
        table.add_row(
            run.id,
            f"[{colour}]{sign(run.state)} {state_words(run)}[/]",
            local(run.started_at or run.created_at),
            took(run, now),
            escape(of(run)),
        )
    _show(table)


def of(run: Run) -> str:
    """What a run is of, as its mail's subject says it, and why it ended or waits."""
    event = pinning.job_of(run).event
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


# --- dead letters, and repositories that are left alone -----------------------------------------------


def list_dead(letters: Sequence[Letter], parked: Sequence[Breaker], now: datetime) -> None:
    """A table of letters and one of parked repositories, as far as there are any."""
    if letters:
        _list_letters(letters, now)
    else:
        _say("No dead letters.")
    if parked:
        _say("")
        _list_parked(parked, now)


def _list_letters(letters: Sequence[Letter], now: datetime) -> None:
    table = _table("letter", "state", f"since ({_zone(now)})", "tries", "pool", last="of")
    for letter in letters:
        colour = "red" if letter.state is LetterState.OPEN else "default"
        table.add_row(
            letter.id,
            f"[{colour}]{letter.state}[/]",
            local(letter.at),
            str(letter.attempts),
            escape(clean(letter.pool)),
            escape(about(letter)),
        )
    _show(table)


def about(letter: Letter) -> str:
    """What a letter is about, why it is one, and what was done about it."""
    run = f"run {clean(letter.run)}" if letter.run and letter.kind is LetterKind.MESSAGE else ""
    named = " ".join(word for word in (clean(letter.repository or ""), run) if word)
    said = f"{named or 'a message'}: {clean(letter.reason)}"
    if letter.state is LetterState.OPEN:
        return said
    again = f" as run {letter.redriven_run}" if letter.redriven_run else ""
    return f"{said}; {letter.state}{again} by {clean(letter.by or 'nobody knows')}"


def _list_parked(parked: Sequence[Breaker], now: datetime) -> None:
    table = _table("parked repository", f"until ({_zone(now)})", "run", last="because")
    for breaker in parked:
        because = f"{clean(breaker.reason)} ({counted(breaker.count, 'time')})"
        table.add_row(escape(clean(breaker.repository)), local(breaker.until), breaker.run, escape(because))
    _show(table)


# --- runners --------------------------------------------------------------------------------------


def list_runners(runners: Sequence[Runner], now: datetime) -> None:
    """A table of the runners that live, with the runs that they had in hand at their last sign of life."""
    if not runners:
        _say("No runner has shown life for ten minutes: pushes wait.")
        return
    table = _table("runner", "host", "pool", "version", "runs", f"since ({_zone(now)})", "last seen", last="in hand")
    for runner in runners:
        table.add_row(
            *(escape(clean(word)) for word in (runner.id, runner.host, runner.pool, runner.version)),
            f"{len(runner.runs)} of {runner.jobs}",
            local(runner.since) if runner.since else "",
            f"{duration(max(now - runner.seen_at, timedelta(0)))} ago",
            escape(" ".join(clean(run) for run in runner.runs)),
        )
    _show(table)


# --- what is live ---------------------------------------------------------------------------------


def list_live(standings: Sequence[Standing], now: datetime, *, wide: bool = False) -> None:
    """A table of environments: which version, of what, by whom, since when, how it is, and to what it would go back.

    A terminal of 120 columns holds it, unless it is to be `wide`: what a version's label says is left out there.
    """
    if not standings:
        _say("Tau has brought no version to Elastic Beanstalk yet.")
        return
    wide = wide or not Console().is_terminal
    dropped = set() if wide else {"tag", "commit"}
    if not wide and len({one.left.region for one in standings}) == 1:
        dropped.add("region")
    rows = [_of_live(one, wide=wide) for one in standings]
    columns = [name for name in rows[0] if name not in dropped]
    table = _table(*(f"since ({_zone(now)})" if name == "since" else name for name in columns), last="")
    for one, row in zip(standings, rows, strict=True):
        table.add_row(*(escape(clean(row[name])) for name in columns), _remark(one))
    _show(table, wide=wide)


def _of_live(one: Standing, *, wide: bool) -> dict[str, str]:
    left = one.left
    return {
        "environment": left.environment,
        "region": left.region,
        "version": left.label if wide else _tag_and_commit(left.label),
        "tag": left.tag or "",
        "commit": commit(left.commit),
        "image": digest((left.image or "").partition("@")[2]).removeprefix("sha256:"),
        "by": left.by or "",
        "since": local(left.since) if wide else left.since.astimezone().strftime("%d %b %H:%M"),
        "health": one.health or "?",
        "last good": (left.good_label or "") if wide else _tag_and_commit(left.good_label or ""),
    }


def _tag_and_commit(label: str) -> str:
    """A label of ours without its end, which tells apart what was made of the same commit; any other as it is."""
    return re.sub(r"(?<=-[0-9a-f]{7})-[0-9a-f]{8}$", "", label)


def _remark(one: Standing) -> str:
    if one.drift:
        return f"[red]{escape(clean(one.drift))}[/]"
    return escape("; ".join(part for part in (built_there(one.left.built_from), clean(one.unseen or "")) if part))


# --- deployments ----------------------------------------------------------------------------------


def list_deploys(deployments: Sequence[Deployment], now: datetime) -> None:
    """A table of deployments: to where, which version, how it stands, who wanted it, when, of which run, and why."""
    if not deployments:
        _say("No deployments.")
        return
    table = _table("environment", "version", "state", "by", f"began ({_zone(now)})", "run", last="why")
    for one in deployments:
        colour = _OF_DEPLOYMENTS.get(one.state, "default")
        table.add_row(
            escape(clean(one.environment)),
            escape(clean(one.label)),
            f"[{colour}]{one.state}[/]",
            escape(clean(one.by or "")),
            local(one.created_at),
            one.run,
            escape(why(one)),
        )
    _show(table)


def why(one: Deployment) -> str:
    """What a deployment is for, on whose word, and why it ended or waits."""
    said = (
        f"instead of {clean(one.instead_of)}" if one.instead_of else "",
        f"approved by {clean(one.approved_by)}" if one.approved_by else "",
        clean(one.reason or one.failure or "", 500),
    )
    return "; ".join(part for part in said if part)


# --- tables ---------------------------------------------------------------------------------------


def list_rows(columns: Sequence[str], last: str, rows: Iterable[Sequence[str]]) -> None:
    """A table of words that come from anywhere."""
    table = _table(*columns, last=last)
    for row in rows:
        table.add_row(*(escape(clean(word)) for word in row))
    _show(table)


def _table(*columns: str, last: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=True, justify="right" if column in _RIGHT else "left")
    table.add_column(last, overflow="fold")
    return table


def _show(table: Table, *, wide: bool = False) -> None:
    """In a terminal the last column is wrapped within itself; elsewhere, or `wide`, every row is one line, for grep."""
    console = Console(highlight=False)
    if console.is_terminal and not wide:
        console.print(table)
        return
    console.width = _ANY_WIDTH
    with console.capture() as printed:
        console.print(table)
    console.out("\n".join(line.rstrip() for line in printed.get().splitlines()), highlight=False)


def _say(line: str) -> None:
    Console(highlight=False).print(line)


def _zone(now: datetime) -> str | None:
    return now.astimezone().tzname()
