import json

import pytest

from chalicelib import providers
from chalicelib.errors import BadDelivery
from chalicelib.model import Delivery, EventKind, Provider, Pull

A, B, TAG, ZERO = "a" * 40, "b" * 40, "d" * 40, "0" * 40
REPOSITORY = {"slug": "crm_deploy", "id": 42, "project": {"key": "CRM"}}


def delivery(body, key="repo:refs_changed", **headers):
    sent = {"x-event-key": (key,), "x-request-id": ("5c1f0a52-0001",)}
    sent |= {name.replace("_", "-"): values for name, values in headers.items()}
    return Delivery("bitbucket.example", Provider.BITBUCKET_SERVER, sent, json.dumps(body).encode())


def change(ref="refs/heads/master", before=A, after=B, **fields):
    return {"ref": {"id": ref}, "refId": ref, "fromHash": before, "toHash": after} | fields


def push(*changes, **fields):
    return {"repository": REPOSITORY, "changes": list(changes)} | fields


def commit(sha=B, email="ada@2pisoftware.com"):
    return {"id": sha, "author": {"name": "Ada", "emailAddress": email}, "message": "m"}


def pull(source=REPOSITORY, state="OPEN", **fields):
    source = {"id": "refs/heads/feature/x", "latestCommit": B, "repository": source}
    target = {"id": "refs/heads/master", "latestCommit": A, "repository": REPOSITORY}
    return {"pullRequest": {"id": 7, "state": state, "fromRef": source, "toRef": target} | fields}


def read(body, key="repo:refs_changed", **headers):
    return providers.read(delivery(body, key, **headers))


def only(one, **fields):
    (event,) = read(push(one, **fields))
    return event


def test_a_change_is_read_from_what_nothing_can_be_built_without():
    event = only(change())
    assert (event.kind, event.ref, event.name) == (EventKind.PUSH, "refs/heads/master", "master")
    assert (event.before, event.after, event.commit) == (A, B, B)
    assert (event.repository, event.repository_id) == ("CRM/crm_deploy", "42")


def test_several_changes_are_several_events_and_none_is_given_the_others_authors():
    body = push(change(), change("refs/tags/v1", ZERO, TAG), commits=[commit()], toCommit=commit())
    events = read(body)
    assert [(event.kind, event.commit) for event in events] == [("push", B), ("tag_created", TAG)]
    assert [event.commit_author_emails for event in events] == [(), ()]
    assert [event.head_commit_author_email for event in events] == ["ada@2pisoftware.com", None]


def test_no_changes_are_no_events():
    assert read(push()) == []


def test_a_deleted_ref_has_nothing_to_build_whatever_else_is_said():
    event = only(change(type="DELETE"), toCommit=commit())
    assert (event.kind, event.after, event.commit) == (EventKind.BRANCH_DELETED, None, None)


def test_an_annotated_tag_is_built_at_the_commit_it_points_to():
    event = only(change("refs/tags/v1", ZERO, TAG), toCommit=commit())
    assert (event.after, event.commit, event.head_commit_author_email) == (TAG, B, "ada@2pisoftware.com")


def test_a_branch_is_built_at_the_commit_that_it_was_moved_to():
    event = only(change(), toCommit=commit(A))
    assert (event.commit, event.head_commit_author_email) == (B, None)


def test_the_head_is_found_among_the_commits_where_nothing_else_names_it():
    event = only(change(), commits=[commit(), commit(A, "bob@2pisoftware.com")])
    assert event.head_commit_author_email == "ada@2pisoftware.com"


@pytest.mark.parametrize("ref", ["refs/notes/commits", "refs/pull-requests/7/from"])
def test_a_ref_that_is_neither_branch_nor_tag_is_ignored(ref):
    event = only(change(ref))
    assert (event.kind, event.ref) == (EventKind.IGNORED, None)
    assert "neither a branch nor a tag" in event.reason


def test_a_ref_without_a_commit_on_either_side_is_ignored():
    assert "no commit" in only(change(before=ZERO, after=ZERO)).reason


def test_the_repository_of_a_person_keeps_its_sign():
    body = push(change(), repository={"slug": "notes", "project": {"key": "~ada"}})
    assert read(body)[0].repository == "~ada/notes"


