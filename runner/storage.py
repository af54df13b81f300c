"""A machine's disk, kept in order: runs are let in when there is room, room is made, leftovers and surplus go."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.edge import Edge
from chalicelib.errors import StepErrored, StepFailed
from chalicelib.model import Run, Step, StepResult, WaitingFor
from chalicelib.records.dead import LetterState, letter_of_run
from chalicelib.reports.words import duration
from runner import images, kept, leftovers, mirrors
from runner.cleaning import Cleaned, Cleaner
from runner.context import Park
from runner.disk import (
    Amount,
    Need,
    Room,
    Stored,
    fullest,
    room,
    tells_of_full_disk,
    used,
    wanting,
)
from runner.inventory import known_by
from runner.leftovers import Leftover
from runner.locking import BuildLock
from runner.needs import Needs, needed, read_needs, with_need, write_needs
from runner.pace import Pace
from runner.retention import DEFAULT_KEEP, Policy, Verdict
from runner.stopping import Stopping

log = logging.getLogger("tau.storage")

UNKNOWN = Need(Amount(200_000_000, 20_000), Amount(1_000_000_000, 20_000))
"""What a pipeline is taken to need that never ran on this machine."""
RESERVE = Amount(1_000_000_000, 2000)
"""What stays free of every file system, whatever runs need."""
# What needs room; the others only speak to somebody.
_HUNGRY = frozenset({"build", "test", "script"})
_AGAIN_AFTER = timedelta(seconds=60)
_AGAIN_AT_MOST = timedelta(minutes=10)
# A run that was woken may find every place of its runner taken, for as long as other runs last.
_FORGOTTEN_S = 2 * 3600
TOLD_AFTER = timedelta(minutes=30)
"""Whoever waits for so long has something set aside no more, and the operators are told."""
# What the SDK calls an engine behind a Unix socket.
_OF_A_SOCKET = "http+docker://localhost"
_BY = "the runner: there is room again"


class Storage:
    """A disk that nobody keeps, such as a developer's: every run is let in, and nothing is removed."""

    def admit(self, run: Run) -> Park | None:
        """None where there is room for a run, else why and until when it waits."""
        del run
        return None

    def building(self, action: str, stopping: Stopping) -> AbstractContextManager[None]:
        """As long as a step goes on: what it builds on stays in the engine.

        Raises:
            Stopped: somebody asks for it.
        """
        del action, stopping
        return nullcontext()

    def took(self, run: Run, folder: Path, results: Mapping[str, StepResult]) -> None:
        """What a claim of a run has taken, before it gives its folder back."""

    def full(self, action: str, error: BaseException) -> str | None:
        """`disk full: /var/lib/tau, 0 B free` where that is why a step broke; None where it is not."""
        del action
        return "disk full" if not isinstance(error, StepFailed) and tells_of_full_disk(error) else None

    def leave(self, run: Run) -> None:
        """A claim of a run is over."""

    def built(self, lock: str) -> None:
        """A run of a branch of a pipeline, named by its lock, has built: it may need fewer of its images now."""


@dataclass(frozen=True)
class Limits:
    """What an operator may choose.

    Args:
        keep: how many runs of each branch of a pipeline keep their images.
        reserve: what stays free of every file system.
    """

    keep: int = DEFAULT_KEEP
    reserve: Amount = RESERVE
    unknown: Need = UNKNOWN


def limits(keep: int, reserve_mb: int) -> Limits:
    """Limits as an operator says them."""
    return Limits(keep, Amount(reserve_mb * 1_000_000, RESERVE.inodes))


@dataclass(frozen=True)
class Survey:
    """What this installation has on a machine."""

    leftovers: tuple[Leftover, ...]
    verdicts: tuple[Verdict, ...]
    mirrors: tuple[Amount, ...]
    rooms: tuple[Room, ...]
    trees: tuple[Amount, ...] = ()


