"""A container that has ended in; the files of it that ci.yml names out, in the bucket, whatever lies in their way.

Whoever may push writes these files, and chooses their names. They are read out of the engine's archive as it comes and
lie on this machine without a name, one at a time; nothing of them is opened by name, unpacked or followed.
"""

from __future__ import annotations

import contextlib
import io
import json
import posixpath
import re
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import IO

from chalicelib.errors import StepErrored
from chalicelib.globs import has_control, matches
from chalicelib.model import Json
from chalicelib.reports.words import clean, counted, duration, size
from runner import containers, images
from runner.artifacts import (
    HEAD_BYTES,
    MOST_BYTES,
    MOST_FILE_BYTES,
    MOST_FILES,
    MOST_NAME,
    MOST_READ_BYTES,
    Wanted,
    below,
    content_type,
    files,
    roots,
    wanted,
)
from runner.aside import ask
from runner.context import Context
from runner.redaction import Redactor

_MOST_ENTRIES = 200_000
_MOST_S = 180
# A run's record holds all of its steps in 400 KB; above 100 KB the facts of a step are dropped, its tests with them.
_MOST_FACTS_BYTES = 16 * 1024
_MOST_SAID = 20
_MOST_IN_MEMORY = 1024**2
_CHUNK_BYTES = 1024**2
_UNREADABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_ELSEWHERE = "give what is wanted a folder of its own"


class _Enough(Exception):
    """No more is read, and why."""


class _InTheWay(Exception):
    """No more of one folder is read, and why."""


def take(globs: Iterable[str], container: str, context: Context) -> dict[str, Json]:
    """Store what the globs name, as far as it can be had; the step's facts of it.

    Whatever is left out stands in the log, with its size and the reason. None of this changes a verdict.

    Raises:
        Stopped: somebody asks for it.
    """
    globs = tuple(globs)
    if not globs:
        return {}
    taking = _Taking(container, context, context.pace.monotonic() + _MOST_S)
    try:
        with images.answering():
            folder = context.docker.api.inspect_container(container)["Config"].get("WorkingDir")
        taking.all(wanted(globs, str(folder or "/")))
    except (_Enough, StepErrored, OSError, tarfile.TarError) as error:
        context.log.line(f"the artifacts are not complete: {error}")
    return taking.facts()


