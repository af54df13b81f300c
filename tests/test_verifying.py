"""A version that runs: which health does, for how long, and what its instances say against it."""

from dataclasses import replace

import pytest

from chalicelib.beanstalk import advance, unseen
from chalicelib.environment import Answer, Call, Instance, Seen
from chalicelib.model import DeploymentState
from chalicelib.verifying import disagreement
from tests.test_beanstalk import BUSY, NEW, OLD, PROCESSED, at, deployment, enact

LIVE, VERIFYING, FAILED = DeploymentState.LIVE, DeploymentState.VERIFYING, DeploymentState.FAILED
ROLLING_BACK, ROLLED_BACK = DeploymentState.ROLLING_BACK, DeploymentState.ROLLED_BACK
ROLLBACK_FAILED = DeploymentState.ROLLBACK_FAILED
BEGUN = [(0, replace(OLD, **PROCESSED)), (5, BUSY)]


def seen(health, status=None, **changes):
    return replace(NEW, health=health, health_status=status, **changes)


# --- which health does -------------------------------------------------------------------------------

# name: (fields of the record, what is seen, when; the state that follows)
HEALTHS = {
    "Warning that was Ok, as it is by itself": ({}, [(60, seen("Yellow", "Warning"))], VERIFYING),
    "green takes Ok": ({"accept": "green"}, [(60, seen("Green", "Ok"))], LIVE),
    "green takes Info": ({"accept": "green"}, [(60, seen("Green", "Info"))], LIVE),
    "green takes no Warning": ({"accept": "green"}, [(60, seen("Yellow", "Warning"))], VERIFYING),
    "yellow takes a Warning": ({"accept": "yellow"}, [(60, seen("Yellow", "Warning"))], LIVE),
    "yellow takes no Degraded": ({"accept": "yellow"}, [(60, seen("Red", "Degraded"))], VERIFYING),
    "yellow takes no Grey": ({"accept": "yellow"}, [(60, seen("Grey", "Unknown"))], VERIFYING),
    "any takes Severe": ({"accept": "any"}, [(60, seen("Red", "Severe"))], LIVE),
    "any takes Grey": ({"accept": "any"}, [(60, seen("Grey", "NoData"))], LIVE),
    "Red for a minute": ({"accept": "yellow"}, [(60, seen("Red")), (120, seen("Red"))], ROLLING_BACK),
    "Red within its time": ({"health_within_s": 300}, [(60, seen("Red")), (359, seen("Red"))], VERIFYING),
    "Red until its time is over": ({"health_within_s": 300}, [(60, seen("Red")), (360, seen("Red"))], ROLLING_BACK),
    "Grey until its time is over": ({"health_within_s": 30}, [(60, seen("Grey")), (90, seen("Grey"))], ROLLING_BACK),
    "well in the last moment": ({"health_within_s": 300}, [(60, seen("Red")), (360, seen("Green"))], LIVE),
    "well, and not yet for long": ({"hold_s": 60}, [(60, NEW), (119, NEW)], VERIFYING),
    "well for as long as it has to": ({"hold_s": 60}, [(60, NEW), (90, NEW), (120, NEW)], LIVE),
    "well, and once not": ({"hold_s": 60}, [(60, NEW), (90, seen("Yellow")), (120, NEW), (179, NEW)], VERIFYING),
    "well, and once not, then for long": (
        {"hold_s": 60},
        [(60, NEW), (90, seen("Yellow")), (120, NEW), (180, NEW)],
        LIVE,
    ),
    "well, and once not Ready": ({"hold_s": 60}, [(60, NEW), (90, BUSY), (120, NEW), (179, NEW)], VERIFYING),
}


@pytest.mark.parametrize(("fields", "looks", "state"), HEALTHS.values(), ids=HEALTHS)
def test_which_health_does_how_soon_and_for_how_long_is_what_ci_yml_says(fields, looks, state):
    record, _ = enact(deployment(**fields), *BEGUN, *looks)
    assert record.state is state, record


def test_green_is_wanted_though_it_was_yellow_before_and_the_reason_says_who_wants_it():
    yellow = replace(OLD, health="Yellow")
    record = deployment(accept="green", timeout_s=600)
    record, _ = enact(record, (0, replace(yellow, **PROCESSED)), (5, BUSY), (60, seen("Yellow")), (606, seen("Yellow")))
    assert record.state is ROLLING_BACK
    assert record.failure == (
        "waited 10m; crm-production runs v2, but its health is Yellow (it was Yellow before; ci.yml accepts green)"
    )
    back, _ = enact(record, (610, BUSY), (660, yellow))
    assert back.state is ROLLED_BACK, "as well as it was before"


@pytest.mark.parametrize(
    ("accept", "health", "state"),
    [("yellow", "Yellow", ROLLED_BACK), ("before", "Yellow", ROLLING_BACK), ("any", "Grey", ROLLED_BACK)],
)
def test_what_ci_yml_accepts_does_on_the_way_back_too(accept, health, state):
    record = deployment(accept=accept, state=ROLLING_BACK, back_to="v1", failure="x", previous_health="Green")
    assert advance(record, replace(OLD, health=health), at(60))[0].state is state


def test_the_way_back_has_as_long_as_ci_yml_says_and_holds_nothing():
    record = deployment(health_within_s=300, hold_s=600, state=ROLLING_BACK, back_to="v1", failure="x")
    record = replace(record, previous_health="Green", undoing=True, called=True)
    red = replace(OLD, health="Red")
    late, _ = enact(record, (60, red), (359, red))
    assert late.state is ROLLING_BACK
    assert advance(late, OLD, at(360))[0].state is ROLLED_BACK
    assert advance(late, red, at(360))[0].state is ROLLBACK_FAILED


