"""The command that shows and clears what this machine keeps of an installation: `tau gc`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chalicelib.errors import BadInput
from runner.operating import Connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.storage import Survey

# What needs boto3 or docker is imported by the command that needs it: `tau --help` answers at once.
# ruff: noqa: PLC0415

_MOST_REASONS = 20

FOLDER = click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path("/var/lib/tau"),
    show_default=True,
    envvar="TAU_FOLDER",
    help="Where mirrors are kept and runs are worked on.",
)
KEEP = click.option(
    "--keep-images",
    envvar="TAU_KEEP_IMAGES",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="How many runs of each branch of a pipeline keep their images.",
)
RESERVE = click.option(
    "--reserve-mb",
    envvar="TAU_RESERVE_MB",
    type=click.IntRange(0),
    default=1000,
    show_default=True,
    help="How much of each disk stays free, whatever runs need.",
)


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@FOLDER
@KEEP
@RESERVE
@click.pass_obj
def gc(connect: Connect, dry_run: bool, folder: Path, keep_images: int, reserve_mb: int) -> None:  # noqa: FBT001 - click's way of flags
    """Remove from this machine what no run, site or policy needs any more.

    The runner does the same once an hour, and more where the disk is short.
    """
    from chalicelib.reports.words import counted, size
    from runner.images import connect as engine
    from runner.listing import list_rows
    from runner.pace import Real
    from runner.storage import KeptStorage, limits

    if not folder.is_dir():
        raise BadInput(f"there is no folder {folder}: give the runner's with --folder")
    edge = connect()
    storage = KeptStorage(folder, engine(), edge, Real(edge.now), limits(keep_images, reserve_mb))
    survey = storage.survey()
    rows = list(goes(survey))
    if rows:
        list_rows(("what", "size", "last used", "name"), "because", rows)
    for line in (*stays(survey), *(f"free: {room.words}" for room in survey.rooms)):
        click.echo(line)
    if dry_run:
        click.echo("Nothing was removed: this was a dry run." if rows else "There is nothing to remove.")
        return
    count = storage.reap()
    cleaned = storage.tend()
    click.echo(
        f"Removed {counted(count, 'leftover')} and {counted(cleaned.count, 'image')} ({size(cleaned.size_bytes)})."
    )


def goes(survey: Survey) -> Iterator[tuple[str, str, str, str, str]]:
    """A row for each thing that goes: what, size, last used, name, and why."""
    from chalicelib.reports.words import size
    from runner.listing import local
    from runner.retention import order

    for one in survey.leftovers:
        yield one.kind, "", "", one.called, f"left by a dead claim of run {one.run}"
    for verdict in order(survey.verdicts, is_short=False):
        image = verdict.image
        used_at = local(image.used_at) if image.used_at else ""
        yield "image", size(image.own_bytes), used_at, image.called, verdict.reason


def stays(survey: Survey) -> Iterator[str]:
    """A line for each fate of what stays; then one for each reason, the commonest first."""
    from chalicelib.reports.words import clean, counted, size
    from runner.retention import Fate

    for fate, words in ((Fate.NEEDED, "needed"), (Fate.KEPT, "kept until the disk is short")):
        there = [one for one in survey.verdicts if one.fate is fate]
        if there:
            yield f"stays, {words}: {counted(len(there), 'image')}, {size(sum(one.image.own_bytes for one in there))}"
        for reason, count in Counter(one.reason for one in there).most_common(_MOST_REASONS):
            yield f"  {count:>3}  {clean(reason, 200)}"
    for amounts, noun in ((survey.trees, "tree"), (survey.mirrors, "mirror")):
        total = sum(one.size_bytes for one in amounts)
        if amounts:
            yield f"stays, kept until the disk is short: {counted(len(amounts), noun)}, {size(total)}"
