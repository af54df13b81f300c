"""What a build is to make, and what whoever makes it promises: the same image and the same verdicts, whichever does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from chalicelib.reports.words import duration

if TYPE_CHECKING:
    from runner.context import Context

_MOST_SHOWN = 100
_MINUTE_S = 60


@dataclass(frozen=True)
class Wanted:
    """An image to be.

    Args:
        folder: the context, inside the checkout.
        dockerfile: its text.
        secrets: the values, by the id under which a `RUN --mount=type=secret` asks for them.
        caches: images of the engine whose layers may be taken over.
        tag: what the image is called as soon as it is there: by its run's name it is known to be ours.
        from_fork: strangers wrote the Dockerfile: what they leave in caches is for nobody else.
    """

    folder: Path
    dockerfile: str
    args: Mapping[str, str]
    labels: Mapping[str, str]
    target: str | None = None
    platform: str | None = None
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    caches: tuple[str, ...] = ()
    tag: str | None = None
    from_fork: bool = False


class Builder(Protocol):
    """One way to build.

    `name` is how it is called in the log, and `because` why it is this one. `takes_secrets`: it can hand a secret to
    one command without leaving it in the image. `keeps_bases`: what a Dockerfile stands on is in the engine afterwards.
    """

    @property
    def name(self) -> str: ...

    @property
    def because(self) -> str: ...

    @property
    def takes_secrets(self) -> bool: ...

    @property
    def keeps_bases(self) -> bool: ...

    def build(self, wanted: Wanted, context: Context) -> str:
        """Build; the image's id.

        Raises:
            StepFailed: the Dockerfile does not build, or takes longer than the run may.
            StepErrored: the engine, the network or the disk is to blame.
            Stopped: somebody asks for it; nothing of the build goes on.
        """


def step_took(number: str, total: str, what: str, took_s: float | None) -> str:
    """Our line about one instruction of a Dockerfile; None: it came from the cache."""
    one_line = " ".join(what.split())
    shown = one_line if len(one_line) <= _MOST_SHOWN else f"{one_line[: _MOST_SHOWN - 1]}…"
    return f"step {number}/{total} {'from the cache' if took_s is None else f'took {seconds(took_s)}'}: {shown}"


def seconds(took_s: float) -> str:
    """A time as steps of a build have it: tenths count."""
    return f"{took_s:.1f} s" if took_s < _MINUTE_S else duration(took_s)
