"""The `tau` command: the one place where things are put together."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chalicelib.errors import BadConfig, StaleConfig, TauError
from chalicelib.settings import MissingSetting
from runner.beginning import init
from runner.collecting import FOLDER, KEEP, RESERVE, gc
from runner.deploying import COMMANDS as DEPLOYING
from runner.describing import schema
from runner.examining import doctor
from runner.explaining import explain
from runner.imaging import images
from runner.laptop.commands import COMMANDS as LAPTOP
from runner.laptop.commands import ENVIRON, EXIT
from runner.operating import COMMANDS
from runner.packing import bundle
from runner.planning import plan
from runner.reconciling import reconcile
from runner.retrieving import artifacts
from runner.starting import COMMANDS as STARTING
from runner.zoning import zones

if TYPE_CHECKING:
    from chalicelib.edge import Edge

# What needs boto3, docker or pydantic is imported by the command that needs it: `tau --help` answers at once.
# ruff: noqa: PLC0415

CI_YML = Path(__file__).parent.parent / "chalicelib" / "ci.yml"
WHERE_SETTINGS_ARE = """\
Tau's settings are read from the environment:
  on a code server          set -a; . /etc/tau/runner.env; set +a
  of `make demo KEEP=1`     . .cache/demo/environment"""
CLOCK_HINT = "Set it right, best by NTP (timedatectl set-ntp true), and try again."
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
            # A complaint that begins with its place begins with nothing else: editors go there.
            placed = "\n" in str(error) or re.match(r".+?:\d+:\d+: ", str(error))
            click.echo(str(error) if placed else f"tau: {error}", err=True)
            if isinstance(error, MissingSetting):
                click.echo(WHERE_SETTINGS_ARE, err=True)
        except aws_errors() as error:
            what, hint = aws_said(error)
            click.echo(f"tau: {what}: {error}", err=True)
            click.echo(hint, err=True)
        sys.exit(ctx.meta.get(EXIT, 1))


def aws_errors() -> tuple[type[Exception], ...]:
    """What boto3 raises, if anything has imported it: it is looked for only when something was raised."""
    if "botocore" not in sys.modules:
        return ()
    from botocore.exceptions import BotoCoreError, ClientError

    return BotoCoreError, ClientError


def aws_said(error: BaseException) -> tuple[str, str]:
    """What is the matter, and what to do about it."""
    from chalicelib.clock import is_clock

    if is_clock(error):
        return "the clock of this machine is wrong, and AWS refuses what is signed by it", CLOCK_HINT
    return "AWS does not do what was asked", AWS_HINT


@click.group(cls=Tau, context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
def main(context: click.Context) -> None:
    """Tau: a push goes in, a tested image comes out, a tag puts it live."""
    context.obj = _edge
    context.meta[ENVIRON] = os.environ


for command in (
    *COMMANDS,
    *DEPLOYING,
    *STARTING,
    *LAPTOP,
    artifacts,
    bundle,
    doctor,
    explain,
    gc,
    images,
    init,
    plan,
    reconcile,
    schema,
    zones,
):
    main.add_command(command)


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
    here = path.resolve()
    shown = here.relative_to(Path.cwd()) if here.is_relative_to(Path.cwd()) else path
    compiled = compile_source(source, str(shown))
    for warning in compiled.warnings:
        click.echo(f"warning: {warning}", err=True)
    return render(compiled.form)


@main.command()
@click.option("--pool", default="default", show_default=True, help="The queue to take runs from.")
@FOLDER
@click.option("--name", envvar="TAU_RUNNER", help="Name of this runner.  [default: the host's name]")
@click.option(
    "--jobs", envvar="TAU_JOBS", type=click.IntRange(1, 64), help="How many runs at once.  [default: processors + 1]"
)
@click.option(
    "--drain-s",
    envvar="TAU_DRAIN_S",
    type=click.FloatRange(0),
    default=1500,
    show_default=True,
    help="How long runs in hand may go on after SIGTERM; then they are handed back.",
)
@click.option("--spot", envvar="TAU_SPOT", is_flag=True, help="Hand back when EC2 announces that this instance goes.")
@KEEP
@RESERVE
@click.option(
    "--keep-versions",
    envvar="TAU_KEEP_VERSIONS",
    type=click.IntRange(0),
    default=0,
    help="How many of Tau's newest versions of each Elastic Beanstalk application stay.  [default: all]",
)
def runner(
    pool: str,
    folder: Path,
    name: str | None,
    jobs: int | None,
    drain_s: float,
    spot: bool,  # noqa: FBT001 - click's way of flags
    keep_images: int,
    reserve_mb: int,
    keep_versions: int,
) -> None:
    """Take runs from the queue and enact them, until SIGTERM."""
    from runner.service import Chosen, serve
    from runner.storage import limits

    jobs = jobs or (os.cpu_count() or 1) + 1
    chosen = Chosen(pool, folder, name, jobs, drain_s, spot, limits(keep_images, reserve_mb), keep_versions)
    serve(os.environ, chosen)


def _edge() -> Edge:
    from chalicelib.edge import connect
    from chalicelib.settings import Settings

    return connect(Settings.from_env(os.environ), patient=False)
