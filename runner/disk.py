"""Places on disk and what a run needs in, whether there is room out; and which error tells of a full disk."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from chalicelib.reports.words import size

_FULL = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
_FULL_NUMBERS = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True)
class Amount:
    """So much of a file system."""

    size_bytes: int = 0
    inodes: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.size_bytes + other.size_bytes, self.inodes + other.inodes)

    def or_more(self, other: Amount) -> Amount:
        """Of each the larger one."""
        return Amount(max(self.size_bytes, other.size_bytes), max(self.inodes, other.inodes))


@dataclass(frozen=True)
class Need:
    """What a run takes of the runner's folder and of the engine's."""

    folder: Amount = Amount()
    engine: Amount = Amount()

    def __add__(self, other: Need) -> Need:
        return Need(self.folder + other.folder, self.engine + other.engine)

    def or_more(self, other: Need) -> Need:
        return Need(self.folder.or_more(other.folder), self.engine.or_more(other.engine))


@dataclass(frozen=True)
class Stored:
    """A folder that may go when room is short, and when it was used last."""

    path: Path
    used_at_s: float


def oldest_first(paths: Iterable[Path], used_at_s: Callable[[Path], float]) -> list[Stored]:
    """Those that are there, the least recently used first; others may be taking or dropping them."""
    found = []
    for path in paths:
        with contextlib.suppress(OSError):
            found.append(Stored(path, used_at_s(path)))
    return sorted(found, key=lambda one: (one.used_at_s, one.path))


@dataclass(frozen=True)
class Room:
    """What is free of one file system.

    Args:
        device: which one it is: two folders may lie in one.
        inodes: None where the file system makes them as it needs them.
    """

    path: str
    device: int
    free_bytes: int
    inodes: int | None

    @property
    def words(self) -> str:
        """`/var/lib/tau, 12 MB free`, and where inodes are about to end, how many there are."""
        few = self.inodes is not None and self.inodes < _FEW_INODES
        return f"{self.path}, {size(self.free_bytes)} free" + (f", {self.inodes} files" if few else "")


_FEW_INODES = 10_000


def room(path: Path) -> Room | None:
    """What is free there; None where nobody can say."""
    try:
        found, device = os.statvfs(path), path.stat().st_dev
    except OSError:
        return None
    return Room(str(path), device, found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None)


def used(folder: Path) -> Amount:
    """What a folder takes; what vanishes meanwhile takes nothing."""
    total = Amount()
    for entry in _entries(folder):
        total += entry
    return total


def _entries(folder: Path) -> Iterator[Amount]:
    waiting = [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    seen = entry.stat(follow_symlinks=False)
                    yield Amount(seen.st_blocks * 512, 1)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except OSError:
            continue


def wanting(folder: Room | None, engine: Room | None, need: Need, reserve: Amount) -> list[str]:
    """Where there is too little room, in words; empty where a run may begin.

    Args:
        reserve: what stays free of every file system, whatever runs need.
    """
    if folder and engine and folder.device == engine.device:
        places: list[tuple[Room, Amount]] = [(folder, need.folder + need.engine)]
    else:
        places = [(place, amount) for place, amount in ((folder, need.folder), (engine, need.engine)) if place]
    return [said for place, amount in places if (said := _wanting(place, amount + reserve))]


def _wanting(place: Room, amount: Amount) -> str | None:
    if place.free_bytes < amount.size_bytes:
        return f"{place.path} has {size(place.free_bytes)} free, and {size(amount.size_bytes)} are needed"
    if place.inodes is not None and place.inodes < amount.inodes:
        return f"{place.path} has room for {place.inodes} more files, and {amount.inodes} are needed"
    return None


def tells_of_full_disk(error: BaseException | None, lines: Iterable[str] = ()) -> bool:
    """Whether an error, or one of those behind it, or what was printed, says that a disk is full."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if (isinstance(error, OSError) and error.errno in _FULL_NUMBERS) or _FULL.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return any(_FULL.search(line) for line in lines)


def fullest(rooms: Sequence[Room]) -> Room | None:
    """The place that has least."""
    return min(rooms, key=lambda one: (one.inodes != 0, one.free_bytes), default=None)
