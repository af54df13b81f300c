"""A Dockerfile in, the images that it stands on out; those of our own registries are fetched with their credentials."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from docker.errors import APIError

from chalicelib.errors import StepFailed
from chalicelib.graph import Base
from runner import images, streams
from runner.context import Context
from runner.dockerfiles import bases, standing_on
from runner.image_names import host_of, parts, plain, split
from runner.registry import credentials
from runner.registry_trouble import trouble

_NOT_THERE = ("not found", "manifest unknown")
# What a registry answers where it never had the repository, or has it no more.
_NEVER_THERE = ("repository does not exist", "name unknown")


def as_then(dockerfile: str, args: Mapping[str, str], then: Iterable[Base], context: Context) -> str:
    """The text whose FROM lines mean what they meant once, whatever their tags mean now.

    What cannot be had any more is said, and is what it is now.

    Args:
        then: what they meant.

    Raises:
        StepErrored: a registry does not answer, or refuses us.
    """
    known: dict[tuple[str, str, str | None], str] = {
        (base.registry, base.name, base.tag): base.digest for base in then if base.tag
    }
    others: dict[str, str] = {}
    for image in bases(dockerfile, args):
        digest, pinned = known.get(parts(image)), split(image)[0]
        if digest and _had(f"{pinned}@{digest}", image, digest, context):
            others[image] = f"{pinned}@{digest}"
    return standing_on(dockerfile, args, others)


def _had(pinned: str, image: str, digest: str, context: Context) -> bool:
    """Whether the engine has an image by its digest now; not asked for where its name still means it without any."""
    if images.has(context.docker, pinned):
        return True
    now = resolved(image, context.docker)
    if now and now.digest == digest:
        return False  # it never was in a registry, and lies in this engine
    said = _pulled(pinned, context)
    if said is None:
        return True
    host = host_of(image)
    if any(words in said for words in (*_NOT_THERE, *_NEVER_THERE)):
        context.log.line(f"{pinned} is not to be had from {host} any more: {image} is taken as it is now")
        return False
    raise trouble(host, f"{pinned} cannot be fetched", said, secret=context.job.registries.get(host))


def refresh(
    dockerfile: str, args: Mapping[str, str], context: Context, *, everything: bool = False
) -> tuple[Base, ...]:
    """Fetch the newest of every base in a registry of ci.yml; the engine fetches the others where they are missing.

    Args:
        everything: the builder keeps for itself what it fetches: others that are missing are fetched here.

    Returns:
        What they are now, as far as they are in this engine.

    Raises:
        StepFailed: a base is neither there nor in this engine.
        StepErrored: its registry does not answer, or refuses us, and this engine has none.
    """
    named = bases(dockerfile, args)
    for image in named:
        if host_of(image) in context.job.registries:
            _pull(image, context)
        elif everything and not images.has(context.docker, image):
            # What is wrong with it, the build will say: it asks once more.
            _pulled(image, context)
    return tuple(found for image in named if (found := resolved(image, context.docker)))


def built_on(dockerfile: str, args: Mapping[str, str], before: Iterable[Base], context: Context) -> tuple[Base, ...]:
    """What an image that was just built stands on.

    Args:
        before: as they were right before: a tag may have moved since. The others were fetched by the build.
    """
    known = {(base.registry, base.name, base.tag): base for base in before}
    found = (resolved(image, context.docker) for image in bases(dockerfile, args))
    return tuple(known.get((base.registry, base.name, base.tag), base) for base in found if base)


def resolved(image: str, docker: Any) -> Base | None:
    """What a FROM line means in this engine; None where it is not there.

    It is its manifest's digest in the registry that the line names, or its id where it was never there.
    """
    with images.answering():
        try:
            inspected = docker.api.inspect_image(image)
        except APIError as error:
            if error.is_client_error():
                return None  # it is not there, or no name that the engine reads
            raise
    host, name, tag = parts(image)
    digests = (one.partition("@") for one in inspected.get("RepoDigests") or ())
    # The engine leaves Docker Hub out, and its `library/` too. https://github.com/distribution/reference#FamiliarName
    known = {(host_of(repository), plain(repository)): digest for repository, _, digest in digests}
    digest = known.get((host, name))
    return Base(host, name, tag, digest or str(inspected["Id"]), local=digest is None)


def fetch(image: str, context: Context) -> str:
    """An image that a step names: the newest of a registry of ci.yml, any other where this engine lacks it; its id.

    Raises:
        StepFailed: no registry has it.
        StepErrored: its registry does not answer, or refuses us, and this engine has none.
    """
    if host_of(image) in context.job.registries or not images.has(context.docker, image):
        said = _pulled(image, context)
        if said is not None and not images.has(context.docker, image):
            gone = any(words in said for words in _NOT_THERE)
            if gone:
                raise StepFailed(f"the image {image} cannot be fetched: {said}")
            host = host_of(image)
            raise trouble(host, f"the image {image} cannot be fetched", said, secret=context.job.registries.get(host))
    with images.answering():
        return str(context.docker.api.inspect_image(image)["Id"])


def _pulled(image: str, context: Context) -> str | None:
    """Fetch an image; what the engine complained of, or None when it has it now."""
    secret = context.job.registries.get(host_of(image))
    login = credentials(context.secret(secret), secret).auth_config() if secret else None
    name, tag = split(image)
    return _said(name, tag, login, context)


def _pull(image: str, context: Context) -> None:
    host = host_of(image)
    said = _pulled(image, context)
    if said is None:
        return
    if images.has(context.docker, image):
        context.log.line(f"{image} could not be fetched anew, building on the one that is here: {said}")
    elif any(words in said for words in _NOT_THERE):
        raise StepFailed(f"the Dockerfile stands on {image}, which {host} does not have")
    else:
        doing = f"the Dockerfile stands on {image}, which cannot be fetched"
        raise trouble(host, doing, said, secret=context.job.registries.get(host))


def _said(name: str, tag: str, login: Mapping[str, str] | None, context: Context) -> str | None:
    """What the engine complained of when it pulled; None when it has the image now."""

    def begin() -> Any:
        return context.docker.api.pull(name, tag=tag, auth_config=login, stream=True, decode=True)

    with images.answering():
        try:
            with streams.opened(f"pull of {name}", begin, context) as messages:
                said = [str(message["error"]) for message in messages if "error" in message]
        except APIError as error:
            return str(error.explanation or error)
    return next(iter(said), None)
