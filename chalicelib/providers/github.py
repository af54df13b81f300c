"""A GitHub delivery in, Events out.

Source of every fact without an address of its own: https://docs.github.com/en/webhooks/webhook-events-and-payloads
"""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import unquote_to_bytes

from chalicelib.errors import BadDelivery
from chalicelib.model import Delivery, Event, EventKind, Provider, Pusher
from chalicelib.providers.reading import (
    DELIVERY_ID,
    EVENT_NAME,
    LONGEST_MESSAGE,
    TAGS,
    Fields,
    checked_ref,
    checked_repository,
    checked_repository_id,
    each_email_once,
    each_file_once,
    email_or_none,
    kind_of,
    name_of,
    need_header,
    numbered,
    parse,
    shortened,
)

PROVIDER = Provider.GITHUB
# https://docs.github.com/en/webhooks/webhook-events-and-payloads#delivery-headers
MARKS = frozenset({"x-github-event"})
FOREIGN: frozenset[str] = frozenset()
# X-Hub-Signature, without the 256, is an older SHA-1: never looked at.
# https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
SIGNATURE_HEADER = "X-Hub-Signature-256"

# https://docs.github.com/en/webhooks/webhook-events-and-payloads#push ("The array includes a maximum of 2048 commits")
MOST_COMMITS = 2048

FORM = "application/x-www-form-urlencoded"
BAD_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def read(delivery: Delivery) -> list[Event]:
    """What happened: one event, which may be `ignored` with its reason.

    Raises:
        BadDelivery: a field that GitHub promises is missing or unreadable.
    """
    name = need_header(delivery, "X-GitHub-Event", EVENT_NAME)
    delivery_id = need_header(delivery, "X-GitHub-Delivery", DELIVERY_ID)
    payload = parse(_json_of(delivery), f"github {name}")
    base = _base(delivery, delivery_id, payload)
    match name:
        case "push":
            return [_push(payload, _of_a_repository(base))]
        case "pull_request":
            return [_pull_request(payload, _of_a_repository(base))]
        case "ping":
            return [replace(base, kind=EventKind.PING, reason=None)]
        case "create" | "delete":
            # https://docs.github.com/en/webhooks/webhook-events-and-payloads#create: a push is sent for it as well.
            return [replace(base, reason="GitHub's push event already says it")]
        case _:
            return [replace(base, reason=f"nothing is built for GitHub's event {name}")]


def _json_of(delivery: Delivery) -> bytes:
    """The JSON in the body: all of it, or what a form holds as its only field `payload`.

    Source: https://docs.github.com/en/webhooks/using-webhooks/creating-webhooks ("Content type"); the form is the
    default of GitHub's page. The signature is over the form, not over the JSON in it.
    """
    content_type = (delivery.header("Content-Type") or "").split(";")[0].strip().lower()
    if content_type != FORM:
        return delivery.body
    name, equals, value = delivery.body.partition(b"=")
    if name != b"payload" or not equals or b"&" in value or b"=" in value:
        raise BadDelivery("github: the form is not exactly one field named payload")
    if BAD_PERCENT.search(value):
        raise BadDelivery("github: the form holds a % that is no escape")
    return unquote_to_bytes(value.replace(b"+", b" "))


def _base(delivery: Delivery, delivery_id: str, payload: Fields) -> Event:
    """What every event says: an ignored one, until somebody knows better."""
    repository = payload.part("repository")
    number = repository.number("id")
    return Event(
        forge=delivery.forge,
        provider=PROVIDER,
        delivery_id=delivery_id,
        kind=EventKind.IGNORED,
        # A ping of an organisation's hook, or an app's installation, names no repository.
        repository=_repository(repository),
        repository_id=None if number is None else checked_repository_id(str(number)),
        pusher=_pusher(payload),
    )


def _repository(repository: Fields) -> str | None:
    """`owner/name`; the first push payloads had no full_name and spelled the owner's login `name`."""
    full_name = repository.text("full_name")
    if full_name is None and (name := repository.text("name")):
        owner = repository.part("owner")
        full_name = f"{owner.text('login') or owner.text('name') or ''}/{name}"
    return None if full_name is None else checked_repository(full_name)


def _of_a_repository(base: Event) -> Event:
    if base.repository is None:
        raise BadDelivery("github: repository.full_name is missing")
    return base


