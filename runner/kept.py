"""A tree that a run leaves in, the same folder for the lock's next run out, with nothing in it but what git wrote."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from runner.disk import Stored, oldest_first, used

MOST = 64
"""So many trees are kept; the least recently used ones go."""

FOLDER_LINK = "160000"
"""git's mode of a submodule."""

_MAKING = "new-"
_TREE, _NOTE = "tree", "note.json"
_ATTRIBUTES = ".gitattributes"
# Linux's times of files go by its timer, a hundred ticks a second or more; a file system of seconds keeps no trees.
_TICKS = 20
_TICK_S = 0.005
_BOOT = Path("/proc/sys/kernel/random/boot_id")

Entries = Mapping[str, tuple[str, str]]
"""A commit's files and submodules: git's mode and object, by path."""
_Stat = tuple[int, ...]


@dataclass(frozen=True)
class Note:
    """What git wrote into a tree.

    Args:
        root: device and inode of its folder.
        boot: the start of the machine since which it lies there: what a power loss left of files is not trusted.
        files: what lstat says of each file. Whatever is done to one changes its ctime, which nobody can set.
        folders: the same, as far as it stays when files come and go.
    """

    commit: str
    boot: str
    root: _Stat
    entries: Entries
    files: Mapping[str, _Stat]
    folders: Mapping[str, _Stat]


def cleaned(tree: Path, note: Note, entries: Entries) -> list[str]:
    """Remove from a tree whatever is not as it was written, or not as a commit wants it; what has to be written then.

    Raises:
        OSError: something will not go.
    """
    # A changed attribute changes files that are the same for git.
    written = note.entries if _attributes(note.entries) == _attributes(entries) else {}
    folders, there = _folders(entries), set()
    for path, entry in _walk(tree):
        seen, is_folder = entry.stat(follow_symlinks=False), entry.is_dir(follow_symlinks=False)
        if is_folder and path in folders and note.folders.get(path) == _folder(seen) and not _hands_down(entry.path):
            there.add(path)
        elif is_folder:
            shutil.rmtree(entry.path)
        elif path in entries and written.get(path) == entries[path] and note.files.get(path) == _file(seen):
            there.add(path)
        else:
            Path(entry.path).unlink()
    return [path for path in entries if path not in there]


def noted(tree: Path, commit: str, entries: Entries, clock: Path) -> Note | None:
    """What lies in a tree that was just written; None where that is not the commit, or no later change would show.

    Args:
        clock: a file of the same file system, written to learn its time.
    """
    files, folders = {}, {}
    for path, entry in _walk(tree):
        seen = entry.stat(follow_symlinks=False)
        if entry.is_dir(follow_symlinks=False):
            folders[path] = _folder(seen)
        else:
            files[path] = _file(seen)
    if files.keys() != {path for path, (mode, _) in entries.items() if mode != FOLDER_LINK}:
        return None
    newest = max((seen[-1] for seen in files.values()), default=0)
    if folders.keys() != _folders(entries) or not _is_past(newest, clock):
        return None
    return Note(commit, _boot(), _root(tree), entries, files, folders)


def is_noted(tree: Path, note: Note) -> bool:
    """Whether this is the very folder, and no link or other folder in its place."""
    return _root(tree) == note.root and not _hands_down(tree) and note.boot == _boot()


