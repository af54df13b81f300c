"""YAML in; texts, lists and mappings out, and where each of them stands.

A deliberately small YAML: every scalar stays the text that was written (`1.10`, `no`, `on`), and whatever could
mean something else to the next reader (anchors, tags, nulls, repeated keys) is complained about.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import yaml

Tree: TypeAlias = "str | list[Tree] | dict[str, Tree]"
Path: TypeAlias = tuple[str | int, ...]

MAX_BYTES = 256 * 1024
MAX_DEPTH = 50

# libyaml reads several times faster; PyYAML is built without it on some platforms.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029]")
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})


@dataclass(frozen=True, order=True)
class Place:
    """Where something stands, counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, order=True)
class Complaint:
    """What is wrong, and where: `14:9: pipelines.cmfive.steps[0].build.imgae: unknown key`."""

    place: Place
    path: Path
    text: str

    def __str__(self) -> str:
        where = f"{self.place.line}:{self.place.column}: "
        return where + (f"{dotted(self.path)}: " if self.path else "") + self.text


@dataclass
class Document:
    """What was read, as far as it could be.

    Args:
        root: None when nothing could be read at all; `complaints` says why.
        values: where the value of a path begins. keys: where its key does.
    """

    root: Tree | None = None
    values: dict[Path, Place] = field(default_factory=dict)
    keys: dict[Path, Place] = field(default_factory=dict)
    complaints: list[Complaint] = field(default_factory=list)
    _blamed: set[Path] = field(default_factory=set)

    def complain(self, path: Path, text: str, place: Place | None = None) -> None:
        """Note what is wrong with a path, unless something was wrong with it, or with a part of it, already."""
        if path not in self._blamed:
            self._blamed.update(path[:length] for length in range(len(path) + 1))
            self.complaints.append(Complaint(place or self.place_of(path), path, text))

    def place_of(self, path: Path) -> Place:
        """Where the key of a path stands, or the item, or whatever is nearest around it."""
        for length in range(len(path), -1, -1):
            found = self.keys.get(path[:length]) or self.values.get(path[:length])
            if found:
                return found
        return Place(1, 1)


def dotted(path: Path) -> str:
    """A path as people write it: `pipelines.cmfive.steps[0].build`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def read(source: bytes) -> Document:
    """The one document of a YAML file, with every complaint about its form."""
    document = Document()
    text = _text(source, document)
    if text is None:
        return document
    try:
        document.root = _Reader(text, document).document()
    except yaml.MarkedYAMLError as error:
        place = _place(error.problem_mark or error.context_mark)
        document.complain((), _syntax(error, text, place), place)
    except _TooDeepError as error:
        document.complain((), f"nested deeper than {MAX_DEPTH} levels", error.place)
    return document


class _TooDeepError(Exception):
    """Reading on would only cost time."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place


_SKIP = object()
"""Stands for a value that was complained about and is left out."""


class _Reader:
    """Turns the parser's events into a tree. Events, not nodes: they show anchors, and nothing is followed."""

    def __init__(self, text: str, document: Document) -> None:
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=_LOADER)
        self._out = document

    def document(self) -> Tree | None:
        root: Any = _SKIP
        documents = 0
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._out.complain((), "a second document; one file is one document", _place(event.start_mark))
                    return None
            elif isinstance(event, yaml.NodeEvent):
                root = self._value(event, ())
        if documents == 0:
            self._out.complain((), "the file is empty", Place(1, 1))
        return None if root is _SKIP else root

    def _value(self, event: yaml.Event, path: Path) -> Any:
        place = _place(event.start_mark)
        self._out.values[path] = place
        if len(path) > MAX_DEPTH:
            raise _TooDeepError(place)
        if isinstance(event, yaml.AliasEvent):
            self._out.complain(path, f"the alias *{event.anchor}: write the value out; there are no anchors", place)
            return _SKIP
        if getattr(event, "anchor", None) is not None:
            self._out.complain(path, f"the anchor &{event.anchor}: write the value out where it is needed", place)  # type: ignore[attr-defined]  # nodes have one
        if getattr(event, "tag", None) is not None:
            self._out.complain(path, f"the tag {event.tag}: every value is text; leave the tag out", place)  # type: ignore[attr-defined]  # nodes have one
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._list(path)
        return self._scalar(event, path, place)

    def _scalar(self, event: Any, path: Path, place: Place) -> Any:
        if not event.style and event.value in _NULLS:
            # The empty text itself begins wherever the parser noticed that nothing comes.
            self._out.complain(path, "no value; leave the key out, or write one", self._out.keys.get(path, place))
            return _SKIP
        # A command may be a block of lines; anywhere else a line break hides in an escape.
        allowed = "\n\t" if event.style in {"|", ">"} else ""
        if any(ord(one) < ord(" ") and one not in allowed for one in event.value) or _CONTROL.search(event.value):
            self._out.complain(path, "a control character", place)
            return _SKIP
        return str(event.value)

    def _list(self, path: Path) -> list[Tree]:
        items: list[Tree] = []
        for event in self._events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            value = self._value(event, (*path, len(items)))
            items.append("" if value is _SKIP else value)
        return items

    def _mapping(self, path: Path) -> dict[str, Tree]:
        items: dict[str, Tree] = {}
        for event in self._events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            name, place = self._key(event, path), _place(event.start_mark)
            here = (*path, "?" if name is None else name)
            first = self._out.keys.setdefault(here, place)
            if name in items:
                self._out.complain(here, f"a repeated key; it stands in line {first.line} already", place)
                self._skip()
                continue
            value = self._value(next(self._events), here)
            if name is not None and value is not _SKIP:
                items[name] = value
        return items

    def _skip(self) -> None:
        """Leave a value out: whatever is wrong in it would be told of the first one's places."""
        depth = 0
        for event in self._events:
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth == 0:
                return

    def _key(self, event: yaml.Event, path: Path) -> str | None:
        place = _place(event.start_mark)
        value = self._value(event, (*path, "?"))
        if isinstance(value, str):
            return value
        if value is not _SKIP:
            self._out.complain((*path, "?"), "a key must be one word", place)
        return None


def _text(source: bytes, document: Document) -> str | None:
    if len(source) > MAX_BYTES:
        document.complain((), f"the file has {len(source)} bytes; at most {MAX_BYTES} are read")
        return None
    try:
        text = source.decode("utf-8")
    except UnicodeDecodeError as error:
        line = source.count(b"\n", 0, error.start) + 1
        column = error.start - source.rfind(b"\n", 0, error.start)
        document.complain((), f"byte 0x{source[error.start]:02x} is not UTF-8", Place(line, column))
        return None
    found = _CONTROL.search(text)
    if found:
        line, column = text.count("\n", 0, found.start()) + 1, found.start() - text.rfind("\n", 0, found.start())
        document.complain((), f"the control character U+{ord(found[0]):04X}", Place(line, column))
        return None
    return text


def _syntax(error: yaml.MarkedYAMLError, text: str, place: Place) -> str:
    lines = text.splitlines()
    line = lines[place.line - 1] if place.line <= len(lines) else ""
    if "\t" in line[: place.column]:
        return "a tab; indent with spaces"
    return f"not YAML: {error.problem or error.context}"


def _place(mark: Any) -> Place:
    return Place(1, 1) if mark is None else Place(mark.line + 1, mark.column + 1)
