"""The command that says whether a machine and its installation are fit to work: `tau doctor`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runner.collecting import RESERVE
from runner.laptop.commands import ENVIRON
from runner.operating import Connect
from runner.planning import CI_YML

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.doctor.findings import Finding

# What needs boto3 or docker is imported by the command that needs it: `tau --help` answers at once.
# ruff: noqa: PLC0415

_CODE_SERVER, _LAPTOP = Path("/var/lib/tau"), Path.home() / ".cache" / "tau"


@click.command()
@click.option("--config", "path", type=click.Path(path_type=Path), default=CI_YML, help="The ci.yml, compiled.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    envvar="TAU_FOLDER",
    help="The runner's.  [default: /var/lib/tau; without settings ~/.cache/tau]",
)
@click.option("--pool", default="default", show_default=True, help="The queue that the runner here takes runs from.")
@RESERVE
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object for each check.")
@click.pass_context
def doctor(
    context: click.Context,
    /,
    path: Path,
    folder: Path | None,
    pool: str,
    reserve_mb: int,
    as_json: bool,  # noqa: FBT001 - click's way of flags
) -> None:
    """Say whether this machine and its installation are fit to work, before the first job.

    Each thing is asked as a run would ask it, and nothing is changed. Ask as the runner's user, with its settings.
    Without settings, as on a laptop, only the machine itself is looked at.

    Exit code 1 where something is broken; what is only to be minded keeps no run from working.
    """
    from runner.doctor.findings import Mark
    from runner.doctor.whole import Asked, examine
    from runner.handed import Handed
    from runner.storage import limits

    environ: Mapping[str, str] = context.meta[ENVIRON]
    has_settings = any(name in environ for name in ("TAU_STAGE", "TAU_BUCKET", "TAU_SENDER"))
    connect: Connect | None = context.obj if has_settings else None
    asked = Asked(path, folder or (_CODE_SERVER if has_settings else _LAPTOP), pool, limits(2, reserve_mb), environ)
    handed = Handed()
    findings = []
    for finding in examine(asked, connect, handed):
        findings.append(finding)
        if not as_json:
            click.echo(handed.text(finding.line))
    for line in _end(findings, as_json=as_json):
        click.echo(handed.text(line))
    if any(finding.mark is Mark.BROKEN for finding in findings):
        sys.exit(1)


def _end(findings: list[Finding], *, as_json: bool) -> Iterator[str]:
    from chalicelib.reports.words import counted
    from runner.doctor.findings import Mark

    if as_json:
        yield json.dumps([{"what": one.what, "mark": one.mark, "said": one.said} for one in findings], indent=2)
        return
    broken, mind = (sum(one.mark is mark for one in findings) for mark in (Mark.BROKEN, Mark.MIND))
    minded = f"{counted(mind, 'thing')} to mind" if mind else "nothing to mind"
    yield f"{broken} broken, {minded}." if broken else f"Fit to work; {minded}."
