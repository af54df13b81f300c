"""One deployment and what Elastic Beanstalk says, row by row: where it leads, and how many updates it costs."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from chalicelib import beanstalk
from chalicelib.beanstalk import advance
from chalicelib.environment import Call, Notice, Seen, first_error
from chalicelib.model import DEPLOYMENT_ENDS, Deployment, DeploymentState
from chalicelib.verifying import wanted

PREPARED, WAITING, UPDATING = DeploymentState.PREPARED, DeploymentState.WAITING_READY, DeploymentState.UPDATING
VERIFYING, LIVE, FAILED = DeploymentState.VERIFYING, DeploymentState.LIVE, DeploymentState.FAILED
ROLLING_BACK, ROLLED_BACK = DeploymentState.ROLLING_BACK, DeploymentState.ROLLED_BACK
ROLLBACK_FAILED = DeploymentState.ROLLBACK_FAILED

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
PROCESSED = {"version_status": "PROCESSED"}
OLD = Seen(status="Ready", health="Green", label="v1", url="http://crm.example")
NEW = replace(OLD, label="v2")
BUSY = replace(OLD, status="Updating", health="Grey")


def at(seconds):
    return START + timedelta(seconds=seconds)


def notice(seconds, message, severity="INFO"):
    return Notice(at(seconds), severity, message)


BEGAN = notice(1, "Environment update is starting.")
BROKE = notice(20, "Failed to deploy application.", "ERROR")


def deployment(**fields):
    return replace(
        Deployment(
            id="01RUN.3",
            run="01RUN",
            region="ap-southeast-2",
            application="crm",
            environment="crm-production",
            label="v2",
            state=PREPARED,
            number=1,
            created_at=START,
            deadline_at=at(1800),
            due_at=START,
        ),
        **fields,
    )


def enact(record, *looks, accept=True):
    """What `looks` (second, seen) lead to, and the calls made; each call is answered at once where `accept` is."""
    calls = 0
    for second, seen in looks:
        before = record.number
        record, call = advance(record, seen, at(second))
        assert record.number == before + 1 or record.state in DEPLOYMENT_ENDS
        if call:
            calls += 1
            record = beanstalk.answered(record, at(second)) if accept else record
    return record, calls


LIVES = {
    "everything goes well": [(0, replace(OLD, **PROCESSED)), (5, BUSY), (60, NEW)],
    "the version takes a moment": [
        (0, replace(OLD, version_status="PROCESSING")),
        (5, replace(OLD, **PROCESSED)),
        (9, NEW),
    ],
    "the status is spelled as in the model": [(0, replace(OLD, version_status="Processed")), (9, NEW)],
    "another update runs before ours": [
        (0, replace(BUSY, **PROCESSED)),
        (5, BUSY),
        (600, OLD),
        (605, BUSY),
        (700, NEW),
    ],
    "Ready with the old label for a moment after the call": [
        (0, replace(OLD, **PROCESSED)),
        (5, OLD),
        (10, BUSY),
        (60, NEW),
    ],
    "Yellow that was Yellow": [(0, replace(OLD, health="Yellow", **PROCESSED)), (60, replace(NEW, health="Yellow"))],
    "Red that became Yellow": [(0, replace(OLD, health="Red", **PROCESSED)), (60, replace(NEW, health="Yellow"))],
    "enhanced health Info": [(0, replace(OLD, **PROCESSED)), (60, replace(NEW, health="Green", health_status="Info"))],
    "no data at first": [
        (0, replace(OLD, **PROCESSED)),
        (60, replace(NEW, health="Grey", health_status="NoData")),
        (90, NEW),
    ],
    "Red for half a minute": [(0, replace(OLD, **PROCESSED)), (60, replace(NEW, health="Red")), (90, NEW)],
    "Yellow that was Green, until it is Green": [
        (0, replace(OLD, **PROCESSED)),
        (60, replace(NEW, health="Yellow")),
        (300, NEW),
    ],
    "the first version ever, in an environment that was Red": [
        (0, replace(OLD, label=None, health="Red", **PROCESSED)),
        (60, replace(NEW, health="Red")),
        (300, NEW),
    ],
    "Ready is late, but comes": [(0, replace(BUSY, **PROCESSED)), (1799, OLD), (1900, NEW)],
}


@pytest.mark.parametrize("looks", LIVES.values(), ids=LIVES)
def test_it_goes_live_with_one_update(looks):
    record, calls = enact(deployment(), *looks)
    assert (record.state, calls) == (LIVE, 1)
    assert (record.url, record.reason) == ("http://crm.example", None)


FAILS = {
    "no environment": (
        0,
        "--region ap-southeast-2 --application-name crm --environment-name crm-production --template-name TEMPLATE`",
        [(0, Seen(missing=True))],
    ),
    "terminating": (0, "is being terminated: nothing was deployed", [(0, replace(OLD, status="Terminating"))]),
    "terminated under way": (
        1,
        "was terminated while v2 was on its way",
        [(0, replace(OLD, **PROCESSED)), (5, replace(BUSY, status="Terminating"))],
    ),
    "gone under way": (
        1,
        "was terminated while v2 was on its way",
        [(0, replace(OLD, **PROCESSED)), (5, Seen(missing=True))],
    ),
    "the version is refused": (
        0,
        "could not process the version v2: Dockerrun.aws.json: bad",
        [(0, replace(OLD, version_status="FAILED", notices=(notice(0, "Dockerrun.aws.json: bad", "ERROR"),)))],
    ),
    "the version is processed for ever": (
        0,
        "waited 30m for Elastic Beanstalk to process v2: it is PROCESSING",
        [(0, replace(OLD, version_status="PROCESSING")), (1800, replace(OLD, version_status="PROCESSING"))],
    ),
    "the version is not known": (0, "it is not known there", [(1800, OLD)]),
    "never Ready": (
        0,
        "waited 30m for crm-production to be Ready: it is Updating. Nothing was deployed",
        [(0, replace(BUSY, **PROCESSED)), (1800, BUSY)],
    ),
    "the first deployment of all rolled back": (
        1,
        "rolled back to no version at all",
        [(0, replace(OLD, label=None, **PROCESSED)), (5, BUSY), (60, replace(OLD, label=None))],
    ),
    "somebody else was quicker": (
        1,
        "runs v9, not v2: somebody else",
        [(0, replace(OLD, **PROCESSED)), (60, replace(OLD, label="v9"))],
    ),
    "Severe that was Degraded": (
        1,
        "its health is Severe (it was Degraded before)",
        [
            (0, replace(OLD, health="Red", health_status="Degraded", **PROCESSED)),
            (60, replace(NEW, health="Red", health_status="Severe")),
            (120, replace(NEW, health="Red", health_status="Severe")),
        ],
    ),
    "Red that stays Red": (
        1,
        "waited 30m; crm-production runs v2, but its health is Red (it was Red before)",
        [
            (0, replace(OLD, health="Red", **PROCESSED)),
            (60, replace(NEW, health="Red")),
            (1801, replace(NEW, health="Red")),
        ],
    ),
}


UNDONE_BY_AWS = {
    "rolled back": (
        1,
        "Elastic Beanstalk rolled back to v1: Failed to deploy application.",
        [(0, replace(OLD, **PROCESSED)), (5, BUSY), (60, replace(OLD, notices=(BEGAN, BROKE)))],
    ),
    "rolled back before anybody looked": (
        1,
        "rolled back to v1: Failed to deploy application.",
        [(0, replace(OLD, **PROCESSED)), (5, replace(OLD, notices=(BEGAN, BROKE)))],
    ),
    "rolled back without a word": (
        1,
        "rolled back to v1: it gives no reason",
        [(0, replace(OLD, **PROCESSED)), (5, BUSY), (60, OLD)],
    ),
}


UNDONE = {
    "Updating for ever": (
        1,
        "to be Ready with v2: it is still Updating",
        [(0, replace(OLD, **PROCESSED)), (5, BUSY), (1806, BUSY)],
    ),
    "Red that was Green": (
        1,
        "crm-production runs v2, but its health is Red (it was Green before): 5xx",
        [
            (0, replace(OLD, **PROCESSED)),
            (60, replace(NEW, health="Red")),
            (120, replace(NEW, health="Red", notices=(notice(100, "5xx", "WARN"),))),
        ],
    ),
    "Yellow that was Green": (
        1,
        "is Yellow (it was Green before)",
        [(0, replace(OLD, **PROCESSED)), (1801, replace(NEW, health="Yellow"))],
    ),
    "Grey for ever": (
        1,
        "says nothing about its health (Grey)",
        [(0, replace(OLD, **PROCESSED)), (1801, replace(NEW, health="Grey"))],
    ),
}


@pytest.mark.parametrize(("calls", "sentence", "looks"), FAILS.values(), ids=FAILS)
def test_it_fails_with_a_sentence_and_never_more_than_one_update(calls, sentence, looks):
    record, made = enact(deployment(), *looks)
    assert (record.state, made) == (FAILED, calls)
    assert sentence in record.reason


@pytest.mark.parametrize(("calls", "sentence", "looks"), UNDONE_BY_AWS.values(), ids=UNDONE_BY_AWS)
def test_what_elastic_beanstalk_rolled_back_is_not_rolled_back_again(calls, sentence, looks):
    record, made = enact(deployment(), *looks)
    assert (record.state, made) == (ROLLED_BACK, calls)
    assert sentence in record.reason


@pytest.mark.parametrize(("calls", "sentence", "looks"), UNDONE.values(), ids=UNDONE)
def test_a_version_that_does_not_do_is_undone_with_one_call_more(calls, sentence, looks):
    record, made = enact(deployment(), *looks)
    assert (record.state, made) == (ROLLING_BACK, calls + 1)
    assert sentence in record.failure
    last = looks[-1][0]
    back, more = enact(record, (last + 5, BUSY), (last + 60, OLD))
    assert (back.state, more) == (ROLLED_BACK, 0)
    assert sentence in back.reason


def sick():
    """v2 is Red, and the call for the way back was made."""
    red = replace(NEW, health="Red")
    return enact(deployment(good_label="v0"), (0, replace(OLD, **PROCESSED)), (60, red), (120, red))


def test_the_way_back_leads_to_what_was_well_last_whatever_ran_in_between():
    record, calls = sick()
    assert (record.state, calls, wanted(record)) == (ROLLING_BACK, 2, "v0")
    back, _ = enact(record, (130, BUSY), (190, replace(OLD, label="v0")))
    assert (back.state, wanted(back)) == (ROLLED_BACK, "v2")
    assert back.reason.endswith("Tau rolled back to v0")


LOST = {
    "terminated": ("was terminated meanwhile", [(130, replace(BUSY, status="Terminating"))]),
    "it did not go back": ("it still runs v2", [(130, BUSY), (190, replace(NEW, health="Red"))]),
    "somebody else": ("it runs v9: somebody else deployed it", [(190, replace(OLD, label="v9"))]),
    "sick there too": (
        "it runs again, but its health is Red (it was Green before)",
        [(second, replace(OLD, label="v0", health="Red")) for second in (190, 250)],
    ),
    "no word of its health": (
        "crm-production runs v0, but says nothing about its health (Grey)",
        [(second, replace(OLD, label="v0", health="Grey")) for second in (190, 1950)],
    ),
    "not as well as before": (
        "waited 30m; crm-production runs v0, but its health is Yellow (it was Green before)",
        [(second, replace(OLD, label="v0", health="Yellow")) for second in (190, 1950)],
    ),
    "never Ready": ("waited 30m for crm-production to be Ready with v0", [(1950, BUSY)]),
}


@pytest.mark.parametrize(("sentence", "looks"), LOST.values(), ids=LOST)
def test_a_way_back_that_fails_says_both_and_is_not_tried_again(sentence, looks):
    record, calls = enact(sick()[0], *looks)
    assert (record.state, calls) == (ROLLBACK_FAILED, 0)
    assert record.reason.startswith("crm-production runs v2, but its health is Red (it was Green before)")
    assert "The way back to v0 failed too: " in record.reason
    assert sentence in record.reason


# In each state in which an environment can be too late, with either version.
RUNS = {
    "ours, Yellow": (VERIFYING, "v2", "Yellow", None),
    "ours, Grey": (VERIFYING, "v2", "Grey", None),
    "ours, no answer": (VERIFYING, "v2", "Green", "/health"),
    "before, Yellow": (ROLLING_BACK, "v1", "Yellow", None),
    "before, Grey": (ROLLING_BACK, "v1", "Grey", None),
    "before, Yellow, and ours has a probe": (ROLLING_BACK, "v1", "Yellow", "/health"),
}


@pytest.mark.parametrize(("state", "label", "health", "probe"), RUNS.values(), ids=RUNS)
def test_the_mail_names_the_version_that_runs(state, label, health, probe):
    record = deployment(
        state=state,
        probe=probe,
        previous_label="v1",
        previous_health="Green",
        back_to="v1",
        failure="v2 does not do",
        intended_at=START,
        called=True,
        undoing=state is ROLLING_BACK,
    )
    late, _ = advance(record, replace(NEW, label=label, health=health), at(1800))
    said = late.failure if late.state is ROLLING_BACK else late.reason.partition("failed too: ")[2]
    assert f"crm-production runs {label}" in said


def test_a_call_for_the_way_back_that_never_arrived_is_made_again():
    red = replace(NEW, health="Red")
    looks = [(0, replace(OLD, **PROCESSED)), (5, BUSY), (60, red), (120, red)]
    record, calls = enact(deployment(), *looks, accept=False)
    assert (record.state, calls) == (ROLLING_BACK, 2)
    assert advance(record, red, at(149))[1] is None
    assert advance(record, red, at(150))[1] is Call.ROLL_BACK


def test_a_call_for_the_way_back_that_is_refused_is_made_again_under_the_same_deadline():
    record = beanstalk.refused(sick()[0], "Must be Ready.", at(121))
    assert (record.state, record.reason) == (ROLLING_BACK, "Must be Ready.")
    again, call = advance(record, replace(NEW, health="Red"), at(126))
    assert (call, again.deadline_at) == (Call.ROLL_BACK, record.deadline_at)


NEVER_BACK = {
    "refused": (replace(NEW, health="Red"), True, "to begin the update to v0: it still runs v2"),
    "not heard": (replace(NEW, health="Red"), False, "to begin the update to v0: it still runs v2"),
    "not aborted": (BUSY, False, "to be Ready with v0: it is still Updating"),
}


@pytest.mark.parametrize("every_s", [5, 60])
@pytest.mark.parametrize(("seen", "refused", "sentence"), NEVER_BACK.values(), ids=NEVER_BACK)
def test_a_way_back_ends_at_its_deadline_however_often_it_could_be_called_for(seen, refused, sentence, every_s):
    record = replace(sick()[0], undoing=False, called=False)
    deadline_s, calls = int((record.deadline_at - START).total_seconds()), []
    for second in range(125, deadline_s + 61, every_s):
        record, call = advance(record, seen, at(second))
        if call:
            calls.append(second)
            record = beanstalk.refused(record, "Must be Ready.", at(second)) if refused else record
    assert record.state is ROLLBACK_FAILED
    assert f"The way back to v0 failed too: waited 30m for crm-production {sentence}" in record.reason
    assert len(calls) > 1
    assert max(calls) < deadline_s


def test_a_right_that_is_lacking_for_the_way_back_is_an_end_too():
    record = beanstalk.failed(sick()[0], "AWS does not let Tau call UpdateEnvironment", at(121))
    assert (record.state, "does not let Tau" in record.reason) == (ROLLBACK_FAILED, True)


@pytest.mark.parametrize("fields", [{"rolls_back": False}, {"rolls_back": False, "good_label": "v0"}])
def test_where_ci_yml_says_so_a_version_that_does_not_do_stays(fields):
    red = replace(NEW, health="Red")
    record, calls = enact(deployment(**fields), (0, replace(OLD, **PROCESSED)), (60, red), (120, red))
    assert (record.state, calls) == (FAILED, 1)


def test_an_update_that_does_not_end_is_aborted_before_anything_else():
    record, _ = enact(deployment(), (0, replace(OLD, **PROCESSED)), (5, BUSY))
    back, call = advance(record, BUSY, at(1806))
    assert (back.state, call) == (ROLLING_BACK, Call.ABORT)
    assert advance(back, replace(BUSY, status="Aborting"), at(1811))[1] is None
    # Until then the call may still be on its way, and must hit nothing that begins.
    assert advance(back, OLD, at(1830))[0].state is ROLLING_BACK
    assert advance(back, OLD, at(1836))[0].state is ROLLED_BACK


def test_what_runs_already_is_live_without_a_call():
    record, calls = enact(deployment(), (0, replace(NEW, **PROCESSED)))
    assert (record.state, calls) == (LIVE, 0)
    assert record.previous_label == "v2"


def test_what_runs_already_but_is_sick_is_no_success():
    red = replace(NEW, health="Red")
    record, calls = enact(deployment(), (0, replace(red, **PROCESSED)), (1800, red))
    assert (record.state, calls) == (FAILED, 0)


def test_the_intent_stands_in_the_record_before_the_call():
    stood = notice(-60, "Environment health has transitioned.")
    record, call = advance(deployment(), replace(OLD, notices=(stood,), **PROCESSED), at(7))
    assert call is Call.UPDATE
    assert (record.state, record.intended_at, record.called) == (UPDATING, at(7), False)
    assert (record.previous_label, record.previous_health, record.mark_at) == ("v1", "Green", at(-60))


def test_a_call_whose_answer_was_lost_but_which_arrived_is_not_made_again():
    record, calls = enact(deployment(), (0, replace(OLD, **PROCESSED)), (5, BUSY), (60, NEW), accept=False)
    assert (record.state, calls) == (LIVE, 1)


def test_a_call_whose_answer_was_lost_and_that_was_rolled_back_is_not_made_again():
    over = replace(OLD, notices=(BEGAN, BROKE))
    record, calls = enact(deployment(), (0, replace(OLD, **PROCESSED)), (60, over), accept=False)
    assert (record.state, calls) == (ROLLED_BACK, 1)
    assert "rolled back to v1" in record.reason


def test_a_call_that_never_arrived_is_made_again_after_half_a_minute():
    intended, _ = advance(deployment(), replace(OLD, **PROCESSED), START)
    early, call = advance(intended, OLD, at(29))
    assert call is None
    again, call = advance(early, OLD, at(30))
    assert call is Call.UPDATE
    assert (again.intended_at, again.number) == (at(30), intended.number + 2)


def test_calls_that_never_arrive_end_at_the_deadline():
    looks = [(0, replace(OLD, **PROCESSED)), *((second, OLD) for second in range(600, 1801, 600))]
    record, calls = enact(deployment(), *looks, accept=False)
    assert (record.state, calls) == (FAILED, 3)
    assert "shows no trace of it" in record.reason


RED = replace(NEW, health="Red")
JUST_CALLED = {
    "the update": (UPDATING, {"intended_at": at(1797)}, OLD, FAILED),
    "the way back": (ROLLING_BACK, {"intended_at": at(1797), "undoing": True}, RED, ROLLBACK_FAILED),
    "an abort": (ROLLING_BACK, {"intended_at": START, "called": True, "aborted_at": at(1797)}, BUSY, ROLLBACK_FAILED),
}
LOOKS = {
    "seen": lambda record, seen, now: advance(record, seen, now)[0],
    "not seen": lambda record, seen, now: beanstalk.unseen(record, "Rate exceeded", now),  # noqa: ARG005
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
@pytest.mark.parametrize(("state", "fields", "seen", "end"), JUST_CALLED.values(), ids=JUST_CALLED)
def test_a_call_of_the_last_seconds_is_waited_for_before_the_environment_is_given_up(state, fields, seen, end, look):
    record = deployment(state=state, previous_label="v1", previous_health="Green", **fields)
    record = replace(record, back_to="v1", failure="v2 does not do") if state is ROLLING_BACK else record
    for second in (1800, 1805, 1826):
        record = look(record, seen, at(second))
        assert record.state is state, second
        assert record.due_at == at(second + 5)
    assert look(record, seen, at(1827)).state is end


def test_an_update_of_the_last_seconds_that_arrives_late_is_seen_through():
    record, call = advance(deployment(), replace(OLD, **PROCESSED), at(1797))
    assert call is Call.UPDATE
    record, calls = enact(replace(record, deadline_at=at(1800)), (1802, OLD), (1807, BUSY), (1860, NEW))
    assert (record.state, calls) == (LIVE, 0)


def test_events_that_stood_there_before_the_call_prove_nothing():
    stood = (notice(-90, "Environment update is starting."), notice(-30, "Failed to deploy application.", "ERROR"))
    intended, _ = advance(deployment(), replace(OLD, notices=stood, **PROCESSED), START)
    record, call = advance(intended, replace(OLD, notices=stood), at(30))
    assert call is Call.UPDATE
    assert record.state is UPDATING


def test_a_refusal_leads_back_to_waiting_and_its_deadline_runs_on():
    intended, _ = advance(deployment(), replace(OLD, **PROCESSED), START)
    back = beanstalk.refused(intended, "Must be Ready.", at(1))
    assert (back.state, back.reason, back.deadline_at) == (WAITING, "Must be Ready.", intended.deadline_at)
    assert enact(back, (5, BUSY), (60, OLD), (65, BUSY), (90, NEW))[0].state is LIVE


def test_an_environment_that_refuses_for_ever_fails_at_the_deadline():
    record, _ = advance(deployment(), replace(OLD, **PROCESSED), START)
    for second in range(5, 1810, 5):
        if record.state is UPDATING:
            record = beanstalk.refused(record, "Must be Ready.", at(second))
        record, _ = advance(record, OLD, at(second))
    assert record.state is FAILED
    assert "it refuses" in record.reason


def test_an_error_on_the_way_to_a_healthy_version_is_told():
    record, _ = enact(deployment(), (0, replace(OLD, **PROCESSED)), (60, replace(NEW, notices=(BEGAN, BROKE))))
    assert record.state is LIVE
    assert record.reason == "live, although Elastic Beanstalk reported: Failed to deploy application."


def test_the_budget_is_what_the_settings_say():
    record, _ = advance(deployment(timeout_s=90), replace(BUSY, **PROCESSED), START)
    assert record.deadline_at == at(90)
    late, _ = advance(record, BUSY, at(90))
    assert "waited 1m 30s for crm-production" in late.reason


def test_an_end_is_never_moved():
    for state in (LIVE, FAILED, ROLLED_BACK, ROLLBACK_FAILED):
        record = deployment(state=state)
        assert advance(record, Seen(missing=True), at(9999)) == (record, None)


@pytest.mark.parametrize("timeout_s", [90, 1800, 7200, 86400])
def test_what_nobody_lets_tau_see_is_asked_for_once_a_minute_until_the_deadline(timeout_s):
    record, now, pauses = deployment(timeout_s=timeout_s, deadline_at=at(timeout_s)), START, []
    while record.state not in DEPLOYMENT_ENDS:
        record = beanstalk.unseen(record, "Rate exceeded", now)
        pauses.append((record.due_at - now).total_seconds())
        now = record.due_at
    assert (record.state, record.ours, now) == (FAILED, True, at(timeout_s + 5))
    assert pauses[:3] == [10, 20, 40]
    assert max(pauses) == (60 if timeout_s > 90 else 40)


def test_it_is_looked_at_every_five_seconds():
    record, _ = advance(deployment(), BUSY, START)
    assert record.due_at == at(5)


def test_a_long_event_leaves_room_in_a_reason_for_what_became_of_it():
    event = Notice(START, "WARN", "Environment health has transitioned from Ok to Severe. " * 10)
    said = first_error([event])
    assert said.startswith("Environment health has transitioned from Ok to Severe.")
    assert (len(said), said[-1]) == (150, "…")
