"""An image that registries have by digest in; its public tags moved, once for a run, and what they mean recorded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import chain, repeat

from chalicelib.graph import Known
from chalicelib.model import Json
from chalicelib.records.images import Made
from chalicelib.releases import Release
from runner.aside import ask
from runner.context import Context, Image
from runner.registry import Credentials, credentials
from runner.registry import Registry as Manifests
from runner.retrying import patiently


def login(host: str, context: Context) -> Credentials | None:
    """The user that ci.yml names for a registry; read when it is used."""
    name = context.job.registries.get(host)
    return credentials(context.secret(name), name) if name else None


def there_now(manifests: Manifests, tag: str, context: Context) -> str | None:
    """The digest under a tag; nobody who should stop waits for a registry's answer."""
    return patiently(lambda: ask(lambda: manifests.digest(tag), context.stopping, context.pace), context)


def release_of(context: Context) -> Release | None:
    """The release whose tag started this run."""
    ref = context.job.event.ref or ""
    return Release.of(context.job.event.name or "") if ref.startswith("refs/tags/") else None


def allowed(name: str, tags: Iterable[str], context: Context) -> tuple[str, ...]:
    """The tags that may move: none goes back from a release to an older one."""
    mine = release_of(context)
    if mine is None:
        return tuple(tags)
    found = []
    for tag in tags:
        known = context.aws.store.known_image(name, tag)
        held = Release.of(known.version) if known and known.version else None
        if held and held > mine:
            context.log.line(f"{name}:{tag} stays at {held}, which is newer than {mine}")
        else:
            found.append(tag)
    return tuple(found)


def publish(
    host: str,
    image: Image,
    digest: str,
    tags: tuple[str, ...],
    context: Context,
    *,
    manifests: Manifests,
    stood: Mapping[str, Json],
) -> list[Json]:
    """Move the public tags to the digest, once for this run: somebody else may have moved them on since.

    Args:
        stood: where the tags stood before this run's first claim moved any.
    """
    name = f"{host}/{image.name}"
    key = f"tag {name} {digest}"
    if context.journal.observed(key) is None:
        context.stopping.check()
        # From here on what registries have is enough; an image that was built again would move the tags a second time.
        begun = context.journal.intend(key, tags=list(tags), needs_image=False) is not None
        for tag in tags:
            # An attempt that nobody heard of may have moved it, and somebody else may have moved it on.
            attempts = chain([stood if begun else {}], repeat(stood))
            patiently(partial(_move, f"{name}:{tag}", tag, digest, attempts, manifests, context), context)
        context.journal.observe(key)
    return [{"name": f"{name}:{tag}", "digest": digest} for tag in tags]


def _move(
    name: str, tag: str, digest: str, stood: Iterator[Mapping[str, Json]], manifests: Manifests, context: Context
) -> None:
    """Move one public tag, unless it is there, or has been there.

    Args:
        stood: for each attempt, where an earlier one, or a dead claim of this run, found the tags. One that stands
            elsewhere now was moved on by another run since: it stays, as if that had come right after us.
    """
    before = next(stood)
    there = manifests.digest(tag)
    if there not in {digest, before.get(tag, there)}:
        context.log.line(f"{name} was moved on since")
        return
    if there != digest:
        # Not beside, as other questions are: a move that was begun is waited for. One that came through after
        # this run's end would take the tag from whoever has moved it by then.
        context.stopping.check_held()
        manifests.tag(digest, tag)
    context.log.line(f"{name} is {digest[:19]}")


def moving(tags: Iterable[str], commit: str | None) -> tuple[str, ...]:
    """The tags that may stand elsewhere tomorrow: all but a commit's own, which nobody has to be told of."""
    return tuple(tag for tag in tags if commit is None or tag not in {commit, commit[:7]})


def make_known(image: Image, digests: Mapping[str, str], tags: Iterable[str], context: Context) -> None:
    """Write down what lies under the tags now, and of which commit it is.

    A registry to which another run, or another step, brought the very same image still has it.
    """
    event, now, release = context.job.event, context.now(), release_of(context)
    store = context.aws.store
    for tag in tags:
        store.put_known_image(
            Known(
                name=image.name,
                tag=tag,
                digests=_everywhere(store.known_image(image.name, tag), image, digests),
                id=image.id,
                run=context.run,
                pipeline=context.job.pipeline,
                pushed_at=now,
                forge=event.forge,
                provider=event.provider,
                repository=event.repository,
                ref=event.ref,
                ref_name=event.name,
                commits=image.commits,
                bases=image.bases,
                version=str(release) if release else None,
            )
        )
    if event.commit:
        there = _everywhere(store.made_image(image.name, event.commit), image, digests)
        store.put_made_image(
            Made(image.name, event.commit, context.run, there, image.id, now, image.commits, image.bases)
        )


def _everywhere(earlier: Known | Made | None, image: Image, digests: Mapping[str, str]) -> Mapping[str, str]:
    return {**earlier.digests, **digests} if earlier and earlier.id == image.id else digests
