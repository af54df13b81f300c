"""What the hook's address answers to what the whole internet may send it: never a 500, nothing written in vain."""

import json
from urllib.parse import quote_plus

import pytest

from infra.local.samples import Webhook, signature
from tests.whole.world import BITBUCKET, GITHUB, HELLO

pytestmark = [pytest.mark.engine, pytest.mark.cloud, pytest.mark.usefixtures("no_runner")]

SIGNATURE = "X-Hub-Signature-256"


@pytest.fixture(scope="module")
def webhook(installation):
    """A push that was never delivered."""
    return installation.commit("feature/never-delivered")


@pytest.fixture(scope="module", autouse=True)
def around(installation):
    """A first delivery makes the intake write down its ci.yml; what these tests start is brought to an end."""
    assert (
        send(installation, signed(installation, b'{"zen": "Keep it logically awesome."}', event="ping")).status == 200
    )
    yield
    installation.runners(1)
    for pk, sk in installation.items():
        if sk == "run":
            installation.wait_for_end(pk.removeprefix("run#"))


def send(installation, webhook, path="/hooks", **headers):
    return installation.request("POST", path, webhook.body, tuple({**webhook.headers, **headers}.items()))


def signed(installation, body, event="push", kind="application/json"):
    headers = {
        "Content-Type": kind,
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        SIGNATURE: signature(installation.hook_secret, body),
    }
    return Webhook(headers, body)


def unsigned(webhook):
    return [(name, value) for name, value in webhook.headers.items() if name != SIGNATURE]


def reason(answered):
    return json.loads(answered.body)["reason"]


# --- not signed by us -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        [],
        [""],
        ["sha256=" + "0" * 64],
        ["sha256="],
        ["sha256=abc"],
        ["sha256=" + "é" * 32],
        ["sha256=" + "\uff10" * 64],
        ["sha1=" + "0" * 40],
    ],
    ids=["missing", "empty", "wrong", "without digits", "short", "not ASCII", "digits not ASCII", "sha1"],
)
def test_a_body_that_is_not_signed_is_refused_and_nothing_is_written(installation, webhook, values):
    before = installation.items()
    headers = [*unsigned(webhook), *((SIGNATURE, value.encode()) for value in values)]
    answered = installation.request("POST", "/hooks", webhook.body, tuple(headers))
    assert answered.status == 401, answered.body
    assert installation.items() == before
    assert installation.messages() == 0


@pytest.mark.parametrize("second", ["the same", "another"])
def test_a_signature_that_comes_twice_is_refused_even_when_it_is_right(installation, webhook, second):
    before = installation.items()
    good = webhook.headers[SIGNATURE]
    values = [good, good if second == "the same" else "sha256=" + "0" * 64]
    headers = [*unsigned(webhook), *((SIGNATURE, value) for value in values)]
    assert installation.request("POST", "/hooks", webhook.body, tuple(headers)).status == 401
    assert installation.items() == before


def test_a_signature_of_other_bytes_is_refused(installation, webhook):
    before = installation.items()
    assert send(installation, Webhook(webhook.headers, webhook.body + b" ")).status == 401
    assert send(installation, Webhook(webhook.headers, b"")).status == 401
    assert installation.items() == before


# --- signed, and unreadable -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b'{"ref": "refs/heads/a", "ref": "refs/heads/b"}',
        b'{"ref": "refs/heads/\\ud800"}',
        b'{"ref": NaN}',
        b'{"ref": 1}',
        b'{"ref": "refs/heads/develop"}',
        b'{"repository": {"full_name": "../../etc"}, "ref": "refs/heads/a"}',
        b"[" * 100_000,
        b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
        b'{"size": ' + b"9" * 10_000 + b"}",
    ],
    ids=[
        *("empty", "cut off", "a list", "null", "a text", "a key twice", "half a surrogate pair", "NaN"),
        *(
            "a number as ref",
            "without a repository",
            "a path as repository",
            "deep lists",
            "deep objects",
            "huge number",
        ),
    ],
)
def test_a_signed_body_that_cannot_be_read_is_a_bad_request_and_nothing_is_written(installation, body):
    before = installation.items()
    answered = send(installation, signed(installation, body))
    assert answered.status == 400, answered.body
    assert reason(answered)
    assert installation.items() == before


def test_a_signed_form_without_a_payload_is_a_bad_request(installation):
    kind = "application/x-www-form-urlencoded"
    for body in (b"", b"other=1", b"payload=", b"payload=%7B", b"payload=%FF", b"payload=1&payload=2"):
        assert send(installation, signed(installation, body, kind=kind)).status == 400, body


