"""The command that looks at the forges now, and what it says of each repository."""

from __future__ import annotations

import sys
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runner.operating import Connect

if TYPE_CHECKING:
    from chalicelib.model import Event
    from chalicelib.reconciler import Looked

# What needs boto3 is imported by the command that needs it: `tau --help` answers at once.
# ruff: noqa: PLC0415

CI_YML = Path(__file__).parent.parent / "chalicelib" / "ci.yml"
# A person may end it sooner, and the next look goes on where this one ended.
_LONGEST = timedelta(hours=1)
_NAME, _COUNTS, _LONGEST_LINE = 44, 42, 2000


@click.command()
@click.option("--forge", help="Only this one, by its name in ci.yml.")
@click.option("--repository", help="Only this one, as OWNER/NAME.")
@click.option("--dry-run", is_flag=True, help="Say what would become of it, and write nothing.")
@click.option("--config", "path", type=click.Path(path_type=Path), default=CI_YML, help="The ci.yml, compiled.")
@click.pass_obj
def reconcile(connect: Connect, forge: str | None, repository: str | None, dry_run: bool, path: Path) -> None:  # noqa: FBT001 - click's way of flags
    """Compare the forges with the records, and make up for lost webhooks.

    The same happens by itself every 15 minutes.
    """
    from chalicelib import config as configuration
    from chalicelib.reconciler import reconcile as look_at

    edge, config = connect(), configuration.load(path.parent)
    keep_config = cache(lambda: edge.store.put_config(config.hash, configuration.text(path.parent)))
    deadline = edge.now() + _LONGEST
    failed = False
    for looked in look_at(
        edge,
        config,
        deadline=deadline,
        forge=forge,
        repository=repository,
        dry_run=dry_run,
        keep_config=keep_config,
    ):
        click.echo(line(looked, dry_run=dry_run))
        failed = failed or looked.failed
    sys.exit(1 if failed else 0)


def line(looked: Looked, *, dry_run: bool = False) -> str:
    """What came of one repository, or why nothing did."""
    from chalicelib.reports.words import clean

    name = f"{looked.forge}/{looked.repository}" if looked.repository else looked.forge
    counts = ", ".join(f"{number} {_counted(number, word)}" for word, number in looked.counts.items())
    news = [*_news(looked, dry_run=dry_run), *([looked.reason] if looked.reason else [])]
    said = clean("; ".join(news) or "nothing new", _LONGEST_LINE)
    return f"{clean(name):<{_NAME}}  {counts:<{_COUNTS}}  {said}"


def _news(looked: Looked, *, dry_run: bool) -> list[str]:
    news = [f"first look: {looked.taken} taken as they stand"] if looked.taken else []
    if looked.found:
        runs = f"{looked.runs} {_counted(looked.runs, 'run')}"
        follows = f"would start {runs}" if dry_run else f"started {runs}"
        news.append(f"{', '.join(_what(event) for event in looked.found)}: {follows}")
    return news


def _what(event: Event) -> str:
    """What happened, as a person says it: `tag v1 (1234567)`."""
    if event.pull:
        return f"pull request {event.pull.number} ({(event.pull.head or '')[:7]})"
    thing = "tag" if (event.ref or "").startswith("refs/tags/") else "branch"
    return f"{thing} {event.name} {f'({event.after[:7]})' if event.after else 'is gone'}"


def _counted(number: int, word: str) -> str:
    if number == 1:
        return word
    return f"{word}es" if word == "branch" else f"{word}s"
