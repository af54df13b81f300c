"""The app as API Gateway calls it: an event in, an answer out, nothing but the cloud made up."""

import base64
import json
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest

from chalicelib.records.runs import new_run
from infra.local.samples import signature
from tests.gateway import (
    MASTER,
    Context,
    app,
    call,
    forget_the_edge,
    gateway_event,
    items,
    lambda_of_an_installation,
    send,
)
from tests.hooks import SECRET, push
from tests.installation import run, table_of_stack

# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-run-lambda-schedule.html
SCHEDULED = {
    "version": "0",
    "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
    "detail-type": "Scheduled Event",
    "source": "aws.events",
    "account": "123456789012",
    "time": "2026-11-23T12:00:00Z",
    "region": "ap-southeast-2",
    "resources": ["arn:aws:events:ap-southeast-2:123456789012:rule/ticker"],
    "detail": {},
}
pytestmark = pytest.mark.usefixtures("edge")


@pytest.fixture
def edge(monkeypatch):
    with lambda_of_an_installation(monkeypatch) as made:
        yield made


@pytest.fixture(scope="module", autouse=True)
def _an_edge_of_this_module():
    forget_the_edge()
    yield
    forget_the_edge()


def test_a_push_is_accepted_and_a_second_copy_is_known():
    status, body = send(push(**MASTER))
    assert status == 202
    assert len(body["runs"]) == 1
    again, said = send(push(**MASTER))
    assert (again, said["runs"]) == (200, body["runs"])


def test_what_planned_it_is_kept_with_it(edge):
    app().edge.cache_clear()
    app().keep_config.cache_clear()
    _, body = send(push(**MASTER))
    run = edge.store.run(body["runs"][0])
    assert edge.store.config(run.job.config) == app().configuration.text()


def test_a_form_is_read_as_github_sends_it_by_default():
    webhook = push(**MASTER)
    form = urlencode({"payload": webhook.body.decode()})
    headers = {
        **webhook.headers,
        "Content-Type": "application/x-www-form-urlencoded",
        "X-Hub-Signature-256": signature(SECRET, form.encode()),
    }
    event = gateway_event(webhook, headers=headers, multiValueHeaders={n: [v] for n, v in headers.items()}, body=form)
    assert call(event)[0] == 202


def test_the_address_may_pin_the_forge():
    assert send(push(**MASTER), "/hooks/github.com")[0] == 202
    assert send(push("4" * 40, **MASTER), "/hooks/bitbucket.org")[0] == 404
    assert send(push("4" * 40, **MASTER), "/hooks/nowhere")[0] == 404


def test_a_branch_that_nobody_builds_is_answered_with_the_reason():
    status, body = send(push(**{**MASTER, "ref": "refs/heads/mine"}))
    assert (status, body["runs"]) == (200, [])
    assert 'branch "mine" matches none of: master' in body["reason"]


def test_a_body_that_comes_as_base64_is_read():
    webhook = push(**MASTER)
    encoded = base64.b64encode(webhook.body).decode()
    assert send(webhook, body=encoded, isBase64Encoded=True)[0] == 202


@pytest.mark.parametrize("body", ["abc", "A", "é" * 4, "!!!=", "====="])
def test_a_body_that_is_no_base64_though_it_says_so_is_never_a_500(edge, body):
    status, _ = send(push(**MASTER), body=body, isBase64Encoded=True)
    assert status in {400, 401}
    assert items(edge) == []


def test_half_a_character_in_the_envelope_is_never_a_500():
    assert send(push(**MASTER), body="\ud800")[0] in {400, 401}


@pytest.mark.parametrize("body", [None, ""])
def test_no_body_is_not_signed(body):
    assert send(push(**MASTER), body=body)[0] == 401


def without(webhook, name):
    return {key: [value] for key, value in webhook.headers.items() if key != name}


@pytest.mark.parametrize(
    "values",
    [None, [], [""], ["sha256=" + "0" * 64], ["sha256=é"], ["\udce9"]],
    ids=["none", "no value", "empty", "wrong", "not ASCII", "half a character"],
)
def test_a_signature_that_is_missing_or_wrong_is_401_and_writes_nothing(edge, values):
    webhook = push(**MASTER)
    sent = without(webhook, "X-Hub-Signature-256") | ({"X-Hub-Signature-256": values} if values is not None else {})
    status, body = send(webhook, multiValueHeaders=sent)
    assert status == 401
    assert items(edge) == []
    assert "0" * 64 not in json.dumps(body)


def test_a_signature_that_comes_twice_is_401_however_its_names_are_spelled():
    webhook = push(**MASTER)
    right = webhook.headers["X-Hub-Signature-256"]
    others = without(webhook, "X-Hub-Signature-256")
    for doubled in (
        {"X-Hub-Signature-256": [right, right]},
        {"X-Hub-Signature-256": [right], "x-hub-signature-256": [right]},
        {"X-Hub-Signature-256": [f"{right}, {right}"]},
    ):
        assert send(webhook, multiValueHeaders={**others, **doubled})[0] == 401


