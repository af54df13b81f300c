"""The images of an engine and who uses them in; which must stay, which may go, and in what order, out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from chalicelib.model import DEPLOYMENT_ENDS, Deployment, DeploymentState
from chalicelib.reports.words import counted

DEFAULT_KEEP = 2
"""The branch's newest image, which is the next build's cache, and the one before it: what was live until now."""

LAYERS_KEPT_FOR = timedelta(days=7)
"""So long what a build left beside its image (an earlier stage, the steps before it broke) is the next one's cache."""


class Fate(StrEnum):
    """*needed*: never goes. *kept*: goes only where the disk is short. *surplus*: goes at the next cleaning."""

    NEEDED = "needed"
    KEPT = "kept"
    SURPLUS = "surplus"


_STRENGTH = tuple(Fate)


@dataclass(frozen=True)
class Made:
    """An image in the engine that bears this installation's labels.

    Args:
        run: the run whose labels it bears: it was made by that run, or stands on what that run made.
        lock: of that run: by default its pipeline, repository and ref.
        names: what our runs called it (`…:r-<run>`).
        others: what else it is called.
        parent: the image that it was made from, as far as the engine knows; the classic builder tells it.
        layers: from the lowest up, as far as they were looked at.
        fetched: it came from a registry.
        is_layer: a build has left it beside its image, or broke off there; its other labels are those of its base.
        own_bytes: how much of it no image below it has.
    """

    id: str
    run: str
    lock: str
    names: tuple[str, ...]
    others: tuple[str, ...] = ()
    parent: str = ""
    layers: tuple[str, ...] = ()
    fetched: bool = False
    is_layer: bool = False
    own_bytes: int = 0
    used_at: datetime | None = None

    @property
    def called(self) -> str:
        return next(iter((*self.names, *self.others)), self.id[:19])

    @property
    def strays(self) -> tuple[str, ...]:
        """The names by which it was pushed, with a registry in front: a runner died before it took them away."""
        return tuple(name for name in self.names if any(name.endswith(f"/{own}") for own in self.names))


@dataclass(frozen=True)
class Known:
    """What the records say of the run that made an image.

    Args:
        waits: why its run may still need it, in words; None = it is at its end.
        line: whose newest images are counted: a branch of a pipeline, or all its tags; None = nobody remembers the run.
        is_gone: its branch is not there any more.
        deployments: what went from it to an environment.
    """

    waits: str | None = None
    line: str | None = None
    is_gone: bool = False
    deployments: tuple[Deployment, ...] = ()


@dataclass(frozen=True)
class Policy:
    """How many runs of each branch of a pipeline keep their images."""

    keep: int = DEFAULT_KEEP


@dataclass(frozen=True)
class Inventory:
    """What is in the engine, and what is known of it.

    Args:
        parents: of every image there, by id, also of other people's: what it was made from, or an empty text.
        labelled: by image, also of those that are only layers of others: the run whose labels it bears.
        used: by image, a container that was made of it, running or not, whoever's.
        known: by run, what the records say.
        read_at: when that was.
    """

    images: tuple[Made, ...]
    parents: Mapping[str, str] = field(default_factory=dict)
    labelled: Mapping[str, str] = field(default_factory=dict)
    used: Mapping[str, str] = field(default_factory=dict)
    known: Mapping[str, Known] = field(default_factory=dict)
    read_at: datetime | None = None


@dataclass(frozen=True)
class Verdict:
    """What becomes of an image, and why, in words."""

    image: Made
    fate: Fate
    reason: str


def judge(inventory: Inventory, policy: Policy) -> tuple[Verdict, ...]:
    """A verdict for each image of the inventory."""
    live = dict(_live(inventory))
    ranks = _ranks(inventory)
    first = [_alone(image, inventory, policy, live, ranks) for image in inventory.images]
    return tuple(_bases_stay(first, inventory))


def order(verdicts: Iterable[Verdict], *, is_short: bool) -> list[Verdict]:
    """What goes, one after the other: what the policy does not keep; then, where the disk is short, what it keeps.

    Least recently used first.
    """
    goes = (one for one in verdicts if one.fate is Fate.SURPLUS or (is_short and one.fate is Fate.KEPT))
    return sorted(goes, key=lambda one: (one.fate is Fate.KEPT, _moment(one.image), one.image.id))


def _moment(image: Made) -> float:
    return image.used_at.timestamp() if image.used_at else 0.0


def _alone(
    image: Made, inventory: Inventory, policy: Policy, live: Mapping[str, str], ranks: Mapping[str, int]
) -> Verdict:
    """The verdict as if nothing stood on it."""
    if image.is_layer:
        return _of_layer(image, inventory)
    known = inventory.known.get(image.run, Known())
    needed = next(filter(None, _needs(image, inventory, known, live)), None)
    if needed:
        return Verdict(image, Fate.NEEDED, needed)
    if known.is_gone:
        return Verdict(image, Fate.SURPLUS, "its branch is gone")
    if not image.names:
        return Verdict(image, Fate.SURPLUS, "it has no name any more")
    rank, line = ranks[image.run], _line(image, known)
    newer = f"{counted(rank, 'newer run')} of {line}" if rank else f"the newest of {line}"
    return Verdict(image, Fate.KEPT if rank < policy.keep else Fate.SURPLUS, newer)


