import json
from urllib.parse import quote_plus

import pytest

from chalicelib import providers
from chalicelib.errors import BadDelivery
from chalicelib.model import Delivery, EventKind, Provider, Pull
from chalicelib.providers.github import MOST_COMMITS
from chalicelib.providers.reading import FILES_BYTES, MOST_FILES

A, B, ZERO = "a" * 40, "b" * 40, "0" * 40
FORM = "application/x-www-form-urlencoded"


def delivery(body, event="push", **headers):
    sent = {"x-github-event": (event,), "x-github-delivery": ("72d3162e-cc78-11e3",)}
    sent |= {name.replace("_", "-"): values for name, values in headers.items()}
    return Delivery("github.com", Provider.GITHUB, sent, body if type(body) is bytes else json.dumps(body).encode())


def push(**fields):
    repository = {"id": 42, "full_name": "2pisoftware/cmfive"}
    return {"ref": "refs/heads/develop", "before": A, "after": B, "repository": repository} | fields


def read(body, event="push", **headers):
    events = providers.read(delivery(body, event, **headers))
    assert len(events) == 1
    return events[0]


def refused(body, event="push", **headers):
    with pytest.raises(BadDelivery) as caught:
        providers.read(delivery(body, event, **headers))
    return str(caught.value)


def test_a_push_is_read_from_what_nothing_can_be_built_without():
    event = read(push())
    assert (event.kind, event.repository, event.repository_id) == (EventKind.PUSH, "2pisoftware/cmfive", "42")
    assert (event.before, event.after, event.commit) == (A, B, B)
    assert (event.forge, event.delivery_id, event.fork) == ("github.com", "72d3162e-cc78-11e3", False)


@pytest.mark.parametrize("name", ["ref", "before", "after", "repository"])
@pytest.mark.parametrize("value", [None, 0, [], {}, True, 1.5, ""])
def test_a_push_without_a_promised_field_is_refused(name, value):
    refused(push(**{name: value}))


@pytest.mark.parametrize(
    "fields",
    [
        *({"commits": 0}, {"commits": {}}, {"commits": [1]}, {"commits": [None]}, {"head_commit": "x"}),
        *({"forced": "no"}, {"deleted": 1}, {"pusher": "ada"}, {"sender": []}, {"pusher": {"email": 1}}),
        *({"repository": {"full_name": "a/b", "id": "42"}}, {"repository": {"full_name": "a/b", "id": 1e99}}),
        *({"repository": {"full_name": "../b"}}, {"ref": "refs/heads/a\0b"}, {"ref": "refs/heads/a..b"}),
        *({"ref": "main"}, {"after": "HEAD"}, {"after": "A" * 40}, {"head_commit": {"author": 3}}),
    ],
)
def test_a_field_of_another_type_or_shape_is_refused(fields):
    refused(push(**fields))


def test_the_first_payloads_spelled_the_owner_by_name_and_had_no_full_name():
    event = read(push(repository={"name": "cmfive", "owner": {"name": "2pisoftware", "email": None}}))
    assert (event.repository, event.repository_id) == ("2pisoftware/cmfive", None)


def test_the_sender_is_the_pusher_where_no_pusher_is_named():
    assert read(push(sender={"login": "ada"})).pusher.login == "ada"
    assert read(push(sender={"login": "ada"}, pusher={"name": "bob"})).pusher.login == "bob"
    assert read(push(sender=None, pusher=None)).pusher.login is None


def test_an_annotated_tag_without_a_head_commit_is_left_to_the_checkout():
    event = read(push(ref="refs/tags/v1", before=ZERO, head_commit=None))
    assert (event.kind, event.after, event.commit) == (EventKind.TAG_CREATED, B, B)


def test_a_branch_is_built_at_the_commit_that_it_was_moved_to():
    assert read(push(head_commit={"id": A})).commit == B


def test_a_deleted_ref_has_nothing_to_build_whatever_else_is_said():
    event = read(push(ref="refs/tags/v1", deleted=True, head_commit={"id": B}))
    assert (event.kind, event.after, event.commit) == (EventKind.TAG_DELETED, None, None)


def test_a_ref_without_a_commit_on_either_side_is_ignored():
    event = read(push(before=ZERO, after=ZERO))
    assert (event.kind, event.ref) == (EventKind.IGNORED, None)
    assert "no commit" in event.reason


@pytest.mark.parametrize("ref", ["refs/notes/commits", "refs/pull/1/head", "refs/x"])
def test_a_ref_that_is_neither_branch_nor_tag_is_ignored(ref):
    event = read(push(ref=ref))
    assert (event.kind, event.ref, event.commit) == (EventKind.IGNORED, None, None)
    assert ref in event.reason


def test_a_list_as_long_as_github_makes_it_may_lack_commits():
    commit = {"author": {"email": "ada@2pisoftware.com"}}
    assert read(push(commits=[commit] * MOST_COMMITS)).truncated
    assert not read(push(commits=[commit] * (MOST_COMMITS - 1))).truncated


def test_a_long_message_is_shortened():
    assert read(push(head_commit={"id": B, "message": "é" * 5000})).head_commit_message == "é" * 500


def test_a_sha_256_repository_is_read_too():
    assert read(push(after="c" * 64)).commit == "c" * 64


