"""The command that makes a source bundle by hand: `tau bundle`."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runner.laptop.commands import ENVIRON

if TYPE_CHECKING:
    from chalicelib.graph import Base
    from runner.bundle.making import Bundle, Source
    from runner.bundle.placeholders import Image

# What needs docker is imported by the command that needs it: `tau --help` answers at once.
# ruff: noqa: PLC0415

_LOCAL_S = 300


@click.command()
@click.argument("path", type=click.Path(path_type=Path), default=Path())
@click.option("--image", "reference", help="The image to fill in, as REGISTRY/NAME@sha256:….")
@click.option("--source", "built_there", is_flag=True, help="Elastic Beanstalk is to build it (`bundle: source`).")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="The file to write.  [default: NAME-CONTENT.zip, here or beside the copy]",
)
@click.pass_context
def bundle(
    context: click.Context,
    path: Path,
    reference: str | None,
    built_there: bool,  # noqa: FBT001 - click's way of flags
    output: Path | None,
) -> None:
    """Check what Elastic Beanstalk would get of the working copy PATH, and make it.

    What git ignores is left out, what is not committed is in. Without --image the images stay as the files name them;
    with --source each FROM gets the digest that this engine has. Nothing is uploaded.

    The exit code is 0, and the file's name is printed, or 1 with everything that is wrong.
    """
    from chalicelib.errors import BadInput, StepFailed

    if reference and built_there:
        raise BadInput("--source builds the image, and --image names one: leave one of them out")
    try:
        made, folder = _made(path, reference, context.meta[ENVIRON], built_there=built_there)
    except StepFailed as error:
        for line in error.lines or (str(error),):
            click.echo(f"tau: {line}", err=True)
        sys.exit(1)
    for remark in made.remarks:
        click.echo(f"remark: {remark}", err=True)
    # Not into the copy: the next bundle would hold it.
    here = folder.parent if Path.cwd().is_relative_to(folder) else Path()
    into = output or here / f"{folder.name}-{made.content[:8]}.zip"
    try:
        into.write_bytes(made.body)
    except OSError as error:
        raise BadInput(f"{into} cannot be written: {error.strerror}") from error
    click.echo(into)


def _made(path: Path, reference: str | None, environ: Mapping[str, str], *, built_there: bool) -> tuple[Bundle, Path]:
    """The bundle of a working copy as it is now, and the copy's folder."""
    from urllib.parse import unquote, urlsplit

    from chalicelib.errors import StepErrored
    from runner import git, shell
    from runner.bundle.making import build
    from runner.laptop.git_words import quiet
    from runner.laptop.stand_ins import StandIns
    from runner.stopping import Stopping

    with tempfile.TemporaryDirectory(prefix="tau-bundle-") as temporary:
        folder, stopping = Path(temporary), Stopping()
        stand_ins = StandIns(folder / "stand-ins", environ, stopping)
        copy = stand_ins.look(path)
        snapshot = stand_ins.snapshot(copy, ())
        bare = Path(unquote(urlsplit(snapshot.address).path))
        env = {**quiet(environ), "GIT_INDEX_FILE": str(folder / "index")}

        def asked(argv: tuple[str, ...]) -> bytes:
            output = shell.run(argv, env=env, timeout_s=_LOCAL_S, stopping=stopping)
            if not output.ok:
                raise StepErrored(f"`{' '.join(argv)}` failed: {output.complaint}")
            return output.stdout

        def ignored(rules: bytes) -> frozenset[str]:
            (folder / "rules").write_bytes(rules)
            asked(git.read_tree(bare, snapshot.commit))
            return frozenset(git.names(asked(git.ignored(bare, folder / "rules"))))

        archive = asked(git.archive(bare, snapshot.commit))
        wanted = _source(archive, snapshot.commit) if built_there else _image(reference)
        return build(archive, wanted, ignored=ignored), copy.folder


def _image(reference: str | None) -> Image | None:
    import re

    from chalicelib.errors import BadInput
    from runner.bundle.placeholders import Image
    from runner.image_names import plain, split

    if reference is None:
        return None
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9./:_-]*@sha256:[0-9a-f]{64}", reference):
        raise BadInput(f"--image {reference}: expected an image by its digest, such as 2pisoftware/crm@sha256:…")
    return Image(reference, plain(split(reference)[0]))


def _source(archive: bytes, commit: str) -> Source:
    """The Dockerfile of the tree, and what its bases are in this engine."""
    from runner.bundle.making import DOCKERFILE, Source
    from runner.bundle.tree import Tree
    from runner.dockerfiles import bases

    tree = Tree(archive)
    text = tree.read(DOCKERFILE).decode(errors="replace") if DOCKERFILE in tree.entries else ""
    named = [image for image in bases(text, {}) if "@" not in image]
    return Source(_known(named) if named else (), commit)


def _known(named: list[str]) -> tuple[Base, ...]:
    from chalicelib.errors import StepFailed
    from runner import images
    from runner.bases import resolved

    docker = images.connect()
    found = {image: resolved(image, docker) for image in named}
    missing = [image for image, base in found.items() if base is None]
    if missing:
        raise StepFailed(f"this engine has no {' and no '.join(missing)}, whose digest is wanted: `docker pull` it")
    return tuple(base for base in found.values() if base)
