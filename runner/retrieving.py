"""A run's artifacts in, a list of them, or files below a folder, out: `tau artifacts`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import click

from chalicelib.errors import BadInput, NotThere
from chalicelib.globs import has_control
from runner.operating import Connect

if TYPE_CHECKING:
    from chalicelib.model import StepResult
    from chalicelib.objects import Objects

# What needs boto3 is imported by the command that needs it: `tau --help` answers at once.
# ruff: noqa: PLC0415


@dataclass(frozen=True)
class Kept:
    """An artifact, and the step that left it: `2-test`."""

    step: str
    name: str
    size_bytes: int
    key: str


def kept(results: Mapping[int, StepResult]) -> tuple[Kept, ...]:
    """The artifacts of a run, in the order of its steps.

    Args:
        results: by the step's index.
    """
    from chalicelib.reports.facts import artifacts

    return tuple(
        Kept(f"{index + 1}-{result.action}", one.name, one.size_bytes, one.key)
        for index, result in sorted(results.items())
        for one in artifacts([result])
    )


def fetch(files: Iterable[Kept], objects: Objects, folder: Path) -> Iterator[str]:
    """Write artifacts below a folder, each under its step's and by its name; a line for each.

    Raises:
        BadInput: the folder holds something: nothing is written over.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"{folder} is not empty: name a folder that is new, and nothing is written over")
    for one in files:
        place = _place(one)
        yield _write(one, place, objects, folder) if place else f"not written: {one.name!a} is no name for a file"


def _place(one: Kept) -> Path | None:
    """Where it goes below the folder; None where its name leads elsewhere."""
    parts = PurePosixPath(one.step, one.name.lstrip("/")).parts
    good = len(parts) > 1 and ".." not in parts and not has_control(one.name) and "\\" not in one.name
    return Path(*parts) if good else None


def _write(one: Kept, place: Path, objects: Objects, folder: Path) -> str:
    from chalicelib.reports.words import clean, size

    shown = clean(str(folder / place), 1000)
    try:
        parts = objects.parts(one.key)
        first = next(parts, b"")
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        # Never into what is there: two names may be one on this machine's disk.
        with (folder / place).open("xb") as file:
            file.write(first)
            for part in parts:
                file.write(part)
    except NotThere:
        return f"gone: {shown}; artifacts are kept for 30 days"
    except OSError as error:
        return f"not written: {shown}: {error.strerror}"
    return f"{shown}, {size(one.size_bytes)}"


@click.command()
@click.argument("run")
@click.option("--to", "folder", type=click.Path(path_type=Path), help="Write them below this folder, which is new.")
@click.pass_obj
def artifacts(connect: Connect, run: str, folder: Path | None) -> None:
    """List what the tests of a run left, or fetch it."""
    from chalicelib.reports.facts import left_out
    from chalicelib.reports.words import clean, counted, size
    from runner.listing import list_rows

    edge = connect()
    try:
        results = {int(index): result for index, result in edge.store.run(run.upper()).results.items()}
    except NotThere as error:
        raise NotThere(f"{error}: `tau runs` lists the latest") from error
    found, missing = kept(results), left_out(results.values())
    if missing:
        click.echo(f"{counted(missing, 'file')} left out: `tau log {clean(run.upper())}` says why.", err=True)
    if not found:
        click.echo(f"Run {clean(run.upper())} has no artifacts.")
    elif folder is None:
        list_rows(("step", "size"), "name", [(one.step, size(one.size_bytes), one.name) for one in found])
        click.echo("--to DIR fetches them.")
    else:
        for line in fetch(found, edge.objects, folder):
            click.echo(line)
