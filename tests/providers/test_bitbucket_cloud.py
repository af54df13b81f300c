import json

import pytest

from chalicelib import providers
from chalicelib.errors import BadDelivery
from chalicelib.model import Delivery, EventKind, Provider, Pull

A, B, ZERO = "a" * 40, "b" * 40, "0" * 40
REPOSITORY = {"full_name": "2pisoftware/crm_deploy", "uuid": "{8f1d2e3c-0001}", "scm": "git"}


def delivery(body, key="repo:push", **headers):
    sent = {"x-event-key": (key,), "x-hook-uuid": ("{1}",), "x-request-uuid": ("6f0d1d1e-0001",)}
    sent |= {name.replace("_", "-"): values for name, values in headers.items()}
    return Delivery("bitbucket.org", Provider.BITBUCKET_CLOUD, sent, json.dumps(body).encode())


def side(sha=B, name="master", kind="branch", raw=None):
    author = {"raw": raw} if raw is not None else None
    return {"type": kind, "name": name, "target": {"hash": sha, "author": author, "message": "m"}}


def push(*changes, **fields):
    return {"repository": REPOSITORY, "push": {"changes": list(changes)}} | fields


def read(body, key="repo:push", **headers):
    return providers.read(delivery(body, key, **headers))


def only(change):
    events = read(push(change))
    assert len(events) == 1
    return events[0]


def test_a_change_is_read_from_what_nothing_can_be_built_without():
    event = only({"old": side(A), "new": side(B)})
    assert (event.kind, event.ref, event.name) == (EventKind.PUSH, "refs/heads/master", "master")
    assert (event.before, event.after, event.commit) == (A, B, B)
    assert (event.repository, event.repository_id) == ("2pisoftware/crm_deploy", "{8f1d2e3c-0001}")


def test_several_changes_are_several_events_in_their_order():
    events = read(push({"new": side()}, {"new": side(kind="tag", name="v1")}, {"old": side(name="x")}))
    assert [event.kind for event in events] == ["branch_created", "tag_created", "branch_deleted"]


def test_a_change_is_named_by_what_it_left_behind():
    assert only({"old": side(A, "before"), "new": side(B, "after")}).name == "after"


def test_no_changes_are_no_events():
    assert read(push()) == []


@pytest.mark.parametrize(
    ("kind", "ref"),
    [("branch", "heads"), ("named_branch", "heads"), ("tag", "tags"), ("annotated_tag", "tags")],
)
def test_a_side_says_by_its_type_what_it_is(kind, ref):
    assert only({"new": side(kind=kind, name="x/y")}).ref == f"refs/{ref}/x/y"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"old": None, "new": None}, "without old and new"),
        ({"new": side(kind="bookmark")}, "neither a branch nor a tag"),
        ({"new": side(ZERO)}, "no commit"),
        ({"new": side(), "closed": True}, "no commit"),
    ],
)
def test_a_change_with_nothing_to_build_is_ignored_with_its_reason(change, words):
    event = only(change)
    assert (event.kind, event.ref) == (EventKind.IGNORED, None)
    assert words in event.reason


def test_a_closed_ref_is_gone_whatever_else_is_said():
    event = only({"old": side(A, kind="tag"), "new": side(B, kind="tag"), "closed": True})
    assert (event.kind, event.after, event.commit) == (EventKind.TAG_DELETED, None, None)


def test_a_mercurial_repository_is_ignored():
    events = read(push({"new": {"type": "named_branch", "name": "a b"}}, repository=REPOSITORY | {"scm": "hg"}))
    assert [event.kind for event in events] == [EventKind.IGNORED]
    assert "Mercurial" in events[0].reason


@pytest.mark.parametrize(
    "body",
    [
        *({}, push(repository=None), push(push=None), push(push={}), push(push={"changes": None}), push(push=[])),
        *(push(push={"changes": {}}), push(push={"changes": [None]}), push(push={"changes": [1]}), push(actor="ada")),
        *(
            push({"new": []}),
            push({"new": {}}),
            push({"new": side() | {"target": None}}),
            push({"new": side("b" * 12)}),
        ),
        *(push({"new": side(name="a..b")}), push({"new": side(name="a\0b")}), push({"new": side(name="")})),
        *(push({"new": side(name=3)}), push({"new": side(), "forced": 1}), push({"new": side(), "commits": 1})),
        *(push(repository={"full_name": "a/b", "uuid": "x y"}), push(repository={"full_name": "a/b.git"})),
    ],
)
def test_a_push_that_lacks_or_misspells_a_promised_field_is_refused(body):
    with pytest.raises(BadDelivery):
        read(body)


