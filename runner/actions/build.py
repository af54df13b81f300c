"""A Dockerfile and exact commits in, an image in the engine out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pydantic
from docker.errors import APIError

from chalicelib import wire
from chalicelib.errors import NothingToDo, StepErrored, StepFailed
from chalicelib.model import StepResult, StepStatus
from runner import bases, images, streams
from runner.context import Context
from runner.dockerfiles import marked
from runner.fields import ImageName, Repository

NEEDS_IMAGE = False
DOES = ("be built", "as {image}")

# Messages of the engine for which no Dockerfile is to blame.
_OURS = re.compile(
    r"no space left|toomanyrequests|connection (refused|reset)|i/o timeout|TLS handshake|no such host"
    r"|temporary failure|server misbehaving|EOF$|context canceled|received unexpected HTTP status: 5"
    # A layer of the cache went while this build was about to use it: an older image was being removed.
    r'|(unable to find image "|no such image: |unknown parent image ID |failed to get (digest|layer) )sha256:',
    re.IGNORECASE,
)
# What a build says whose engine stops, or whose host has no memory left.
_KILLED = "137"
_LATE_S = 60
# The line that `labelled` adds is of no use to a reader.
_OUR_LABELS = re.compile(r'^(Step \d+/\d+ : LABEL) "tau\.system"=.*')
_STEP_FAILED = re.compile(r"The command '(?P<command>.*)' returned a non-zero code: (?P<code>\d+)", re.DOTALL)


class From(pydantic.BaseModel):
    """Another repository's Dockerfile; the triggering tree lies at `into` inside it."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    repository: Repository
    into: str | None = None
    ref: str = "HEAD"


class Settings(pydantic.BaseModel):
    """`build: {image: 2pisoftware/cmfive, from: {repository: …, into: app}}`.

    Args:
        only_with: files of the context without which there is nothing to do: the run ends skipped.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    image: ImageName
    from_: From | None = pydantic.Field(default=None, alias="from")
    dockerfile: str = "Dockerfile"
    context: str = "."
    args: Mapping[str, str] = pydantic.Field(default_factory=dict)
    target: str | None = None
    only_with: tuple[str, ...] = ()


def run(settings: Settings, context: Context) -> StepResult:
    """Check out, build, and tag as `<image>:r-<run>`."""
    started_at = context.now()
    tree = context.folder / "tree"
    commits = check_out(settings, context, tree)
    folder = inside(tree, settings.context, "context")
    require(settings.only_with, folder, context.job.source.name)
    dockerfile = inside(folder, settings.dockerfile, "dockerfile")
    if not dockerfile.is_file():
        raise StepFailed(f"there is no {settings.dockerfile} in {settings.context}: build needs one")
    inside(folder, ".dockerignore", "the file")
    text = dockerfile.read_text(errors="replace")
    before = bases.refresh(text, settings.args, context)
    image_id = build(settings, context, folder, dockerfile, commits)
    with images.answering():
        context.docker.api.tag(image_id, settings.image, f"r-{context.run.lower()}")
    context.log.line(f"built {settings.image} {image_id[7:19]}")
    stands_on = bases.built_on(text, settings.args, before, context)
    return StepResult(
        action="build",
        status=StepStatus.PASSED,
        started_at=started_at,
        ended_at=context.now(),
        facts={
            "image": {"name": settings.image, "id": image_id},
            "commits": commits,
            "bases": [wire.to_json(base) for base in stands_on],
        },
    )


def check_out(settings: Settings, context: Context, tree: Path) -> dict[str, str]:
    """The trees that the build needs; returns the commit of each repository.

    A second repository's commit is journalled the first time: a run that goes on elsewhere builds the same.
    """
    event = context.job.event
    triggering = context.job.source.name
    commits: dict[str, str] = {}
    if settings.from_:
        other = settings.from_.repository
        pinned = (context.journal.observed(f"source {other}") or {}).get("commit")
        if other == triggering and settings.from_.ref == (event.ref or "HEAD"):
            # The run is of this very repository: what it is told to be of is what it builds.
            pinned = pinned or event.commit
        commits[other] = context.checkout(other, settings.from_.ref, pinned, tree)
        if not pinned:
            context.journal.observe(f"source {other}", commit=commits[other])
    if settings.from_ is None or settings.from_.into is not None:
        into = inside(tree, settings.from_.into or ".", "into") if settings.from_ else tree
        commits[triggering] = context.checkout(triggering, event.ref or "HEAD", event.commit, into)
    for repository, commit in commits.items():
        context.log.line(f"checked out {repository} at {commit[:7]}")
    return commits


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


def build(settings: Settings, context: Context, folder: Path, dockerfile: Path, commits: Mapping[str, str]) -> str:
    """Build; the image's id.

    Raises:
        StepFailed: the Dockerfile does not build.
        StepErrored: the engine, the network or the disk is to blame.
    """
    labels = image_labels(context, commits)
    copy = labelled(dockerfile, labels, context)
    options = {
        "path": str(folder),
        "dockerfile": str(copy),
        # The Dockerfile's last line is not the target's: a layer more, for the few that name one.
        "labels": labels if settings.target else None,
        "buildargs": arguments(settings, dockerfile.read_text(errors="replace"), context.job.event.commit or ""),
        "target": settings.target or "",
    }
    with images.answering():
        try:
            with streams.opened("build", lambda: begin(options, context), context) as messages:
                return follow(messages, context)
        except APIError as error:
            if error.is_client_error():
                raise StepFailed(f"the Dockerfile cannot be read: {error.explanation}") from error
            raise


def begin(options: Mapping[str, Any], context: Context) -> Any:
    """Ask the engine to build; its stream of messages. A build that is cut off takes its step's container with it."""
    # A step may be silent for as long as the run has left; our own deadline comes before the connection's.
    timeout_s = max(1, int(context.remaining_s())) + _LATE_S
    return context.docker.api.build(**options, timeout=timeout_s, rm=True, forcerm=True, decode=True)