@dataclass(frozen=True)
class _Waiting:
    """A run that was not let in: since when, with what need, and until when that is set aside for it."""

    since_s: float
    need: Need
    until_s: float


class KeptStorage(Storage):
    """The disk of a code server.

    Args:
        folder: the runner's own.
        look: `look(path)` -> what is free there.
    """

    def __init__(
        self,
        folder: Path,
        docker: Any,
        edge: Edge,
        pace: Pace,
        limits: Limits | None = None,
        *,
        look: Callable[[Path], Room | None] = room,
    ) -> None:
        self._folder = folder
        self._docker = docker
        self._edge = edge
        self._pace = pace
        self._limits = limits or Limits()
        self._look = look
        self._engine: Path | None = None
        self._rooms()
        self._lock = BuildLock(folder / "building.lock", pace)
        system, policy = edge.settings.system, Policy(self._limits.keep)
        self._cleaner = Cleaner(docker, system, known_by(edge), self._lock, policy, pace)
        self._admitting = threading.Lock()
        self._in_hand: dict[str, Need] = {}
        self._waiting: dict[str, _Waiting] = {}
        self._began: dict[str, tuple[int, Amount]] = {}
        self._untidy: set[str] = set()
        self._begun = 0
        self._told: Run | None = None

    # --- letting in -----------------------------------------------------------------------------------

    def admit(self, run: Run) -> Park | None:
        if run.must_finish or not any(step.action in _HUNGRY for step in _left(run)):
            return None
        need = needed(self._needs(), _pipeline(run), self._limits.unknown)
        with self._admitting:
            wanted = need + self._set_aside(run)
            cleaned, short = Cleaned(), self._wanting(wanted)
            if short:
                cleaned = self._make_room(wanted)
                short = self._wanting(wanted)
            if short:
                return self._park(run, need, short, cleaned)
            self._let_in(run, need)
            self._all_is_well()
        return None

    def _make_room(self, need: Need) -> Cleaned:
        """Where it is short: dead claims' folders, then images that nothing needs, then kept trees, then mirrors."""
        cleaned = Cleaned()
        try:
            leftovers.reap_folders(self._folder / "runs", self._edge.store.run)
            if self._wanting_of_engine(need):
                cleaned += self._cleaner.make_room(lambda: not self._wanting_of_engine(need))
        except (StepErrored, ClientError, BotoCoreError) as error:
            # What is gone, engine or records, is the next step's to tell.
            log.warning("not all the room is made", extra={"error": str(error)})
        return cleaned + self._drop_trees(need) + self._drop_mirrors(need)

    def _drop_trees(self, need: Need) -> Cleaned:
        dropped = list(self._dropped("tree", kept.kept(self._folder / "trees"), kept.drop, need))
        return Cleaned(trees=len(dropped), size_bytes=sum(dropped))

    def _drop_mirrors(self, need: Need) -> Cleaned:
        dropped = list(self._dropped("mirror", mirrors.mirrors(self._folder / "mirrors"), mirrors.drop, need))
        return Cleaned(mirrors=len(dropped), size_bytes=sum(dropped))

    def _dropped(self, what: str, there: Iterable[Stored], drop: Callable[[Stored], int], need: Need) -> Iterator[int]:
        """Drop one after the other for as long as room is short; how many bytes each had."""
        for one in there:
            if not self._wanting_of_folder(need):
                return
            size_bytes = drop(one)
            if size_bytes:
                log.info("%s removed", what, extra={"folder": str(one.path), "size_bytes": size_bytes})
                yield size_bytes

    def _wanting(self, need: Need) -> list[str]:
        return wanting(*self._rooms(), need, self._limits.reserve)

    def _wanting_of_engine(self, need: Need) -> list[str]:
        folder, engine = self._rooms()
        return wanting(folder if _are_one(folder, engine) else None, engine, need, self._limits.reserve)

    def _wanting_of_folder(self, need: Need) -> list[str]:
        folder, engine = self._rooms()
        return wanting(folder, engine if _are_one(folder, engine) else None, need, self._limits.reserve)

    def _rooms(self) -> tuple[Room | None, Room | None]:
        if self._engine is None:
            with contextlib.suppress(StepErrored):
                self._engine = engine_folder(self._docker)
        return self._look(self._folder), self._look(self._engine) if self._engine else None

    def _set_aside(self, run: Run) -> Need:
        """What others are about to take: those in hand, and those that have waited longer, if not for too long."""
        now_s = self._pace.monotonic()
        self._waiting = {name: one for name, one in self._waiting.items() if one.until_s + _FORGOTTEN_S > now_s}
        before = [
            one.need
            for name, one in self._waiting.items()
            if name < run.id and now_s < one.until_s and now_s - one.since_s < TOLD_AFTER.total_seconds()
        ]
        return sum((*self._in_hand.values(), *before), Need())

    def _let_in(self, run: Run, need: Need) -> None:
        self._waiting.pop(run.id, None)
        self._in_hand[run.id] = need
        self._begun += 1
        self._began[run.id] = (self._begun if len(self._in_hand) == 1 else 0, _free(self._rooms()[1]))

    def _park(self, run: Run, need: Need, short: list[str], cleaned: Cleaned) -> Park:
        now_s = self._pace.monotonic()
        since_s = self._waiting[run.id].since_s if run.id in self._waiting else now_s
        waited = timedelta(seconds=now_s - since_s)
        pause = min(max(_AGAIN_AFTER, waited / 4), _AGAIN_AT_MOST)
        # Who does not come back in time (cancelled, or taken by another machine) keeps nobody waiting.
        until_s = now_s + 2 * pause.total_seconds() + _AGAIN_AFTER.total_seconds()
        self._waiting[run.id] = _Waiting(since_s, need, until_s)
        reason = "; ".join((*short, cleaned.words or "nothing is left that may be removed"))
        if waited >= TOLD_AFTER:
            self._tell(run, f"it has waited {duration(waited)} for the disk: {reason}")
        return Park(WaitingFor.DISK, self._pace.now() + pause, reason)

    def _tell(self, run: Run, reason: str) -> None:
        """A letter raises the operators' alarm; one is enough, however many runs wait."""
        if self._told is None:
            self._edge.store.bury(letter_of_run(run, reason, self._pace.now()))
            self._told = run
            log.error("no room on the disk", extra={"run": run.id, "reason": reason})

    def _all_is_well(self) -> None:
        now_s = self._pace.monotonic()
        if self._told is not None and not any(now_s < one.until_s for one in self._waiting.values()):
            now = self._pace.now()
            letter, self._told = letter_of_run(self._told, "", now), None
            self._edge.store.close_letter(letter, LetterState.DISCARDED, _BY, now)

    # --- while, and afterwards ------------------------------------------------------------------------

    def building(self, action: str, stopping: Stopping) -> AbstractContextManager[None]:
        return self._lock.building(stopping) if action == "build" else nullcontext()

    def took(self, run: Run, folder: Path, results: Mapping[str, StepResult]) -> None:
        if run.id in self._in_hand:
            self._remember(run, Need(used(folder), self._grown(run, results)))

    def _grown(self, run: Run, results: Mapping[str, StepResult]) -> Amount:
        """What the engine has taken: the images at least; where nothing else went on, all that has gone since."""
        made = Amount(sum(int(result.facts.get("size_bytes", 0)) for result in results.values()))
        number, free = self._began[run.id]
        if number != self._begun or number == 0:
            return made
        now = _free(self._rooms()[1])
        return made.or_more(Amount(free.size_bytes - now.size_bytes, free.inodes - now.inodes))

    def full(self, action: str, error: BaseException) -> str | None:
        least = fullest([one for one in self._rooms() if one])
        printed = error.lines if isinstance(error, StepFailed) else ()
        if least is None or not tells_of_full_disk(error, printed):
            return super().full(action, error)
        is_full = least.inodes == 0 or least.free_bytes < self._limits.reserve.size_bytes
        if not (is_full or _tells_of_ours(action, error)):
            return None
        return f"disk full: {least.words}{'' if is_full else ' by now'}"

    def leave(self, run: Run) -> None:
        self._in_hand.pop(run.id, None)
        self._began.pop(run.id, None)

    def built(self, lock: str) -> None:
        # It may take a while until no build goes on: no run's place is held for that.
        self._untidy.add(lock)

    def tidy(self) -> None:
        """Remove what dead claims left, and what the branches need no more that were built since it was last asked.

        Raises:
            StepErrored: the engine does not answer.
        """
        self.reap()
        while self._untidy:
            self._cleaner.clean(self._untidy.pop())

    def tend(self) -> Cleaned:
        """Remove what dead claims left, and the images that the policy does not keep; how many images went.

        Raises:
            StepErrored: the engine does not answer.
        """
        self.reap()
        cleaned = self._cleaner.clean()
        if cleaned.count:
            log.info("cleaned", extra={"images": cleaned.count, "size_bytes": cleaned.size_bytes})
        return cleaned

    def reap(self) -> int:
        """Remove what dead claims left; how many things went.

        Raises:
            StepErrored: the engine does not answer.
        """
        find = self._edge.store.run
        folders = leftovers.reap_folders(self._folder / "runs", find)
        return folders + leftovers.reap(self._docker, self._edge.settings.system, find)

    def survey(self) -> Survey:
        """What is there of ours, and what would become of it now.

        Raises:
            StepErrored: the engine does not answer.
        """
        find = self._edge.store.run
        dead = leftovers.left(self._docker, self._edge.settings.system, find)
        folders = leftovers.left_folders(self._folder / "runs", find)
        rooms = tuple(one for one in self._rooms() if one)
        sizes = tuple(used(mirror.path) for mirror in mirrors.mirrors(self._folder / "mirrors"))
        trees = tuple(used(tree.path) for tree in kept.kept(self._folder / "trees"))
        return Survey((*dead, *folders), self._cleaner.verdicts(), sizes, rooms, trees)

    # --- what runs needed -----------------------------------------------------------------------------

    def _needs(self) -> Needs:
        return read_needs(self._folder)

    def _remember(self, run: Run, took: Need) -> None:
        with self._admitting:
            write_needs(self._folder, with_need(self._needs(), _pipeline(run), took))


