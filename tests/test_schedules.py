"""When a schedule falls due: across the switches of daylight time, after an outage, and where it never can."""

from datetime import UTC, datetime, timedelta

import pytest

from chalicelib.config import Trigger
from chalicelib.errors import BadConfig
from chalicelib.schedules import due, scheduled
from tests.hooks import config, pipeline

HOUR = timedelta(hours=1)
(PIPELINE,) = config().pipelines


def at(text):
    """A UTC time, as `4 Apr 17:00` of 2026."""
    return datetime.strptime(f"2026 {text}", "%Y %d %b %H:%M").replace(tzinfo=UTC)


def moments(cron, start, hours=24, zone="Australia/Sydney", step_s=60):
    """Every moment that somebody sees who looks once a minute, at no even second."""
    trigger, since, seen = Trigger(cron=cron, timezone=zone), start, []
    while since < start + hours * HOUR:
        now = since + timedelta(seconds=step_s, microseconds=317)
        found = due(PIPELINE, trigger, since, now)
        if found:
            assert since < found.at <= now
            assert found.missed is None
            seen.append(found.at)
        since = now
    return [f"{moment:%d %b %H:%M}".lstrip("0") for moment in seen]


# Sydney's clocks go from 3:00 back to 2:00 on 5 April 2026 (16:00 UTC), from 2:00 on to 3:00 on 4 October.
BACK, ON = at("4 Apr 12:00"), at("3 Oct 12:00")


@pytest.mark.parametrize(
    ("cron", "start", "expected"),
    [
        ("0 3 * * *", at("1 Jul 12:00"), ["1 Jul 17:00"]),
        ("0 3 * * *", BACK, ["4 Apr 17:00"]),
        ("0 3 * * *", ON, ["3 Oct 16:00"]),
        ("30 2 * * *", BACK, ["4 Apr 15:30"]),
        ("30 2 * * *", ON, ["3 Oct 16:00"]),
        ("30 */6 * * *", BACK, ["4 Apr 13:30", "4 Apr 20:30", "5 Apr 2:30", "5 Apr 8:30"]),
        ("0 3 * * 1", at("5 Jul 12:00"), ["5 Jul 17:00"]),
        ("0 3 31 * *", at("1 Jul 12:00"), []),
    ],
)
def test_a_schedule_follows_the_clock_on_the_wall(cron, start, expected):
    assert [moment.replace(" 0", " ") for moment in moments(cron, start)] == expected


@pytest.mark.parametrize("start", [BACK, ON])
def test_what_comes_every_hour_comes_once_for_each_hour_that_passes(start):
    assert len(moments("30 * * * *", start)) == 24


def test_a_moment_is_due_at_its_very_second_and_only_once():
    trigger, moment = Trigger(cron="0 3 * * *"), at("1 Jul 03:00")
    assert due(PIPELINE, trigger, moment - HOUR, moment - timedelta(microseconds=1)) is None
    assert due(PIPELINE, trigger, moment - HOUR, moment).at == moment
    assert due(PIPELINE, trigger, moment, moment + HOUR) is None


def test_after_an_outage_the_newest_moment_is_due_and_the_one_before_it_is_named():
    found = due(PIPELINE, Trigger(cron="0 3 * * *"), at("1 Jul 00:00"), at("4 Jul 12:00"))
    assert (found.at, found.missed) == (at("4 Jul 03:00"), at("3 Jul 03:00"))
    assert due(PIPELINE, Trigger(cron="0 3 * * *"), at("3 Jul 04:00"), at("4 Jul 12:00")).missed is None


@pytest.mark.parametrize(
    ("cron", "zone"),
    [("never", "UTC"), ("61 * * * *", "UTC"), ("0 3 * * *", "Australia/Atlantis"), ("0 3 * * *", "../UTC"), ("", "")],
)
def test_a_schedule_that_no_clock_can_follow_is_said_to_be_none(cron, zone):
    with pytest.raises(BadConfig, match="the schedule of hello cannot be followed"):
        due(PIPELINE, Trigger(cron=cron, timezone=zone), BACK, ON)


def test_a_schedule_that_is_changed_is_another_one():
    def keys(**changes):
        said = {"cron": "0 3 * * *", "timezone": "UTC", "ref": "develop", **changes}
        return set(scheduled(config(pipeline(triggers={"schedule": said}), pipeline("other"))))

    every = [keys(), keys(cron="0 4 * * *"), keys(timezone="Australia/Sydney"), keys(ref="master")]
    assert [len(one) for one in every] == [1, 1, 1, 1]
    assert len(set.union(*every)) == 4
