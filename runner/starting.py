"""The commands that start something: a pipeline by hand, a delivery once more."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from runner.operating import Connect, full_sha, somebody

if TYPE_CHECKING:
    from chalicelib.answering import Answer

# What needs boto3 is imported by the command that needs it: `tau --help` answers at once.
# ruff: noqa: PLC0415

_by = click.option("--by", default=somebody, help="Who wants it, for the records.  [default: you, at this host]")


def _an_address(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    """Where mail can be sent to."""
    from chalicelib.reports.addresses import address

    if value and address(value) is None:
        raise click.BadParameter(f"{value} is no address that mail can be sent to")
    return value


@click.command()
@click.argument("pipeline")
@click.option("--ref", help="A branch or a tag, by its name or as refs/…  [default: the default branch]")
@click.option("--commit", callback=full_sha, help="A commit of it, by its full sha.  [default: its newest]")
@click.option("--repository", help="Which one, as OWNER/NAME, where the pipeline is of several.")
@click.option("--as", "address", callback=_an_address, help="Where to mail, as if you had pushed.")
@_by
@click.pass_obj
def trigger(
    connect: Connect,
    pipeline: str,
    ref: str | None,
    commit: str | None,
    repository: str | None,
    address: str | None,
    by: str,
) -> None:
    """Start a pipeline now, whatever it answers to by itself."""
    from chalicelib.starting import Wish, trigger

    edge = connect()
    wish = Wish(pipeline, by, repository, ref, commit, address)
    _say(trigger(wish, edge, edge.now()))


@click.command()
@click.argument("delivery")
@_by
@click.pass_obj
def replay(connect: Connect, delivery: str, by: str) -> None:
    """Plan a delivery once more, by the ci.yml in force, with new runs."""
    from chalicelib.starting import replay

    edge = connect()
    _say(replay(delivery.upper(), by, edge, edge.now()))


def _say(answer: Answer) -> None:
    """The new runs, a line each; or why there is none."""
    from chalicelib.reports.words import clean

    for run in answer.body["runs"]:
        click.echo(run)
    if answer.unsent:
        click.echo("the queue does not answer now: the ticker wakes a runner", err=True)
    if not answer.body["runs"]:
        click.echo(f"nothing started: {clean(answer.body['reason'], 500)}", err=True)
        sys.exit(1)


COMMANDS = (trigger, replay)
