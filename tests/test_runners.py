"""The runners' own records: who lives, with what in hand."""

from datetime import timedelta

import pytest

from chalicelib.records.sundry import GONE_AFTER, Runner
from chalicelib.records.table import Change
from tests.installation import NOW, installation, later

FACTS = {"host": "code", "pool": "default", "version": "0.1.0", "jobs": 4, "runs": ["01X", "01Y"], "since": NOW}


@pytest.fixture
def store(monkeypatch):
    with installation(monkeypatch) as made:
        yield made.store


def test_a_runner_is_listed_as_it_described_itself_last(store):
    store.put_runner("code-2", FACTS, later(1))
    store.put_runner("code-1", {**FACTS, "runs": []}, later(2))
    store.put_runner("code-2", {**FACTS, "runs": ["01Z"]}, later(3))
    assert store.runners(later(3)) == [
        Runner("code-1", later(2), "code", "default", "0.1.0", 4, (), NOW),
        Runner("code-2", later(3), "code", "default", "0.1.0", 4, ("01Z",), NOW),
    ]


def test_a_runner_that_says_less_is_listed_with_what_it_says(store):
    store.put_runner("code-1", {"host": "code", "running": 2}, NOW)
    assert store.runners(NOW) == [Runner("code-1", NOW, host="code")]


def test_a_silent_runner_is_listed_for_ten_minutes_and_expires(store):
    store.put_runner("code-1", FACTS, NOW)
    assert store.runners(NOW + GONE_AFTER) != []
    assert store.runners(NOW + GONE_AFTER + timedelta(seconds=1)) == []
    assert store.table.get(("runner", "code-1"))["expires_at"] == int((NOW + GONE_AFTER).timestamp())


def test_a_runner_that_stopped_is_listed_no_more_and_expires_at_once(store):
    store.put_runner("code-1", FACTS, NOW)
    store.forget_runner("code-1", later(5))
    assert store.runners(later(5)) == []
    assert store.table.get(("runner", "code-1"))["expires_at"] == int(later(5).timestamp())


def test_a_runner_that_never_said_anything_can_stop_too(store):
    store.forget_runner("code-1", NOW)
    assert store.table.get(("runner", "code-1")) is None


def test_a_runner_of_a_newer_version_is_nobody_whom_we_could_describe(store):
    store.put_runner("code-1", FACTS, NOW)
    store.table.write(Change(("runner", "code-1"), values={"v": 2}))
    assert store.runners(NOW) == []
