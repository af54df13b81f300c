"""What strangers and forges may send to the Lambda, through the app itself: it is refused or ignored, never a 500."""

import gzip
import json
from urllib.parse import quote

import pytest

from infra.local.samples import Webhook, signature
from tests.gateway import MASTER, app, call, forget_the_edge, gateway_event, items, lambda_of_an_installation, send
from tests.hooks import SECRET, push

COMMIT = "2" * 40
JSON, FORM = "application/json", "application/x-www-form-urlencoded"


@pytest.fixture(autouse=True)
def edge(monkeypatch):
    with lambda_of_an_installation(monkeypatch) as made:
        yield made


@pytest.fixture(scope="module", autouse=True)
def _an_edge_of_this_module():
    forget_the_edge()
    yield
    forget_the_edge()


def payload(**changes):
    """The body of a push to cmfive's master that is built, changed."""
    return {**json.loads(push(**MASTER).body), **changes}


def signed(body, **headers):
    """A body that GitHub signed, whatever it holds."""
    body = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    sent = {"X-GitHub-Event": "push", "X-GitHub-Delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958", "Content-Type": JSON}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    return Webhook({**sent, "X-Hub-Signature-256": signature(SECRET, body)}, body)


def other(body, **headers):
    """The same of Bitbucket Cloud."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"X-Event-Key": "repo:push", "X-Hook-UUID": "1", "X-Request-UUID": "1", "Content-Type": JSON, **headers}
    return Webhook({**sent, "X-Hub-Signature": signature(SECRET, text)}, text)


def runs_of(edge, webhook):
    status, body = send(webhook)
    assert status in {200, 202}, body
    return [edge.store.run(run) for run in body["runs"]]


def without_a_trace(edge, status, **request):
    """The request is answered so, and nothing is written."""
    told, body = send(**request)
    assert (told, items(edge)) == (status, []), body
    return body


# --- signatures -------------------------------------------------------------------------------------


def test_the_sha1_that_github_sends_beside_its_signature_opens_nothing(edge):
    sent = {**push(**MASTER).headers, "X-Hub-Signature": "sha1=01dc10d0c83e72ed246219cdd91669667fe2ca59"}
    del sent["X-Hub-Signature-256"]
    without_a_trace(edge, 401, webhook=Webhook(sent, push(**MASTER).body))


def test_a_body_that_is_not_signed_is_not_even_parsed(edge):
    nonsense = Webhook({**push(**MASTER).headers, "X-Hub-Signature-256": "sha256=" + "0" * 64}, b"[" * 100_000)
    without_a_trace(edge, 401, webhook=nonsense)


@pytest.mark.parametrize(
    "tampered",
    [
        lambda body: body + b"\n",
        lambda body: b" " + body,
        lambda body: body.replace(b"master", b"mastes", 1),
        lambda body: json.dumps(json.loads(body), sort_keys=True, indent=1).encode(),
    ],
    ids=["a line end", "a blank", "a letter", "keys in another order"],
)
def test_a_body_that_was_changed_on_its_way_is_refused(edge, tampered):
    webhook = push(**MASTER)
    without_a_trace(edge, 401, webhook=Webhook(webhook.headers, tampered(webhook.body)))


def test_one_forges_delivery_is_no_delivery_of_another(edge):
    without_a_trace(edge, 404, webhook=push(**MASTER), path="/hooks/bitbucket.org")
    without_a_trace(edge, 404, webhook=other({}), path="/hooks/github.com")


def test_githubs_signature_under_bitbuckets_headers_signs_nothing(edge):
    webhook = push(**MASTER)
    sent = {**other(b"{}").headers, "X-Hub-Signature-256": webhook.headers["X-Hub-Signature-256"]}
    without_a_trace(edge, 401, webhook=Webhook(sent, webhook.body))


def test_a_refusal_tells_no_digest_no_secret_and_nothing_of_the_inside(edge):
    webhook = push(**MASTER)
    body = without_a_trace(edge, 401, webhook=Webhook(webhook.headers, webhook.body + b" "))
    assert set(body) == {"reason"}
    for hidden in (signature(SECRET, webhook.body + b" "), "hook-2026", SECRET, "Traceback", ".py"):
        assert hidden not in json.dumps(body)
    assert app().app.debug is False


# --- how a body may come ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("payload=" + quote(json.dumps(payload())), 202),
        ("payload=" + quote(json.dumps(payload())).replace("%20", "+"), 202),
        *(("payload=%7B%7D&payload=%7B%7D", 400), ("payload=", 400), ("payload", 400), ("", 400)),
        *(("payload=%7B%7D&x=1", 400), ("x=1&payload=%7B%7D", 400), ("payload=%00", 400), ("payload=%zz", 400)),
        *(("payload=%", 400), ("payload=%ff", 400), ("payload=%ed%a0%80", 400)),
    ],
)
def test_a_form_is_one_payload_or_refused(body, status):
    assert send(signed(body, Content_Type=FORM))[0] == status


def test_the_type_of_a_body_may_name_its_letters():
    assert send(signed(payload(), Content_Type="application/json; charset=utf-8"))[0] == 202


def test_a_zipped_body_is_never_unzipped(edge):
    import base64

    webhook = signed(gzip.compress(b"0" * 10_000_000), Content_Encoding="gzip")
    event = gateway_event(
        Webhook(webhook.headers, b""), body=base64.b64encode(webhook.body).decode(), isBase64Encoded=True
    )
    assert call(event)[0] == 400
    assert items(edge) == []


@pytest.mark.parametrize(
    "body",
    [
        *('{"ref": "a", "ref": "b"}', '{"x": NaN}', '{"x": ' + "9" * 5000 + "}", "[" * 100_000, "[]", "1", "null"),
        *('\ufeff{"ref": "refs/heads/master"}', '{"ref": "refs/heads/\\u0000"}', '{"ref": "\\ud800"}', "", '"push"'),
    ],
    ids=lambda body: repr(body[:20]),
)
def test_a_body_that_is_no_clean_json_is_a_400(edge, body):
    without_a_trace(edge, 400, webhook=signed(body))


@pytest.mark.parametrize(
    "changes",
    [
        *({"repository": None}, {"ref": ["refs/heads/master"]}, {"commits": 0}, {"ref": None}, {"after": None}),
        *({"repository": {"full_name": 5}}, {"pusher": "ada"}, {"head_commit": []}, {"deleted": "no"}, {"before": 1}),
    ],
)
def test_a_field_that_is_missing_or_of_another_type_is_a_400(edge, changes):
    without_a_trace(edge, 400, webhook=signed(payload(**changes)))


@pytest.mark.parametrize(
    "changes",
    [{"deleted": True, "after": "0" * 40, "head_commit": None, "commits": []}, {"before": "0" * 40, "after": "0" * 40}],
)
def test_a_deleted_branch_is_taken_and_starts_nothing(edge, changes):
    assert runs_of(edge, signed(payload(**changes))) == []


@pytest.mark.parametrize("changes", [[], [{"old": None, "new": None}], [{"old": None, "new": None, "closed": True}]])
def test_bitbuckets_push_of_nothing_is_a_200(edge, changes):
    webhook = other({"repository": {"full_name": "2pisoftware/crm_deploy"}, "push": {"changes": changes}})
    assert runs_of(edge, webhook) == []


@pytest.mark.parametrize(
    ("event", "status"),
    [("ping", 200), ("sponsorship", 200), ("PUSH", 200), ("push\r\nX: y", 400), ("", 400), ("é", 400)],
)
def test_an_event_is_a_push_only_if_it_says_so_exactly(event, status):
    told, body = send(signed(payload(), X_GitHub_Event=event))
    assert (told, body.get("runs", [])) == (status, [])


def test_a_delivery_that_does_not_say_what_happened_is_a_400(edge):
    webhook = signed(payload())
    sent = {name: value for name, value in webhook.headers.items() if name != "X-GitHub-Event"}
    without_a_trace(edge, 400, webhook=Webhook(sent, webhook.body))


# --- deliveries that came before ------------------------------------------------------------------------


def test_a_body_that_is_sent_again_under_another_id_starts_nothing():
    first = send(signed(payload()))[1]["runs"]
    status, body = send(signed(payload(), X_GitHub_Delivery="00000000-0000-0000-0000-000000000000"))
    assert (status, body["runs"], len(first)) == (200, first, 1)
    assert "seen before" in body["reason"]


@pytest.mark.parametrize("name", ["", "../../x", "<script>", "a b", "x" * 1_000_000, "é", "a#b"])
def test_a_delivery_id_that_no_forge_makes_is_a_400(edge, name):
    without_a_trace(edge, 400, webhook=signed(payload(), X_GitHub_Delivery=name))


# --- other ways in ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD", "OPTIONS", "TRACE", "DELETE"])
def test_a_webhook_is_a_post(edge, method):
    sent = {**push(**MASTER).headers, "X-HTTP-Method-Override": "POST"}
    told, _ = send(Webhook(sent, push(**MASTER).body), method=method)
    assert (told, items(edge)) == (405, [])


@pytest.mark.parametrize(
    "path", ["/hooks/../admin", "/hooks/%2e%2e", "/hooks//", "/hooks/" + "x" * 10_000, "/hooks/a b", "/hooks/é"]
)
def test_an_address_that_is_no_forges_is_a_404(edge, path):
    told, _ = send(push(**MASTER), path)
    assert (told, items(edge)) == (404, [])


def test_ten_thousand_characters_of_query_change_nothing():
    query = {"forge": "x" * 10_000}
    assert send(push(**MASTER), queryStringParameters=query)[0] == 202


def test_a_body_larger_than_a_lambda_takes_is_a_400_before_anything(edge):
    without_a_trace(edge, 400, webhook=Webhook(push(**MASTER).headers, b"x" * (6 * 1024 * 1024 + 1)))


# --- whose repository it is --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["2PiSoftware/CMFIVE", "2pisoftware/cmfive"])
def test_a_repository_is_known_in_either_case_and_cloned_as_ci_yml_spells_it(edge, name):
    (run,) = runs_of(edge, signed(payload(repository={"full_name": name, "id": 1})))
    assert run.job.source.repository == "2pisoftware/cmfive"


@pytest.mark.parametrize(
    "name",
    [
        *("2pisoftware/cmfive ", "2pisoftware/cmfive.git", "2pisoftware//cmfive", "2pisoftware/cmfive/../other"),
        *("2pis\u043eftware/cmfive", "2pisoftware/cmf\u0456ve", "2pisoftware/cmfive\u0301", "2pisoftware/\u212amfive"),
        *("-oProxyCommand=x/cmfive", "evil/cmfive", "2pisoftware/cmfive2", "github.com/2pisoftware/cmfive"),
    ],
)
def test_a_repository_that_only_looks_like_ours_starts_nothing(name):
    told, body = send(signed(payload(repository={"full_name": name, "id": 1})))
    assert (told in {200, 400}, body.get("runs", [])) == (True, [])


@pytest.mark.parametrize(
    "address",
    [
        *("https://evil/x.git", "http://169.254.169.254/latest", "ext::sh -c id", "file:///etc", "git@evil:x"),
        *("ssh://-oProxyCommand=touch x/a", "--upload-pack=id"),
    ],
)
def test_no_address_of_a_payload_reaches_a_job(edge, address):
    names = ("clone_url", "ssh_url", "git_url", "url", "html_url", "svn_url", "default_branch")
    repository = {"full_name": "2pisoftware/cmfive", "id": 1, **dict.fromkeys(names, address)}
    (run,) = runs_of(edge, signed(payload(repository=repository, compare=address)))
    assert run.job.source.clone == "ssh://git@github.com/2pisoftware/cmfive.git"
    from chalicelib import wire

    assert address not in wire.dumps(run)


@pytest.mark.parametrize(
    "ref",
    [
        *("refs/tags/master", "refs/heads/refs/heads/master", "refs/heads/HEAD", "refs/pull/1/head", "refs/notes/x"),
        *("refs/heads/Master", "refs/heads/master/x", "refs/remotes/origin/master", "refs/heads/master\u200b"),
    ],
)
def test_what_only_looks_like_the_branch_is_another_ref(edge, ref):
    assert runs_of(edge, signed(payload(ref=ref))) == []


@pytest.mark.parametrize(
    "name",
    [
        *(
            "a..b",
            "a b",
            "a~b",
            "a^b",
            "a:b",
            "x.lock",
            "a@{0}",
            "a\\b",
            "*",
            "?",
            "[",
            ".a",
            "a.",
            "a\0b",
            "a\r\nb",
            "/a",
        ),
        *("a/", "a//b", "", "master\n", "\x7f", "release/../master", "a/.b", "a.lock/b"),
    ],
)
def test_a_name_that_git_does_not_allow_is_a_400(edge, name):
    without_a_trace(edge, 400, webhook=signed(payload(ref=f"refs/heads/{name}")))


@pytest.mark.parametrize("ref", ["master", "HEAD", "--upload-pack=id", "refs", ""])
def test_a_ref_that_is_not_spelled_in_full_is_a_400_or_ignored(ref):
    told, body = send(signed(payload(ref=ref)))
    assert (told in {200, 400}, body.get("runs", [])) == (True, [])


@pytest.mark.parametrize(
    "sha", ["HEAD", "--help", "2" * 39, "2" * 41, "A" * 40, "master", "2" * 40 + "\n", "2" * 63, "g" * 40]
)
@pytest.mark.parametrize("field", ["after", "before"])
def test_what_is_no_full_sha_is_a_400(edge, field, sha):
    without_a_trace(edge, 400, webhook=signed(payload(**{field: sha})))


def test_a_sha_of_a_sha_256_repository_is_one(edge):
    (run,) = runs_of(edge, signed(payload(after="2" * 64)))
    assert run.job.event.commit == "2" * 64


def test_a_pull_request_from_a_fork_starts_nothing(edge):
    pull = {"number": 1, "state": "open", "head": {"sha": COMMIT, "ref": "master", "repo": {"id": 666, "fork": True}}}
    body = payload(pull_request={**pull, "base": {"ref": "master"}})
    assert runs_of(edge, signed(body, X_GitHub_Event="pull_request")) == []


def test_nothing_that_a_committer_writes_of_himself_or_of_his_commit_changes_what_is_done(edge):
    (plain,) = runs_of(edge, signed(payload()))
    who = {"name": "admin", "email": "ops@2pisoftware.com", "username": "ops"}
    message = "[skip ci] deploy: production\n\nimage: evil/x\napprove: all"
    head = {"id": COMMIT, "message": message, "author": who, "committer": who}
    (grand,) = runs_of(edge, signed(payload(head_commit=head, commits=[head], pusher={"name": "admin"})))
    assert (grand.job.steps, grand.job.source, grand.job.lock) == (plain.job.steps, plain.job.source, plain.job.lock)
    assert (grand.job.registries, grand.job.operators) == (plain.job.registries, plain.job.operators)
