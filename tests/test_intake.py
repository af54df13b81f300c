import json
from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from ulid import ULID

from chalicelib import wire
from chalicelib.answering import MOST_BYTES
from chalicelib.config import parse
from chalicelib.errors import BadConfig, BadDelivery, BadSignature, MissingSecret, UnknownForge
from chalicelib.intake import accept, receive
from chalicelib.model import Delivery, EventKind, Provider, RunState
from chalicelib.providers import signature
from chalicelib.queue import Queue, decode
from chalicelib.store import Store
from infra.local.githost import Tag
from infra.local.samples import Webhook, bitbucket_tag
from infra.local.samples import signature as signed
from tests.hooks import REPOSITORY, SECRET, SECRET_NAME, commit, compiled, config, headers_of, pipeline, push
from tests.installation import NOW, installation, later
from tests.running import in_queue

CONFIG = config()
GONE = "0" * 40


@pytest.fixture
def edge(monkeypatch):
    with installation(monkeypatch) as made:
        name = f"{made.settings.secrets_prefix}{SECRET_NAME}"
        made.client("ssm").put_parameter(Name=name, Value=SECRET, Type="SecureString")
        made.secrets._kept.clear()
        yield made


def give(edge, webhook, *, now=NOW, config=CONFIG, pinned=None, **headers):
    given = {**headers_of(webhook), **headers}
    return receive(given, webhook.body, pinned=pinned, config=config, edge=edge, now=now)


def messages(edge, pool="default"):
    found = []
    while received := edge.queue.receive(pool, wait_s=0, hidden_s=60):
        found.append(decode(received.body))
    return found


def items(edge):
    return edge.client("dynamodb").scan(TableName="tau-test")["Items"]


# --- what is taken --------------------------------------------------------------------------------


def test_a_push_makes_a_record_a_run_and_a_message(edge):
    answer = give(edge, push())
    assert answer.status == 202
    (run_id,) = answer.body["runs"]
    run = edge.store.run(run_id)
    assert (run.state, run.send, run.delivery) == (RunState.QUEUED, 1, answer.body["delivery"])
    assert (run.job.pipeline, run.job.event.commit) == ("hello", "2" * 40)
    assert [(message.run, message.send) for message in messages(edge)] == [(run_id, 1)]


def test_the_record_keeps_what_came_to_the_byte_and_why_each_rule_did_or_did_not_answer(edge):
    webhook = push()
    other = pipeline("other", triggers={"push": {"names": ["master"]}})
    answer = give(edge, webhook, config=config(pipeline(), other))
    record = edge.store.delivery(answer.body["delivery"])
    assert record["body"] == webhook.body
    assert record["headers"]["x-github-event"] == ["push"]
    assert record["planned"] is True
    assert [(verdict["pipeline"], verdict["matched"]) for verdict in record["verdicts"][0]] == [
        ("hello", True),
        ("other", False),
    ]
    assert "due_at" not in record


def test_every_pipeline_that_answers_has_a_run_of_its_own(edge):
    answer = give(edge, push(), config=config(pipeline("a"), pipeline("b")))
    assert sorted(edge.store.run(run).job.pipeline for run in answer.body["runs"]) == ["a", "b"]
    assert sorted(message.run for message in messages(edge)) == sorted(answer.body["runs"])


def test_run_ids_follow_from_the_delivery_and_sort_by_its_time():
    delivery = Delivery("github.com", Provider.GITHUB, headers_of(push()), push().body)
    both = config(pipeline("a"), pipeline("b"))
    accepted_id = str(ULID.from_datetime(NOW))
    once, again = (accept(delivery, both, NOW, accepted_id) for _ in range(2))
    assert [run.id for run in once.runs] == [run.id for run in again.runs]
    assert len({run.id for run in once.runs}) == 2
    younger = accept(delivery, both, later(0.002), str(ULID.from_datetime(later(0.002))))
    assert max(run.id for run in once.runs) < min(run.id for run in younger.runs)