@dataclass
class _Taking:
    """One step's artifacts on their way.

    Args:
        until_s: when it has taken long enough.
        files: what is stored, as the record has it.
        left: the size of each that is left out.
        left_bytes: how many may still be read, of all folders together.
        met: the globs that name something.
        named: the files that were come to by their own names.
        read: what was looked at to its end: files, and folders with a `/` behind them.
    """

    container: str
    context: Context
    until_s: float
    files: list[dict[str, Json]] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    left_bytes: int = MOST_READ_BYTES
    entries: int = 0
    met: set[str] = field(default_factory=set)
    named: set[str] = field(default_factory=set)
    read: list[str] = field(default_factory=list)

    def all(self, globs: tuple[Wanted, ...]) -> None:
        try:
            for file in files(globs):
                self._single(file, globs)
                self.read.append(file)
            for root in roots(globs):
                self._folder(root, globs)
        finally:
            more = self.left[_MOST_SAID:]
            if more:
                self.context.log.line(f"left out: {counted(len(more), 'file')} more, {size(sum(more))}")
            for one in globs:
                if one.said not in self.met and self._has_read(one):
                    self.context.log.line(f"artifacts: there is no file {clean(one.said)}")

    def _has_read(self, one: Wanted) -> bool:
        """Whether a file that it names would have been met."""
        if one.is_file:
            return one.whole in self.read
        return any(root.endswith("/") and below(one.root).startswith(root) for root in self.read)

    def facts(self) -> dict[str, Json]:
        kept: Json = {"files": self.files, **({"left_out": len(self.left)} if self.left else {})}
        return {"artifacts": kept} if self.files or self.left else {}

    def _single(self, file: str, globs: tuple[Wanted, ...]) -> None:
        """A single file: however large it is, nothing is behind it."""
        with self._archive(file) as tar:
            member = tar.next() if tar else None
            if tar and member and not member.isdir():
                self._meet(tar, member, file, globs)
                self.named.add(file)

    def _folder(self, root: str, globs: tuple[Wanted, ...]) -> None:
        """What lies in one folder."""
        above = below(posixpath.dirname(root))
        try:
            with self._archive(root) as tar:
                while tar and (member := tar.next()) is not None:
                    # It would remember them all, and a folder may hold a million.
                    tar.members = []  # type: ignore[attr-defined]
                    path = posixpath.normpath(above + member.name.lstrip("/"))
                    if not member.isdir() and path not in self.named:
                        self._meet(tar, member, path, globs)
                    self._pass(member, path)
        except _InTheWay as why:
            self.context.log.line(f"the artifacts are not complete: {why}")
        else:
            self.read.append(below(root))

    @contextlib.contextmanager
    def _archive(self, path: str) -> Iterator[tarfile.TarFile | None]:
        """What the engine packs of a path; None where nothing is there."""
        with containers.packed(self.context.docker, self.container, path) as chunks:
            if chunks is None:
                yield None
                return
            with tarfile.open(fileobj=_Stream(self._counted(chunks)), mode="r|", bufsize=_CHUNK_BYTES) as tar:
                yield tar

    def _meet(self, tar: tarfile.TarFile, member: tarfile.TarInfo, path: str, globs: tuple[Wanted, ...]) -> None:
        # What no glob can match is matched by what stands in its place: it is said that it was left out.
        hits = [one for one in globs if matches(one.whole, _UNREADABLE.sub("\ufffd", path))]
        if hits:
            self.met.update(one.said for one in hits)
            self._file(tar, member, hits[0].name(path))

    def _counted(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.context.stopping.check()
            self.left_bytes -= len(chunk)
            if self.left_bytes < 0:
                raise _Enough(f"they lie among more than {size(MOST_READ_BYTES)}: {_ELSEWHERE}")
            if self.context.pace.monotonic() > self.until_s:
                raise _Enough(f"they take longer than {duration(_MOST_S)}")
            yield chunk

    def _pass(self, member: tarfile.TarInfo, path: str) -> None:
        """Whether what is behind a file can still be come to."""
        self.entries += 1
        if self.entries > _MOST_ENTRIES:
            raise _Enough(f"they lie among more than {_MOST_ENTRIES} files: {_ELSEWHERE}")
        # One that was stored is behind us.
        if member.size > max(self.left_bytes, MOST_FILE_BYTES):
            raise _InTheWay(
                f"{clean(path)} stands before the rest, and has {size(member.size)}:"
                f" nothing behind it was looked at; {_ELSEWHERE}"
            )

    def _file(self, tar: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> None:
        fact = self._fact(member, name)
        why = _no_file(member, name) or self._no_room(member, fact) or self._kept(tar, member, fact)
        if why is None:
            self.files.append(fact)
            self.context.log.line(f"artifact {clean(name)}, {size(member.size)}")
            return
        if len(self.left) < _MOST_SAID:
            self.context.log.line(f"left out: {clean(name)} ({size(member.size)}): {why}")
        self.left.append(member.size)

    def _fact(self, member: tarfile.TarInfo, name: str) -> dict[str, Json]:
        context = self.context
        # No key is made of a name that somebody chose.
        key = f"artifacts/{context.run}/{context.epoch:04}/{context.index:03}/{len(self.files) + 1:03}"
        return {"name": name, "bytes": member.size, "key": key}

    def _no_room(self, member: tarfile.TarInfo, fact: dict[str, Json]) -> str | None:
        if len(self.files) >= MOST_FILES:
            return f"there are {MOST_FILES} already"
        if sum(one["bytes"] for one in self.files) + member.size > MOST_BYTES:
            return f"all together would be larger than {size(MOST_BYTES)}"
        # Escaped JSON: no other form of it is longer.
        if len(json.dumps([*self.files, fact])) > _MOST_FACTS_BYTES:
            return "the names of all are too long for the run's record"
        return None

    def _kept(self, tar: tarfile.TarFile, member: tarfile.TarInfo, fact: dict[str, Json]) -> str | None:
        """Store it; why not, where something stands in it that nobody may read."""
        with tempfile.SpooledTemporaryFile(max_size=_MOST_IN_MEMORY, dir=str(self.context.folder)) as file:
            secrets = self._copied(tar.extractfile(member), file)
            if secrets:
                return f"{' and '.join(f'the secret {name}' for name in secrets)} stands in it"
            file.seek(0)
            kind = content_type(file.read(HEAD_BYTES))
            put = partial(self.context.aws.objects.put_file_once, shown=kind.startswith("image/"))
            # Who asks for the run's end does not wait for a slow line: what it brings is nobody's.
            ask(lambda: put(fact["key"], file, kind), self.context.stopping, self.context.pace)
        return None

    def _copied(self, source: IO[bytes] | None, file: IO[bytes]) -> list[str]:
        """Copy it; the names of the secrets that stand in it."""
        found: set[str] = set()
        redactor = Redactor(self.context.matcher, found.add)
        while source and (chunk := source.read(_CHUNK_BYTES)):
            redactor.feed(chunk)
            file.write(chunk)
        redactor.end()
        return sorted(found)


def _no_file(member: tarfile.TarInfo, name: str) -> str | None:
    """Why a file is not even read."""
    if member.issym() or member.islnk():
        return "it is a link"
    if not member.isreg():
        return "it is a pipe" if member.isfifo() else "it is a device"
    if has_control(name):
        return "its name cannot be written"
    if len(name) > MOST_NAME:
        return f"its name is longer than {MOST_NAME} characters"
    return f"it is larger than {size(MOST_FILE_BYTES)}" if member.size > MOST_FILE_BYTES else None


class _Stream(io.RawIOBase):
    """Chunks as a file that a tar is read from."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._kept = b""

    def read(self, most: int = -1, /) -> bytes:
        # No more than there is: what comes before a line that is cut is good.
        text = self._kept or next(self._chunks, b"")
        read, self._kept = text[:most], text[most:]
        return read
