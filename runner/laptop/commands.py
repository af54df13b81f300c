"""The commands of a laptop: `tau run`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from runner.operating import somebody
from runner.planning import CI_YML, compiled

# What needs docker or boto3 is imported by the command that needs it: `tau --help` answers at once.
# ruff: noqa: PLC0415

ENVIRON = "tau.environ"
"""Under which key of click's `meta` the command finds the process's environment."""
EXIT = "tau.exit"
"""Under which key a command says how to exit after a failure that has a name."""
_ERRORED = 2


def _folder() -> Path:
    return Path.home() / ".cache" / "tau"


@click.command()
@click.argument("pipeline")
@click.option(
    "--path",
    type=click.Path(path_type=Path),
    default=Path(),
    help="The working copy of its repository.  [default: here]",
)
@click.option("--config", type=click.Path(path_type=Path), default=CI_YML, help="The ci.yml that has the pipeline.")
@click.option("--ref", help="The branch or tag that it is to be of.  [default: the branch that is checked out]")
@click.option("--repository", help="Which one, as OWNER/NAME, where the pipeline is of several.  [default: its origin]")
@click.option("--from", "other", type=click.Path(path_type=Path), help="A working copy of the other repository.")
@click.option(
    "--with",
    "effects",
    type=click.Choice(("push", "tag", "script")),
    multiple=True,
    help="An action whose effect is wanted; without it, none is done.",
)
@click.option("--keep", is_flag=True, help="After a failure, keep a copy of the step's container.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=_folder,
    help="Where Tau keeps its repositories and works.  [default: ~/.cache/tau]",
)
@click.pass_context
def run(
    context: click.Context,
    pipeline: str,
    path: Path,
    config: Path,
    ref: str | None,
    repository: str | None,
    other: Path | None,
    effects: tuple[str, ...],
    keep: bool,  # noqa: FBT001 - click's way of flags
    folder: Path,
) -> None:
    """Run a pipeline on this machine, from a working copy as it is now.

    What git ignores is left out, what is not committed is in. Nothing outside is changed unless --with asks for it. A
    secret NAME comes from the variable TAU_SECRET_NAME.

    The exit code is the verdict: 0 passed, 1 failed, 2 errored or could not begin, 130 stopped.
    """
    context.meta[EXIT] = _ERRORED
    from chalicelib.starting import Wish
    from runner.laptop.running import Asked, run_here
    from runner.service import writable

    wish = Wish(pipeline, somebody(), repository, ref)
    asked = Asked(wish, path, other, compiled(config), str(config), effects, keep, writable(folder))
    output = sys.stdout.buffer

    def say(text: str) -> None:
        output.write(f"[tau] {text}\n".encode(errors="backslashreplace"))
        output.flush()

    sys.exit(run_here(asked, context.meta[ENVIRON], output, say))


COMMANDS = (run,)
