"""The image that a file of a deployment repository names in; whether it is the one that was built, or nobody's, out."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from runner.image_names import plain, split

_PLACEHOLDER = re.compile(r"\{\{[^}]*\}\}|<[^>]*>|\$\{[^}]*\}|\$\w+|\[[^\]]*\]")
_VARIABLE = re.compile(r"\$\{[^}]*\}|\$\w+")
_MARK = "\0"
EXAMPLE = "NAME@sha256:…"


@dataclass(frozen=True)
class Image:
    """What is filled in: `registry/name@sha256:…`, and how ci.yml calls it."""

    reference: str
    name: str


def ours(written: Iterable[str], built: str | None) -> frozenset[str]:
    """Which of the images that a file names are the one that the pipeline built, whatever their host and tag.

    Where none has its name, it is what a placeholder alone stands for, if there is one such.

    Args:
        built: as ci.yml calls it; None = nothing was built.
    """
    if built is None:
        return frozenset()
    named = {image: _named(image) for image in written}
    by_name = frozenset(image for image, name in named.items() if name == built)
    alone = frozenset(image for image, name in named.items() if name == _MARK)
    return by_name or (alone if len(alone) == 1 else frozenset())


def _named(image: str) -> str:
    return plain(split(_PLACEHOLDER.sub(_MARK, image.strip()).removeprefix(f"{_MARK}/"))[0])


def wrong(written: str, built: str | None, *, variables: bool) -> str | None:
    """Why an image that is not ours cannot stay as it is written; None = it can.

    Args:
        variables: `$TAG` is filled in by who reads the file.
    """
    text = _VARIABLE.sub("x", written) if variables else written
    found = _PLACEHOLDER.search(text)
    if found is None:
        return None
    if built is None:
        return f"{found[0]} stands for an image that nobody named: --image {EXAMPLE} fills it in"
    return f"{written} holds {found[0]}, and is not {built}, which was built: write the image that is meant"
