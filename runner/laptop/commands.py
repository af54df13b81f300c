"""The commands of a laptop: `tau run` and `tau up`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from chalicelib.errors import BadInput, NotThere
from runner.operating import somebody
from runner.planning import CI_YML, compiled

if TYPE_CHECKING:
    from chalicelib.model import Run
    from runner.laptop.copies import Asked
    from runner.laptop.machine import Machine

# What needs docker or boto3 is imported by the command that needs it: `tau --help` answers at once.
# ruff: noqa: PLC0415

ENVIRON = "tau.environ"
"""Under which key of click's `meta` the command finds the process's environment."""
EXIT = "tau.exit"
"""Under which key a command says how to exit after a failure that has a name."""
_ERRORED = 2

Command = TypeVar("Command", bound=Callable[..., None])


def _folder() -> Path:
    return Path.home() / ".cache" / "tau"


def _of_a_copy(command: Command) -> Command:
    """The options that say which trees are meant."""
    for option in (
        click.option(
            "--from", "other", type=click.Path(path_type=Path), help="A working copy of the other repository."
        ),
        click.option(
            "--repository", help="Which one, as OWNER/NAME, where the pipeline is of several.  [default: its origin]"
        ),
        click.option("--ref", help="The branch or tag that it is to be of.  [default: the branch that is checked out]"),
        click.option("--config", type=click.Path(path_type=Path), help="The ci.yml that has the pipeline."),
        click.option(
            "--path", type=click.Path(path_type=Path), help="The working copy of its repository.  [default: here]"
        ),
    ):
        command = option(command)
    return command


_kept_in = click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=_folder,
    help="Where Tau keeps its repositories and works.  [default: ~/.cache/tau]",
)


@click.command()
@click.argument("pipeline", required=False)
@_of_a_copy
@click.option("--run", "run_id", metavar="RUN", help="Instead of a pipeline: repeat a run of the installation.")
@click.option(
    "--with",
    "effects",
    type=click.Choice(("push", "tag", "script")),
    multiple=True,
    help="An action whose effect is wanted; without it, none is done.",
)
@click.option("--keep", is_flag=True, help="After a failure, keep a copy of the step's container.")
@_kept_in
@click.pass_context
def run(
    context: click.Context,
    /,
    pipeline: str | None,
    run_id: str | None,
    effects: tuple[str, ...],
    keep: bool,  # noqa: FBT001 - click's way of flags
    folder: Path,
    **copy: Any,
) -> None:
    """Run a pipeline on this machine, from a working copy as it is now.

    What git ignores is left out, what is not committed is in. Nothing outside is changed unless --with asks for it. A
    secret NAME comes from the variable TAU_SECRET_NAME.

    With --run: a run of the installation once more, of the same commits and on the same base images.

    The exit code is the verdict: 0 passed, 1 failed, 2 errored or could not begin, 130 stopped.
    """
    context.meta[EXIT] = _ERRORED
    if (pipeline is None) == (run_id is None):
        raise BadInput("name the pipeline to run; or a run to repeat, with --run and without a pipeline")
    from runner.laptop.running import Wanted, run_again, run_here

    wanted = Wanted(effects, keep)
    if run_id is None:
        sys.exit(run_here(_asked(pipeline or "", copy), wanted, _machine(context, folder)))
    given = [f"--{'from' if name == 'other' else name}" for name, value in copy.items() if value is not None]
    if given:
        raise BadInput(f"--run repeats a run as its record has it: leave out {', '.join(given)}")
    sys.exit(run_again(_recorded(context, run_id.upper()), wanted, _machine(context, folder)))


@click.command()
@click.argument("what", metavar="PIPELINE | IMAGE")
@_of_a_copy
@click.option("--port", "wishes", multiple=True, metavar="HERE:[SERVICE:]PORT", help="By which port one is reached.")
@_kept_in
@click.pass_context
def up(context: click.Context, /, what: str, wishes: tuple[str, ...], folder: Path, **copy: Any) -> None:
    """Start an image on this machine, with its services, until Ctrl-C.

    A PIPELINE's image is built first, from a working copy as it is now, and has the environment and the services of
    its first test, but runs its own command. An IMAGE is started as it is. Each port that they expose is reached on
    this machine alone.

    Exit codes: 0 ended by Ctrl-C, 1 the image ended by itself or could not be built, 2 it could not begin, 130 stopped
    before it was up, or left at once.
    """
    context.meta[EXIT] = _ERRORED
    from runner.laptop.ports import chosen
    from runner.laptop.up import up_here

    asked = _asked(what, copy)
    sys.exit(up_here(asked, [chosen(text) for text in wishes], _machine(context, folder)))


def _asked(pipeline: str, copy: Mapping[str, Any]) -> Asked:
    from chalicelib.starting import Wish
    from runner.laptop.copies import Asked

    config = copy["config"] or CI_YML
    wish = Wish(pipeline, somebody(), copy["repository"], copy["ref"])
    return Asked(wish, copy["path"] or Path(), copy["other"], compiled(config), str(config))


def _machine(context: click.Context, folder: Path) -> Machine:
    from runner.laptop.machine import Machine
    from runner.laptop.outlet import Outlet
    from runner.service import writable
    from runner.stopping import Stopping

    stopping = Stopping()
    output = Outlet(sys.stdout.buffer, stopping)

    def say(text: str) -> None:
        output.write(f"[tau] {text}\n".encode(errors="backslashreplace"))
        output.flush()

    return Machine(writable(folder), context.meta[ENVIRON], output, say, stopping)


def _recorded(context: click.Context, run_id: str) -> Run:
    try:
        return context.obj().store.run(run_id)  # type: ignore[no-any-return]  # click knows no type of it
    except NotThere as error:
        raise NotThere(f"{error}: `tau runs` lists the latest") from error


COMMANDS = (run, up)
