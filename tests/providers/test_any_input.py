"""Whatever a signed body holds, reading it ends in Events or in BadDelivery, never in another error."""

import contextlib
import json
import re
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib import providers
from chalicelib.errors import BadDelivery
from chalicelib.model import Delivery, EventKind, Provider

RECORDED = [
    (Provider(index.parent.name), record["headers"], (index.parent / record["body"]).read_bytes())
    for index in sorted((Path(__file__).parent / "recorded").glob("*/case.json"))
    for record in json.loads(index.read_text("utf-8"))
]
JSON_BODIES = [case for case in RECORDED if case[2].startswith(b"{")]

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["a" * 40, "0" * 40, "refs/heads/x", "refs/tags/x", "o/r", "branch", "tag", "\ud800", "a\0b"])
)
NAMES = st.text() | st.sampled_from(
    [
        *("ref", "before", "after", "repository", "full_name", "id", "uuid", "owner", "name", "login", "pusher"),
        *("sender", "email", "commits", "head_commit", "author", "raw", "message", "forced", "deleted", "truncated"),
        *("push", "changes", "old", "new", "target", "hash", "type", "closed", "actor", "scm", "pull_request", "head"),
        *("repo", "pullrequest", "source", "nickname", "username", "display_name", "project", "key", "slug"),
        *("refId", "fromHash", "toHash", "toCommit", "pullRequest", "fromRef", "toRef", "latestCommit", "emailAddress"),
    ]
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner), max_leaves=20)

HEADERS = st.sampled_from(
    [
        (Provider.GITHUB, {"X-GitHub-Event": event, "X-GitHub-Delivery": "1", "Content-Type": content_type})
        for event in ("push", "pull_request", "ping", "create", "star")
        for content_type in ("application/json", "application/x-www-form-urlencoded")
    ]
    + [
        (Provider.BITBUCKET_CLOUD, {"X-Event-Key": key, "X-Hook-UUID": "1", "X-Request-UUID": "1"})
        for key in ("repo:push", "pullrequest:created", "repo:fork")
    ]
    + [
        (Provider.BITBUCKET_SERVER, {"X-Event-Key": key, "X-Request-Id": "1"})
        for key in ("repo:refs_changed", "pr:opened", "pr:merged", "repo:forked", "diagnostics:ping")
    ]
)

OBJECT_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def read(provider, headers, body):
    """The events, or none where the delivery is refused; any other error is the test's failure."""
    with contextlib.suppress(BadDelivery):
        sent = {name.lower(): (value,) for name, value in headers.items()}
        events = providers.read(Delivery("forge.example", provider, sent, body))
        for event in events:
            check(event)
        return events
    return []


def check(event):
    """What everything behind the reader leans on."""
    assert (event.ref is None) == (event.name is None)
    assert event.ref is None or event.ref.endswith(event.name)
    assert event.ref is None or event.ref.startswith(("refs/heads/", "refs/tags/"))
    for sha in (event.before, event.after, event.commit):
        assert sha is None or OBJECT_ID.fullmatch(sha)
    assert (event.reason is not None) == (event.kind is EventKind.IGNORED)
    assert event.commit is None or event.after is not None
    repr(event).encode("utf-8")


@given(HEADERS, st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(sent, body):
    read(*sent, body)


@given(HEADERS, VALUES)
def test_any_json_is_read_or_refused(sent, value):
    read(*sent, json.dumps(value).encode())


@given(HEADERS, st.text())
def test_any_form_is_read_or_refused(sent, text):
    read(*sent, b"payload=" + text.encode("utf-8", "surrogatepass"))


@given(st.text(), st.text())
def test_any_header_is_read_or_refused(event, delivery_id):
    read(Provider.GITHUB, {"X-GitHub-Event": event, "X-GitHub-Delivery": delivery_id}, b"{}")
    read(Provider.BITBUCKET_CLOUD, {"X-Event-Key": event, "X-Request-UUID": delivery_id}, b"{}")
    read(Provider.BITBUCKET_SERVER, {"X-Event-Key": event, "X-Request-Id": delivery_id}, b"{}")


@st.composite
def spoiled(draw):
    """A recorded delivery in which one value, anywhere, is another."""
    provider, headers, body = draw(st.sampled_from(JSON_BODIES))
    payload = json.loads(body)
    place = payload
    while True:
        key = draw(st.sampled_from(list(place) if isinstance(place, dict) else range(len(place))))
        deeper = place[key]
        if not isinstance(deeper, dict | list) or not deeper or draw(st.integers(0, 3)) == 0:
            break
        place = deeper
    place[key] = draw(VALUES)
    return provider, headers, json.dumps(payload).encode()


@settings(max_examples=300)
@given(spoiled())
def test_a_recorded_delivery_with_one_value_changed_is_read_or_refused(case):
    read(*case)


def test_every_recorded_delivery_is_read():
    for provider, headers, body in RECORDED:
        assert read(provider, headers, body) or b'"changes": []' in body
