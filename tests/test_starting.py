"""What a person starts: a pipeline now, or a delivery once more; through the same plan as everything else."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib import superseding, wire
from chalicelib.config import parse
from chalicelib.errors import NotThere
from chalicelib.intake import receive, take
from chalicelib.model import EventKind, Origin, RunState
from chalicelib.providers import internal
from chalicelib.records.table import MOST_IN_A_TRANSACTION
from chalicelib.starting import CannotStart, Wish, replay, trigger
from chalicelib.superseding import Ancestry
from chalicelib.ticker import tick
from tests.hooks import REPOSITORY, SECRET, SECRET_NAME, compiled, headers_of, pipeline, push
from tests.installation import NOW, event, installation, later

SHA = "d" * 40
BY = "kim@laptop"
COMMIT_TAG = {"template": "{commit}", "sink": "image_tag"}


@pytest.fixture
def edge(monkeypatch):
    with installation(monkeypatch) as made:
        name = f"{made.settings.secrets_prefix}{SECRET_NAME}"
        made.client("ssm").put_parameter(Name=name, Value=SECRET, Type="SecureString")
        made.secrets._kept.clear()
        deploy(made)
        yield made


def deploy(edge, *pipelines):
    """A ci.yml comes into force, in the place of any other; its hash is always the same here."""
    edge.client("dynamodb").delete_item(
        TableName="tau-test", Key={"pk": {"S": f"config#{'c' * 64}"}, "sk": {"S": "config"}}
    )
    edge.store.put_config("c" * 64, json.dumps(compiled(*pipelines)).encode())
    edge.store.put_in_force("c" * 64, NOW)


def wish(name="hello", **changes):
    return Wish(**{"pipeline": name, "by": BY, **changes})


def pushed(edge, webhook=None, seconds=0, *pipelines):
    """A webhook's answer, and the runs that it started."""
    webhook, config = webhook or push(), parse(compiled(*pipelines))
    headers = headers_of(webhook)
    return receive(headers, webhook.body, pinned=None, config=config, edge=edge, now=later(seconds)).body


def runs(edge, answer):
    return [edge.store.run(run_id) for run_id in answer.body["runs"]]


# --- tau trigger ----------------------------------------------------------------------------------


def test_a_person_starts_a_pipeline_and_stands_where_a_pusher_stands(edge):
    answer = trigger(wish(ref="develop", address="kim@2pisoftware.com"), edge, later(5))
    (run,) = runs(edge, answer)
    said = run.job.event
    assert (run.state, run.job.pipeline, said.kind) == (RunState.QUEUED, "hello", EventKind.MANUAL)
    assert (said.repository, said.ref, said.commit) == (REPOSITORY, "refs/heads/develop", None)
    assert (said.pusher.login, superseding.pusher(said)) == (BY, "kim@2pisoftware.com")
    record = edge.store.delivery(run.delivery)
    assert (record["origin"], record["runs"]) == ("manual", [run.id])
    assert edge.queue.receive("default", wait_s=0, hidden_s=9) is not None


def test_each_wish_is_a_start_of_its_own(edge):
    first, second = (trigger(wish(), edge, NOW) for _ in range(2))
    assert len({*first.body["runs"], *second.body["runs"]}) == 2


def test_only_the_named_pipeline_starts_whatever_it_answers_to(edge):
    deploy(edge, pipeline("hello"), pipeline("other"), pipeline("third", triggers={"schedule": {"cron": "0 3 * * *"}}))
    for name in ("other", "third"):
        assert [run.job.pipeline for run in runs(edge, trigger(wish(name), edge, NOW))] == [name]


def test_a_commit_may_be_named_and_one_that_is_not_is_filled_in_later(edge):
    deploy(edge, pipeline(steps=[{"action": "push", "settings": {"tags": [COMMIT_TAG]}}]))
    (named,) = runs(edge, trigger(wish(commit=SHA), edge, NOW))
    (unnamed,) = runs(edge, trigger(wish(), edge, NOW))
    assert (named.job.event.commit, named.job.steps[0].settings) == (SHA, {"tags": [SHA]})
    assert unnamed.job.event.commit is None


