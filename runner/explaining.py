"""`tau explain`: a commit, a ref or a delivery in, what became of it out."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from chalicelib.edge import Edge

# What needs boto3 is imported by the command that needs it: `tau --help` answers at once.
# ruff: noqa: PLC0415, FBT001 - and flags are click's way


@click.command()
@click.argument("what")
@click.option("--all", "every", is_flag=True, help="Each rule's verdict, also of those about other repositories.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_obj
def explain(connect: Callable[[], Edge], what: str, every: bool, as_json: bool) -> None:
    """Tell what became of a push, and why.

    WHAT is a commit, owner/name@branch, or the id of a delivery (ours, or the forge's) or a run.
    """
    from chalicelib import wire
    from chalicelib.explaining import explain as story_of
    from chalicelib.reports.story import lines
    from chalicelib.starting import config_in_force

    edge = connect()
    now = edge.now()
    story = story_of(what, edge, config_in_force(edge), now)
    if as_json:
        click.echo(json.dumps(wire.to_json(story), indent=1, sort_keys=True))
        return
    # None: the reader's own.
    for line in lines(story, now, None, every=every):
        click.echo(line)
