"""Bitbucket Cloud's REST API: branches, tags and open pull requests.

Source of every fact without an address of its own: https://developer.atlassian.com/cloud/bitbucket/rest/api-group-refs/
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar
from urllib.parse import urlencode

from chalicelib.config import Forge
from chalicelib.forges.calls import Answer, Calls
from chalicelib.forges.listing import Listed, Listing, Standing, collected, names, readable
from chalicelib.model import Event, EventKind
from chalicelib.providers.bitbucket_cloud import PREFIXES, author_email, pull_request
from chalicelib.providers.reading import (
    HEADS,
    LONGEST_MESSAGE,
    PULLS,
    TAGS,
    Fields,
    is_storable,
    parse,
    shortened,
)

# Only what is read: the rest of an answer is a hundred times as long.
# https://developer.atlassian.com/cloud/bitbucket/rest/intro/#partial-response
_REF = "next,values.type,values.name,values.target.hash,values.target.message,values.target.author.raw"
_PULL = (
    "next,values.id,values.state,values.source.commit.hash,values.source.repository.uuid,"
    "values.source.repository.full_name,values.destination.repository.uuid,values.destination.repository.full_name"
)


class BitbucketCloud:
    """What is asked of one forge that speaks Bitbucket Cloud's API."""

    HEADERS: ClassVar = {"Accept": "application/json"}
    LISTINGS = (Listing("branches and tags", (HEADS, TAGS)), Listing("pull requests", (PULLS,)))

    def __init__(self, forge: Forge, calls: Calls) -> None:
        self.forge = forge
        self.calls = calls

    def repositories(self, owner: str) -> list[str]:
        """`owner/name` of every repository of a workspace that the token may see."""
        asked = urlencode({"pagelen": 100, "fields": "next,values.full_name"})
        with readable(self.forge.name):
            return names(self._pages(f"/repositories/{owner}?{asked}"), self._items)

    def listed(self, repository: str, listing: Listing, etag: str | None) -> Listed:
        """One of LISTINGS, all pages of it."""
        pulls = listing.prefixes == (PULLS,)
        # More than 50 pull requests on a page are refused.
        asked = {"state": "OPEN", "pagelen": 50, "fields": _PULL} if pulls else {"pagelen": 100, "fields": _REF}
        path = f"/repositories/{repository}/{'pullrequests' if pulls else 'refs'}?{urlencode(asked)}"
        with readable(self.forge.name):
            return collected(self._pages(path, etag), self._items, self._pull if pulls else _ref)

    def detail(self, _repository: str, standing: Standing) -> Standing:
        """The same: the list says everything."""
        return standing

    def is_gone(self, repository: str, ref: str) -> bool:
        """Whether a branch or tag is really not there: of a list that changes between two pages one may be missed."""
        kind, prefix = ("tags", TAGS) if ref.startswith(TAGS) else ("branches", HEADS)
        name = ref.removeprefix(prefix)
        quoted = name.replace('"', '\\"')
        asked = urlencode({"q": f'name = "{quoted}"', "fields": "values.name"})
        with readable(self.forge.name):
            found = self._items(self.calls.get(f"/repositories/{repository}/refs/{kind}?{asked}").body or b"")
            return all(each.text("name") != name for each in found)

    def _pull(self, pull: Fields) -> Standing | None:
        here = pull.part("destination").part("repository")
        base = Event(
            self.forge.name,
            self.forge.provider,
            "",
            EventKind.PULL_REQUEST,
            here.text("full_name"),
            repository_id=here.text("uuid"),
        )
        event = pull_request(pull, base)
        if event.pull is None or event.pull.head is None:
            return None
        return Standing(f"{PULLS}{event.pull.number}", event.pull.head, pull=event.pull, fork=event.fork)

    def _pages(self, path: str, etag: str | None = None) -> Iterator[Answer]:
        return self.calls.pages(path, self._next, etag=etag)

    def _next(self, answer: Answer) -> str | None:
        return self._page(answer.body or b"").text("next")

    def _items(self, body: bytes) -> list[Fields]:
        return self._page(body).need_children("values")

    def _page(self, body: bytes) -> Fields:
        return parse(body, self.forge.name)


def _ref(each: Fields) -> Standing | None:
    """A branch or tag; None for what is neither, and for a name that cannot be remembered.

    As in its webhooks, a tag is told by its commit, an annotated one too.
    """
    prefix = PREFIXES.get(each.need_text("type"))
    target = each.need_child("target")
    ref, at = f"{prefix}{each.need_text('name')}", target.need_object_id("hash")
    if prefix is None or at is None or not is_storable(ref):
        return None
    return Standing(ref, at, at, author_email(target), shortened(target.text("message"), LONGEST_MESSAGE))