def engine_folder(docker: Any) -> Path | None:
    """Where an engine keeps everything; None where that is another machine's disk.

    Raises:
        StepErrored: it does not answer.
    """
    if docker.api.base_url != _OF_A_SOCKET:
        return None
    with images.answering():
        folder = Path(str(docker.api.info()["DockerRootDir"]))
    return folder if folder.exists() else None


def _tells_of_ours(action: str, error: BaseException) -> bool:
    """Whether it must be this machine's disk that was full, though there is room by now.

    What a test fills may be a file system of its own, and a push may meet a registry's full disk; a build has none but
    the machine's.
    """
    if isinstance(error, StepFailed):
        return action == "build"
    return action in {*_HUNGRY, ""} or isinstance(error, OSError)


def _are_one(folder: Room | None, engine: Room | None) -> bool:
    return folder is not None and engine is not None and folder.device == engine.device


def _free(place: Room | None) -> Amount:
    return Amount(place.free_bytes, place.inodes or 0) if place else Amount()


def _pipeline(run: Run) -> str:
    return f"{run.job.pipeline} {run.job.source.name}"


def _left(run: Run) -> list[Step]:
    """The steps of which nobody has said what came of them."""
    return [step for index, step in enumerate(run.job.steps) if str(index) not in run.results]
