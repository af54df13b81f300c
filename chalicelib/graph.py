"""What is known of pushed images in; who stands on whom, what is stale, and what is to be built again out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from chalicelib.model import Event, EventKind, Job, Json, Provider, PushedImage, Run, StepResult, StepStatus

TAU = "tau"
"""The forge of events that are about no forge's repository."""
_TAGS = "refs/tags/"
_PUSHING = frozenset({"push", "tag"})


@dataclass(frozen=True)
class Base:
    """What a FROM line meant when it was built.

    Args:
        registry: host; `docker.io` where the line names none.
        name, tag: without the host. `tag` is None where the line pins a digest: that never moves.
        digest: its manifest's there, or the image's id in the engine where no registry knows it: then it is `local`.
    """

    registry: str
    name: str
    tag: str | None
    digest: str
    local: bool = False

    @property
    def named(self) -> str:
        return f"{self.name}:{self.tag}" if self.tag else f"{self.name}@{self.digest}"


@dataclass(frozen=True)
class Known:
    """The image under a tag, as the newest run that pushed it left it; the same in all registries.

    Args:
        digests: by registry.
        id: in the engine that built it.
        forge, provider, repository, ref, ref_name: of the event that it was built for; None where that was about none.
        commits: what it was built from, by repository.
        version: the release whose tag moved it here, such as 1.3.0.
    """

    name: str
    tag: str
    digests: Mapping[str, str]
    id: str
    run: str
    pipeline: str
    pushed_at: datetime
    forge: str
    provider: Provider
    repository: str | None = None
    ref: str | None = None
    ref_name: str | None = None
    commits: Mapping[str, str] = field(default_factory=dict)
    bases: tuple[Base, ...] = ()
    version: str | None = None

    @property
    def named(self) -> str:
        return f"{self.name}:{self.tag}"

    @property
    def line(self) -> tuple[str, str, str, str]:
        """What is built again once: a branch of a pipeline, or all its tags, of which only the newest is."""
        ref = self.ref or self.ref_name or ""
        return self.pipeline, self.forge, self.repository or "", _TAGS if ref.startswith(_TAGS) else ref


def stands_on(one: Known, named: str) -> bool:
    """Whether it was built from what lay under that `name:tag` then."""
    return any(base.tag and base.named == named for base in one.bases)


def stale(one: Known, known: Mapping[str, Known]) -> tuple[Base, ...]:
    """Those of its bases whose tag has moved on since."""
    moved = []
    for base in one.bases:
        now = known.get(base.named)
        if base.tag and now and base.digest not in {*now.digests.values(), now.id}:
            moved.append(base)
    return tuple(moved)


def below(named: Collection[str], known: Collection[Known]) -> tuple[Known, ...]:
    """All that stand on one of these, directly or not, each once, by name."""
    found: dict[str, Known] = {}
    front = set(named)
    while front:
        level = {one.named: one for one in known if any(stands_on(one, name) for name in front)}
        front = level.keys() - found.keys() - set(named)
        found.update(level)
    return tuple(found[name] for name in sorted(found.keys() - set(named)))


def next_level(named: str, known: Collection[Known], passed: Collection[str] = ()) -> tuple[Known, ...]:
    """What stands directly on an image that moved, the newest of each line; what will come later anyway left out.

    Who stands on one of the others too is built after that one was pushed, once.

    Args:
        passed: the images whose pushes led here: none of them is built again, so a circle ends.
    """
    direct = [one for one in known if stands_on(one, named) and one.named not in {*passed, named}]
    newest: dict[tuple[str, ...], Known] = {}
    for one in sorted(direct, key=lambda image: (image.run, image.named)):
        newest[one.line] = one
    firsts = [one.named for one in newest.values()]
    later = {
        one.line
        for first in firsts
        for one in below([first], known)
        # In a circle each is later than the other: then both are built.
        if first not in {other.named for other in below([one.named], known)}
    }
    return tuple(one for line, one in sorted(newest.items()) if line not in later)


# --- what a run pushed, and what follows ----------------------------------------------------------------


def pushed(run: Run, results: Mapping[str, StepResult]) -> tuple[PushedImage, ...]:
    """What a run's steps pushed, each `name:tag` once, in its first registry. A commit's own tag is nobody's base."""
    job = run.job
    origin = job.event.image
    chain = (*origin.chain, f"{origin.name}:{origin.tag}") if origin else ()
    found: dict[tuple[str, str], PushedImage] = {}
    for index in sorted(results, key=int):
        result = results[index]
        if result.action not in _PUSHING or result.status is not StepStatus.PASSED:
            continue
        digests: Mapping[str, str] = result.facts.get("digests", {})
        name = result.facts.get("image", {}).get("name", "")
        for tag in result.facts.get("moved", ()):
            for registry, digest in sorted(digests.items())[:1]:
                image = PushedImage(registry, name, tag, digest, run.id, chain, rebuild=rebuilds(job))
                found.setdefault((name, tag), image)
    return tuple(found.values())


def rebuilds(job: Job) -> bool:
    """Whether what stands on its images is built again: ci.yml says so, or it is itself built again for that reason."""
    return job.rebuild or bool(job.event.image and job.event.image.rebuild)


def announced(run: Run, results: Mapping[str, StepResult] | None = None) -> Mapping[str, Mapping[str, Json]]:
    """What `tell` says of images that are still to be announced.

    Args:
        results: what came of the steps since the run was read.
    """
    held = {**run.results, **(results or {})}
    return {IMAGES: {"state": "due", "attempts": 0}} if run.job.announces and pushed(run, held) else {}


IMAGES = "images"
"""Under which name `tell` has the announcement of a run's images."""


def event_of(image: PushedImage, job: Job) -> Event:
    """That an image was pushed. A run that says so twice says the very same."""
    named = f"{image.name}:{image.tag}"
    return Event(
        forge=TAU,
        provider=Provider.TAU,
        delivery_id=f"{image.run} {named} {image.digest}",
        kind=EventKind.IMAGE,
        repository=None,
        name=named,
        pusher=job.event.pusher,
        image=image,
    )


def rebuild_of(one: Known, image: PushedImage, job: Job) -> Event:
    """That one which stands on a pushed image is to be built again: by its own pipeline, from its own branch or tag."""
    return Event(
        forge=one.forge,
        provider=one.provider,
        delivery_id=f"{image.run} {image.name}:{image.tag} {image.digest} {' '.join(one.line)}",
        kind=EventKind.IMAGE,
        repository=one.repository,
        ref=one.ref,
        name=one.ref_name,
        pusher=job.event.pusher,
        image=image,
        pipeline=one.pipeline,
    )