@pytest.mark.parametrize("key", ["~", "~~ada", "../x", "a/b", "~..", ""])
def test_the_key_of_a_project_that_could_be_taken_for_a_path_is_refused(key):
    with pytest.raises(BadDelivery):
        read(push(change(), repository=REPOSITORY | {"project": {"key": key}}))


@pytest.mark.parametrize(
    "body",
    [
        *({}, push(repository=None), push(repository={}), push(repository={"slug": "x"}), push(changes=None)),
        *(push(changes={}), push(None), push(1), push({}), push(change(), actor="ada")),
        *(push(change(before=None)), push(change(after="b" * 39)), push(change(after="HEAD"))),
        *(
            push(change("a..b")),
            push(change("refs/heads/a\0b")),
            push(change("master")),
            push(change("refs/heads/x.lock")),
        ),
        *(push(change(), commits=1), push(change(), commits=[1]), push(change(), toCommit=[])),
        push(change("refs/tags/v1", ZERO, TAG), toCommit={"id": "main"}),
        push(change(), repository=REPOSITORY | {"id": "42"}),
    ],
)
def test_a_push_that_lacks_or_misspells_a_promised_field_is_refused(body):
    with pytest.raises(BadDelivery):
        read(body)


@pytest.mark.parametrize("header", ["x_event_key", "x_request_id"])
@pytest.mark.parametrize("values", [(), ("a", "a"), ("",), ("a\r\nX: y",), ("../../x",), ("<script>",), ("x" * 101,)])
def test_a_header_that_is_missing_doubled_or_strange_is_refused(header, values):
    with pytest.raises(BadDelivery):
        read(push(change()), **{header: values})


@pytest.mark.parametrize(
    "key", ["repo:forked", "repo:modified", "pr:comment:added", "mirror:repo_synchronized", "PUSH"]
)
def test_an_event_that_nothing_is_built_for_is_ignored_by_name(key):
    (event,) = read({"repository": REPOSITORY}, key)
    assert (event.kind, event.repository) == (EventKind.IGNORED, "CRM/crm_deploy")
    assert key in event.reason


def test_a_comment_on_a_pull_request_is_ignored_by_the_name_of_where_it_would_go():
    (event,) = read(pull(REPOSITORY | {"slug": "fork"}), "pr:comment:added")
    assert (event.kind, event.repository) == (EventKind.IGNORED, "CRM/crm_deploy")


def test_the_pages_test_of_the_connection_is_a_ping():
    (event,) = read({"test": True}, "diagnostics:ping")
    assert (event.kind, event.repository, event.reason) == (EventKind.PING, None, None)


@pytest.mark.parametrize(
    ("source", "fork"),
    [(REPOSITORY, False), (REPOSITORY | {"id": 77}, True), ({"slug": "crm_deploy"}, True), (None, True)],
)
def test_a_pull_request_is_from_a_fork_unless_its_code_lies_here(source, fork):
    (event,) = read(pull(source), "pr:opened")
    assert (event.kind, event.fork, event.ref, event.commit) == (EventKind.PULL_REQUEST, fork, None, None)
    assert (event.repository, event.repository_id) == ("CRM/crm_deploy", "42")


@pytest.mark.parametrize(
    ("key", "state", "head"),
    [
        *(("pr:opened", "OPEN", B), ("pr:modified", "OPEN", B), ("pr:from_ref_updated", "OPEN", B)),
        *(("pr:merged", "MERGED", None), ("pr:declined", "DECLINED", None), ("pr:deleted", "OPEN", None)),
    ],
)
def test_a_pull_request_has_a_number_two_branches_and_while_it_is_open_a_head(key, state, head):
    (event,) = read(pull(state=state), key)
    assert event.pull == Pull(7, head, "feature/x", "master")


@pytest.mark.parametrize("fields", [{"id": 0}, {"id": 10**12}, {"fromRef": None}, {"toRef": {}}])
def test_a_pull_request_that_no_forge_counts_or_describes_is_refused(fields):
    with pytest.raises(BadDelivery):
        read(pull(**fields), "pr:opened")


def test_a_pull_request_of_a_branch_that_git_does_not_allow_is_refused():
    body = pull()
    body["pullRequest"]["fromRef"]["id"] = "refs/heads/a..b"
    with pytest.raises(BadDelivery):
        read(body, "pr:opened")
