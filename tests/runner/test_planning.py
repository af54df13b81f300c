"""`tau plan` as a person or a script calls it: files in, what would come of them out, and no cloud anywhere."""

import json

import pytest
from click.testing import CliRunner

from chalicelib.providers.signature import signature
from runner.cli import main
from tests.hooks import SECRET, headers_of, push
from tests.installation import NOW, installation
from tests.providers.test_corpus import BUILT, Case, cases, compared, right_kind, skip_what_is_not_built, vectors

NO_CLOUD = {"TAU_STAGE": None, "TAU_BUCKET": None, "TAU_SENDER": None, "AWS_PROFILE": None, "HOOK": None}
SETTINGS = {"TAU_STAGE": "test", "TAU_BUCKET": "tau-test", "TAU_SENDER": "tau@2pisoftware.com"}
FORGE = "{provider: github, clone: 'https://github.com/{repository}', webhook: [hook-2026]}"
CI_YML = """\
version: 1
operators: [ops@2pisoftware.com]
forges:
  github.com: FORGE
  bitbucket.2pi.example:
    {provider: bitbucket_server, clone: 'ssh://git@bitbucket.2pi.example:7999/{repository}.git', webhook: [hook-2026]}
registries: {}
pipelines:
  hello:
    repository: github.com/2pisoftware/hello
    trigger: {push: [develop]}
    steps:
      - build: {image: 2pisoftware/hello}
""".replace("FORGE", FORGE)
ANSWERS = {200, 202}


class Files:
    """A delivery and a ci.yml as files, and the command that plans them."""

    def __init__(self, folder):
        self.folder = folder
        self.config = self.written("ci.yml", CI_YML)

    def written(self, name, text):
        path = self.folder / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def tau(self, *arguments, **environ):
        return CliRunner().invoke(
            main, ["plan", "--config", str(self.config), *map(str, arguments)], env=NO_CLOUD | environ
        )

    def request(self, headers, body, provider="github"):
        as_text = headers if isinstance(headers, str | bytes) else json.dumps(dict(headers))
        return (
            *("--provider", provider, "--headers", self.written("headers", as_text)),
            *("--body", self.written("body", body)),
        )

    def planned(self, headers, body, *more, provider="github", **environ):
        said = self.tau(*self.request(headers, body, provider), "--json", *more, **environ)
        assert said.exit_code == 0, said.output
        return json.loads(said.stdout)


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path)


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_every_recorded_delivery_is_planned_as_its_case_says(case: Case, files):
    skip_what_is_not_built(case)
    found = files.planned(case.record["headers"], case.path.read_bytes(), provider=case.provider)
    assert len(found["events"]) == len(case.expect["events"])
    for event, want in zip(found["events"], case.expect["events"], strict=True):
        assert right_kind(_Told(event), want)
        assert event["repository"] == case.expect["repository"]
        if event["kind"] == want["kind"]:
            have, wants = compared(_Told(event), want)
            assert have == wants
            assert event["pusher"]["login"] == case.expect["pusher_login"]
            assert event["pusher"]["email"] == case.expect["pusher_email"]
    told = ANSWERS if case.provider != "bitbucket_cloud" else {404}
    assert found["answer"]["status"] in told


class _Told:
    """An event of the JSON, by its fields' names."""

    def __init__(self, fields):
        vars(self).update(fields)


def test_a_push_that_is_built_comes_with_its_job_and_a_202(files):
    webhook = push()
    found = files.planned(webhook.headers, webhook.body)
    (event,) = found["events"]
    assert (event["kind"], event["ref"]) == ("push", "refs/heads/develop")
    assert event["verdicts"] == [
        {"pipeline": "hello", "matched": True, "reason": 'branch "develop" matches develop'},
    ]
    assert [job["steps"][0]["action"] for job in event["jobs"]] == ["build"]
    assert found["answer"] == {"status": 202, "reason": None}


def test_a_push_that_nobody_builds_is_a_200_with_the_reason(files):
    webhook = push(ref="refs/heads/feature/x")
    found = files.planned(webhook.headers, webhook.body)
    assert found["answer"] == {"status": 200, "reason": 'branch "feature/x" matches none of: develop'}
    assert found["events"][0]["jobs"] == []


