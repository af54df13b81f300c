"""A tag's name in; the release that it is, as semantic versions have it, out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

# https://semver.org/#backusnaur-form-grammar-for-valid-semver-versions; a leading v is usual. A pre-release is no
# release: nobody who asks for 1 or 1.3 wants it.
_RELEASE = re.compile(r"v?(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})", re.ASCII)
WORDS = frozenset({"major", "minor"})
"""The placeholders that only a release has values for."""


@dataclass(frozen=True, order=True)
class Release:
    """`1.3.0`, or `v1.3.0`."""

    major: int
    minor: int
    patch: int

    @classmethod
    def of(cls, tag: str) -> Self | None:
        """None where the tag is no release."""
        found = _RELEASE.fullmatch(tag)
        return cls(*(int(number) for number in found.groups())) if found else None

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"

    @property
    def values(self) -> dict[str, str]:
        """What its placeholders stand for."""
        return {"major": str(self.major), "minor": str(self.minor)}
