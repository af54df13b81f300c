"""Where a story comes from: deliveries are found by a commit, a ref or an id, and where there are none, hints are."""

from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.errors import BadInput
from chalicelib.explaining import explain
from chalicelib.intake import receive
from chalicelib.model import Origin, RunState
from chalicelib.records.deliveries import Accepted, delivery_of
from tests.hooks import SECRET, SECRET_NAME, config, headers_of, pipeline, push
from tests.installation import NOW, SETTINGS, installation, later
from tests.sim.edges.cloud import MemoryCloud

RULES = config(pipeline())
COMMIT, OTHER = "2" * 40, "2222222" + "3" * 33


@pytest.fixture
def edge():
    cloud = MemoryCloud(SETTINGS, lambda: NOW, lambda: 0.0, lambda _until: None)
    cloud.put_secret(SECRET_NAME, SECRET)
    return cloud.edge()


def deliver(edge, webhook, now=NOW):
    answer = receive(headers_of(webhook), webhook.body, pinned=None, config=RULES, edge=edge, now=now)
    return answer.body["delivery"]


def found(what, edge, now=NOW):
    return [told.id for told in explain(what, edge, RULES, now).deliveries]


@pytest.mark.parametrize("what", [COMMIT, COMMIT[:7], COMMIT[:12].upper()])
def test_a_delivery_is_found_by_as_much_of_the_commit_as_people_write(edge, what):
    delivery = deliver(edge, push(COMMIT))
    assert found(what, edge) == [delivery]


def test_commits_that_begin_alike_are_told_apart_by_what_else_is_given(edge):
    first, second = deliver(edge, push(COMMIT)), deliver(edge, push(OTHER, before=COMMIT), later(5))
    assert found("2222222", edge) == [second, first]
    assert found("22222223", edge) == [second]


def test_a_push_that_no_rule_wanted_is_found_like_any_other(edge):
    delivery = deliver(edge, push(COMMIT, ref="refs/heads/feature/x"))
    (told,) = explain(COMMIT, edge, RULES, NOW).deliveries
    assert (told.id, told.runs) == (delivery, ())
    assert [verdict.reason for _, verdicts in told.events for verdict in verdicts] == [
        'branch "feature/x" matches none of: develop'
    ]


@pytest.mark.parametrize("what", ["2pisoftware/hello@develop", "github.com/2pisoftware/hello@refs/heads/develop"])
def test_a_branchs_deliveries_are_found_the_newest_first(edge, what):
    ids = [deliver(edge, push(COMMIT)), deliver(edge, push(OTHER, before=COMMIT), later(5))]
    assert found(what, edge) == ids[::-1]


def test_a_delivery_is_found_by_its_own_id_the_forges_and_its_runs(edge):
    webhook = push(COMMIT)
    delivery = deliver(edge, webhook)
    (told,) = explain(delivery.lower(), edge, RULES, NOW).deliveries
    assert told.origin is Origin.WEBHOOK
    assert found(webhook.headers["X-GitHub-Delivery"], edge) == [delivery]
    (run,) = told.runs
    assert run.state is RunState.QUEUED
    assert found(run.id, edge) == [delivery]


def test_where_no_delivery_came_the_reader_is_told_what_ci_yml_would_have_done_and_what_to_look_at(edge):
    deliver(edge, push(COMMIT))
    story = explain("2pisoftware/hello@feature/x", edge, RULES, later(60))
    assert story.asked == "of 2pisoftware/hello@feature/x"
    assert story.hints[0] == (
        "by ci.yml refs/heads/feature/x of github.com/2pisoftware/hello would start nothing: "
        'branch "feature/x" matches none of: develop'
    )
    assert (
        "the last delivery of all came 1m 0s ago, from github.com. No runner lives either: tau runners." in story.hints
    )
    assert any(hint.startswith("the webhook's page at the forge") for hint in story.hints)


def test_of_a_repository_that_ci_yml_does_not_know_that_is_the_first_thing_said(edge):
    story = explain("2pisoftware/unknown@develop", edge, RULES, NOW)
    assert story.hints[0] == "no pipeline of ci.yml is about 2pisoftware/unknown: its pushes start nothing"
    assert "nothing at all was delivered in the last 14 days: is the webhook's address right?" in "".join(story.hints)


def test_a_commit_that_nobody_told_of_is_not_found(edge):
    story = explain("f" * 40, edge, RULES, NOW)
    assert story.deliveries == ()
    assert story.asked == f"with the commit {'f' * 40}"


@pytest.mark.parametrize("what", ["", "a b", "\x1b[31m", "x" * 200])
def test_what_is_none_of_these_is_refused(edge, what):
    with pytest.raises(BadInput, match="give a commit, owner/name@branch, or the id"):
        explain(what, edge, RULES, NOW)


def test_mentions_go_with_their_delivery_and_lie_in_the_indexes_of_a_real_table(monkeypatch):
    with installation(monkeypatch) as edge:
        edge.client("ssm").put_parameter(
            Name=f"{edge.settings.secrets_prefix}{SECRET_NAME}", Value=SECRET, Type="SecureString"
        )
        webhook = push(COMMIT)
        delivery = deliver(edge, webhook)
        for what in (COMMIT[:7], "2pisoftware/hello@develop", webhook.headers["X-GitHub-Delivery"]):
            assert found(what, edge) == [delivery]
        assert list(edge.store.deliveries_of_day("2026-11-23", 9)) == [delivery]
        assert [run.id for run in edge.store.runs_of_commit(COMMIT, 9)] == [
            run.id for run in explain(delivery, edge, RULES, NOW).deliveries[0].runs
        ]


def test_a_half_planned_delivery_gets_its_mentions_when_it_is_finished(edge):
    webhook = push(COMMIT)
    delivery = deliver(edge, webhook)
    (told,) = explain(delivery, edge, RULES, NOW).deliveries
    events = tuple(
        replace(told.events[0][0], commit=f"{number:040x}", ref=f"refs/heads/b{number}", name=f"b{number}")
        for number in range(1, 151)
    )
    record = edge.store.delivery(delivery)
    many = Accepted(
        id="01KAW3ZB80ABCDEFGHJKMNPQRS",
        delivery=delivery_of(record, b"another body"),
        received_at=NOW + timedelta(seconds=9),
        config=RULES.hash,
        events=events,
        verdicts=((),) * len(events),
        runs=(),
    )
    edge.store.record(many)
    assert edge.store.delivery(many.id)["planned"]
    for number in (1, 150):
        assert found(f"{number:040x}", edge) == [many.id]
