"""GitHub's REST API: branches, tags and open pull requests.

Source of every fact without an address of its own: https://docs.github.com/en/rest/git/refs
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import ClassVar
from urllib.parse import quote

from chalicelib.config import Forge
from chalicelib.forges.calls import Answer, Calls, NotCompared
from chalicelib.forges.listing import Listed, Listing, Standing, collected, names, readable
from chalicelib.model import Event, EventKind
from chalicelib.providers.github import pull_request
from chalicelib.providers.reading import (
    HEADS,
    LONGEST_MESSAGE,
    PULLS,
    TAGS,
    Fields,
    email_or_none,
    is_storable,
    parse,
    parse_list,
    shortened,
)

_ABSENT, _EMPTY = 404, 409
# A tag may point at a tag; more than once nobody does it.
_DEEPEST = 5


class GitHub:
    """What is asked of one forge that speaks GitHub's API."""

    HEADERS: ClassVar = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
    LISTINGS = (Listing("branches", (HEADS,)), Listing("tags", (TAGS,)), Listing("pull requests", (PULLS,)))

    def __init__(self, forge: Forge, calls: Calls) -> None:
        self.forge = forge
        self.calls = calls

    def repositories(self, owner: str) -> list[str]:
        """`owner/name` of every repository of an organisation, or every public one of a person.

        Source: https://docs.github.com/en/rest/repos/repos#list-organization-repositories
        """
        with readable(self.forge.name):
            try:
                return names(self._pages(f"/orgs/{owner}/repos?per_page=100"), self._items)
            except NotCompared as error:
                if error.status != _ABSENT:
                    raise
            return names(self._pages(f"/users/{owner}/repos?per_page=100"), self._items)

    def listed(self, repository: str, listing: Listing, etag: str | None) -> Listed:
        """One of LISTINGS, all pages of it."""
        paths = {
            HEADS: f"/repos/{repository}/git/matching-refs/heads?per_page=100",
            TAGS: f"/repos/{repository}/git/matching-refs/tags?per_page=100",
            PULLS: f"/repos/{repository}/pulls?state=open&per_page=100",
        }
        (prefix,) = listing.prefixes
        read = self._pull if prefix == PULLS else _ref
        try:
            with readable(self.forge.name):
                found = collected(self._pages(paths[prefix], etag), self._items, read)
        except NotCompared as error:
            if error.status != _EMPTY:
                raise
            # A repository without a first commit.
            return Listed({})
        # `heads` is what names begin with, and not a folder.
        return replace(found, standing=found.standing and _below(prefix, found.standing))

    def detail(self, repository: str, standing: Standing) -> Standing:
        """A branch or tag with its commit, and the author and message of that."""
        with readable(self.forge.name):
            commit = standing.commit or self._peeled(repository, standing.at)
            if commit is None:
                return replace(standing, whole=True)
            told = self._one(f"/repos/{repository}/git/commits/{commit}")
            return replace(
                standing,
                commit=commit,
                author_email=email_or_none(told.part("author").text("email")),
                message=shortened(told.text("message"), LONGEST_MESSAGE),
                whole=True,
            )

    def is_gone(self, repository: str, ref: str) -> bool:
        """Whether a branch or tag is really not there: of a list that changes between two pages one may be missed."""
        try:
            self.calls.get(f"/repos/{repository}/git/ref/{quote(ref.removeprefix('refs/'))}")
        except NotCompared as error:
            if error.status in {_ABSENT, _EMPTY}:
                return True
            raise
        return False

    def _peeled(self, repository: str, tag: str) -> str | None:
        """The commit of an annotated tag; None where it points at something that cannot be checked out.

        Source: https://docs.github.com/en/rest/git/tags#get-a-tag
        """
        for _ in range(_DEEPEST):
            told = self._one(f"/repos/{repository}/git/tags/{tag}").need_child("object")
            found, kind = told.need_object_id("sha"), told.text("type")
            if kind == "commit" or found is None:
                return found
            if kind != "tag":
                return None
            tag = found
        return None

    def _pull(self, pull: Fields) -> Standing | None:
        number = pull.part("base").part("repo").number("id")
        own = None if number is None else str(number)
        base = Event(self.forge.name, self.forge.provider, "", EventKind.PULL_REQUEST, None, repository_id=own)
        event = pull_request(pull, base)
        if event.pull is None or event.pull.head is None:
            return None
        return Standing(f"{PULLS}{event.pull.number}", event.pull.head, pull=event.pull, fork=event.fork)

    def _pages(self, path: str, etag: str | None = None) -> Iterator[Answer]:
        return self.calls.pages(path, lambda answer: answer.next, etag=etag)

    def _items(self, body: bytes) -> list[Fields]:
        return parse_list(body, self.forge.name)

    def _one(self, path: str) -> Fields:
        return parse(self.calls.get(path).body or b"", f"{self.forge.name} {path}")


def _ref(each: Fields) -> Standing | None:
    """A branch or tag; None for a name that cannot be remembered."""
    ref, told = each.need_text("ref"), each.need_child("object")
    at, kind = told.need_object_id("sha"), told.text("type")
    if not is_storable(ref) or at is None:
        return None
    return Standing(ref, at, at if kind == "commit" else None, whole=kind not in {"commit", "tag"})


def _below(prefix: str, standing: Mapping[str, Standing]) -> Mapping[str, Standing]:
    return {ref: one for ref, one in standing.items() if ref.startswith(prefix)}
