"""The `tau` command: the one place where things are put together."""

from __future__ import annotations

import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chalicelib.errors import BadConfig, NotThere, StaleConfig, TauError
from chalicelib.settings import MissingSetting

if TYPE_CHECKING:
    from chalicelib.edge import Edge

# What needs boto3, docker or pydantic is imported by the command that needs it: `tau --help` answers at once.
# ruff: noqa: PLC0415

CI_YML = Path(__file__).parent.parent / "chalicelib" / "ci.yml"
WHERE_SETTINGS_ARE = """\
Tau's settings are read from the environment:
  on a code server          set -a; . /etc/tau/runner.env; set +a
  of `make demo KEEP=1`     . .cache/demo/environment"""
AWS_HINT = "The environment says which account and region: AWS_PROFILE, AWS_DEFAULT_REGION, …, as for the aws command."


class Tau(click.Group):
    """The funnel: a failure that has a name is one line and exit code 1, never a traceback."""

    def invoke(self, ctx: click.Context) -> object:
        for stream in (sys.stdout, sys.stderr):
            # A sign that the terminal lacks becomes a `?`: the word beside it says the same.
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # always a text file here
        try:
            return super().invoke(ctx)
        except TauError as error:
            click.echo(f"tau: {error}" if "\n" not in str(error) else str(error), err=True)
            if isinstance(error, MissingSetting):
                click.echo(WHERE_SETTINGS_ARE, err=True)
        except aws_errors() as error:
            click.echo(f"tau: AWS does not do what was asked: {error}", err=True)
            click.echo(AWS_HINT, err=True)
        sys.exit(1)


def aws_errors() -> tuple[type[Exception], ...]:
    """What boto3 raises, if anything has imported it: it is looked for only when something was raised."""
    if "botocore" not in sys.modules:
        return ()
    from botocore.exceptions import BotoCoreError, ClientError

    return BotoCoreError, ClientError


@click.group(cls=Tau, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Tau: a push goes in, a tested image comes out, a tag puts it live."""


@main.command()
@click.option("--config", "path", type=click.Path(path_type=Path), default=CI_YML, help="The ci.yml to compile.")
@click.option("--check", "only_check", is_flag=True, help="Write nothing; fail when ci.json is not of this ci.yml.")
def compile(path: Path, only_check: bool) -> None:  # noqa: A001, FBT001 - the command's name, and click's way of flags
    """Compile ci.yml to ci.json, which the Lambda reads."""
    text = _compiled(path)
    written = path.with_suffix(".json")
    if not only_check:
        written.write_text(text)
        click.echo(f"wrote {written}")
    elif not written.exists() or written.read_text() != text:
        raise StaleConfig(f"{written} was not compiled from {path}: run `tau compile`")


@main.command()
@click.option("--config", "path", type=click.Path(path_type=Path), default=CI_YML, help="The ci.yml to check.")
def check(path: Path) -> None:
    """Check ci.yml; every complaint with its file, line and column."""
    _compiled(path)
    click.echo(f"{path}: ok")


def _compiled(path: Path) -> str:
    """ci.json's text; what looks like a slip is said on the way."""
    from runner.compiler import compile_source, render

    try:
        source = path.read_bytes()
    except OSError as error:
        raise BadConfig(f"{path} cannot be read: {error.strerror}") from error
    compiled = compile_source(source, path.name)
    for warning in compiled.warnings:
        click.echo(f"warning: {warning}", err=True)
    return render(compiled.form)


@main.command()
@click.option("--pool", default="default", show_default=True, help="The queue to take runs from.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path("/var/lib/tau"),
    show_default=True,
    envvar="TAU_FOLDER",
    help="Where mirrors are kept and runs are worked on.",
)
@click.option("--name", envvar="TAU_RUNNER", help="Name of this runner.  [default: the host's name]")
def runner(pool: str, folder: Path, name: str | None) -> None:
    """Take runs from the queue and enact them, until SIGTERM."""
    from runner.service import serve

    serve(os.environ, pool=pool, folder=folder, name=name)


def _full_sha(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    """Runs are found by whole shas only."""
    if value and not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", value.lower()):
        raise click.BadParameter(f"{value} is no full sha; `git rev-parse {value}` says it")
    return value.lower() if value else None


@main.command()
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), help="Only the runs of a UTC day, such as 2026-11-23.")
@click.option("--commit", callback=_full_sha, help="Only the runs of this commit, by its full sha.")
@click.option("-n", "most", default=20, show_default=True, type=click.IntRange(1), help="How many at most.")
def runs(day: datetime | None, commit: str | None, most: int) -> None:
    """List the latest runs, newest first."""
    from runner.listing import latest, list_runs

    store, now = _edge().store, datetime.now(UTC)
    if commit:
        found = list(store.runs_of_commit(commit, most))
    elif day:
        found = list(store.runs_of_day(day.date().isoformat(), most))
    else:
        found = latest(store.runs_of_day, now.date(), most)
    list_runs(found, now)


@main.command()
@click.argument("run")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run is at an end.")
def log(run: str, follow: bool) -> None:  # noqa: FBT001 - click's way of flags
    """Print the log of a run."""
    from runner.listing import print_log

    edge = _edge()
    try:
        print_log(edge, run.upper(), follow=follow)
    except NotThere as error:
        raise NotThere(f"{error}: `tau runs` lists the latest") from error


def _edge() -> Edge:
    from chalicelib.edge import connect
    from chalicelib.settings import Settings

    return connect(Settings.from_env(os.environ), patient=False)