def test_the_runs_of_two_changes_in_one_delivery_are_two(edge):
    answer = give(edge, tags(["v1", "v2"]), config=TAGS)
    assert answer.status == 202
    assert sorted(edge.store.run(run).job.event.name for run in answer.body["runs"]) == ["v1", "v2"]


# --- what was seen --------------------------------------------------------------------------------


def test_a_body_that_was_seen_starts_nothing_and_names_the_old_runs(edge):
    webhook = push()
    first = give(edge, webhook)
    messages(edge)
    before = items(edge)
    again = give(edge, webhook, now=later(60), **{"x-github-delivery": ("another-id",)})
    assert again.status == 200
    assert again.body["runs"] == first.body["runs"]
    assert items(edge) == before
    assert messages(edge) == []


def test_a_body_that_was_seen_a_month_ago_starts_anew(edge):
    webhook = push()
    first = give(edge, webhook)
    again = give(edge, webhook, now=NOW + timedelta(days=30, seconds=1))
    assert again.status == 202
    assert again.body["runs"] != first.body["runs"]


def test_a_tag_that_is_deleted_and_made_again_with_the_same_body_starts_anew(edge):
    made = push(ref="refs/tags/v1", before=GONE)
    deleted = delete("refs/tags/v1")
    first = give(edge, made, now=NOW)
    assert give(edge, deleted, now=later(10)).status == 200
    second = give(edge, made, now=later(20))
    assert second.status == 202
    assert second.body["runs"] != first.body["runs"]
    third = give(edge, made, now=later(30))
    assert (third.status, third.body["runs"]) == (200, second.body["runs"])


def test_an_old_body_that_is_sent_again_after_a_newer_push_starts_nothing(edge):
    first, second = push("5" * 40, before="4" * 40), push("6" * 40, before="5" * 40)
    old, new = give(edge, first, now=NOW), give(edge, second, now=later(10))
    for number in range(2, 4):
        again, newer = give(edge, first, now=later(10 * number)), give(edge, second, now=later(10 * number + 5))
        assert (again.status, again.body["runs"]) == (200, old.body["runs"])
        assert (newer.status, newer.body["runs"]) == (200, new.body["runs"])


def test_thousands_of_authors_with_odd_addresses_still_fit_into_a_record(edge):
    body = json.loads(push().body)
    author = {"name": "é", "username": "e"}
    body["commits"] = [
        {**body["commits"][0], "author": {**author, "email": f"{'é' * 220}{number}@example.com"}}
        for number in range(900)
    ]
    assert give(edge, signed_again(push(), json.dumps(body).encode())).status == 202


def test_two_copies_that_both_find_the_body_overtaken_start_one_run(edge):
    made = push(ref="refs/tags/v1", before=GONE)
    give(edge, made, now=NOW)
    give(edge, delete("refs/tags/v1"), now=later(10))
    messages(edge)
    other = replace(edge, store=Overtaking(edge.store, lambda: give(edge, made, now=later(20))))
    second = give(other, made, now=later(20.5))
    assert second.status == 200
    assert [message.run for message in messages(edge)] == second.body["runs"]


class Overtaking(Store):
    """A store beside which somebody else records once, between the two steps of this one."""

    def __init__(self, store, meanwhile):
        self.table = store.table
        self._meanwhile = [meanwhile]

    def _overtaken(self, body):
        answer = super()._overtaken(body)
        if self._meanwhile:
            self._meanwhile.pop()()
        return answer


def delete(ref):
    webhook = push(ref=ref)
    body = json.loads(webhook.body)
    body |= {"after": GONE, "deleted": True, "created": False, "commits": [], "head_commit": None}
    return signed_again(webhook, json.dumps(body).encode())


def signed_again(webhook, body):
    return Webhook({**webhook.headers, "X-Hub-Signature-256": signed(SECRET, body)}, body)


# --- more than one transaction holds --------------------------------------------------------------

