"""What a forge's client hands over: refs as they stand, and the lists in which it tells them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from chalicelib.errors import BadDelivery
from chalicelib.forges.calls import Answer, NotCompared
from chalicelib.model import Pull
from chalicelib.providers.reading import Fields, checked_repository


@dataclass(frozen=True)
class Standing:
    """A branch, a tag or an open pull request as it stands at a forge.

    Args:
        ref: `refs/heads/…`, `refs/tags/…` or `pull/<number>`.
        at: what it points at: a commit, the tag object of an annotated tag, the head of a pull request.
        commit: what to check out; None = nothing, or not known yet.
        whole: whether everything else is known; if not, the client's `detail` asks for it.
    """

    ref: str
    at: str
    commit: str | None = None
    author_email: str | None = None
    message: str | None = None
    pull: Pull | None = None
    fork: bool = False
    whole: bool = True


@dataclass(frozen=True)
class Listing:
    """One list that a forge keeps of a repository.

    Args:
        name: what is in it, in words.
        prefixes: how the names of its refs begin.
    """

    name: str
    prefixes: tuple[str, ...]


@dataclass(frozen=True)
class Listed:
    """A whole list.

    Args:
        standing: by ref; None = unchanged since the etag that was sent.
        etag: of the list, where it is one page. Of several pages none is kept: each has its own, and the first stays
            the same when a ref appears on the last.
    """

    standing: Mapping[str, Standing] | None
    etag: str | None = None


def collected(
    pages: Iterable[Answer], items: Callable[[bytes], list[Fields]], read: Callable[[Fields], Standing | None]
) -> Listed:
    """A list from its pages; what `read` makes None of is left out."""
    standing: dict[str, Standing] = {}
    etags = []
    for page in pages:
        if page.body is None:
            return Listed(None, page.etag)
        etags.append(page.etag)
        standing |= {one.ref: one for each in items(page.body) if (one := read(each))}
    return Listed(standing, etags[0] if len(etags) == 1 else None)


def names(pages: Iterable[Answer], items: Callable[[bytes], list[Fields]]) -> list[str]:
    """`owner/name` of every repository that is listed, but for those with names that no forge gives today."""
    found = []
    for each in (each for page in pages for each in items(page.body or b"")):
        with contextlib.suppress(BadDelivery):
            found.append(checked_repository(each.need_text("full_name")))
    return found


@contextlib.contextmanager
def readable(forge: str) -> Iterator[None]:
    """What is answered and cannot be read is no answer."""
    try:
        yield
    except BadDelivery as error:
        raise NotCompared(f"{forge} answers what this program cannot read: {error}") from error
