"""The commands about deployments: which there were, and one stopped, approved or taken back."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import click

from chalicelib.errors import NotThere
from runner.operating import Connect, somebody

if TYPE_CHECKING:
    from chalicelib.edge import Edge

# What needs boto3 is imported by the command that needs it: `tau --help` answers at once.
# ruff: noqa: PLC0415, FBT001 - and flags are click's way

_by = click.option("--by", default=somebody, help="Who wants it, for the records.  [default: you, at this host]")
_region = click.option("--region", help="Where the environment is.  [default: the installation's region]")


@click.command()
@click.argument("environment", required=False)
@click.option("-n", "most", default=20, show_default=True, type=click.IntRange(1), help="How many at most.")
@click.pass_obj
def deploys(connect: Connect, environment: str | None, most: int) -> None:
    """List the latest deployments, of one environment or of all, newest first."""
    from runner.listing import list_deploys

    edge = connect()
    wanted = (one for one in edge.store.deployments() if environment in {None, one.environment})
    list_deploys(list(islice(wanted, most)), edge.now())


@click.command()
@click.argument("environment")
@click.option("--waiting", is_flag=True, help="Only what waits, whatever is under way.")
@_region
@_by
@click.pass_obj
def abort(connect: Connect, environment: str, waiting: bool, region: str | None, by: str) -> None:
    """Stop what is on its way to an environment.

    What is under way there is undone; where nothing is, what waits is cancelled.
    """
    from chalicelib.aborting import abort

    edge = connect()
    for line in abort(environment, _where(region, edge), by, edge, edge.now(), waiting=waiting):
        click.echo(line)


@click.command()
@click.argument("environment")
@_region
@_by
@click.pass_obj
def rollback(connect: Connect, environment: str, region: str | None, by: str) -> None:
    """Deploy the version again that was live and well before the one that is live now."""
    from chalicelib.reports.words import clean
    from chalicelib.reverting import roll_back

    edge = connect()
    begun = roll_back(environment, _where(region, edge), by, edge, edge.now())
    record = begun.record
    click.echo(f"{record.run} brings {clean(environment)} back to {clean(record.label)}: {record.state}")
    if begun.unsent:
        click.echo("the queue does not answer now: the ticker wakes a runner", err=True)


@click.command()
@click.argument("run")
@click.option("--refuse", is_flag=True, help="It is not to be deployed.")
@_by
@click.pass_obj
def approve(connect: Connect, run: str, refuse: bool, by: str) -> None:
    """Let a deployment go on that waits for its approval; --by is an address that ci.yml names."""
    from chalicelib.approving import approve

    edge = connect()
    try:
        click.echo(approve(run.upper(), by, edge, edge.now(), yes=not refuse))
    except NotThere as error:
        raise NotThere(f"{error}: `tau deploys` lists what waits") from error


def _where(region: str | None, edge: Edge) -> str:
    return region or edge.region


COMMANDS = (deploys, abort, rollback, approve)