TAGS = config(pipeline("tags", repository=f"bitbucket.org/{REPOSITORY}"))


def tags(names):
    """Bitbucket's push of several new tags at once."""
    first = bitbucket_tag(REPOSITORY, Tag("x", "2" * 40, "2" * 40), commit(), SECRET)
    body = json.loads(first.body)
    (change,) = body["push"]["changes"]
    body["push"]["changes"] = [{**change, "new": {**change["new"], "name": name}} for name in names]
    raw = json.dumps(body).encode()
    return Webhook({**first.headers, "X-Hub-Signature": signed(SECRET, raw)}, raw)


def test_more_runs_than_one_transaction_holds_are_all_there_and_all_sent(edge):
    many = config(*(pipeline(f"p{number:03}") for number in range(120)))
    answer = give(edge, push(), config=many)
    assert len(set(answer.body["runs"])) == 120
    assert {edge.store.run(run).job.pipeline for run in answer.body["runs"]} == {f"p{n:03}" for n in range(120)}
    assert in_queue(edge) == 120
    assert edge.store.delivery(answer.body["delivery"])["planned"] is True


def test_more_tags_than_one_transaction_holds_are_each_remembered_as_the_newest_of_their_ref(edge):
    alone = tags(["v119"])
    give(edge, alone, config=TAGS, now=NOW)
    together = give(edge, tags([f"v{number}" for number in range(120)]), config=TAGS, now=later(10))
    assert len(together.body["runs"]) == 120
    events = edge.store.delivery(together.body["delivery"])["events"]
    refs = edge.store.refs_of("bitbucket.org", REPOSITORY)
    assert set(refs) == {event["ref"] for event in events}
    assert len(refs) == 120
    assert {ref.last for ref in refs.values()} == {together.body["delivery"]}


# --- what does not reach the queue ----------------------------------------------------------------


class Unreachable:
    """SQS that cannot be reached, or says no."""

    def __init__(self, error):
        self._error = error

    def get_queue_url(self, **_):
        return {"QueueUrl": "https://sqs.invalid/q"}

    def send_message(self, **_):
        raise self._error


@pytest.mark.parametrize(
    "error",
    [
        EndpointConnectionError(endpoint_url="https://sqs.invalid"),
        ClientError({"Error": {"Code": "ServiceUnavailable", "Message": "busy"}}, "SendMessage"),
    ],
    ids=["unreachable", "refusing"],
)
def test_a_record_whose_message_is_not_sent_is_accepted_all_the_same_and_falls_due(edge, error):
    broken = replace(edge, queue=Queue(Unreachable(error), "tau-test"))
    answer = give(broken, push())
    assert answer.status == 202
    assert list(answer.unsent) == answer.body["runs"]
    assert [due.id for due in edge.store.due(later(60))] == answer.body["runs"]


# --- large bodies ---------------------------------------------------------------------------------


def noisy(size):
    """A push whose body does not become small by zipping."""
    webhook = push()
    body = json.loads(webhook.body)
    body["noise"] = Random(1).randbytes(size).hex()
    return signed_again(webhook, json.dumps(body).encode())


def test_a_body_too_large_for_its_item_lies_in_the_bucket(edge):
    webhook = noisy(400_000)
    record = edge.store.delivery(give(edge, webhook).body["delivery"])
    assert record["body"] is None
    assert wire.unzipped(edge.objects.get(record["body_key"])) == webhook.body


def test_a_body_larger_than_lambda_takes_is_refused_before_anything(edge):
    with pytest.raises(BadDelivery, match="larger"):
        give(edge, Webhook(push().headers, b" " * (MOST_BYTES + 1)))
    assert items(edge) == []


# --- what starts nothing --------------------------------------------------------------------------