def test_a_version_that_is_well_at_its_deadline_may_stay_so_for_long_enough_and_no_break_is_forgiven():
    record, _ = enact(deployment(hold_s=60), *BEGUN, (1790, NEW))
    assert (record.deadline_at, record.well_at) == (at(1800), at(1790))
    held, _ = enact(record, (1810, NEW), (1849, NEW))
    assert held.state is VERIFYING
    assert advance(held, NEW, at(1850))[0].state is LIVE
    broken, _ = advance(held, seen("Yellow"), at(1849))
    assert broken.state is ROLLING_BACK


def test_a_look_that_is_refused_ends_no_version_that_is_being_held():
    record, _ = enact(deployment(hold_s=60), *BEGUN, (1790, NEW))
    assert unseen(record, "Throttling", at(1805)).state is VERIFYING
    # The hold is over, and nobody could look yet.
    assert unseen(record, "Throttling", at(1905)).state is VERIFYING
    assert unseen(record, "Throttling", at(1911)).state is FAILED


def test_the_probe_has_its_own_time_after_the_hold():
    refuses = replace(NEW, answer=Answer(good=False, said="/up answers 503"))
    asked = deployment(probe="/up", probe_within_s=60, hold_s=300, answered_label=OLD.label, answered=True)
    record, _ = enact(asked, *BEGUN, (60, NEW), (360, refuses), (419, refuses))
    assert record.state is VERIFYING
    assert advance(record, refuses, at(420))[0].state is ROLLING_BACK
    assert advance(record, replace(NEW, answer=Answer(good=True, said="")), at(420))[0].state is LIVE


def test_what_is_ready_in_the_last_moment_is_updated_without_being_asked_first():
    record, _ = enact(deployment(probe="/up"), (0, replace(BUSY, **PROCESSED)))
    ready, call = advance(record, OLD, record.deadline_at)
    assert (ready.state, call, ready.answered) == (DeploymentState.UPDATING, Call.UPDATE, None)


# --- what the instances say ---------------------------------------------------------------------------


def instances(*labels, status="Deployed"):
    return tuple(Instance(f"i-{at}", label, label and status) for at, label in enumerate(labels))


def told(*labels, **changes):
    return replace(NEW, health_status="Ok", enhanced=True, instances=instances(*labels), **changes)


WORDS = {
    "all agree": (told("v2", "v2"), None),
    "one is just being made": (told("v2", None), None),
    "basic health": (replace(NEW, instances=instances("v1")), None),
    "they were not asked": (replace(NEW, enhanced=True), "its instances were not asked"),
    "there is none": (told(), "no instance of it says which version it runs"),
    "none says": (told(None), "no instance of it says which version it runs"),
    "another version": (told("v2", "v1"), "its instance i-1 runs v1"),
    "several": (told("v1", "v2", "v1", "v0"), "its instance i-0 runs v1 (and 2 more of 4)"),
    "not yet": (
        replace(told(), instances=instances("v2", status="In Progress")),
        "its instance i-0 was given v2, and the status of that is In Progress",
    ),
    "not at all": (
        replace(told(), instances=instances("v2", status="Failed")),
        "its instance i-0 was given v2, and the status of that is Failed",
    ),
}


@pytest.mark.parametrize(("what", "words"), WORDS.values(), ids=WORDS)
def test_instances_agree_or_it_is_said_which_one_does_not(what, words):
    assert disagreement(what, "v2") == words


def test_a_strangers_text_in_an_instances_label_is_made_plain():
    assert disagreement(told("v1\x1b[2J\n"), "v2") == "its instance i-0 runs v1"


def test_a_version_is_live_as_soon_as_every_instance_runs_it():
    record, calls = enact(deployment(), *BEGUN, (60, told("v1", "v2")))
    assert (record.state, record.reason, calls) == (VERIFYING, "its instance i-0 runs v1", 1)
    record, _ = advance(record, told("v2", "v2"), at(65))
    assert (record.state, record.reason) == (LIVE, None)


def test_one_instance_on_another_version_at_the_deadline_and_it_is_undone():
    record, calls = enact(deployment(), *BEGUN, (60, told("v2", "v1")), (1806, told("v2", "v1")))
    assert (record.state, calls) == (ROLLING_BACK, 2)
    assert record.failure == "waited 30m; crm-production runs v2, and its health is Ok, but its instance i-1 runs v1"


def test_the_way_back_needs_every_instance_too():
    record, _ = enact(deployment(), *BEGUN, (60, told("v2", "v1")), (1806, told("v2", "v1")), (1810, BUSY))
    odd = told("v2", "v1", label="v1")
    assert enact(record, (1860, odd), (1900, odd))[0].state is ROLLING_BACK
    assert enact(record, (1860, odd), (1900, told("v1", "v1", label="v1")))[0].state is ROLLED_BACK
    lost, calls = enact(record, (1860, odd), (3700, odd))
    assert (lost.state, calls) == (ROLLBACK_FAILED, 0)
    assert lost.reason.endswith(
        "The way back to v1 failed too: waited 30m; crm-production runs v1, and its health is Ok, "
        "but its instance i-0 runs v2"
    )


def test_what_runs_already_is_live_once_its_instances_have_said_so():
    record, calls = enact(deployment(), (0, replace(NEW, enhanced=True, **PROCESSED)))
    assert (record.state, calls) == (VERIFYING, 0)
    assert advance(record, told("v2"), at(5))[0].state is LIVE


def test_where_nothing_else_is_known_of_them_they_are_not_waited_for():
    assert Seen().enhanced is False
    assert enact(deployment(), *BEGUN, (60, replace(NEW, health_status="Ok")))[0].state is LIVE