@pytest.mark.parametrize(
    ("name", "ref"),
    [
        (None, None),
        ("both", "refs/heads/both"),
        ("v1", "refs/tags/v1"),
        ("never-heard-of", "refs/heads/never-heard-of"),
        ("refs/tags/both", "refs/tags/both"),
        ("gone", "refs/tags/gone"),
    ],
)
def test_a_name_is_a_branchs_and_else_a_tags(edge, name, ref):
    for known in ("refs/heads/both", "refs/tags/both", "refs/tags/v1", "refs/tags/gone"):
        edge.store.take_as_it_stands("github.com", REPOSITORY, known, SHA, NOW)
    edge.store.take_as_it_stands("github.com", REPOSITORY, "refs/heads/gone", "", NOW)
    (run,) = runs(edge, trigger(wish(ref=name), edge, NOW))
    assert run.job.event.ref == ref


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        (wish("helo"), NotThere, 'no pipeline helo; did you mean "hello"'),
        (wish(ref="a..b"), CannotStart, "git lets no branch or tag be called a..b"),
        (wish(ref="refs/tags/v 1"), CannotStart, "git lets no branch or tag be called refs/tags/v 1"),
        (wish("zzz"), NotThere, "no pipeline zzz; there are: hello, wide"),
        (
            wish("wide"),
            CannotStart,
            r"wide is of .*\{client\}_deploy: say which with --repository",
        ),
    ],
)
def test_what_cannot_be_started_is_said_with_what_to_do(edge, asked, error, words):
    deploy(edge, pipeline(), pipeline("wide", repository="github.com/2pisoftware/{client}_deploy"))
    with pytest.raises(error, match=words):
        trigger(asked, edge, NOW)


def test_of_a_pattern_one_repository_is_named_and_no_other_slips_in(edge):
    wide = pipeline("wide", repository="github.com/2pisoftware/{client}_deploy")
    deploy(edge, wide, pipeline())
    (run,) = runs(edge, trigger(wish("wide", repository="2pisoftware/acme_deploy"), edge, NOW))
    assert run.job.source.repository == "2pisoftware/acme_deploy"
    for name, other in (("wide", "2pisoftware/cmfive"), ("hello", "mallory/hello")):
        answer = trigger(wish(name, repository=other), edge, NOW)
        assert answer.body["runs"] == []
        assert other in answer.body["reason"]


def test_before_any_ci_yml_is_in_force_nothing_can_be_started(monkeypatch):
    with installation(monkeypatch) as empty, pytest.raises(NotThere, match=r"no ci\.yml is in force yet"):
        trigger(wish(), empty, NOW)


# --- our own deliveries ---------------------------------------------------------------------------


def test_the_same_delivery_of_our_own_is_answered_with_the_old_runs(edge):
    said = event(kind=EventKind.MANUAL, repository=REPOSITORY, pipeline="hello", commit=None)
    delivery = internal.delivery(Origin.MANUAL, said.forge, said.provider, [said])
    first, second = (take(delivery, parse(compiled()), edge, later(seconds)) for seconds in (0, 60))
    assert (first.status, second.status) == (202, 200)
    assert first.body["runs"] == second.body["runs"] != []


# --- tau replay -----------------------------------------------------------------------------------


def test_a_delivery_is_planned_once_more_with_new_runs_that_say_so(edge):
    first = pushed(edge)
    answer = replay(first["delivery"], BY, edge, later(600))
    (run,) = runs(edge, answer)
    assert run.id not in first["runs"]
    assert run.job == edge.store.run(first["runs"][0]).job
    assert run.reason == f"delivery {first['delivery']} again, for {BY}"
    assert edge.store.delivery(run.delivery)["replay"] == {"of": first["delivery"], "by": BY}
    assert edge.queue.receive("default", wait_s=0, hidden_s=9) is not None