def _pusher(payload: Fields) -> Pusher:
    """A push's `pusher.name` is a login, and its email may be null; other events have only `sender`.

    A push may come without `sender`: https://github.com/librariesio/libraries.io/pull/3089
    """
    pusher = payload.part("pusher")
    login = pusher.text("name") or payload.part("sender").text("login")
    return Pusher(login=shortened(login), email=email_or_none(pusher.text("email")))


def _push(payload: Fields, base: Event) -> Event:
    """A branch or tag that was moved, made or deleted: the zero sha on either side says which.

    Source: https://docs.github.com/en/webhooks/webhook-events-and-payloads#push
    """
    ref = checked_ref(payload.need_text("ref"))
    before = payload.need_object_id("before")
    after = payload.need_object_id("after")
    name = name_of(ref)
    if name is None:
        return replace(base, reason=f"{ref} is neither a branch nor a tag")
    if payload.flag("deleted"):
        after = None
    if before is None and after is None:
        return replace(base, reason=f"{ref} has no commit, before or after")
    commits = payload.children("commits")
    head = payload.part("head_commit")
    return replace(
        base,
        kind=kind_of(ref, before, after),
        ref=ref,
        name=name,
        before=before,
        after=after,
        commit=_commit(ref, after, payload),
        forced=payload.flag("forced"),
        truncated=len(commits) >= MOST_COMMITS,
        commit_author_emails=each_email_once(_author_email(commit) for commit in commits),
        head_commit_author_email=_author_email(head),
        head_commit_message=shortened(head.text("message"), LONGEST_MESSAGE),
        files=_files(before, commits, payload),
    )


def _files(before: str | None, commits: list[Fields], payload: Fields) -> tuple[str, ...] | None:
    """Every file that the commits touch; None where the payload does not say it of each.

    A new branch and a forced push differ from what was before by more than their commits. A commit that names no file
    may be a merge, of which payloads do not tell all.
    """
    if before is None or payload.flag("forced") or not 0 < len(commits) < MOST_COMMITS:
        return None
    touched = [[file for kind in ("added", "removed", "modified") for file in commit.texts(kind)] for commit in commits]
    return each_file_once(file for files in touched for file in files) if all(touched) else None


def _commit(ref: str, after: str | None, payload: Fields) -> str | None:
    """What to check out. For an annotated tag `after` is the tag object, and head_commit what it points to.

    Source: https://github.blog/changelog/2021-10-01-the-push-webhook-payload-provides-a-consistent-head_commit-on-tag-creation/
    """
    head = payload.child("head_commit")
    if after is None or head is None or not ref.startswith(TAGS):
        return after
    return head.need_object_id("id") or after


def _author_email(commit: Fields) -> str | None:
    return email_or_none(commit.part("author").text("email"))


# https://docs.github.com/en/webhooks/webhook-events-and-payloads#pull_request
_SAME_COMMITS = frozenset(
    {
        *("assigned", "unassigned", "labeled", "unlabeled", "milestoned", "demilestoned", "locked", "unlocked"),
        *("review_requested", "review_request_removed", "auto_merge_enabled", "auto_merge_disabled"),
        *("converted_to_draft", "enqueued", "dequeued"),
    }
)


def _pull_request(payload: Fields, base: Event) -> Event:
    """A pull request, as `pull_request` reads it; ignored where its commits are what they were."""
    read = pull_request(payload.need_child("pull_request"), base)
    action = payload.text("action")
    if action in _SAME_COMMITS:
        return replace(base, reason=f"the pull request's commits are the same ({action})")
    return read


def pull_request(pull: Fields, base: Event) -> Event:
    """A pull request as payloads and the REST API describe it.

    It comes from a fork where the head's repository is another one, or gone (null).

    Source: https://docs.github.com/en/webhooks/webhook-events-and-payloads#pull_request and
    https://docs.github.com/en/rest/pulls/pulls#list-pull-requests
    """
    head, number = pull.part("head"), pull.number("number")
    is_open = head.text("sha") is not None and pull.text("state") != "closed"
    sha = head.need_object_id("sha") if is_open else None
    return replace(
        base,
        kind=EventKind.PULL_REQUEST,
        pull=numbered(number, sha, head.text("ref"), pull.part("base").text("ref")),
        fork=str(head.part("repo").number("id")) != base.repository_id,
    )
