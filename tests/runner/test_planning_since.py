"""`tau plan --since`: what came in these days, out of the records, by the old and the new ci.yml."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from click.testing import CliRunner

from chalicelib import wire
from chalicelib.errors import BadInput
from chalicelib.intake import accept, receive
from chalicelib.model import Delivery, Origin
from chalicelib.providers import internal
from chalicelib.records.delivery_items import delivery_place
from chalicelib.records.table import Change
from runner.cli import main
from runner.compiler import compile_text, render
from runner.whatif import in_force, length_of, news, what_if
from tests.hooks import SECRET, SECRET_NAME, compiled, config, headers_of, pipeline, push
from tests.installation import NOW, SETTINGS, installation, later
from tests.sim.edges.cloud import MemoryCloud

ENVIRON = {"TAU_STAGE": "test", "TAU_BUCKET": "tau-test", "TAU_SENDER": "tau@2pisoftware.com"}
CI_YML = """\
version: 1
operators: [ops@2pisoftware.com]
forges:
  github.com: {provider: github, clone: 'https://github.com/{repository}', webhook: [hook-test]}
registries: {}
pipelines:
  hello:
    repository: github.com/2pisoftware/hello
    trigger: {push: [develop]}
    steps:
      - build: {image: 2pisoftware/hello}