@pytest.mark.parametrize(
    ("raw", "email"),
    [
        ("Ada Rees <ada@2pisoftware.com>", "ada@2pisoftware.com"),
        ("Ada <Lovelace> Rees <ada@2pisoftware.com> ", "ada@2pisoftware.com"),
        ("<ada@2pisoftware.com>", "ada@2pisoftware.com"),
        ("ada@2pisoftware.com", "ada@2pisoftware.com"),
        ("Ada Rees", None),
        ("Ada <>", None),
        ("Ada <ada@2pisoftware.com", None),
        ("", None),
        (None, None),
    ],
)
def test_an_authors_address_stands_in_angle_brackets_or_alone(raw, email):
    assert only({"new": side(raw=raw)}).head_commit_author_email == email


@pytest.mark.parametrize(
    ("actor", "login", "name"),
    [
        (None, None, None),
        ({"display_name": "Ada Rees", "nickname": "ada"}, "ada", "Ada Rees"),
        ({"display_name": "Ada Rees", "nickname": "ada", "username": "arees"}, "arees", "Ada Rees"),
        ({"type": "app_user", "display_name": "Renovate"}, "Renovate", "Renovate"),
        ({"type": "team", "username": "2pisoftware"}, "2pisoftware", None),
    ],
)
def test_a_pusher_is_named_by_whatever_the_account_has_and_never_has_an_email(actor, login, name):
    pusher = read(push({"new": side()}, actor=actor))[0].pusher
    assert (pusher.login, pusher.name, pusher.email) == (login, name, None)


@pytest.mark.parametrize("header", ["x_event_key", "x_request_uuid"])
@pytest.mark.parametrize("values", [(), ("a", "a"), ("",), ("a\r\nX: y",), ("../../x",), ("<script>",), ("x" * 101,)])
def test_a_header_that_is_missing_doubled_or_strange_is_refused(header, values):
    with pytest.raises(BadDelivery):
        read(push({"new": side()}), **{header: values})


@pytest.mark.parametrize("key", ["repo:fork", "repo:updated", "pullrequest:approved", "issue:created", "PUSH"])
def test_an_event_that_nothing_is_built_for_is_ignored_by_name(key):
    (event,) = read({"repository": REPOSITORY}, key)
    assert (event.kind, event.repository) == (EventKind.IGNORED, "2pisoftware/crm_deploy")
    assert key in event.reason


@pytest.mark.parametrize(
    ("source", "fork"),
    [
        (REPOSITORY, False),
        ({"full_name": "2pisoftware/crm_deploy"}, False),
        (REPOSITORY | {"uuid": "{other}"}, True),
        ({"full_name": "eve/crm_deploy"}, True),
        (None, True),
    ],
)
def test_a_pull_request_is_from_a_fork_unless_its_code_lies_here(source, fork):
    body = {"repository": REPOSITORY, "pullrequest": {"source": {"repository": source}}}
    (event,) = read(body, "pullrequest:created")
    assert (event.kind, event.fork, event.ref, event.commit) == (EventKind.PULL_REQUEST, fork, None, None)


@pytest.mark.parametrize(
    ("said", "pull"),
    [
        ({"id": 7, "state": "OPEN", "source": {"commit": {"hash": "761f99068fae"}}}, Pull(7, "761f99068fae")),
        ({"id": 7, "source": {"commit": {"hash": "7" * 40}}}, Pull(7, "7" * 12)),
        ({"id": 7, "state": "MERGED", "source": {"commit": {"hash": "761f99068fae"}}}, Pull(7, None)),
        ({"source": {}}, None),
        (
            {"id": 7, "source": {"branch": {"name": "feature/x"}}, "destination": {"branch": {"name": "main"}}},
            Pull(7, None, "feature/x", "main"),
        ),
    ],
)
def test_a_pull_request_has_a_number_and_while_it_is_open_a_head(said, pull):
    (event,) = read({"repository": REPOSITORY, "pullrequest": said}, "pullrequest:updated")
    assert event.pull == pull


@pytest.mark.parametrize(
    "said",
    [
        {"id": 0},
        {"id": 10**12},
        {"id": 7, "source": {"commit": {"hash": "main"}}},
        {"source": {"branch": {"name": "a..b"}}},
    ],
)
def test_a_pull_request_that_no_forge_counts_is_refused(said):
    with pytest.raises(BadDelivery):
        read({"repository": REPOSITORY, "pullrequest": said}, "pullrequest:updated")
