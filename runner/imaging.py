"""The command that shows which image stands on which: `tau images`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from runner.operating import Connect

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from chalicelib.graph import Known
    from chalicelib.model import Json

# What needs boto3 is imported by the command that needs it: `tau --help` answers at once.
# ruff: noqa: PLC0415


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON, one object for each image, by name.")
@click.option("--stale", "only_stale", is_flag=True, help="Only what stands on an image that has moved on since.")
@click.pass_obj
def images(connect: Connect, as_json: bool, only_stale: bool) -> None:  # noqa: FBT001 - click's way of flags
    """Show every image that was pushed, below what it stands on, and which is stale."""
    from chalicelib import wire

    edge = connect()
    known = {one.named: one for one in edge.store.known_images()}
    if as_json:
        click.echo(
            wire.dumps([_described(one, known) for one in known.values() if not only_stale or _moved(one, known)])
        )
    elif not known:
        click.echo("No image is known: none was pushed since images are written down.")
    elif only_stale:
        found = [one for one in known.values() if _moved(one, known)]
        click.echo("\n".join(_line(one, known, edge.now()) for one in found) if found else "No image is stale.")
    else:
        click.echo("\n".join(tree(known, edge.now())))


def tree(known: Mapping[str, Known], now: datetime) -> Iterator[str]:
    """A line for each image, indented below the image that it stands on; once more below each further one."""
    from chalicelib.graph import stands_on

    on_nothing = [one for one in known.values() if not any(base.tag and base.named in known for base in one.bases)]
    shown: set[str] = set()

    def lines(one: Known, depth: int, above: tuple[str, ...]) -> Iterator[str]:
        yield "  " * depth + _line(one, known, now)
        shown.add(one.named)
        for other in known.values():
            if stands_on(other, one.named) and other.named not in (*above, one.named):
                yield from lines(other, depth + 1, (*above, one.named))

    for one in on_nothing:
        yield from lines(one, 0, ())
    # A circle hangs on nothing.
    for one in known.values():
        if one.named not in shown:
            yield from lines(one, 0, ())


def _line(one: Known, known: Mapping[str, Known], now: datetime) -> str:
    from chalicelib.reports.words import clean, duration

    moved = ", ".join(_moved(one, known))
    on = ", ".join(base.named for base in one.bases) or "nothing"
    said = f"{one.named}  pushed {duration(now - one.pushed_at)} ago by run {one.run} ({one.pipeline}), on {on}"
    return clean(said, 500) + (f"  STALE: {clean(moved)} has moved on" if moved else "")


def _moved(one: Known, known: Mapping[str, Known]) -> list[str]:
    from chalicelib.graph import stale

    return [base.named for base in stale(one, known)]


def _described(one: Known, known: Mapping[str, Known]) -> Json:
    from chalicelib import wire

    return {**wire.to_json(one), "stale": _moved(one, known)}