def test_a_person_reads_events_verdicts_steps_and_the_answer(files):
    webhook = push()
    said = files.tau(*files.request(webhook.headers, webhook.body)).output
    assert "push develop github.com/2pisoftware/hello 2222222 by" in said
    assert 'hello  yes branch "develop" matches develop' in said
    assert "1. build" in said
    assert "told 202" in said


def test_what_a_pusher_wrote_reaches_no_terminal_as_it_is(files):
    webhook = push(ref="refs/heads/x\u202ey]")
    said = files.tau(*files.request(webhook.headers, webhook.body)).output
    assert "x<U+202E>y]" in said
    assert "\u202e" not in said


@pytest.mark.parametrize(
    "text",
    [
        lambda pairs: json.dumps(dict(pairs)),
        lambda pairs: json.dumps({name.upper(): [value] for name, value in pairs}),
        lambda pairs: "".join(f"{name}: {value}\r\n" for name, value in pairs) + "\r\n",
        lambda pairs: "\n".join(f"{name.lower()}:{value}" for name, value in pairs),
    ],
)
def test_headers_are_json_or_lines(files, text):
    webhook = push()
    assert files.planned(text(webhook.headers.items()), webhook.body)["answer"]["status"] == 202


@pytest.mark.parametrize(
    ("doubled", "body"),
    [
        ("X-GitHub-Event: push\nX-GitHub-Event: push\nX-GitHub-Delivery: 1", b"{}"),
        ("X-GitHub-Event: push", b"{}"),
        ("", b""),
    ],
)
def test_what_would_be_refused_is_an_answer_and_no_error(files, doubled, body):
    found = files.planned(doubled, body)
    assert found["events"] == []
    assert found["answer"]["status"] == 400
    assert found["answer"]["reason"]


def test_a_delivery_of_another_forge_than_was_said_is_a_404(files):
    webhook = push()
    found = files.planned(webhook.headers, webhook.body, provider="bitbucket_server")
    assert found["answer"]["status"] == 404


def test_a_forge_that_ci_yml_does_not_have_is_read_all_the_same(files):
    headers = {"X-Event-Key": "repo:push", "X-Hook-UUID": "1", "X-Request-UUID": "1"}
    side = {"type": "branch", "name": "develop", "target": {"hash": "2" * 40}}
    body = json.dumps({"repository": {"full_name": "a/b"}, "push": {"changes": [{"old": None, "new": side}]}})
    found = files.planned(headers, body, provider="bitbucket_cloud")
    assert [event["ref"] for event in found["events"]] == ["refs/heads/develop"]
    assert "no forge that sends webhooks of bitbucket_cloud" in found["events"][0]["verdicts"][0]["reason"]
    assert found["answer"]["status"] == 404


@pytest.mark.parametrize(("changed", "status"), [(b"", 202), (b" ", 401)])
def test_a_signature_is_looked_at_where_a_secret_is_named(files, changed, status):
    webhook = push(secret=SECRET)
    found = files.planned(webhook.headers, webhook.body + changed, "--secret-env", "HOOK", HOOK=SECRET)
    assert found["answer"]["status"] == status
    assert bool(found["events"]) == (status == 202)


def test_a_secret_with_a_dollar_is_taken_to_the_letter(files):
    secret = "Gk$HOME$vl$k$wyNpQAF42"
    headers = {"X-Event-Key": "diagnostics:ping", "X-Request-Id": "1"}
    headers["X-Hub-Signature"] = signature(b"{}", secret.encode()).decode()
    found = files.planned(headers, b"{}", "--secret-env", "HOOK", provider="bitbucket_server", HOOK=secret)
    assert found["answer"] == {"status": 200, "reason": "pong"}


@pytest.mark.parametrize(("given", "status"), [("hunter2", 200), ("hunter3", 401)])
def test_a_secret_that_the_intake_would_not_take_is_tried_with_a_warning(files, given, status):
    headers = {"X-Event-Key": "diagnostics:ping", "X-Request-Id": "1"}
    headers["X-Hub-Signature"] = signature(b"{}", b"hunter2").decode()
    request = files.request(headers, b"{}", "bitbucket_server")
    said = files.tau(*request, "--json", "--secret-env", "HOOK", HOOK=given)
    assert json.loads(said.stdout)["answer"]["status"] == status
    assert "7 bytes" in said.stderr


