"""The commands that begin something: a first ci.yml, a client's deployment repository."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from chalicelib.errors import BadConfig
from chalicelib.fit import shown

# What needs pydantic or Jinja2 is imported by the command that needs it: `tau --help` answers at once.
# ruff: noqa: PLC0415

_EXECUTABLE = frozenset({"smoke"})
_FORGES = ("github.com", "bitbucket.org")
_OWN_REGISTRY = "code.2pisoftware.com:5000"


@click.group(invoke_without_command=True)
@click.option("--forge", help=f"Where the repository is: {' or '.join(_FORGES)}.")
@click.option("--repository", help="The repository, as OWNER/NAME.")
@click.option("--image", help="What the image is called, without registry and tag.")
@click.option("--registry", help="Where it goes, as HOST[:PORT].")
@click.option("--tell", help="Who hears of it: an email address.")
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("ci.yml"), help="The file.  [default: ./ci.yml]"
)
@click.pass_context
def init(
    context: click.Context,
    forge: str | None,
    repository: str | None,
    image: str | None,
    registry: str | None,
    tell: str | None,
    output: Path,
) -> None:
    """Write a first ci.yml; what no option says is asked.

    `tau init deployment` writes a client's deployment repository.
    """
    if context.invoked_subcommand:
        return
    from runner.compiler import compile_source
    from runner.drafts import Answers, first_ci_yml

    _check_free(output)
    forge = _answer("--forge", "Which forge is the repository at", forge, "github.com", _forge)
    repository = _answer("--repository", "Which repository (owner/name)", repository, None, _repository)
    image = _answer("--image", "What is its image called", image, repository.lower(), _image)
    registry = _answer("--registry", "Which registry does it go to", registry, _OWN_REGISTRY, _registry)
    tell = _answer("--tell", "Who is told (an email address)", tell, None, _email)
    text = first_ci_yml(Answers(forge, repository, image, registry, tell))
    compile_source(text.encode(), output.name)
    try:
        output.write_text(text)
    except OSError as error:
        raise BadConfig(f"{output} cannot be written: {error.strerror}") from error
    click.echo(f"wrote {output}. Next: tau check --config {output}")


@init.command()
@click.argument("name")
@click.option("--from", "base", required=True, help="The image that it stands on, such as 2pisoftware/crm.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where it is written.  [default: ./NAME_deploy]")
@click.option("--registry", default=_OWN_REGISTRY, show_default=True, help="Where that image is, if it names no host.")
@click.option("--app", default="/var/www/html", show_default=True, help="Where the application lies in that image.")
@click.option("--start", default="", help="How that image starts its web server, for the smoke test.")
def deployment(name: str, base: str, folder: Path | None, registry: str, app: str, start: str) -> None:
    """Write the deployment repository of the client NAME: a tag on it goes live."""
    from runner.drafts import Deployment
    from runner.drafts import deployment as files_of

    client = name.removesuffix("_deploy")
    files = files_of(Deployment(client, base, registry, app, start))
    folder = folder or Path(f"{client}_deploy")
    _check_free(*(folder / path for path in files))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in files.items():
            (folder / path).write_text(text)
            (folder / path).chmod(0o755 if path in _EXECUTABLE else 0o644)
    except OSError as error:
        raise BadConfig(f"{folder} cannot be written: {error.strerror}") from error
    click.echo(f"wrote {folder}: {', '.join(files)}. Its README.md says what comes next.")


def _check_free(*paths: Path) -> None:
    """Nothing that is there is written over.

    Raises:
        BadConfig: it would be.
    """
    there = [str(path) for path in paths if path.exists() or path.is_symlink()]
    if there:
        raise BadConfig(f"{', '.join(there)}: there already, and left as it is; name another place, or move it away")


def _answer(option: str, question: str, given: str | None, default: str | None, check: Callable[[str], str]) -> str:
    """What the option says, else what is typed; asked again until it can be used.

    Raises:
        BadConfig: the option says something else, or there is nobody to ask.
    """
    if given is not None:
        try:
            return check(given)
        except click.BadParameter as error:
            raise BadConfig(shown(f"{option}: {error.message}")) from error
    if not sys.stdin.isatty():
        raise BadConfig(f"{option} is missing, and there is no terminal to ask at: {question.lower()}?")
    answer: str = click.prompt(question, default=default, value_proc=check)
    return answer


# --- what an answer may be: ci.yml's own types say it ---------------------------------------------


def _forge(text: str) -> str:
    if text not in _FORGES:
        raise click.BadParameter(f"expected {' or '.join(_FORGES)}, got {text!r}")
    return text


def _repository(text: str) -> str:
    from runner.fields import Repository

    return str(_checked(Repository, f"github.com/{text}", f"expected owner/name, got {text!r}")).partition("/")[2]


def _image(text: str) -> str:
    from runner.fields import ImageName

    return str(_checked(ImageName, text))


def _registry(text: str) -> str:
    from runner.grammar import RegistryHost

    return str(_checked(RegistryHost, text))


def _email(text: str) -> str:
    from runner.fields import Email

    return str(_checked(Email, text))


def _checked(kind: Any, text: str, instead: str | None = None) -> object:
    from pydantic import TypeAdapter, ValidationError

    from runner.fields import Compiling

    try:
        return TypeAdapter(kind).validate_python(text, context=Compiling(forges=frozenset(_FORGES)))
    except ValidationError as error:
        raise click.BadParameter(instead or error.errors()[0]["msg"]) from error