def image_labels(context: Context, commits: Mapping[str, str]) -> dict[str, str]:
    """Whose image it is and where it came from."""
    labels = {**context.labels, "tau.kind": "image", **provenance(context, commits)}
    return {name: images.label_value(value) for name, value in labels.items()}


def arguments(settings: Settings, dockerfile: str, commit: str) -> dict[str, str]:
    """ci.yml's build arguments, and TAU_COMMIT for a Dockerfile that declares it: the engine warns of any other."""
    declared = re.search(r"^[ \t]*ARG[ \t]+TAU_COMMIT\b", dockerfile, re.IGNORECASE | re.MULTILINE)
    return {**settings.args, **({"TAU_COMMIT": commit} if declared else {})}


def labelled(dockerfile: Path, labels: Mapping[str, str], context: Context) -> Path:
    """The Dockerfile with all labels in one line at its end, outside the tree.

    The classic builder makes a container and a layer of each label that it is handed apart from the Dockerfile.

    Raises:
        StepFailed: it is no text; the SDK reads it as UTF-8.
    """
    try:
        text = dockerfile.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise StepFailed(f"the Dockerfile is not UTF-8: byte {error.start} cannot be read") from error
    line = " ".join(f'"{name}"="{value}"' for name, value in labels.items())
    copy = context.folder / "Dockerfile"
    # A last line that goes on would take ours for its rest.
    whole = marked(text.rstrip().rstrip("\\"), layer_label(context.labels["tau.system"]))
    copy.write_text(f"{whole}\nLABEL {line}\n", encoding="utf-8")
    return copy


def layer_label(system: str) -> str:
    """The same for every build: a cache that knows it finds it again. What a build that broke leaves is known by it."""
    return f'LABEL "tau.system"="{images.label_value(system)}" "tau.kind"="layer"'


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


def follow(stream: Iterable[Mapping[str, Any]], context: Context) -> str:
    """The engine's build messages into the log; the image's id.

    The SDK's stream does not raise: a failure is a message with `error` in it.
    """
    image_id = error = None
    for message in stream:
        if "stream" in message:
            context.log.write(_OUR_LABELS.sub(r"\1", message["stream"]).encode())
        if "status" in message and "progressDetail" not in message:
            context.log.write(f"{message['status']}\n".encode())
        # Read to its end all the same: a connection that is left in the middle stays open.
        error = error or message.get("error")
        image_id = message.get("aux", {}).get("ID", image_id)
    if error:
        raise refusal(error, context.log.tail())
    if not isinstance(image_id, str):
        raise StepErrored("the Docker engine ended the build without an image and without an error")
    return image_id


def refusal(error: str, tail: tuple[str, ...]) -> StepFailed | StepErrored:
    """Whose fault a failed build is: the Dockerfile's, unless the engine speaks of disk or network."""
    failed = _STEP_FAILED.search(error)
    if failed:
        command = " ".join(failed["command"].removeprefix("/bin/sh -c ").split())[:120]
        if failed["code"] == _KILLED:
            return StepErrored(f"the Dockerfile's command `{command}` was killed from outside")
        return StepFailed(f"the Dockerfile's command `{command}` exited with {failed['code']}", tail)
    if _OURS.search(error):
        return StepErrored(f"the build broke: {error.strip()}")
    return StepFailed(f"the Dockerfile does not build: {error.strip()}", tail)
