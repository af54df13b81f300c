"""A commit's tree as tar in; its files, modes and links out, and what of them can stand in no bundle."""

from __future__ import annotations

import io
import posixpath
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

FILE, EXECUTABLE, LINK = 0o100644, 0o100755, 0o120777
# What a zip without its later extensions can count, and what the disk of a small instance can hold beside its images.
MOST_ENTRIES = 65_535
MOST_UNPACKED = 2 * 1024**3
# Nobody's application, and somebody's keys.
_DENIED = {
    ".git": "git's own folder: take it out of the repository",
    ".env": "a file of secrets: set them in the environment's configuration, and take it out or name it in .ebignore",
    ".aws": "a folder of AWS's keys: take it out of the repository, and replace the keys",
}
# As many links as Linux follows on the way to a file.
_MOST_LINKS = 40
_MOST_SAID = 20


@dataclass(frozen=True)
class Entry:
    """A file or a link; `at` is where its bytes begin in the tar, `target` where a link leads."""

    name: str
    mode: int
    size_bytes: int
    at: int = 0
    target: str = ""


class Tree:
    """The files and links of a commit, without those that are left out; `ignored` are those that .ebignore names.

    Args:
        archive: what `git archive --format=tar` wrote.
    """

    def __init__(self, archive: bytes) -> None:
        self._archive = memoryview(archive)
        self.repeated: list[str] = []
        self.ignored: frozenset[str] = frozenset()
        self.entries: dict[str, Entry] = {}
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            for member in tar:
                if member.isdir():
                    continue
                if member.name in self.entries:
                    self.repeated.append(member.name)
                self.entries[member.name] = _entry(member)

    def read(self, name: str) -> bytes:
        """A file's bytes, or a link's text."""
        entry = self.entries[name]
        if entry.mode == LINK:
            return entry.target.encode("utf-8", "surrogateescape")
        return bytes(self._archive[entry.at : entry.at + entry.size_bytes])

    def without(self, names: frozenset[str]) -> Tree:
        """The same tree, as far as it bears other names."""
        return self._with(entry for entry in self.entries.values() if entry.name not in names)

    def ignoring(self, names: frozenset[str]) -> Tree:
        other = self.without(names)
        other.ignored = names
        return other

    def only(self, kept: frozenset[str]) -> Tree:
        """The files of these names, and whatever lies in the folders of these names; of `.` everything."""
        if "." in kept:
            return self
        return self._with(entry for entry in self.entries.values() if not kept.isdisjoint(_above(entry.name)))

    def _with(self, entries: Iterator[Entry]) -> Tree:
        other = object.__new__(Tree)
        other._archive, other.repeated, other.ignored = self._archive, self.repeated, self.ignored
        other.entries = {entry.name: entry for entry in entries}
        return other

    def holds(self, name: str) -> bool:
        """Whether there is a file or a folder of this name."""
        return name == "." or name in self.entries or any(other.startswith(f"{name}/") for other in self.entries)


def complaints(tree: Tree, *, dangling: bool) -> Iterator[str]:
    """Why the files of a tree cannot be a bundle, each with its path.

    Args:
        dangling: a link may lead to what is not there, as long as that would lie in the bundle.
    """
    entries = tree.entries
    if len(entries) > MOST_ENTRIES:
        yield f"{len(entries):,} files are too many, a zip file counts {MOST_ENTRIES:,}: name folders in .ebignore"
    unpacked = sum(entry.size_bytes for entry in entries.values())
    if unpacked > MOST_UNPACKED:
        yield (
            f"unpacked, the bundle would have {unpacked / 1024**3:.1f} GB, and {MOST_UNPACKED // 1024**3} GB is the"
            " most: name what the application does not need in .ebignore"
        )
    for name in tree.repeated[:_MOST_SAID]:
        yield f"{name!a} stands in the tree twice: commit it anew"
    said = 0
    folders = frozenset(folder for name in entries for folder in _above(posixpath.dirname(name)))
    for entry in entries.values():
        wrong = _wrong(entry, entries, folders, dangling=dangling)
        if wrong:
            said += 1
            if said <= _MOST_SAID:
                yield wrong
    if said > _MOST_SAID:
        yield f"and {said - _MOST_SAID:,} more files of these kinds"


def _entry(member: tarfile.TarInfo) -> Entry:
    if member.issym():
        target = member.linkname
        return Entry(member.name, LINK, len(target.encode("utf-8", "surrogateescape")), target=target)
    # git knows one bit of a mode.
    mode = EXECUTABLE if member.mode & 0o100 else FILE
    return Entry(member.name, mode, member.size, member.offset_data)


def _above(name: str) -> Iterator[str]:
    """A name and the folders above it, without the top."""
    while name and name != "/":
        yield name
        name = posixpath.dirname(name)


def _wrong(entry: Entry, entries: Mapping[str, Entry], folders: frozenset[str], *, dangling: bool) -> str | None:
    name = entry.name
    parts = name.split("/")
    denied = next((part.lower() for part in parts if part.lower() in _DENIED), None)
    if not name.isprintable():
        return f"{name!a} cannot stand in a bundle: give the file a printable name in UTF-8"
    if {"", ".", ".."} & set(parts):
        return f"{name} is a path that leads out of the bundle: take it out of the repository"
    if denied:
        return f"{name} is {'' if parts[-1].lower() == denied else 'in '}{_DENIED[denied]}"
    if name in folders:
        return f"{name} is a file and a folder at once: commit it anew"
    return _wrong_link(entry, entries, folders, dangling=dangling) if entry.mode == LINK else None


def _wrong_link(entry: Entry, entries: Mapping[str, Entry], folders: frozenset[str], *, dangling: bool) -> str | None:
    where = _followed(entry.name, entries)
    link = f"{entry.name} is a symbolic link to {entry.target!a}"
    if where is None:
        return f"{link}, which leads out of the bundle: write a file instead"
    if dangling or where in entries or where in folders:
        return None
    return f"{link}, which is not in the bundle: write a file instead"


def _followed(name: str, entries: Mapping[str, Entry]) -> str | None:
    """Where a link leads at last, by way of other links, as the system goes; None = out of the tree, or in a circle."""
    left = name.split("/")[::-1]
    there: list[str] = []
    links = 0
    while left:
        part = left.pop()
        if part in {"", "."}:
            continue
        if part == "..":
            if not there:
                return None
            there.pop()
            continue
        entry = entries.get("/".join([*there, part]))
        if entry is None or entry.mode != LINK:
            there.append(part)
            continue
        links += 1
        if links > _MOST_LINKS or entry.target.startswith("/"):
            return None
        left.extend(entry.target.split("/")[::-1])
    return "/".join(there) or "."