def _walk(tree: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Everything in a tree, each folder before what is in it; what was removed meanwhile is not gone into."""
    waiting = [""]
    while waiting:
        below = waiting.pop()
        with contextlib.suppress(FileNotFoundError), os.scandir(tree / below) as entries:
            for entry in list(entries):
                path = f"{below}{entry.name}"
                yield path, entry
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(f"{path}/")


def _folders(entries: Entries) -> set[str]:
    """The folders of a commit; a submodule is one."""
    found = {path for path, (mode, _) in entries.items() if mode == FOLDER_LINK}
    for path in entries:
        while (path := path.rpartition("/")[0]) and path not in found:
            found.add(path)
    return found


def _attributes(entries: Entries) -> dict[str, tuple[str, str]]:
    return {path: entry for path, entry in entries.items() if path.rpartition("/")[2] == _ATTRIBUTES}


def _file(seen: os.stat_result) -> _Stat:
    owner = (seen.st_uid, seen.st_gid, seen.st_nlink)
    return (seen.st_mode, seen.st_ino, *owner, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)


def _folder(seen: os.stat_result) -> _Stat:
    return (seen.st_mode, seen.st_uid, seen.st_gid)


def _root(tree: Path) -> _Stat:
    seen = tree.lstat()
    return (seen.st_dev, seen.st_ino, *_folder(seen))


def _hands_down(folder: str | Path) -> bool:
    """Whether files made in it inherit an access list."""
    try:
        return any(name.startswith("system.posix_acl") for name in os.listxattr(folder))
    except (OSError, AttributeError):
        # A file system without lists, or a system without this call.
        return False


def _is_past(moment_ns: int, clock: Path) -> bool:
    """Whether whatever is changed from now on is of a later time."""
    for _ in range(_TICKS):
        clock.touch()
        if clock.stat().st_ctime_ns > moment_ns:
            return True
        time.sleep(_TICK_S)
    return False


def _boot() -> str:
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""


# --- the shelf --------------------------------------------------------------------------------------


def kept(folder: Path) -> list[Stored]:
    """The trees that lie in a shelf, those first that were given back first; what runs have is not among them."""
    return oldest_first(folder.glob("*.tree"), lambda path: path.stat().st_mtime)


def drop(one: Stored) -> int:
    """How many bytes went; none where a run has taken it meanwhile."""
    aside = one.path.with_name(f"{_MAKING}{one.path.stem}-{os.getpid()}")
    try:
        one.path.rename(aside)
    except OSError:
        return 0
    size = used(aside).size_bytes
    shutil.rmtree(aside, ignore_errors=True)
    return 0 if aside.exists() else size


class Shelf:
    """Where trees lie between runs. A tree is moved to the run that takes it, so no two ever have the same."""

    def __init__(self, folder: Path, most: int = MOST) -> None:
        self._folder = folder
        self._most = most
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def clock(self) -> Path:
        return self._folder / "clock"

    def leavings(self) -> Iterable[Path]:
        """What was being moved; of a living run, or of one that was killed at it."""
        return self._folder.glob(f"{_MAKING}*")

    def take(self, name: str, into: Path) -> Note | None:
        """Move a tree to where a run wants it; None where there is none that can be trusted."""
        try:
            aside = self._aside()
            self._place(name).rename(aside)
        except OSError:
            return None
        try:
            note = _read(aside / _NOTE)
            if not is_noted(aside / _TREE, note):
                return None
            (aside / _TREE).rename(into)
        except (OSError, ValueError, TypeError, KeyError):
            return None
        else:
            return note
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def put(self, name: str, tree: Path, note: Note) -> None:
        """Take a tree back, unless another run has brought its own meanwhile or this one is not what it was."""
        with contextlib.suppress(OSError):
            aside = self._aside()
            try:
                if is_noted(tree, note):
                    (aside / _NOTE).write_text(json.dumps(asdict(note)))
                    tree.rename(aside / _TREE)
                    aside.rename(self._place(name))
            finally:
                shutil.rmtree(aside, ignore_errors=True)
        there = kept(self._folder)
        for one in there[: max(0, len(there) - self._most)]:
            drop(one)

    def _place(self, name: str) -> Path:
        return self._folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.tree"

    def _aside(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self._folder, prefix=_MAKING))


def _read(file: Path) -> Note:
    said = json.loads(file.read_text())
    return Note(
        commit=said["commit"],
        boot=said["boot"],
        root=tuple(said["root"]),
        entries={path: (mode, sha) for path, (mode, sha) in said["entries"].items()},
        files={path: tuple(seen) for path, seen in said["files"].items()},
        folders={path: tuple(seen) for path, seen in said["folders"].items()},
    )


@dataclass(frozen=True)
class _Laid:
    name: str
    into: Path
    note: Note


class Claimed:
    """The trees that one claim of a run has in its folder.

    Args:
        lock: the run's; None = they are kept for nobody.

    `folder` is the claim's, without links.
    """

    def __init__(self, shelf: Shelf, folder: Path, lock: str | None) -> None:
        self._shelf = shelf
        self.folder = folder.resolve()
        self._lock = lock
        self._laid: list[_Laid] = []

    def holds(self, into: Path) -> bool:
        return self._lock is not None and into.resolve().is_relative_to(self.folder)

    def take(self, clone: str, into: Path) -> Note | None:
        into.parent.mkdir(parents=True, exist_ok=True)
        return self._shelf.take(self._name(clone, into), into)

    def laid(self, clone: str, into: Path, commit: str, entries: Entries) -> None:
        """Remember a tree that was written; one that nobody can prove to be the commit's is not kept."""
        note = noted(into, commit, entries, self._shelf.clock)
        if note:
            self._laid.append(_Laid(self._name(clone, into), into.resolve(), note))

    def give_back(self, below: Path | None = None) -> None:
        """All trees, or those that lie at a place or below it; of two in one another the inner first."""
        place = (below or self.folder).resolve()
        going = [one for one in self._laid if one.into.is_relative_to(place)]
        for one in sorted(going, key=lambda one: len(one.into.parts), reverse=True):
            self._laid.remove(one)
            self._shelf.put(one.name, one.into, one.note)

    def _name(self, clone: str, into: Path) -> str:
        return f"{self._lock}\0{clone}\0{into.resolve().relative_to(self.folder)}"
