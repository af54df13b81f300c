"""A Dockerfile and exact commits in, an image in the engine out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Self

import pydantic

from chalicelib import wire
from chalicelib.errors import NothingToDo, StepErrored, StepFailed
from chalicelib.model import Json, StepResult, StepStatus
from chalicelib.reports.words import counted, size
from runner import bases, commands, images, trees
from runner.building import Builder, Wanted, seconds
from runner.classic import Classic
from runner.context import Context
from runner.dockerfiles import without_frontend
from runner.fields import ArgumentName, ImageName, Platform, Repository, SecretId, SecretName, complaint
from runner.submodules import Module

NEEDS_IMAGE = False
DOES = ("be built", "as {image}")

_OF_A_FORK = "tau.fork"


class From(pydantic.BaseModel):
    """Another repository's Dockerfile; the triggering tree lies at `into` inside it."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    repository: Repository
    into: str | None = None
    ref: str = "HEAD"


class Settings(pydantic.BaseModel):
    """`build: {image: 2pisoftware/cmfive, from: {repository: …, into: app}}`.

    Args:
        secrets: id of `RUN --mount=type=secret,id=…` -> name of the secret whose value it gets.
        builder: auto = BuildKit where this runner has it.
        only_with: files of the context without which there is nothing to do: the run ends skipped.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    image: ImageName
    from_: From | None = pydantic.Field(default=None, alias="from")
    dockerfile: str = "Dockerfile"
    context: str = "."
    args: Mapping[ArgumentName, str] = pydantic.Field(default_factory=dict)
    target: str | None = None
    platform: Platform | None = None
    secrets: Mapping[SecretId, SecretName] = pydantic.Field(default_factory=dict)
    builder: Literal["auto", "classic"] = "auto"
    only_with: tuple[str, ...] = ()

    @pydantic.model_validator(mode="after")
    def _secrets_need_buildkit(self) -> Self:
        if self.secrets and self.builder == "classic":
            raise complaint("secrets need BuildKit: leave out builder: classic")
        return self


@dataclass(frozen=True)
class Tree:
    """What was checked out: the folder that is built, the Dockerfile's text, the commit of each repository.

    Args:
        submodules: for each, the repository that has it, its path there, its own repository and commit.
    """

    folder: Path
    dockerfile: str
    commits: Mapping[str, str]
    submodules: tuple[Mapping[str, Json], ...] = ()


def run(settings: Settings, context: Context) -> StepResult:
    """Check out, build, and tag as `<image>:r-<run>`."""
    started_at = context.now()
    tree = laid_out(settings, context)
    builder = builder_of(settings, context)
    before = bases.refresh(tree.dockerfile, settings.args, context, everything=not builder.keeps_bases)
    began_s = context.pace.monotonic()
    image_id = build(settings, context, tree, builder)
    with images.answering():
        context.docker.api.tag(image_id, settings.image, f"r-{context.run.lower()}")
        facts = described(context.docker.api.inspect_image(image_id))
    took = seconds(context.pace.monotonic() - began_s)
    layers = counted(facts["layers"], "layer")
    context.log.line(f"built {settings.image} {image_id[7:19]}, {size(facts['size_bytes'])}, {layers}, {took}")
    stands_on = bases.built_on(tree.dockerfile, settings.args, before, context)
    return StepResult(
        action="build",
        status=StepStatus.PASSED,
        started_at=started_at,
        ended_at=context.now(),
        facts={
            "image": {"name": settings.image, "id": image_id},
            "commits": tree.commits,
            **({"submodules": list(tree.submodules)} if tree.submodules else {}),
            "bases": [wire.to_json(base) for base in stands_on],
            "builder": builder.name,
            **facts,
        },
    )


def laid_out(settings: Settings, context: Context) -> Tree:
    """Check out, and find what is to be built inside.

    Raises:
        StepFailed: the Dockerfile is not there, is no text, leads out of the tree, or asks for a frontend.
        NothingToDo: see `require`.
    """
    tree = context.folder / "tree"
    commits, submodules = check_out(settings, context, tree)
    folder = inside(tree, settings.context, "context")
    require(settings.only_with, folder, context.job.source.name)
    dockerfile = inside(folder, settings.dockerfile, "dockerfile")
    if not dockerfile.is_file():
        raise StepFailed(f"there is no {settings.dockerfile} in {settings.context}: build needs one")
    inside(folder, ".dockerignore", "the file")
    try:
        text = dockerfile.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise StepFailed(f"the Dockerfile is not UTF-8: byte {error.start} cannot be read") from error
    text = bases.as_then(without_frontend(text), settings.args, context.bases.get(settings.image, ()), context)
    return Tree(folder, text, commits, submodules)


def builder_of(settings: Settings, context: Context) -> Builder:
    """The one by which this image is built; said in the log.

    Raises:
        StepErrored: secrets need another one than this runner has.
    """
    builder = context.builder if settings.builder == "auto" else Classic()
    context.log.line(f"{builder.name}, {builder.because}")
    if settings.secrets and not builder.takes_secrets:
        raise StepErrored(
            f"secrets need BuildKit, and this runner builds by {builder.name}: {builder.because}."
            " Give its machine a `docker` command with buildx, or name one in TAU_DOCKER_CLI"
        )
    return builder


def build(settings: Settings, context: Context, tree: Tree, builder: Builder) -> str:
    """Build; the image's id. For what is raised see `Builder`."""
    commit = context.job.event.commit or ""
    wanted = Wanted(
        folder=tree.folder,
        dockerfile=tree.dockerfile,
        args=arguments(settings, tree.dockerfile, commit),
        labels=image_labels(context, tree.commits),
        target=settings.target,
        platform=settings.platform,
        secrets=commands.secrets_of(settings, context),
        caches=caches(context),
        tag=f"{settings.image}:r-{context.run.lower()}",
        from_fork=context.job.event.fork,
    )
    return builder.build(wanted, context)