def test_headers_of_no_forge_are_a_bad_request(installation, webhook):
    plain = {name: value for name, value in webhook.headers.items() if name != "X-GitHub-Event"}
    assert send(installation, Webhook(plain, webhook.body)).status == 400


# --- signed, and nothing to do ----------------------------------------------------------------------


@pytest.fixture
def answered_without_a_run(installation):
    """Sends a webhook that starts nothing; returns the reason that the forge is told."""
    queued = installation.messages()

    def check(webhook):
        answered = send(installation, webhook)
        assert answered.status == 200, answered.body
        assert json.loads(answered.body)["runs"] == []
        assert installation.messages() == queued
        return reason(answered)

    return check


def test_a_push_to_an_unknown_repository_is_answered_with_that(installation, webhook, answered_without_a_run):
    body = webhook.body.replace(HELLO.encode(), b"somebody/else")
    said = answered_without_a_run(signed(installation, body))
    assert said == "repository github.com/somebody/else is in no pipeline of ci.yml"


def test_a_ping_is_answered_with_pong(installation, answered_without_a_run):
    body = json.dumps({"zen": "Design for failure.", "hook_id": 1, "hook": {"type": "Organization"}}).encode()
    assert answered_without_a_run(signed(installation, body, event="ping")) == "pong"


def test_a_branch_that_was_deleted_starts_nothing_and_says_why(installation, webhook, answered_without_a_run):
    payload = json.loads(webhook.body)
    gone = {"before": payload["after"], "after": "0" * 40, "deleted": True, "created": False, "head_commit": None}
    body = json.dumps({**payload, **gone, "commits": []}).encode()
    assert answered_without_a_run(signed(installation, body)) == "a deleted branch, and this pipeline answers to: push"


def test_a_tag_of_the_application_starts_nothing_and_says_why(installation, webhook, answered_without_a_run):
    payload = json.loads(webhook.body)
    body = json.dumps({**payload, "ref": "refs/tags/v1", "before": "0" * 40}).encode()
    assert "tag" in answered_without_a_run(signed(installation, body))


def test_a_branch_that_no_rule_names_starts_nothing_and_says_why(installation, answered_without_a_run):
    assert "master" in answered_without_a_run(installation.commit("master"))


@pytest.mark.parametrize("event", ["star", "issues", "create", "delete", "an_event_of_next_year"])
def test_an_event_that_we_do_not_know_is_no_failure(installation, webhook, answered_without_a_run, event):
    body = json.dumps({**json.loads(webhook.body), "action": event}).encode()
    assert answered_without_a_run(signed(installation, body, event=event))


# --- addresses --------------------------------------------------------------------------------------


def test_a_form_as_github_sends_it_by_default_starts_a_run(installation):
    webhook = installation.commit("feature/as-a-form")
    body = b"payload=" + quote_plus(webhook.body).encode()
    answered = send(installation, signed(installation, body, kind="application/x-www-form-urlencoded"))
    assert answered.status == 202, answered.body
    (run,) = json.loads(answered.body)["runs"]
    assert installation.run(run).job.event.name == "feature/as-a-form"


def test_an_address_may_name_the_forge(installation):
    webhook = installation.commit("feature/pinned")
    assert send(installation, webhook, f"/hooks/{GITHUB}").status == 202


def test_the_address_of_another_forge_refuses_the_body(installation, webhook):
    before = installation.items()
    assert send(installation, webhook, f"/hooks/{BITBUCKET}").status in {400, 401, 404}
    assert installation.items() == before


def test_the_address_of_no_forge_is_not_found(installation, webhook):
    before = installation.items()
    assert send(installation, webhook, "/hooks/nowhere").status == 404
    assert installation.items() == before


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_only_post_is_taken(installation, method):
    assert installation.request(method, "/hooks").status in {403, 405}


def test_health_says_that_it_is_well_without_a_signature(installation):
    answered = installation.request("GET", "/health")
    assert answered.status == 200
    assert json.loads(answered.body)["status"] == "ok"


# --- the same again ---------------------------------------------------------------------------------


def test_a_copy_under_another_delivery_id_starts_nothing_since_the_id_is_not_signed(installation):
    webhook = installation.commit("feature/another-id")
    first = send(installation, webhook)
    again = send(installation, webhook, **{"X-GitHub-Delivery": "00000000-0000-0000-0000-000000000001"})
    assert (first.status, again.status) == (202, 200)
    assert json.loads(first.body)["runs"] == json.loads(again.body)["runs"]