@pytest.mark.parametrize(
    ("case", "vector"), vectors(), ids=[f"{case.name}-{vector['value'][-6:]}" for case, vector in vectors()]
)
def test_a_recorded_signature_is_answered_as_its_vector_says(case: Case, vector, files):
    headers = {**case.record["headers"], vector["header"]: vector["value"]}
    found = files.planned(
        headers, case.path.read_bytes(), "--secret-env", "HOOK", provider=case.provider, HOOK=vector["secret"]
    )
    ours = vector["header"].lower() == BUILT[case.provider].SIGNATURE_HEADER.lower()
    right = vector["valid"] and ours
    assert (found["answer"]["status"] == 401) == (not right)
    assert len(found["events"]) == (len(case.expect["events"]) if right else 0)


def test_of_two_forges_with_one_dialect_one_must_be_named(files):
    files.written("ci.yml", CI_YML.replace("forges:\n", f"forges:\n  github.example: {FORGE}\n"))
    webhook = push()
    said = files.tau(*files.request(webhook.headers, webhook.body))
    assert (said.exit_code, "name one by --forge" in said.stderr) == (1, True)
    found = files.planned(webhook.headers, webhook.body, "--forge", "github.com")
    assert found["answer"]["status"] == 202
    assert files.planned(webhook.headers, webhook.body, "--forge", "github.example")["answer"]["status"] == 200


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "--provider, --headers and --body, or --delivery"),
        (("--provider", "github"), "--provider, --headers and --body, or --delivery"),
        (("--delivery", "01X", "--provider", "github"), "nothing else"),
        (("--provider", "github", "--headers", "gone", "--body", "gone"), "gone cannot be read"),
        (("--provider", "github", "--headers", "/", "--body", "/"), "/ cannot be read"),
        (("--secret-env", "HOOK"), "HOOK is not set"),
        (("--delivery", "01X"), "TAU_"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_exit_code_1(files, arguments, words):
    said = files.tau(*arguments)
    assert said.exit_code == 1
    assert words in said.stderr
    assert "Traceback" not in said.output


@pytest.mark.parametrize(
    "text", ["nonsense", '{"a": 1}', '{"a": {"b": "c"}}', '{"a"', "[]", ": x", b"\xff", "{" * 100_000]
)
def test_headers_that_are_none_are_one_line_and_exit_code_1(files, text):
    said = files.tau(*files.request(text, b"{}"))
    assert (said.exit_code, said.stderr.count("\n")) == (1, 1)
    assert "Name: value" in said.stderr


def test_a_ci_yml_with_a_slip_is_told_with_its_place(files):
    files.written("ci.yml", CI_YML.replace("image:", "imgae:"))
    webhook = push()
    said = files.tau(*files.request(webhook.headers, webhook.body))
    assert (said.exit_code, "imgae" in said.stderr) == (1, True)


def test_a_recorded_delivery_is_planned_anew_with_another_file(files, monkeypatch):
    from chalicelib.intake import receive
    from tests.hooks import SECRET_NAME, config

    with installation(monkeypatch) as edge:
        edge.client("ssm").put_parameter(Name=f"/tau/test/secrets/{SECRET_NAME}", Value=SECRET, Type="SecureString")
        webhook = push()
        taken = receive(headers_of(webhook), webhook.body, pinned=None, config=config(), edge=edge, now=NOW)
        said = files.tau("--delivery", taken.body["delivery"].lower(), "--json", **SETTINGS)
        unknown = files.tau("--delivery", "01ARZ3NDEKTSV4RRFFQ69G5FAV", **SETTINGS)
    found = json.loads(said.stdout)
    assert found["answer"] == {"status": 202, "reason": None}
    assert [job["pipeline"] for job in found["events"][0]["jobs"]] == ["hello"]
    assert (unknown.exit_code, "is recorded" in unknown.stderr) == (1, True)
