"""A Bitbucket Data Center (or Server) delivery in, Events out.

Source of every fact without an address of its own:
https://confluence.atlassian.com/bitbucketserver/event-payload-938025882.html
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from chalicelib.model import Delivery, Event, EventKind, Provider, Pusher
from chalicelib.providers.reading import (
    DELIVERY_ID,
    EVENT_NAME,
    LONGEST_MESSAGE,
    TAGS,
    Fields,
    branch_of,
    checked_ref,
    checked_repository,
    checked_repository_id,
    each_email_once,
    email_or_none,
    kind_of,
    name_of,
    need_header,
    numbered,
    parse,
    shortened,
)

PROVIDER = Provider.BITBUCKET_SERVER
# ("HTTP headers"). X-Request-Id is what proxies like to add, too: what Cloud alone sends says that it is Cloud's.
MARKS = frozenset({"x-event-key", "x-request-id"})
FOREIGN = frozenset({"x-hook-uuid", "x-request-uuid"})
# https://confluence.atlassian.com/bitbucketserver/manage-webhooks-938025878.html ("Secure your webhook": HMAC, sha256)
SIGNATURE_HEADER = "X-Hub-Signature"

# What a merge, a decline or a deletion leaves is not open any more, whatever `state` says of it.
CLOSING = frozenset({"pr:merged", "pr:declined", "pr:deleted"})
# Comments, reviewers and approvals are of no concern to a build.
PULL_REQUESTS = frozenset({"pr:opened", "pr:modified", "pr:from_ref_updated", *CLOSING})


def read(delivery: Delivery) -> list[Event]:
    """What happened: one event for each ref that a push changed, in the payload's order; else one.

    Raises:
        BadDelivery: a field that Bitbucket promises is missing or unreadable.
    """
    key = need_header(delivery, "X-Event-Key", EVENT_NAME)
    delivery_id = need_header(delivery, "X-Request-Id", DELIVERY_ID)
    payload = parse(delivery.body, f"bitbucket {key}")
    base = Event(
        forge=delivery.forge,
        provider=PROVIDER,
        delivery_id=delivery_id,
        kind=EventKind.IGNORED,
        repository=None,
        pusher=_pusher(payload.part("actor")),
    )
    if key == "diagnostics:ping":
        # The page's "Test connection" sends `{"test": true}` and nothing else.
        # https://confluence.atlassian.com/bitbucketserver/manage-webhooks-938025878.html
        return [replace(base, kind=EventKind.PING)]
    if key == "repo:refs_changed":
        return _push(payload, _of(payload.need_child("repository"), base))
    if key in PULL_REQUESTS:
        return [_pull_request(payload.need_child("pullRequest"), base, closes=key in CLOSING)]
    repository = payload.child("repository") or payload.part("pullRequest").part("toRef").child("repository")
    if repository is not None:
        base = _of(repository, base)
    return [replace(base, reason=f"nothing is built for Bitbucket's event {key}")]


def _of(repository: Fields, base: Event) -> Event:
    """The event as one of this repository: `KEY/slug`, as its addresses have it; a person's own is under `~name`.

    Source: https://confluence.atlassian.com/bitbucketserver/personal-repositories-776639861.html
    """
    key, slug = repository.part("project").need_text("key"), repository.need_text("slug")
    number = repository.number("id")
    return replace(
        base,
        repository=checked_repository(f"{key}/{slug}", personal=True),
        repository_id=None if number is None else checked_repository_id(str(number)),
    )


def _pusher(actor: Fields) -> Pusher:
    """Who pushed, `name` being the login; a key of the repository has no address."""
    return Pusher(
        login=shortened(actor.text("name")),
        name=shortened(actor.text("displayName")),
        email=email_or_none(actor.text("emailAddress")),
    )


def _push(payload: Fields, base: Event) -> list[Event]:
    changes = payload.need_children("changes")
    commits, head = payload.children("commits"), payload.child("toCommit")
    return [_change(change, base, commits, head, alone=len(changes) == 1) for change in changes]


def _change(change: Fields, base: Event, commits: Sequence[Fields], head: Fields | None, *, alone: bool) -> Event:
    """One ref: all zeros stand on the side where it was not there.

    Args:
        commits, head: the payload's `commits` (newest first) and `toCommit`; older versions have neither.
        alone: it is the push's only change: of several nothing says which one the commits are of.
    """
    ref = checked_ref(change.part("ref").text("id") or change.need_text("refId"))
    before, after = change.need_object_id("fromHash"), change.need_object_id("toHash")
    if change.text("type") == "DELETE":
        after = None
    name = name_of(ref)
    if name is None:
        return replace(base, reason=f"{ref} is neither a branch nor a tag")
    if before is None and after is None:
        return replace(base, reason=f"{ref} has no commit, before or after")
    commit = _commit(ref, after, head if alone else None)
    built = _told(commit, [head, *commits] if head else commits)
    return replace(
        base,
        kind=kind_of(ref, before, after),
        ref=ref,
        name=name,
        before=before,
        after=after,
        commit=commit,
        # It is never said whether a push was forced, or that `commits` holds the newest five alone.
        commit_author_emails=each_email_once(_author_email(one) for one in commits if alone),
        head_commit_author_email=_author_email(built),
        head_commit_message=shortened(built.text("message"), LONGEST_MESSAGE),
    )


def _commit(ref: str, after: str | None, head: Fields | None) -> str | None:
    """What to check out. Of an annotated tag `toHash` is the tag object, and `toCommit` what it points to.

    Without `toCommit` that is left to the checkout: git finds the commit of a tag object.
    """
    if after is None or head is None or not ref.startswith(TAGS):
        return after
    return head.need_object_id("id") or after


def _told(commit: str | None, commits: Sequence[Fields]) -> Fields:
    """What the payload says of the commit; nothing where it does not list it."""
    nothing = Fields({}, "toCommit")
    return next((one for one in commits if commit and one.text("id") == commit), nothing)


def _author_email(commit: Fields) -> str | None:
    return email_or_none(commit.part("author").text("emailAddress"))


def _pull_request(pull: Fields, base: Event, *, closes: bool) -> Event:
    """A pull request of the repository that it wants to go into; from a fork where its branch lies in another one."""
    source, target = pull.need_child("fromRef"), pull.need_child("toRef")
    base = _of(target.need_child("repository"), base)
    is_open = not closes and pull.text("state") in {None, "OPEN"}
    head = source.need_object_id("latestCommit") if is_open else None
    number = source.part("repository").number("id")
    return replace(
        base,
        kind=EventKind.PULL_REQUEST,
        pull=numbered(pull.number("id"), head, branch_of(source.text("id")), branch_of(target.text("id"))),
        fork=number is None or str(number) != base.repository_id,
    )
