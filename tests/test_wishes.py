"""What people said of a deployment, in each of its states: a table."""

from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib import wishes
from chalicelib.beanstalk import advance
from chalicelib.environment import Call, Seen
from chalicelib.model import DEPLOYMENT_ENDS, DeploymentState
from tests.deploying import START, deployment

S = DeploymentState
NEVER, OLD, NEW = Seen(), Seen("Ready", "Green", label="v1"), Seen("Ready", "Green", label="v2")
BUSY = Seen("Updating", "Grey", label="v1")
INTENDED = {"intended_at": START, "previous_label": "v1", "previous_health": "Green", "good_label": "v1"}
AGO = {"intended_at": START - timedelta(seconds=31), "previous_label": "v1", "previous_health": "Green"}
BACK = {**INTENDED, "back_to": "v1", "failure": "x"}
STOPPED = {
    "waits for its version": (S.PREPARED, {}, NEVER, S.CANCELLED, None),
    "waits for its approval": (S.WAITING_APPROVAL, {}, NEVER, S.CANCELLED, None),
    "waits for Ready": (S.WAITING_READY, {}, NEVER, S.CANCELLED, None),
    "was refused, and waits again": (S.WAITING_READY, INTENDED, NEVER, S.CANCELLED, None),
    "runs there already": (S.VERIFYING, {}, NEVER, S.CANCELLED, None),
    "called, no trace yet": (S.UPDATING, INTENDED, OLD, S.UPDATING, None),
    "called, and lost": (S.UPDATING, AGO, OLD, S.CANCELLED, None),
    "called, and under way": (S.UPDATING, INTENDED, BUSY, S.ROLLING_BACK, Call.ABORT),
    "called, and there": (S.UPDATING, INTENDED, NEW, S.ROLLING_BACK, Call.ROLL_BACK),
    "answered, and not begun": (S.VERIFYING, {**INTENDED, "called": True}, OLD, S.VERIFYING, None),
    "under way": (S.VERIFYING, {**INTENDED, "called": True}, BUSY, S.ROLLING_BACK, Call.ABORT),
    "there, and well": (S.VERIFYING, {**INTENDED, "called": True}, NEW, S.ROLLING_BACK, Call.ROLL_BACK),
    "there, and nothing to go back to": (S.VERIFYING, {"intended_at": START, "called": True}, NEW, S.LIVE, None),
    "on its way back": (
        S.ROLLING_BACK,
        {**INTENDED, "back_to": "v1", "failure": "x"},
        BUSY,
        S.ROLLING_BACK,
        Call.ABORT,
    ),
    **{f"is {end}": (end, {"reason": "so"}, NEVER, end, None) for end in sorted(DEPLOYMENT_ENDS)},
}


@pytest.mark.parametrize(("state", "fields", "seen", "then", "call"), STOPPED.values(), ids=STOPPED)
def test_somebody_wants_it_to_go_no_further(state, fields, seen, then, call):
    record = deployment(state=state, stopped_by="sam@laptop", **fields)
    moved, made = advance(record, seen, START)
    assert (moved.state, made) == (then, call)
    if then is S.CANCELLED is not state:
        runs = "nothing was changed, crm-production runs v2 already"
        nothing = runs if state is S.VERIFYING else "v2 was not deployed to crm-production"
        assert moved.reason == f"cancelled by sam@laptop: {nothing}"


def test_every_state_stands_in_the_table():
    assert {state for state, *_ in STOPPED.values()} == set(DeploymentState)


@pytest.mark.parametrize("state", DeploymentState)
def test_elastic_beanstalk_is_asked_unless_people_alone_decide(state):
    """Whoever says that it need not be asked must have an answer, and the other way round."""
    for record in (deployment(state=state), deployment(state=state, stopped_by="sam@laptop")):
        assert wishes.is_decided(record) == (wishes.heard(record, START) is not None)


ANSWERED = {
    "yes": ({"approved_by": "sam"}, 0, S.PREPARED, None),
    "no": ({"refused_by": "sam"}, 0, S.CANCELLED, "refused by sam: v2 was not deployed to crm-production"),
    "no, after a yes": ({"approved_by": "kim", "refused_by": "sam"}, 0, S.CANCELLED, "refused by sam"),
    "nothing yet": ({}, 0, S.WAITING_APPROVAL, "v2 waits for the approval of sam or kim"),
    "nothing": ({}, 600, S.CANCELLED, "nobody approved it within 10m 0s (sam or kim could have)"),
    "yes, at the last moment": ({"approved_by": "sam"}, 600, S.PREPARED, None),
    "a yes, and somebody stops it": ({"approved_by": "sam", "stopped_by": "kim"}, 0, S.CANCELLED, "cancelled by kim"),
}


@pytest.mark.parametrize(("fields", "after_s", "then", "said"), ANSWERED.values(), ids=ANSWERED)
def test_somebody_answers_or_nobody_does(fields, after_s, then, said):
    asking = wishes.ask(deployment(approvers=("sam", "kim"), approve_within_s=600), START)
    moved, call = advance(replace(asking, **fields), Seen(), START + timedelta(seconds=after_s))
    assert (moved.state, call) == (then, None)
    assert (moved.reason or "").startswith(said or "")
    if then is S.PREPARED:
        assert moved.deadline_at == START + timedelta(seconds=after_s + moved.timeout_s)


def test_what_waits_for_an_answer_is_looked_at_once_a_minute_and_at_its_deadline():
    asking = wishes.ask(deployment(approvers=("sam",), approve_within_s=90), START)
    first, _ = advance(asking, Seen(), START)
    second, _ = advance(first, Seen(), first.due_at)
    assert [first.due_at, second.due_at] == [START + timedelta(seconds=s) for s in (60, 90)]


def test_an_abort_is_asked_for_again_as_long_as_the_update_goes_on_and_no_more_once_it_ends():
    record = deployment(state=S.VERIFYING, called=True, stopped_by="sam", **INTENDED)
    record, call = advance(record, BUSY, START)
    assert call is Call.ABORT
    for after_s, seen, expected in (
        (5, BUSY, None),
        (31, BUSY, Call.ABORT),
        (62, Seen("Aborting", "Grey", label="v1"), None),
        (93, OLD, None),
    ):
        record, call = advance(record, seen, START + timedelta(seconds=after_s))
        assert call is expected, after_s
    assert record.state is S.ROLLED_BACK
