"""What may go in, what went out: removed one by one, each looked at once more, never while a build goes on."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from docker.errors import APIError, NotFound

from chalicelib.errors import StepErrored
from chalicelib.reports.words import counted, size
from runner import images
from runner.inventory import inventory
from runner.locking import BuildLock
from runner.pace import Pace
from runner.retention import Fate, Known, Policy, Verdict, judge, order

log = logging.getLogger("tau.cleaning")


@dataclass(frozen=True)
class Cleaned:
    """How many images, mirrors and kept trees went, and how much of the disk they had for themselves."""

    count: int = 0
    size_bytes: int = 0
    mirrors: int = 0
    trees: int = 0

    def __add__(self, other: Cleaned) -> Cleaned:
        return Cleaned(
            self.count + other.count,
            self.size_bytes + other.size_bytes,
            self.mirrors + other.mirrors,
            self.trees + other.trees,
        )

    @property
    def words(self) -> str:
        """`2 old images, 1 mirror removed (1.4 GB)`; empty where nothing went."""
        counts = ((self.count, "old image"), (self.trees, "kept tree"), (self.mirrors, "mirror"))
        what = ", ".join(counted(number, noun) for number, noun in counts if number)
        return f"{what} removed ({size(self.size_bytes)})" if what else ""


class Cleaner:
    """Removes an installation's images from an engine.

    Args:
        known: what the records say of a run.
        lock: what the builds of this folder hold.
        policy: what is kept.
        patience_s: how long it waits in all for builds to come to their ends.
    """

    def __init__(
        self,
        docker: Any,
        system: str,
        known: Callable[[str], Known],
        lock: BuildLock,
        policy: Policy,
        pace: Pace,
        *,
        patience_s: float = 5,
        patience_when_short_s: float = 60,
    ) -> None:
        self._docker = docker
        self._system = system
        self._known = known
        self._lock = lock
        self._policy = policy
        self._pace = pace
        self._patience_s = patience_s
        self._patience_when_short_s = patience_when_short_s

    def verdicts(self, branch: str | None = None) -> tuple[Verdict, ...]:
        """What becomes of each image, or of those of one lock.

        Raises:
            StepErrored: the engine does not answer.
        """
        there = inventory(self._docker, self._system, self._known, self._pace.now(), branch)
        return judge(there, self._policy)

    def clean(self, branch: str | None = None) -> Cleaned:
        """Remove what the policy does not keep; what cannot go now stays until the next time."""
        until = self._pace.monotonic() + self._patience_s
        self._remove_builders(until)
        verdicts = self.verdicts(branch)
        for verdict in verdicts:
            if verdict.image.strays and not self._known(verdict.image.run).waits:
                for name in verdict.image.strays:
                    self._went(name)
        return sum((self._remove(one, until) for one in order(verdicts, is_short=False)), Cleaned())

    def _remove_builders(self, until: float) -> None:
        """The containers of builds whose engine was killed: nobody else removes them."""
        if not self._builders():
            return
        with self._lock.alone(until) as alone:
            for container in self._builders() if alone else ():
                with contextlib.suppress(StepErrored), images.answering():
                    self._docker.api.remove_container(container["Id"], force=True, v=True)
                    log.info("a build's container removed", extra={"container": container["Id"]})

    def _builders(self) -> list[Mapping[str, Any]]:
        # One that runs is another folder's build, or its engine's to end.
        mine = {"label": [f"tau.system={self._system}", "tau.kind=layer"], "status": ["created", "exited", "dead"]}
        with images.answering():
            return list(self._docker.api.containers(all=True, filters=mine))

    def make_room(self, enough: Callable[[], bool]) -> Cleaned:
        """Remove what nothing needs, least recently used first, until there is enough."""
        until = self._pace.monotonic() + self._patience_when_short_s
        cleaned = Cleaned()
        for verdict in order(self.verdicts(), is_short=True):
            if verdict.fate is Fate.KEPT and enough():
                break
            cleaned += self._remove(verdict, until, is_short=True)
        return cleaned

    def _remove(self, verdict: Verdict, until: float, *, is_short: bool = False) -> Cleaned:
        image = verdict.image
        with self._lock.alone(until) as alone:
            # A full disk stops every build. What one that goes on could miss is a layer of the cache that it was about
            # to use: then its step is tried again.
            if not (alone or is_short) or (not image.is_layer and self._known(image.run).waits):
                return Cleaned()
            if not all(self._went(name) for name in image.names or (image.id,)):
                return Cleaned()
        log.info("image removed", extra={"image": image.called, "run": image.run, "reason": verdict.reason})
        return Cleaned(1, image.own_bytes)

    def _went(self, name: str) -> bool:
        """Whether it is gone; a container may have been made of it meanwhile."""
        with images.answering():
            try:
                self._docker.api.remove_image(name)
            except APIError as error:
                if error.is_server_error():
                    raise
                return isinstance(error, NotFound)
        return True