@pytest.mark.parametrize("event", ["star", "PUSH", "check_run", "installation"])
def test_an_event_that_nothing_is_built_for_is_ignored_by_name(event):
    ignored = read({}, event)
    assert (ignored.kind, ignored.repository) == (EventKind.IGNORED, None)
    assert event in ignored.reason


@pytest.mark.parametrize("event", ["create", "delete"])
def test_what_a_push_says_too_is_ignored(event):
    ignored = read({"ref": "x", "ref_type": "branch"}, event)
    assert (ignored.kind, ignored.reason) == (EventKind.IGNORED, "GitHub's push event already says it")


def test_a_pull_request_is_from_a_fork_unless_its_code_lies_here():
    def pull(repo):
        return {"repository": {"id": 42, "full_name": "o/r"}, "pull_request": {"head": {"repo": repo}}}

    assert not read(pull({"id": 42}), "pull_request").fork
    assert read(pull({"id": 43}), "pull_request").fork
    assert read(pull(None), "pull_request").fork


@pytest.mark.parametrize(
    ("said", "pull"),
    [
        ({"number": 7, "state": "open", "head": {"sha": "7" * 40}}, Pull(7, "7" * 40)),
        ({"number": 7, "state": "closed", "head": {"sha": "7" * 40}}, Pull(7, None)),
        ({"number": 7}, Pull(7, None)),
        ({"number": 7, "head": {"ref": "feature/x"}, "base": {"ref": "main"}}, Pull(7, None, "feature/x", "main")),
        ({"head": {}}, None),
    ],
)
def test_a_pull_request_has_a_number_and_while_it_is_open_a_head(said, pull):
    assert read({"repository": {"full_name": "o/r"}, "pull_request": said}, "pull_request").pull == pull


@pytest.mark.parametrize(
    "said", [{"number": -1}, {"number": 10**12}, {"number": 7, "head": {"sha": "main"}}, {"head": {"ref": "a..b"}}]
)
def test_a_pull_request_that_no_forge_counts_is_refused(said):
    with pytest.raises(BadDelivery):
        read({"repository": {"full_name": "o/r"}, "pull_request": said}, "pull_request")


@pytest.mark.parametrize("header", ["x_github_event", "x_github_delivery"])
@pytest.mark.parametrize(
    "values", [(), ("push", "push"), ("",), ("push\r\nX: y",), ("../../x",), ("<script>",), ("x" * 101,)]
)
def test_a_header_that_is_missing_doubled_or_strange_is_refused(header, values):
    refused(push(), **{header: values})


def test_a_form_holds_the_json_in_its_only_field():
    body = b"payload=" + quote_plus(json.dumps(push())).encode()
    for content_type in (FORM, FORM.upper() + "; charset=utf-8"):
        assert read(body, content_type=(content_type,)) == read(push())


def test_a_form_that_is_not_called_one_is_no_json():
    refused(b"payload=%7B%7D", "star")


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"payload", b"payload=", b"payload=%7B%7D&payload=%7B%7D", b"payload=%7B%7D&x=1", b"x=1&payload=%7B%7D"),
        *(b"x=%7B%7D", b"payload=%7", b"payload=%zz", b"payload=%7B%7D%", b"payload=%00", b"payload=%ff", b"{}"),
        *(b"payload=+", b"payload==%7B%7D", b"payload=%7B%7D&", b"=%7B%7D", b"payload={%22a%22:%22%zz%22}"),
    ],
)
def test_a_form_that_is_not_exactly_one_payload_is_refused(body):
    refused(body, "star", content_type=(FORM,))


# --- which files ------------------------------------------------------------------------------------


def commit(**files):
    return {"id": B, "author": {}} | files


def test_the_files_of_a_push_are_all_that_its_commits_name_each_once():
    commits = [commit(added=["a", "b"], removed=[]), commit(modified=["b"], removed=["c"])]
    assert read(push(commits=commits)).files == ("a", "b", "c")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"commits": []},
        {"commits": [commit(added=["a"]), commit()]},
        {"commits": [commit(added=["a"])], "before": ZERO},
        {"commits": [commit(added=["a"])], "forced": True},
        {"commits": [commit(added=["a"])] * MOST_COMMITS},
        {"commits": [commit(added=[f"file-{number}" for number in range(MOST_FILES + 1)])]},
        {"commits": [commit(added=["x" * FILES_BYTES])]},
    ],
    ids=["none", "empty", "merge", "new", "forced", "truncated", "many", "long"],
)
def test_where_a_payload_does_not_name_every_file_nobody_pretends_that_it_does(fields):
    assert read(push(**fields)).files is None


def test_a_list_of_files_that_is_none_is_refused():
    assert "commits[0].added[1] is not text" in refused(push(commits=[commit(added=["a", 1])]))


@pytest.mark.parametrize("action", ["labeled", "assigned", "review_requested", "locked"])
def test_a_pull_request_whose_commits_are_the_same_starts_nothing_again(action):
    pull = {"number": 7, "head": {"sha": B, "ref": "x", "repo": {"id": 42}}, "base": {"ref": "main"}}
    body = {"action": action, "pull_request": pull, "repository": {"id": 42, "full_name": "2pisoftware/cmfive"}}
    event = read(body, "pull_request")
    assert (event.kind, event.reason) == (EventKind.IGNORED, f"the pull request's commits are the same ({action})")
    assert read({**body, "action": "synchronize"}, "pull_request").kind is EventKind.PULL_REQUEST