def _of_layer(image: Made, inventory: Inventory) -> Verdict:
    container = inventory.used.get(image.id)
    if container or image.others:
        return Verdict(image, Fate.NEEDED, f"{container or ', '.join(image.others)} is made of it")
    fresh = inventory.read_at and image.used_at and inventory.read_at - image.used_at < LAYERS_KEPT_FOR
    if fresh:
        return Verdict(image, Fate.KEPT, "a layer that the next build may go on from")
    return Verdict(image, Fate.SURPLUS, "a layer that a build left a week ago")


def _needs(image: Made, inventory: Inventory, known: Known, live: Mapping[str, str]) -> Iterator[str | None]:
    yield known.waits
    container = inventory.used.get(image.id)
    yield container and f"the container {container} is made of it"
    yield f"it is also called {', '.join(image.others)}" if image.others else None
    yield None if _is_ours(image, inventory) else "somebody built it on an image of ours"
    yield live.get(image.run)


def _is_ours(image: Made, inventory: Inventory) -> bool:
    """Whether a run of ours made it, and not somebody else on top of what a run had made: labels are inherited."""
    if image.names or image.fetched:
        return True
    return bool(image.parent) and inventory.labelled.get(image.parent) != image.run


def _live(inventory: Inventory) -> Iterator[tuple[str, str]]:
    """By run, what is live by it: of each environment the newest version, the one before it, and any on its way."""
    environments: dict[tuple[str, str, str], list[Deployment]] = {}
    for known in inventory.known.values():
        for one in known.deployments:
            environments.setdefault((one.region, one.application, one.environment), []).append(one)
    for deployments in environments.values():
        # A newer version may have been built on another machine: then one more stays here than needs to.
        lived = sorted((one for one in deployments if one.state is DeploymentState.LIVE), key=_number, reverse=True)
        for one, what in zip(lived, ("is live in", "is what would be rolled back to in"), strict=False):
            yield one.run, f"it {what} {one.environment}"
        for one in deployments:
            if one.state not in DEPLOYMENT_ENDS:
                yield one.run, f"it is on its way to {one.environment}"


def _number(deployment: Deployment) -> str:
    """Deployments of one environment never overtake each other, and runs are numbered in their order."""
    return deployment.run


def _line(image: Made, known: Known) -> str:
    return known.line or image.lock


def _ranks(inventory: Inventory) -> dict[str, int]:
    """By run, how many newer runs of its line have images here."""
    lines: dict[str, set[str]] = {}
    for image in inventory.images:
        if image.names:
            lines.setdefault(_line(image, inventory.known.get(image.run, Known())), set()).add(image.run)
    return {run: rank for runs in lines.values() for rank, run in enumerate(sorted(runs, reverse=True))}


def _bases_stay(verdicts: Sequence[Verdict], inventory: Inventory) -> Iterator[Verdict]:
    """The verdicts; but what something stands on stays as long as that does: to remove it would free nothing."""
    fates = {one.image.id: one for one in verdicts}
    standing: dict[str, list[str]] = {}
    for above, below in _standing(inventory):
        standing.setdefault(below, []).append(above)
    for verdict in verdicts:
        yield min(
            (_inherited(verdict, fates.get(above)) for above in standing.get(verdict.image.id, ())),
            key=lambda one: _STRENGTH.index(one.fate),
            default=verdict,
        )


def _inherited(verdict: Verdict, above: Verdict | None) -> Verdict:
    """The verdict of an image on which another stands."""
    if above is None:
        return replace(verdict, fate=Fate.NEEDED, reason="another image stands on it") if _may_go(verdict) else verdict
    if _STRENGTH.index(above.fate) < _STRENGTH.index(verdict.fate):
        return replace(verdict, fate=above.fate, reason=f"{above.image.called} stands on it")
    return verdict


def _may_go(verdict: Verdict) -> bool:
    return verdict.fate is not Fate.NEEDED


def _standing(inventory: Inventory) -> Iterator[tuple[str, str]]:
    """Pairs of images of which the first stands on the second: by its parents or, as fetched ones do, by its layers."""
    for above in inventory.parents:
        below = inventory.parents[above]
        while below:
            yield above, below
            below = inventory.parents.get(below, "")
    with_layers = [image for image in inventory.images if image.layers]
    for image in with_layers:
        for base in with_layers:
            if len(base.layers) < len(image.layers) and image.layers[: len(base.layers)] == base.layers:
                yield image.id, base.id
