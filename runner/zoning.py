"""The command that keeps containers from the machine: `tau zones`."""

from __future__ import annotations

import click

# What needs docker is imported by the command that needs it: `tau --help` answers at once.
# ruff: noqa: PLC0415


@click.command()
@click.option("--builds/--no-builds", default=True, show_default=True, help="The engine's default bridge, too.")
@click.option("--remove", is_flag=True, help="Take the rules away again.")
def zones(builds: bool, remove: bool) -> None:  # noqa: FBT001 - click's way of flags
    """Keep what repositories bring from this machine and its metadata address (as root).

    What builds and tests run reaches the outside and the servers of names, and neither this machine nor its private
    networks. Builds run on the engine's default bridge, as does whatever else has no network of its own.
    """
    from chalicelib.errors import StepErrored
    from runner import images
    from runner.zones import OURS, close, open_again

    bridges = [OURS]
    if builds:
        with images.answering():
            known = images.connect().api.inspect_network("bridge")
        if known.get("EnableIPv6") and not remove:
            raise StepErrored(
                "the engine's default bridge has IPv6, which these rules do not cover: take `ipv6` out of the engine's"
                " daemon.json, or leave builds to themselves with --no-builds"
            )
        bridges.append(str(known["Options"]["com.docker.network.bridge.name"]))
    if remove:
        open_again(bridges)
        click.echo(f"open: {', '.join(bridges)}")
    else:
        close(bridges)
        click.echo(f"closed: {', '.join(bridges)}")
