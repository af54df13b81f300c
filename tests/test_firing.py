"""Schedules start their pipelines: once for each moment, however many look and whatever breaks in between."""

from dataclasses import replace

import pytest
from botocore.exceptions import EndpointConnectionError

from chalicelib.config import parse
from chalicelib.firing import fire
from chalicelib.model import EventKind, RunState
from chalicelib.store import Store
from tests.hooks import REPOSITORY, compiled, pipeline
from tests.installation import installation, later

HOURLY = {"cron": "30 * * * *", "timezone": "UTC", "ref": "develop"}
DAY = 24 * 60


@pytest.fixture
def edge(monkeypatch):
    with installation(monkeypatch) as made:
        yield made


def config(*pipelines):
    return parse(compiled(*pipelines))


def nightly(name="nightly", **changes):
    return pipeline(name, triggers={"schedule": {**HOURLY, **changes}})


def look(edge, minutes, *pipelines):
    """How many moments a look so many minutes after noon finds."""
    return fire(edge, config(*(pipelines or (nightly(),))), later(60 * minutes))


def runs(edge):
    return sorted(edge.store.runs_of_day("2026-11-23", 99), key=lambda run: run.id)


def test_a_schedule_begins_with_its_first_moment_after_it_was_seen(edge):
    assert [look(edge, minutes) for minutes in (0, 29, 30, 31, 89, 90)] == [0, 0, 1, 0, 0, 1]
    assert len(runs(edge)) == 2


def test_what_it_starts_is_an_event_of_this_pipeline_alone(edge):
    other = pipeline("other", triggers={"push": {"names": ["**"]}, "manual": {}})
    look(edge, 0, nightly(), other)
    look(edge, 30, nightly(), other)
    (run,) = runs(edge)
    event = run.job.event
    assert (run.job.pipeline, run.state, event.kind) == ("nightly", RunState.QUEUED, EventKind.SCHEDULE)
    assert (event.repository, event.ref, event.name, event.commit) == (
        REPOSITORY,
        "refs/heads/develop",
        "develop",
        None,
    )
    assert edge.queue.receive("default", wait_s=0, hidden_s=9) is not None
    record = edge.store.delivery(run.delivery)
    assert (record["origin"], record["delivery_id"]) == ("schedule", "nightly 2026-11-23T12:30:00.000Z")


def test_without_a_ref_it_is_of_the_default_branch(edge):
    for minutes in (0, 30):
        look(edge, minutes, nightly(ref=None))
    assert [run.job.event.ref for run in runs(edge)] == [None]


class Frozen(Store):
    """What somebody sees who read the last look, and then was stopped for a while."""

    def last_look(self):
        return self.seen


def test_however_many_look_a_moment_is_started_once(edge):
    look(edge, 0)
    frozen = Frozen(edge.store.table)
    frozen.seen = edge.store.last_look()
    assert look(edge, 30) == 1
    assert look(replace(edge, store=frozen), 31) == 1
    assert len(runs(edge)) == 1
    assert edge.store.last_look().at == later(60 * 30), "an older look is not written over a newer one"


def test_after_an_outage_the_newest_moment_is_made_up_for_and_the_log_says_so(edge, caplog):
    caplog.set_level("INFO")
    look(edge, 0)
    assert look(edge, 215) == 1
    (run,) = runs(edge)
    assert run.job.event.delivery_id == "nightly 2026-11-23T15:30:00.000Z"
    (said,) = (record for record in caplog.records if record.message == "schedule fired")
    assert (said.moment, said.missed) == ("2026-11-23T15:30:00+00:00", "2026-11-23T14:30:00+00:00")


class Broken(Store):
    """A table that refuses what one pipeline's schedule wants written."""

    def record(self, accepted):
        if accepted.events[0].pipeline == "broken":
            raise EndpointConnectionError(endpoint_url="https://dynamodb.invalid")
        return super().record(accepted)


def test_one_that_cannot_be_written_hides_no_other_and_is_made_up_for(edge):
    both = nightly("broken"), nightly("good")
    look(edge, 0, *both)
    look(replace(edge, store=Broken(edge.store.table)), 30, *both)
    assert [run.job.pipeline for run in runs(edge)] == ["good"]
    look(edge, 31, *both)
    assert sorted(run.job.pipeline for run in runs(edge)) == ["broken", "good"]


def test_a_schedule_that_nobody_can_follow_hides_no_other(edge, caplog):
    odd = nightly("odd", timezone="Australia/Atlantis")
    wide = {**nightly("wide"), "repository": "github.com/2pisoftware/*"}
    for minutes in (0, 30):
        look(edge, minutes, odd, wide, nightly("good"))
    assert [run.job.pipeline for run in runs(edge)] == ["good"]
    warned = [record.pipeline for record in caplog.records if record.levelname == "WARNING"]
    assert warned == ["odd", "wide"]


@pytest.mark.parametrize("between", [(pipeline("other"),), (nightly(cron="45 * * * *"),)])
def test_a_schedule_that_was_away_has_nothing_to_make_up_for(edge, between):
    look(edge, 0)
    look(edge, 10, *between)
    look(edge, 31)
    assert runs(edge) == []


def test_moments_farther_apart_than_deliveries_are_remembered_are_started_once(edge):
    yearly = nightly(cron="0 13 23 11 *")
    look(edge, 0, yearly)
    look(edge, 60, yearly)
    for days in (31, 200, 364):
        assert look(edge, days * DAY, yearly) == 0
    assert look(edge, 366 * DAY, yearly) == 1


def test_an_installation_without_schedules_writes_nothing(edge):
    assert look(edge, 0, pipeline()) == 0
    assert edge.store.last_look() is None