def test_header_names_may_come_in_any_case():
    webhook = push(**MASTER)
    lower = {name.lower(): [value] for name, value in webhook.headers.items()}
    assert send(webhook, headers={n: v[0] for n, v in lower.items()}, multiValueHeaders=lower)[0] == 202


def test_no_headers_at_all_are_a_400():
    status, body = send(push(**MASTER), headers={"Content-Type": "application/json"}, multiValueHeaders=None)
    assert (status, "X-GitHub-Event" in body["reason"]) == (400, True)


@pytest.mark.parametrize("body", ["", "null", "[]", "{}", '{"ref": 5}', "[" * 100_000, '{"ref": "\\ud800"}'])
def test_signed_nonsense_is_a_400(edge, body):
    webhook = push(**MASTER)
    sent = without(webhook, "X-Hub-Signature-256") | {"X-Hub-Signature-256": [signature(SECRET, body.encode())]}
    assert send(webhook, multiValueHeaders=sent, body=body)[0] == 400
    assert items(edge) == []


def test_a_type_of_body_that_no_forge_sends_is_a_415():
    webhook = push(**MASTER)
    sent = {**webhook.headers, "Content-Type": "text/plain"}
    status, _ = send(webhook, headers=sent, multiValueHeaders={name: [value] for name, value in sent.items()})
    assert status == 415


def test_a_secret_that_is_not_set_is_a_500_that_names_no_secret(edge):
    edge.client("ssm").delete_parameter(Name="/tau/test/secrets/hook-2026")
    status, body = send(push(**MASTER))
    assert status == 500
    assert "hook-2026" not in json.dumps(body)
    assert items(edge) == []


def test_a_setting_that_is_missing_is_a_500(monkeypatch):
    monkeypatch.delenv("TAU_BUCKET")
    app().edge.cache_clear()
    app().keep_config.cache_clear()
    assert send(push(**MASTER))[0] == 500


def test_a_cloud_that_does_not_answer_is_a_503_and_the_next_push_is_taken(edge):
    app().edge.cache_clear()
    app().keep_config.cache_clear()
    edge.client("dynamodb").delete_table(TableName="tau-test")
    status, body = send(push(**MASTER))
    assert status == 503
    assert "again" in body["reason"]
    edge.client("dynamodb").create_table(TableName="tau-test", **table_of_stack())
    assert send(push(**MASTER))[0] == 202


def test_a_queue_that_does_not_answer_is_a_202(edge):
    edge.client("sqs").delete_queue(QueueUrl=edge.queue.url("default"))
    status, body = send(push(**MASTER))
    assert status == 202
    assert len(body["runs"]) == 1


def test_the_health_says_of_which_ci_yml():
    event = {**gateway_event(push(), "/health", "GET"), "body": None}
    assert call(event) == (200, {"status": "ok", "config": app().config.hash})


def test_the_schedule_does_what_is_due(edge):
    old = datetime.now(UTC) - timedelta(hours=1)
    edge.store.table.write(new_run(run(1, created_at=old)))
    app().ticker(SCHEDULED, Context())
    assert edge.store.run(run(1).id).send == 2


def test_the_schedule_counts_the_open_dead_letters_after_it_has_buried_what_sqs_gave_up_on(edge, capsys):
    sqs = edge.client("sqs")
    url = sqs.create_queue(QueueName="tau-test-default-dead")["QueueUrl"]
    for body in ("no json", '{"v": 1, "run": "01NONE", "send": 1}'):
        sqs.send_message(QueueUrl=url, MessageBody=body)
    app().ticker(SCHEDULED, Context())
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"DeadLetters"' in line]
    (metric,) = [line for line in lines if "_aws" in line]
    assert (metric["DeadLetters"], metric["service"], metric["stage"]) == ([2.0], "ticker", "test")
    assert metric["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "Tau"
    assert sorted(metric["_aws"]["CloudWatchMetrics"][0]["Dimensions"][0]) == ["service", "stage"]


def test_the_reconcilers_schedule_asks_no_forge_whose_token_is_not_there(caplog):
    caplog.set_level("INFO")
    app().reconciler(SCHEDULED, Context())
    said = {record.message: vars(record) for record in caplog.records}
    assert "set the SSM parameter /tau/test/secrets/token-" in said["looked at"]["reason"]
    assert (said["reconciled"]["failed"], said["reconciled"]["runs"]) == (2, 0)


def test_a_line_of_the_log_has_ids_and_no_header_and_no_body(caplog):
    caplog.set_level("INFO")
    webhook = push(**MASTER)
    _, body = send(webhook)
    (line,) = (vars(record) for record in caplog.records if record.message == "answered")
    assert (line["status"], line["runs"]) == (202, body["runs"])
    said = str([vars(record) for record in caplog.records])
    assert webhook.headers["X-Hub-Signature-256"] not in said
    assert "head_commit" not in said
