"""A Bitbucket Cloud delivery in, Events out.

Source of every fact without an address of its own: https://support.atlassian.com/bitbucket-cloud/docs/event-payloads/
"""

from __future__ import annotations

import re
from dataclasses import replace

from chalicelib.errors import BadDelivery
from chalicelib.model import Delivery, Event, EventKind, Provider, Pusher
from chalicelib.providers.reading import (
    DELIVERY_ID,
    EVENT_NAME,
    HEADS,
    LONGEST_MESSAGE,
    TAGS,
    Fields,
    checked_ref,
    checked_repository,
    checked_repository_id,
    each_email_once,
    email_or_none,
    kind_of,
    need_header,
    numbered,
    parse,
    shortened,
)

PROVIDER = Provider.BITBUCKET_CLOUD
# https://support.atlassian.com/bitbucket-cloud/docs/event-payloads/#HTTP-headers; Data Center sends no X-Hook-UUID.
MARKS = frozenset({"x-event-key", "x-hook-uuid"})
FOREIGN: frozenset[str] = frozenset()
# The name that GitHub uses for its SHA-1 holds a SHA-256 here.
# https://support.atlassian.com/bitbucket-cloud/docs/manage-webhooks/ ("Secure webhooks")
SIGNATURE_HEADER = "X-Hub-Signature"

# Comments and approvals are of no concern to a build.
PULL_REQUESTS = frozenset(
    {"pullrequest:created", "pullrequest:updated", "pullrequest:fulfilled", "pullrequest:rejected"}
)

# The types of a change's `new` and `old`. named_branch (and bookmark, which no git repository has) are Mercurial's.
PREFIXES = {"branch": HEADS, "named_branch": HEADS, "tag": TAGS, "annotated_tag": TAGS}

# A pull request's head is a shortened hash, in most places of twelve digits.
# https://github.com/jenkinsci/bitbucket-branch-source-plugin/pull/63
SHORT_ID = re.compile(r"[0-9a-f]{7,64}")
SHORT = 12

# `Name <address>` as git writes it. https://git-scm.com/docs/git-commit#_commit_information
RAW_AUTHOR = re.compile(r"<([^<>]*)>\s*\Z")
BARE_ADDRESS = re.compile(r"[^\s<>@]+@[^\s<>@]+")


def read(delivery: Delivery) -> list[Event]:
    """What happened: one event for each ref that a push changed, in the payload's order; else one.

    Raises:
        BadDelivery: a field that Bitbucket promises is missing or unreadable.
    """
    key = need_header(delivery, "X-Event-Key", EVENT_NAME)
    delivery_id = need_header(delivery, "X-Request-UUID", DELIVERY_ID)
    payload = parse(delivery.body, f"bitbucket {key}")
    base = _base(delivery, delivery_id, payload)
    if key == "repo:push":
        return _push(payload, _of_a_repository(base))
    if key in PULL_REQUESTS:
        return [_pull_request(payload, _of_a_repository(base))]
    return [replace(base, reason=f"nothing is built for Bitbucket's event {key}")]


def _base(delivery: Delivery, delivery_id: str, payload: Fields) -> Event:
    """What every event says: an ignored one, until somebody knows better."""
    repository = payload.part("repository")
    full_name = repository.text("full_name")
    return Event(
        forge=delivery.forge,
        provider=PROVIDER,
        delivery_id=delivery_id,
        kind=EventKind.IGNORED,
        repository=None if full_name is None else checked_repository(full_name),
        repository_id=checked_repository_id(repository.text("uuid")),
        pusher=_pusher(payload.part("actor")),
    )


def _of_a_repository(base: Event) -> Event:
    if base.repository is None:
        raise BadDelivery("bitbucket: repository.full_name is missing")
    return base


def _pusher(actor: Fields) -> Pusher:
    """Who pushed. There is never an email; a team has a username, a user a nickname, an app only a display name.

    Source: https://developer.atlassian.com/cloud/bitbucket/bitbucket-api-changes-gdpr/
    """
    name = actor.text("display_name")
    login = actor.text("username") or actor.text("nickname") or name
    return Pusher(login=shortened(login), name=shortened(name))


def _push(payload: Fields, base: Event) -> list[Event]:
    changes = payload.need_child("push").need_children("changes")
    if payload.part("repository").text("scm") == "hg":
        return [replace(base, reason="a Mercurial repository: only git is built")]
    return [_change(change, base) for change in changes]


def _change(change: Fields, base: Event) -> Event:
    """One ref: `new` is null where it was deleted, `old` where it was made.

    Source: https://support.atlassian.com/bitbucket-cloud/docs/event-payloads/#Push
    """
    old, new = change.child("old"), change.child("new")
    side = new or old
    if side is None:
        return replace(base, reason="a change without old and new")
    prefix = PREFIXES.get(side.need_text("type"))
    if prefix is None:
        return replace(base, reason="the change of something that is neither a branch nor a tag")
    name = side.need_text("name")
    ref = checked_ref(prefix + name)
    before = None if old is None else _target(old)
    # A closed ref is gone, whatever else the change says of it.
    after = None if new is None or change.flag("closed") else _target(new)
    if before is None and after is None:
        return replace(base, reason=f"{ref} has no commit, before or after")
    head = change.part("new").part("target")
    return replace(
        base,
        kind=kind_of(ref, before, after),
        ref=ref,
        name=name,
        before=before,
        after=after,
        # Bitbucket shows the commit of an annotated tag, never the tag object.
        commit=after,
        forced=change.flag("forced"),
        # At most five commits are listed. https://support.atlassian.com/bitbucket-cloud/docs/event-payloads/#Push
        truncated=change.flag("truncated"),
        commit_author_emails=each_email_once(author_email(commit) for commit in change.children("commits")),
        head_commit_author_email=author_email(head),
        head_commit_message=shortened(head.text("message"), LONGEST_MESSAGE),
    )


def _target(side: Fields) -> str | None:
    return side.need_child("target").need_object_id("hash")


def author_email(commit: Fields) -> str | None:
    """The address in `author.raw`; some authors (merges made on the page) have none."""
    raw = (commit.part("author").text("raw") or "").strip()
    bracketed = RAW_AUTHOR.search(raw)
    if bracketed:
        return email_or_none(bracketed[1])
    return email_or_none(raw) if BARE_ADDRESS.fullmatch(raw) else None


def _pull_request(payload: Fields, base: Event) -> Event:
    """A pull request, as `pull_request` reads it."""
    return pull_request(payload.need_child("pullrequest"), base)


def pull_request(pull: Fields, base: Event) -> Event:
    """A pull request as payloads and the REST API describe it.

    It comes from a fork where the source's repository is another one, or gone (null).

    Source: https://support.atlassian.com/bitbucket-cloud/docs/event-payloads/#Pull-request-events
    """
    side = pull.part("source")
    source = side.part("repository")
    uuid, full_name = source.text("uuid"), source.text("full_name")
    same = uuid == base.repository_id if uuid and base.repository_id else full_name == base.repository
    is_open = pull.text("state") in {None, "OPEN"}
    head = _short_id(side.part("commit").text("hash")) if is_open else None
    branch, target = (pull.part(end).part("branch").text("name") for end in ("source", "destination"))
    numbers = numbered(pull.number("id"), head, branch, target)
    return replace(base, kind=EventKind.PULL_REQUEST, pull=numbers, fork=not same)


def _short_id(text: str | None) -> str | None:
    if text is not None and not SHORT_ID.fullmatch(text):
        raise BadDelivery("bitbucket: a pull request's head is no hash")
    return text[:SHORT] if text else None
