"""Parts of a JSON file in; what is wrong with each, with its path, out."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping

from chalicelib.model import Json

_HIGHEST_PORT = 65535
PORTS = f"expected a number from 1 to {_HIGHEST_PORT}"
UNPACKED = "/var/app/current"
"""Where Elastic Beanstalk unpacks a bundle on its instances."""


def is_port(value: object) -> bool:
    if isinstance(value, str):
        return re.fullmatch(r"[0-9]{1,5}", value) is not None and is_port(int(value))
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _HIGHEST_PORT


def text_complaints(part: Mapping[str, Json], name: str, path: str, *, needed: bool = True) -> Iterator[str]:
    """A field that is text, and not empty."""
    where = f"{path}.{name}" if path else name
    value = part.get(name)
    if value is None and not needed:
        return
    if value is None or value == "":
        yield f"{where} is missing"
    elif not isinstance(value, str):
        yield f"{where}: expected text, got {value!r}"


def objects(part: Mapping[str, Json], name: str) -> Iterator[tuple[str, Mapping[str, Json] | None]]:
    """The objects of a list with their paths; None in the place of what is no object, or no list."""
    items = part.get(name)
    if items is None:
        return
    if not isinstance(items, list):
        yield name, None
        return
    for index, item in enumerate(items):
        yield f"{name}[{index}]", item if isinstance(item, Mapping) else None


def unpacked(path: object) -> str | None:
    """The path in the bundle that a path on an instance means; `.` for all of it, None for what lies elsewhere."""
    if not isinstance(path, str):
        return None
    clean = posixpath.normpath(path)
    if clean == UNPACKED:
        return "."
    return clean.removeprefix(f"{UNPACKED}/") if clean.startswith(f"{UNPACKED}/") else None
