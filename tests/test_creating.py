"""An environment that a deployment creates: what is somebody else's is told from what is its own."""

from dataclasses import replace

from chalicelib import beanstalk
from chalicelib.beanstalk import advance
from chalicelib.environment import Call, Seen
from chalicelib.model import DeploymentState
from tests.test_beanstalk import NEW, at, deployment, enact

NOT_THERE = Seen(missing=True, version_status="PROCESSED")
LAUNCHING = replace(NEW, status="Launching", health="Grey")


def created(**fields):
    record, calls = enact(deployment(template="production", **fields), (0, NOT_THERE), (5, NOT_THERE), (10, LAUNCHING))
    assert (record.state, record.creates, calls) == (DeploymentState.VERIFYING, True, 1)
    return record


def test_what_somebody_deploys_by_hand_after_it_was_created_is_left_alone():
    record, _ = enact(created(hold_s=60), (60, NEW))
    ended, call = advance(record, replace(NEW, label="v3"), at(65))
    assert (ended.state, call) == (DeploymentState.FAILED, None)
    assert ended.reason == "crm-production runs v3, not v2: somebody else deployed it"


def test_what_somebody_makes_while_the_creation_is_refused_is_updated():
    record, _ = advance(deployment(template="production"), NOT_THERE, at(0))
    record, call = advance(record, NOT_THERE, at(5))
    assert call is Call.CREATE
    refused = beanstalk.refused(record, "Throttling", at(5))
    waits, call = advance(refused, Seen(status="Ready", health="Green"), at(10))
    assert (waits.state, waits.creates, call) == (DeploymentState.WAITING_READY, False, None)
    assert advance(waits, Seen(status="Ready", health="Green"), at(15))[1] is Call.UPDATE


def test_a_name_that_another_application_has_is_asked_for_now_and_then_and_the_end_says_so():
    record, call, calls = deployment(template="production"), None, 0
    for second in range(0, 1900, 5):
        record, call = advance(record, NOT_THERE, at(second))
        calls += call is Call.CREATE
        if record.state is DeploymentState.FAILED:
            break
    assert 50 < calls < 65, "every half a minute"
    assert record.reason.endswith("it shows no trace of it, or is another's")
