"""A commit in, the image that was built of it found and given more tags, by digest, out; nothing is built."""

from __future__ import annotations

from collections.abc import Mapping

import pydantic

from chalicelib.model import StepResult, StepStatus
from runner.context import Context, Image
from runner.fields import ImageName, ImageTag, Registry
from runner.made import SPARED
from runner.publishing import allowed, login, make_known, moving, publish, there_now

NEEDS_IMAGE = False


class Settings(pydantic.BaseModel):
    """`tag: {image: 2pisoftware/cmfive, to: [docker.io], tags: ["{tag}", "{major}.{minor}"]}`."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    image: ImageName
    to: tuple[Registry, ...] = pydantic.Field(min_length=1)
    tags: tuple[ImageTag, ...] = pydantic.Field(min_length=1)


def run(settings: Settings, context: Context) -> StepResult:
    """Tag the image of the commit where there is one; else pass, and leave it to the steps that build one."""
    started_at = context.now()
    commit = context.job.event.commit or ""
    image = find(settings, commit, context)
    if image is None:
        return StepResult("tag", StepStatus.PASSED, started_at, context.now())
    context.log.line(f"{settings.image} was built of {commit[:7]} already: it is tagged, and not built again")
    tags = allowed(image.name, settings.tags, context)
    pushed = [
        entry
        for host in settings.to
        for entry in publish(
            host,
            image,
            image.digests[host],
            tags,
            context,
            manifests=context.registry(host, image.name, login(host, context)),
            stood=stood(host, settings, context),
        )
    ]
    moved = moving(tags, commit)
    make_known(image, image.digests, moved, context)
    facts = {
        "pushed": pushed,
        "digests": dict(image.digests),
        "image": {"name": image.name, "id": image.id},
        "moved": list(moved),
        SPARED: image.name,
    }
    return StepResult("tag", StepStatus.PASSED, started_at, context.now(), facts=facts)


def find(settings: Settings, commit: str, context: Context) -> Image | None:
    """The image of the commit, if every registry still has it; found once for a run."""
    found = context.journal.observed(key(settings, commit))
    digests = looked_up(settings, commit, context) if found is None else found["digests"]
    if found is None:
        context.journal.observe(key(settings, commit), digests=digests, stood=standing(settings, digests, context))
    made = context.aws.store.made_image(settings.image, commit)
    if not digests or made is None:
        return None
    return Image(made.name, made.id, digests, made.bases, made.commits)


def key(settings: Settings, commit: str) -> str:
    return f"image {settings.image} of {commit}"


def looked_up(settings: Settings, commit: str, context: Context) -> Mapping[str, str]:
    """Its digest in each registry; empty where one does not have it, or nothing is known of it."""
    made = context.aws.store.made_image(settings.image, commit)
    if made is None:
        context.log.line(f"no {settings.image} was built of {commit[:7]} yet: it is built now")
        return {}
    for host in settings.to:
        digest = made.digests.get(host)
        manifests = context.registry(host, settings.image, login(host, context))
        if digest is None or there_now(manifests, digest, context) != digest:
            context.log.line(f"{host} does not have the {settings.image} of {commit[:7]}: it is built now")
            return {}
    return {host: made.digests[host] for host in settings.to}


def standing(settings: Settings, digests: Mapping[str, str], context: Context) -> dict[str, dict[str, str | None]]:
    """Where the tags stand in each registry before any of them is moved."""
    return {
        host: {
            tag: there_now(context.registry(host, settings.image, login(host, context)), tag, context)
            for tag in settings.tags
        }
        for host in digests
    }


def stood(host: str, settings: Settings, context: Context) -> Mapping[str, str | None]:
    """Where the tags stood, as it was written down."""
    seen = context.journal.observed(key(settings, context.job.event.commit or "")) or {}
    found: Mapping[str, str | None] = seen.get("stood", {}).get(host, {})
    return found