def test_the_ci_yml_in_force_plans_it(edge):
    first = pushed(edge)
    deploy(edge, pipeline("another"))
    assert [run.job.pipeline for run in runs(edge, replay(first["delivery"], BY, edge, later(600)))] == ["another"]


def test_a_replay_changes_nothing_of_what_is_known(edge):
    first = pushed(edge)
    place = ("refs#10:github.com17:2pisoftware/hello", "refs/heads/develop")
    before = edge.store.ref(place)
    replay(first["delivery"], BY, edge, later(600))
    assert edge.store.ref(place) == before
    assert pushed(edge, seconds=700) == {**first, "reason": "this body was seen before"}


def test_a_replay_stands_right_behind_what_it_repeats(edge):
    first = pushed(edge)
    newer = pushed(edge, push("4" * 40, before="2" * 40), 60)
    (run,) = runs(edge, replay(first["delivery"], BY, edge, later(600)))
    assert first["runs"][0] < run.id < newer["runs"][0]
    branch = Ancestry("4" * 40, lambda older, newer: (older, newer) == ("2" * 40, "4" * 40))
    rivals = superseding.rivals(run, superseding.others_of(run, edge))
    assert superseding.successor(run, rivals, lambda: branch).id == newer["runs"][0]


def test_what_nothing_follows_from_says_why(edge):
    first = pushed(edge, push(ref="refs/heads/nobodys"))
    answer = replay(first["delivery"], BY, edge, later(60))
    assert (answer.body["runs"], answer.body["reason"]) == ([], 'branch "nobodys" matches none of: develop')


def test_a_delivery_that_is_not_there_is_said_to_be_none(edge):
    with pytest.raises(NotThere, match="there is no delivery 01KAQ0"):
        replay("01KAQ000000000000000000009", BY, edge, NOW)


def test_a_replay_of_a_replay_and_of_a_start_by_hand_are_replays_too(edge):
    first = trigger(wish(), edge, NOW)
    second = replay(first.body["delivery"], BY, edge, later(60))
    third = replay(second.body["delivery"], BY, edge, later(120))
    assert len({*first.body["runs"], *second.body["runs"], *third.body["runs"]}) == 3


def test_a_body_that_lies_in_the_bucket_is_replayed_from_there(edge):
    first = pushed(edge)
    record = edge.store.delivery(first["delivery"])
    edge.client("s3").put_object(Bucket="tau-test", Key="deliveries/there", Body=wire.zipped(record["body"]))
    names = {"#body": "body"}
    key = {"pk": {"S": record["pk"]}, "sk": {"S": record["sk"]}}
    edge.client("dynamodb").update_item(
        TableName="tau-test",
        Key=key,
        UpdateExpression="REMOVE #body SET body_key = :key",
        ExpressionAttributeNames=names,
        ExpressionAttributeValues={":key": {"S": "deliveries/there"}},
    )
    (run,) = runs(edge, replay(first["delivery"], BY, edge, later(60)))
    assert edge.store.delivery(run.delivery)["body_key"] == "deliveries/there"


def test_a_replay_of_more_runs_than_one_write_holds_is_finished_by_the_ticker(edge):
    many = [pipeline(f"p{number}") for number in range(MOST_IN_A_TRANSACTION + 5)]
    deploy(edge, *many)
    first = pushed(edge, None, 0, *many)

    class Dying(type(edge.store)):
        """Dies between the first write and the rest."""

        def finish_planning(self, accepted):  # noqa: ARG002 - as it is called
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replay(first["delivery"], BY, replace(edge, store=Dying(edge.store.table)), later(600))
    tick(edge, later(600) + timedelta(seconds=61), most=999, bury=False)
    again = [run for run in edge.store.runs_of_day("2026-11-23", 999) if run.reason]
    assert len(again) == len(many)
    assert {run.reason for run in again} == {f"delivery {first['delivery']} again, for {BY}"}