def test_a_ping_is_answered_and_not_written(edge):
    webhook = push()
    body = json.dumps({"zen": "Speak like a human.", "hook_id": 1}).encode()
    ping = Webhook({**webhook.headers, "X-GitHub-Event": "ping", "X-Hub-Signature-256": signed(SECRET, body)}, body)
    answer = give(edge, ping)
    assert (answer.status, answer.body["reason"]) == (200, "pong")
    assert items(edge) == []


def test_a_repository_that_no_pipeline_names_is_answered_with_that_reason(edge):
    answer = give(edge, push(repository="2pisoftware/else"))
    assert answer.status == 200
    assert answer.body["reason"] == "repository github.com/2pisoftware/else is in no pipeline of ci.yml"
    assert messages(edge) == []


def test_a_branch_that_no_pipeline_answers_to_is_answered_with_what_it_answers_to(edge):
    answer = give(edge, push(ref="refs/heads/feature/x"))
    assert answer.status == 200
    assert answer.body["reason"] == 'branch "feature/x" matches none of: develop'


def test_a_deleted_branch_starts_nothing_and_is_written(edge):
    answer = give(edge, delete("refs/heads/develop"))
    assert (answer.status, answer.body["runs"]) == (200, [])
    record = edge.store.delivery(answer.body["delivery"])
    assert record["events"][0]["kind"] == EventKind.BRANCH_DELETED


def test_a_delivery_that_lists_no_change_says_so(edge):
    webhook = tags([])
    answer = give(edge, webhook, config=TAGS)
    assert (answer.status, answer.body["reason"]) == (200, "the payload names no change")


def test_the_reason_of_a_long_delivery_stays_short(edge):
    answer = give(edge, tags([f"v{'x' * 200}{number}" for number in range(50)]), config=config())
    assert answer.status == 200
    assert len(answer.body["reason"]) <= 500


# --- what is refused, with nothing written --------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [(), ("",), ("sha256=",), ("sha256=" + "0" * 64,), ("sha1=" + "0" * 40,), ("sha256=é" + "0" * 63,)],
)
def test_a_signature_that_is_missing_or_wrong_writes_nothing(edge, values):
    with pytest.raises(BadSignature):
        give(edge, push(), **{"x-hub-signature-256": values})
    assert items(edge) == []


def test_a_doubled_signature_is_refused_even_if_both_are_right(edge):
    webhook = push()
    right = webhook.headers["X-Hub-Signature-256"]
    for values in ((right, right), (f"{right}, {right}",)):
        with pytest.raises(BadSignature):
            give(edge, webhook, **{"x-hub-signature-256": values})


def test_a_body_with_one_byte_more_is_refused(edge):
    webhook = push()
    with pytest.raises(BadSignature):
        give(edge, Webhook(webhook.headers, webhook.body + b"\n"))


def test_an_old_secret_is_good_as_long_as_ci_yml_names_it(edge):
    edge.client("ssm").put_parameter(Name="/tau/test/secrets/hook-old", Value="o" * 32, Type="SecureString")
    both = compiled()
    both["forges"]["github.com"]["webhook"] = [SECRET_NAME, "hook-old"]
    assert give(edge, push(secret="o" * 32), config=parse(both)).status == 202
    with pytest.raises(BadSignature):
        give(edge, push("4" * 40, secret="o" * 32))


def test_signed_nonsense_is_named_and_not_written(edge):
    body = b'{"ref": "refs/heads/develop"}'
    with pytest.raises(BadDelivery):
        give(edge, signed_again(push(), body))
    assert items(edge) == []


def test_a_forge_whose_secret_is_not_there_takes_nothing(edge):
    edge.client("ssm").delete_parameter(Name=f"{edge.settings.secrets_prefix}{SECRET_NAME}")
    edge.secrets._kept.clear()
    with pytest.raises(MissingSecret, match=SECRET_NAME):
        give(edge, push())
    assert items(edge) == []