def caches(context: Context) -> tuple[str, ...]:
    """The newest image of this lock (a branch of a pipeline) in this engine: its layers may be taken over.

    None to forks, and none of theirs.
    """
    if context.job.event.fork:
        return ()
    mine = [f"{name}={images.label_value(context.labels[name])}" for name in ("tau.system", "tau.lock")]
    with images.answering():
        there = context.docker.api.images(filters={"label": mine})
    usable = [image for image in there if _OF_A_FORK not in image["Labels"] and image["RepoTags"]]
    newest = max(usable, key=lambda image: int(image["Created"]), default=None)
    return (str(newest["RepoTags"][0]),) if newest else ()


def described(inspected: Mapping[str, Any]) -> dict[str, Json]:
    """What a reader wants to know of an image."""
    return {"size_bytes": int(inspected["Size"]), "layers": len(inspected["RootFS"].get("Layers") or ())}


def check_out(
    settings: Settings, context: Context, tree: Path
) -> tuple[dict[str, str], tuple[Mapping[str, Json], ...]]:
    """The trees that the build needs; returns the commit of each repository, and the submodules.

    A second repository's commit is journalled the first time: a run that goes on elsewhere builds the same.
    """
    event = context.job.event
    triggering = context.job.source.name
    commits: dict[str, str] = {}
    submodules: list[Mapping[str, Json]] = []

    def lay(repository: str, ref: str, commit: str | None, into: Path) -> None:
        commits[repository] = context.checkout(repository, ref, commit, into)
        laid = trees.complete(repository, commits[repository], into, context)
        if settings.from_ and into == tree:
            laid = beside(settings.from_, laid)
        for one in laid:
            where = {"of": repository, "path": one.path}
            submodules.append({**where, "repository": one.source.name, "commit": one.commit})

    if settings.from_:
        other = settings.from_.repository
        pinned = (context.journal.observed(f"source {other}") or {}).get("commit")
        if other == triggering and settings.from_.ref == (event.ref or "HEAD"):
            # The run is of this very repository: what it is told to be of is what it builds.
            pinned = pinned or event.commit
        lay(other, settings.from_.ref, pinned, tree)
        if not pinned:
            context.journal.observe(f"source {other}", commit=commits[other])
    if settings.from_ is None or settings.from_.into is not None:
        into = inside(tree, settings.from_.into or ".", "into") if settings.from_ else tree
        lay(triggering, event.ref or "HEAD", event.commit, into)
    return commits, tuple(submodules)


def beside(other: From, submodules: tuple[Module, ...]) -> tuple[Module, ...]:
    """The submodules of the other repository that stay: the pushed commit takes the place of one at `into`.

    Raises:
        StepFailed: one lies inside of `into`, and would go with what was there.
    """
    if other.into is None:
        return submodules
    place = PurePosixPath(other.into)
    inside_it = [one for one in submodules if PurePosixPath(one.path).is_relative_to(place)]
    if inside_it and all(PurePosixPath(one.path) != place for one in inside_it):
        where = f"lies in `into: {other.into}`, where the pushed commit is laid"
        raise StepFailed(f"the submodule {inside_it[0].path} of {other.repository} {where}: lay one of them elsewhere")
    return tuple(one for one in submodules if one not in inside_it)


def inside(folder: Path, name: str, what: str) -> Path:
    """A path that stays inside `folder`, also through symlinks.

    Raises:
        StepFailed: it does not.
    """
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise StepFailed(f"{what} {name!r} leads out of the repository: name a path inside it")
    return path


def require(names: Iterable[str], folder: Path, where: str) -> None:
    """All of these files are there.

    Raises:
        NothingToDo: one is not.
        StepFailed: one is not, and another's name is nearly its own.
    """
    for name in names:
        path = inside(folder, name, "only_with")
        if path.is_file():
            continue
        there = {other.name.lower(): other.name for other in folder.iterdir()}
        near = get_close_matches(path.name.lower(), there, n=1, cutoff=0.8)
        if near:
            raise StepFailed(f"{where} has no {name}: did you mean {name} by {there[near[0]]}?")
        raise NothingToDo(f"there is nothing to do for {where}: it has no {name}")


def image_labels(context: Context, commits: Mapping[str, str]) -> dict[str, str]:
    """Whose image it is and where it came from."""
    fork = {_OF_A_FORK: "yes"} if context.job.event.fork else {}
    labels = {**context.labels, "tau.kind": "image", **fork, **provenance(context, commits)}
    return {name: images.label_value(value) for name, value in labels.items()}


def arguments(settings: Settings, dockerfile: str, commit: str) -> dict[str, str]:
    """ci.yml's build arguments, and TAU_COMMIT for a Dockerfile that declares it: the engine warns of any other."""
    declared = re.search(r"^[ \t]*ARG[ \t]+TAU_COMMIT\b", dockerfile, re.IGNORECASE | re.MULTILINE)
    return {**settings.args, **({"TAU_COMMIT": commit} if declared else {})}


def provenance(context: Context, commits: Mapping[str, str]) -> dict[str, str]:
    """Labels that say where an image came from.

    Source: https://github.com/opencontainers/image-spec/blob/main/annotations.md
    """
    event = context.job.event
    triggering = context.job.source.name
    return {
        "org.opencontainers.image.revision": commits.get(triggering) or event.commit or "",
        "org.opencontainers.image.source": f"https://{triggering}",
        "org.opencontainers.image.created": wire.time_text(context.now()),
        "org.opencontainers.image.version": event.name or "",
    }
