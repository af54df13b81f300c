"""The tested image in, the same digest under its tags in each registry out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pydantic

from chalicelib.errors import StepErrored
from chalicelib.model import Json, StepResult, StepStatus
from runner import exposure, images, streams
from runner.context import Context, Image
from runner.fields import ImageName, ImageTag, Registry
from runner.publishing import allowed, login, make_known, moving, publish, there_now
from runner.registry import Credentials, reference
from runner.registry_trouble import trouble
from runner.retrying import patiently

NEEDS_IMAGE = True
DOES = ("be pushed to {to[]}", "as {image}")


class Settings(pydantic.BaseModel):
    """`push: {to: [code.2pisoftware.com:5000, docker.io], tags: [latest, "{branch}"]}`."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    to: tuple[Registry, ...] = pydantic.Field(min_length=1)
    tags: tuple[ImageTag, ...] = pydantic.Field(min_length=1)
    image: ImageName | None = None


def run(settings: Settings, context: Context) -> StepResult:
    """Push to every registry as `r-<run>`; when all digests are there, move the public tags."""
    started_at = context.now()
    image = context.image(settings.image)
    exposure.check(image.id, context)
    logins = {host: login(host, context) for host in settings.to}
    digests = {host: upload(host, image, logins[host], settings.tags, context) for host in settings.to}
    tags = allowed(image.name, settings.tags, context)
    pushed = [entry for host in settings.to for entry in move(host, image, digests[host], logins[host], tags, context)]
    moved = moving(tags, context.job.event.commit)
    make_known(image, digests, moved, context)
    facts = {
        "pushed": pushed,
        "digests": digests,
        "image": {"name": image.name, "id": image.id},
        "moved": list(moved),
    }
    return StepResult("push", StepStatus.PASSED, started_at, context.now(), facts=facts)


def move(
    host: str, image: Image, digest: str, login: Credentials | None, tags: tuple[str, ...], context: Context
) -> list[Json]:
    """The public tags, in one registry."""
    stood = (context.journal.observed(pushing(host, image, context)) or {}).get("stood", {})
    manifests = context.registry(host, image.name, login)
    return publish(host, image, digest, tags, context, manifests=manifests, stood=stood)


def upload(host: str, image: Image, login: Credentials | None, tags: Iterable[str], context: Context) -> str:
    """The image under `r-<run>` in a registry; its digest there. Where the public tags stand is written down with it.

    A claim before us may have pushed and died before it could say so: then the registry is asked first.
    """
    tag = run_tag(context)
    name = reference(host, image.name)
    key = pushing(host, image, context)
    known = context.journal.observed(key)
    if known:
        return str(known["digest"])
    manifests = context.registry(host, image.name, login)
    digest = there_now(manifests, tag, context) if context.journal.intend(key) is not None else None
    if digest is None:
        digest = patiently(lambda: send(host, name, tag, image, login, context), context)
        there = there_now(manifests, tag, context)
        if there != digest:
            raise StepErrored(f"{host} has {there} under {tag}, and the engine pushed {digest}")
    context.journal.observe(key, digest=digest, stood={tag: there_now(manifests, tag, context) for tag in tags})
    context.log.line(f"pushed {name} {digest[:19]}")
    return digest


def run_tag(context: Context) -> str:
    return f"r-{context.run.lower()}"


def pushing(host: str, image: Image, context: Context) -> str:
    """The journal's key; an image that had to be built again is another one, whatever was pushed before."""
    return f"push {host}/{image.name}:{run_tag(context)} {image.id}"


def send(host: str, name: str, tag: str, image: Image, login: Credentials | None, context: Context) -> str:
    """Let the engine push; the digest that it reports."""
    api = context.docker.api
    auth = login.auth_config() if login else None

    def begin() -> Any:
        return api.push(name, tag=tag, stream=True, decode=True, auth_config=auth)

    with images.answering():
        api.tag(image.id, name, tag)
        try:
            with streams.opened(f"push of {name}", begin, context) as messages:
                return follow(messages, host, name, context)
        finally:
            # The local name is of no use once it is pushed, and stays where it is the image's own.
            if name != image.name:
                api.remove_image(f"{name}:{tag}", noprune=True)


def follow(stream: Iterable[Mapping[str, Any]], host: str, name: str, context: Context) -> str:
    """The engine's push messages into the log; the digest.

    The SDK's push does not raise: a failure is a message with `error` in it.

    Raises:
        NotNow: the registry did not take it, and may take it in a moment.
        StepErrored: the registry does not take it.
    """
    digest = error = None
    for message in stream:
        # Read to its end all the same: a connection that is left in the middle stays open.
        error = error or message.get("error")
        if "status" in message and "id" in message and not message.get("progressDetail"):
            context.log.write(f"{message['id']}: {message['status']}\n".encode())
        digest = message.get("aux", {}).get("Digest", digest)
    if error:
        raise trouble(host, f"pushing {name} failed", str(error), secret=context.job.registries.get(host))
    if digest is None:
        raise StepErrored(f"pushing {name} ended without a digest and without an error")
    return str(digest)