def test_a_secret_too_short_to_be_one_takes_nothing(edge):
    name = f"{edge.settings.secrets_prefix}{SECRET_NAME}"
    edge.client("ssm").put_parameter(Name=name, Value="short", Type="SecureString", Overwrite=True)
    body = push().body
    forged = {"x-hub-signature-256": (signature.signature(body, b"short").decode(),)}
    with pytest.raises(BadConfig):
        give(edge, push(), **forged)


def test_headers_of_no_forge_are_a_bad_delivery(edge):
    with pytest.raises(BadDelivery, match="X-GitHub-Event"):
        receive({"content-type": ("application/json",)}, b"{}", pinned=None, config=CONFIG, edge=edge, now=NOW)


def test_an_address_pins_the_forge(edge):
    assert give(edge, push(), pinned="github.com").status == 202
    for wrong in ("bitbucket.org", "github.example", ""):
        with pytest.raises(UnknownForge):
            give(edge, push("5" * 40), pinned=wrong)


def test_of_two_forges_with_one_dialect_the_address_must_say_which(edge):
    two = compiled()
    two["forges"]["github.example"] = two["forges"]["github.com"]
    with pytest.raises(UnknownForge, match=r"/hooks/github\.com, /hooks/github\.example"):
        give(edge, push(), config=parse(two))
    assert give(edge, push(), config=parse(two), pinned="github.com").status == 202


# --- whose secret -----------------------------------------------------------------------------------

OTHER_SECRET, OTHER_NAME = "the secret of one repository", "hook-other"


@pytest.fixture
def own(edge):
    """ci.yml with a repository that has a secret of its own."""
    name = f"{edge.settings.secrets_prefix}{OTHER_NAME}"
    edge.client("ssm").put_parameter(Name=name, Value=OTHER_SECRET, Type="SecureString")
    both = compiled(pipeline(), pipeline("other", repository="github.com/2pisoftware/other"))
    both["forges"]["github.com"]["webhooks"] = {"2piSoftware/Other": [OTHER_NAME]}
    return both


def test_a_repository_with_a_secret_of_its_own_is_believed_by_that(edge, own):
    answer = give(edge, push(repository="2pisoftware/other", secret=OTHER_SECRET), config=parse(own))
    assert answer.status == 202


def test_the_secret_of_one_repository_never_signs_for_another(edge, own):
    with pytest.raises(BadSignature, match=r"not one of github\.com/2pisoftware/hello"):
        give(edge, push(secret=OTHER_SECRET), config=parse(own))
    assert items(edge) == []


def test_the_secret_of_all_does_not_sign_for_who_has_its_own(edge, own):
    with pytest.raises(BadSignature, match="not one of"):
        give(edge, push(repository="2pisoftware/other"), config=parse(own))
    assert items(edge) == []


def test_while_a_repository_moves_to_a_secret_of_its_own_both_sign(edge, own):
    own["forges"]["github.com"]["webhooks"] = {"2pisoftware/other": [SECRET_NAME, OTHER_NAME]}
    for sha, secret in (("2" * 40, SECRET), ("4" * 40, OTHER_SECRET)):
        webhook = push(sha, repository="2pisoftware/other", secret=secret)
        assert give(edge, webhook, config=parse(own)).status == 202


def test_two_names_of_one_secret_sign_for_what_either_may(edge, own):
    own["forges"]["github.com"]["webhooks"]["2pisoftware/hello"] = ["hook-again"]
    name = f"{edge.settings.secrets_prefix}hook-again"
    edge.client("ssm").put_parameter(Name=name, Value=OTHER_SECRET, Type="SecureString")
    assert give(edge, push(secret=OTHER_SECRET), config=parse(own)).status == 202


def test_without_a_secret_for_all_only_the_named_repositories_are_believed(edge, own):
    own["forges"]["github.com"].pop("webhook")
    config = parse(own)
    assert give(edge, push(repository="2pisoftware/other", secret=OTHER_SECRET), config=config).status == 202
    with pytest.raises(BadSignature, match="not signed with a secret of this forge"):
        give(edge, push(), config=config)
