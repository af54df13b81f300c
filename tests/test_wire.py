import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib import wire
from chalicelib.errors import BadRecord
from chalicelib.model import (
    Deployment,
    DeploymentState,
    Event,
    Handed,
    Job,
    Pusher,
    Result,
    Run,
    RunState,
    Step,
    StepResult,
    StepStatus,
    Stop,
    Supersede,
    WaitingFor,
)
from tests.installation import NOW, event, job, later, run

STEP = Step("build", {"image": "x", "args": {"a": "b"}, "tags": ["latest", "1.10"], "from": None})
RESULT = StepResult("test", StepStatus.FAILED, NOW, later(2.5), "1 of 2", ("line",), {"tests": {"failures": [{}]}})
HANDED = Handed("a" * 40, "ann@2pisoftware.com", "Ann", "Show overdue tasks first")
FULL = run(
    1,
    STEP,
    state=RunState.WAITING,
    waiting_for=WaitingFor.RETRY,
    due_at=later(30),
    started_at=NOW,
    journal=({"kind": "intent", "size": 1.5, "open": True, "nothing": None},),
    tell={"email:dev@2pisoftware.com": {"state": "due", "attempts": 0}},
    results={"0": RESULT},
    stop=Stop(RunState.SUPERSEDED, "01NEWER", later(1)),
    handed={"01OLDER": HANDED, "01OLDEST": Handed(None)},
    hands=2,
    followed_until=later(90),
)
DEPLOYMENT = Deployment(
    "01X.3", "01X", "us-east-1", "a", "a-production", "v1", DeploymentState.UPDATING, 4, NOW, later(9), None
)


ENDED = Result("01X", job(supersede=Supersede.NEVER), RunState.PASSED, NOW, later(9), (RESULT,), None, {"01O": HANDED})


@pytest.mark.parametrize(
    "noun",
    [FULL, FULL.job, event(), RESULT, DEPLOYMENT, FULL.stop, HANDED, ENDED],
    ids=lambda noun: type(noun).__name__,
)
def test_a_noun_reads_back_as_it_was_written(noun):
    assert wire.loads(type(noun), wire.dumps(noun)) == noun


@pytest.mark.parametrize("noun", [FULL, DEPLOYMENT, (event(), event()), {"a": (NOW,)}], ids=lambda n: type(n).__name__)
def test_the_text_of_a_noun_is_its_plain_data_and_nothing_else(noun):
    assert json.loads(wire.dumps(noun)) == wire.to_json(noun)


def test_what_is_no_noun_is_not_written_as_something_else():
    with pytest.raises(TypeError, match="set"):
        wire.dumps({"a": {1, 2}})


def test_a_field_of_a_newer_version_is_passed_over():
    data = {**wire.to_json(FULL), "from_the_future": 1}
    data["job"]["event"]["also_new"] = {"deep": True}
    assert wire.from_json(Run, data) == FULL


def test_a_field_that_an_older_version_did_not_write_has_its_default():
    data = wire.to_json(job())
    del data["pool"], data["timeout_s"], data["supersede"]
    assert wire.from_json(Job, data) == job()
    data = wire.to_json(run(1))
    for name in ("stop", "handed", "hands", "followed_until"):
        del data[name]
    assert wire.from_json(Run, data) == run(1)


def test_what_has_been_read_already_is_taken_as_it_is():
    data = {**wire.to_json(FULL), "job": "not looked at"}
    assert wire.from_json(Run, data, job=FULL.job) == FULL


def test_a_field_that_nobody_can_do_without_is_named():
    data = wire.to_json(event())
    del data["kind"]
    with pytest.raises(BadRecord, match="kind"):
        wire.from_json(Event, data)


@given(st.text(max_size=50), st.text(st.characters(), max_size=20))
def test_whatever_a_payload_says_travels_as_ascii_and_comes_back(name, email):
    said = event(name=name, pusher=Pusher(name=name, email=email))
    text = wire.dumps(said)
    assert text.isascii()
    assert wire.loads(Event, text) == said
    assert not any(ord(char) < 0x20 for char in text), "SQS refuses control characters"


def test_texts_of_equal_nouns_are_equal():
    one = Step("build", {"a": 1, "b": 2})
    other = Step("build", {"b": 2, "a": 1})
    assert wire.dumps(one) == wire.dumps(other)


def test_times_are_written_in_utc_to_the_millisecond_and_sort_as_text():
    sydney = timezone(timedelta(hours=11))
    moments = [datetime(2026, 11, 23, 9, 59, 59, 999_999, sydney), datetime(2026, 11, 22, 23, 0, 0, 1000, UTC)]
    assert [wire.time_text(moment) for moment in moments] == ["2026-11-22T22:59:59.999Z", "2026-11-22T23:00:00.001Z"]
    assert wire.time_of("2026-11-22T23:00:00.001Z") == moments[1]


@given(st.lists(st.text(max_size=4), max_size=4), st.lists(st.text(max_size=4), max_size=4))
def test_no_two_lists_of_parts_share_a_key(one, other):
    assert (wire.key(*one) == wire.key(*other)) == (one == other)


def test_parts_with_each_others_marks_keep_apart():
    assert wire.key("a#b", "c") != wire.key("a", "b#c")
    assert wire.key("1:a", "b") != wire.key("1", "a1:b")


def test_zipped_bytes_come_back():
    body = bytes(range(256)) * 100
    assert wire.unzipped(wire.zipped(body)) == body
    assert len(wire.zipped(body)) < len(body)


@dataclass(frozen=True)
class _Inner:
    at: datetime


@dataclass(frozen=True)
class _Outer:
    by_name: dict[str, _Inner] = field(default_factory=dict)
    several: tuple[_Inner, ...] = ()
    perhaps: _Inner | None = None


def test_nouns_inside_maps_lists_and_options_are_nouns_again():
    inner = _Inner(NOW)
    outer = _Outer({"a": inner}, (inner,), inner)
    assert wire.loads(_Outer, wire.dumps(outer)) == outer
    assert wire.loads(_Outer, wire.dumps(replace(outer, perhaps=None))).perhaps is None
