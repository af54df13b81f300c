"""`tau trigger` and `tau replay`, as somebody types them."""

import json

import pytest

from tests.hooks import compiled, pipeline
from tests.installation import NOW, installation
from tests.runner.test_operating import tau


@pytest.fixture
def store(monkeypatch):
    with installation(monkeypatch) as made:
        wide = pipeline("wide", repository="github.com/2pisoftware/{client}_deploy")
        made.store.put_config("c" * 64, json.dumps(compiled(pipeline(), wide)).encode())
        made.store.put_in_force("c" * 64, NOW)
        yield made.store


def test_what_was_started_is_printed_and_the_record_says_who_wanted_it(store):
    said = tau("trigger", "hello", "--ref", "develop", "--by", "kim@laptop", "--as", "kim@2pisoftware.com")
    assert said.exit_code == 0, said.output
    pusher = store.run(said.stdout.strip()).job.event.pusher
    assert (pusher.login, pusher.email) == ("kim@laptop", "kim@2pisoftware.com")


def test_where_nothing_is_started_the_reason_is_printed(store):
    said = tau("trigger", "wide", "--repository", "2pisoftware/cmfive")
    assert (said.exit_code, said.stdout) == (1, "")
    assert said.stderr.startswith("nothing started: ")
    assert "2pisoftware/cmfive" in said.stderr
    assert list(store.runs_of_day(NOW.date().isoformat(), 9)) == []


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("trigger", "helo"), 1, 'did you mean "hello"?'),
        (("trigger", "wide"), 1, "say which with --repository OWNER/NAME"),
        (("trigger", "hello", "--commit", "1234567"), 2, "is no full sha"),
        (("trigger", "hello", "--as", "kim"), 2, "is no address"),
        (("replay", "01kaq000000000000000000009"), 1, "there is no delivery 01KAQ000000000000000000009"),
        (("replay", "x/y"), 1, "there is no delivery X/Y"),
    ],
)
def test_a_wrong_word_is_one_line_that_says_what_to_do(arguments, code, words):
    said = tau(*arguments)
    assert said.exit_code == code
    assert words in said.stderr
    assert "Traceback" not in said.output


def test_a_start_is_replayed_by_its_delivery(store):
    first = tau("trigger", "hello").stdout.strip()
    again = tau("replay", store.run(first).delivery.lower(), "--by", "kim@laptop")
    assert again.exit_code == 0, again.output
    assert store.run(again.stdout.strip()).reason == f"delivery {store.run(first).delivery} again, for kim@laptop"