"""
OLD, NEW = config(pipeline()), config(pipeline(triggers={"push": {"names": ["master"]}}))
MONTH = timedelta(days=30)


@pytest.fixture
def cloud():
    made = MemoryCloud(SETTINGS, lambda: NOW, lambda: 0.0, lambda _until: None)
    made.put_secret(SECRET_NAME, SECRET)
    return made


def deliver(edge, webhook, at):
    return receive(headers_of(webhook), webhook.body, pinned=None, config=OLD, edge=edge, now=at).body["delivery"]


def daily(edge, days):
    """A push to develop on each of these days before NOW, each where the one before ended."""
    for number, back in enumerate(sorted(days, reverse=True)):
        shas = {"sha": f"{number + 2:040x}", "before": f"{number + 1:040x}"}
        deliver(edge, push(**shas), NOW - timedelta(days=back))


@pytest.mark.parametrize(("length", "found"), [("30d", 4), ("7d", 3), ("1d", 2), ("6h", 1)])
def test_what_came_in_these_days_is_planned_by_both(cloud, length, found):
    edge = cloud.edge()
    daily(edge, [31, 29, 7, 7 / 24, 0])
    answer = what_if(edge, length_of(length), OLD, NEW)
    (gone,) = answer.comparison.differences
    assert (len(gone.seen), answer.reading.deliveries, gone.more) == (found, found, False)


def test_a_month_of_deliveries_is_read_page_by_page_and_nothing_is_scanned(cloud):
    edge = cloud.edge()
    for number in range(250):
        deliver(edge, push(f"{number + 2:040x}", before=f"{number + 1:040x}"), later(number))
    answer = what_if(replace(edge, now=lambda: later(300)), MONTH, OLD, NEW)
    assert answer.comparison.events == 250


def test_a_push_that_nobody_answered_counts_where_the_new_file_wants_it(cloud):
    edge = cloud.edge()
    deliver(edge, push(ref="refs/heads/master"), NOW)
    (more,) = what_if(edge, MONTH, OLD, NEW).comparison.differences
    assert (more.more, more.does, more.names) == (True, ("be built",), ("master",))


def test_what_a_look_had_found_before_the_webhook_came_counts_once(cloud):
    edge = cloud.edge()
    webhook = push()
    (event,) = accept(
        Delivery("github.com", OLD.forges["github.com"].provider, headers_of(webhook), webhook.body), OLD, NOW
    ).events
    found = internal.delivery(Origin.RECONCILED, "github.com", event.provider, [event])
    edge.store.record_found(accept(found, OLD, NOW), {})
    delivery = deliver(edge, webhook, later(60))
    assert news(edge.store.delivery(delivery)) == []
    assert what_if(replace(edge, now=lambda: later(90)), MONTH, OLD, NEW).comparison.events == 1


def test_a_delivery_that_a_person_had_planned_once_more_counts_once(cloud):
    edge = cloud.edge()
    first = deliver(edge, push(), NOW)
    again = deliver(edge, push("3" * 40, before="2" * 40), NOW)
    assert what_if(edge, MONTH, OLD, NEW).comparison.events == 2
    edge.store.table.write(Change(delivery_place(again), values={"replay": {"of": first, "by": "sam"}}))
    assert what_if(edge, MONTH, OLD, NEW).comparison.events == 1


UNKNOWN_KIND = {"headers": {}, "events": [{"kind": "moon"}], "verdicts": [[]]}


@pytest.mark.parametrize("newer", [{"v": 2}, {"details": wire.zipped(json.dumps(UNKNOWN_KIND).encode())}])
def test_a_delivery_of_a_newer_program_is_left_out_and_counted(cloud, newer):
    edge = cloud.edge()
    delivery = deliver(edge, push(), NOW)
    edge.store.table.write(Change(delivery_place(delivery), values=newer))
    answer = what_if(edge, MONTH, OLD, NEW)
    assert (answer.comparison.events, answer.reading.unreadable) == (0, 1)


def test_the_old_file_is_the_one_in_force_where_the_records_have_it(cloud):
    edge = cloud.edge()
    with pytest.raises(BadInput, match=r"by --against.*no ci.yml is in force"):
        in_force(edge)
    edge.store.put_in_force(OLD.hash, NOW)
    edge.store.put_config(OLD.hash, json.dumps(compiled(pipeline())).encode())
    assert in_force(edge) == OLD
    edge.store.put_config("d" * 64, json.dumps(compiled() | {"version": 0}).encode())
    edge.store.put_in_force("d" * 64, later(1))
    with pytest.raises(BadInput, match=r"by --against.*version 0"):
        in_force(edge)


# --- the command ------------------------------------------------------------------------------------


def tau(*arguments, **environ):
    return CliRunner().invoke(main, ["plan", *map(str, arguments)], env=dict.fromkeys(ENVIRON) | environ)


@pytest.fixture
def files(tmp_path):
    (tmp_path / "old.yml").write_text(CI_YML)
    (tmp_path / "new.yml").write_text(CI_YML.replace("[develop]", "[master]"))
    return tmp_path


def test_a_person_asks_what_a_change_would_do_to_what_came_in(files, monkeypatch):
    new = files / "new.yml"
    with installation(monkeypatch) as edge:
        edge.client("ssm").put_parameter(Name=f"/tau/test/secrets/{SECRET_NAME}", Value=SECRET, Type="SecureString")
        today = edge.now()
        deliver(edge, push(), today)
        deliver(edge, push("3" * 40, before="2" * 40), today)
        named = tau("--since", "30d", "--config", new, "--against", files / "old.yml", **ENVIRON)
        form = compile_text(CI_YML)
        edge.store.put_config(form["source_sha256"], render(form).encode())
        edge.store.put_in_force(form["source_sha256"], today)
        in_force = tau("--since", "30d", "--config", new, "--json", **ENVIRON)
    assert named.exit_code == 0, named.output
    said = "2 pushes to develop of github.com/2pisoftware/hello would not be built any more"
    assert f"  {said}\n" in named.stdout
    assert "trigger.push.names: develop -> master\n" in named.stdout
    assert "2 events of 2 deliveries since " in named.stdout
    found = json.loads(in_force.stdout)
    assert [one["text"] for one in found["differences"]] == [said]
    assert found["old"] == form["source_sha256"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--since", "30d", "--delivery", "01X"), "name none beside it"),
        (("--since", "30d", "--provider", "github"), "name none beside it"),
        (("--since", "yesterday"), "such as 12h or 30d"),
        (("--since", "1000d"), "kept for 90 days"),
        (("--since", "30d", "--against", "gone.yml"), "gone.yml cannot be read"),
        (("--against", "old.yml"), "--against goes with --since"),
        (("--since", "30d"), "TAU_STAGE"),
    ],
)
def test_what_cannot_be_compared_is_one_line_and_no_traceback(arguments, words):
    said = tau(*arguments)
    assert (said.exit_code, words in said.stderr) == (1, True), said.output
    assert "Traceback" not in said.output
