from dataclasses import replace

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from chalicelib.model import RunState, Step, StepResult, StepStatus
from chalicelib.records.runs import new_run
from chalicelib.telling import notices, result_of, tell
from tests.installation import NOW, later, run
from tests.mailing import DEV, OPS, Ses


def refusal(code):
    return ClientError({"Error": {"Code": code, "Message": "in SES's words"}}, "SendEmail")


@pytest.fixture
def edge(mailing_edge):
    return mailing_edge


@pytest.fixture
def store(edge):
    return edge.store


def ended(store, *addresses, state=RunState.FAILED):
    made = run(1)
    store.table.write(new_run(made))
    store.end(
        store.claim(store.run(made.id), "r1", NOW), state, reason="1 of 2 failed", tell=notices(addresses), now=NOW
    )
    return store.run(made.id)


def notice(store, address):
    return store.run(run(1).id).tell[f"email:{address}"]


def test_everybody_who_is_due_gets_one_mail_and_then_nothing_is_due(edge, store, ses):
    tell(ended(store, DEV, OPS), edge, later(1))
    assert sorted(ses.told) == [DEV, OPS]
    assert notice(store, DEV)["state"] == "told"
    assert notice(store, DEV)["message_id"].startswith("message-")
    assert store.due(later(10_000)) == []


def test_the_mail_comes_from_us_and_names_the_run_and_its_log(edge, store, ses):
    tell(ended(store, DEV), edge, later(1))
    ((_, raw),) = ses.taken
    assert b"From: tau@2pisoftware.com" in raw
    assert f"tau log {run(1).id}".encode() in raw


def test_who_was_told_is_not_told_again(edge, store, ses):
    tell(ended(store, DEV), edge, later(1))
    tell(store.run(run(1).id), edge, later(2))
    assert ses.told == [DEV]


def test_one_mail_that_is_refused_for_ever_is_recorded_and_hides_no_other(edge, store, ses):
    ses.says[DEV] = refusal("MessageRejected")
    tell(ended(store, DEV, OPS), edge, later(1))
    assert ses.told == [OPS]
    assert notice(store, DEV)["state"] == "failed"
    assert "in SES's words" in notice(store, DEV)["reason"]
    assert store.due(later(10_000)) == []


@pytest.mark.parametrize(
    "error",
    [refusal("TooManyRequestsException"), EndpointConnectionError(endpoint_url="https://email.invalid")],
    ids=["throttled", "unreachable"],
)
def test_a_mail_that_is_delayed_stays_due_and_hides_no_other(edge, store, ses, error):
    ses.says[DEV] = error
    tell(ended(store, DEV, OPS), edge, later(1))
    assert ses.told == [OPS]
    assert (notice(store, DEV)["state"], notice(store, DEV)["attempts"]) == ("due", 1)
    assert [due.at for due in store.due(later(10_000))] == [later(61)]
    ses.says.clear()
    tell(store.run(run(1).id), edge, later(61))
    assert ses.told == [OPS, DEV]
    assert notice(store, DEV)["attempts"] == 2
    assert store.due(later(10_000)) == []


def test_the_pauses_grow_up_to_ten_minutes(edge, store, ses):
    ses.says[DEV] = refusal("TooManyRequestsException")
    ended(store, DEV)
    pauses, now = [], NOW
    for _ in range(6):
        tell(store.run(run(1).id), edge, now)
        (due,) = store.due(later(100_000))
        pauses.append((due.at - now).total_seconds())
        now = due.at
    assert pauses == [60, 120, 240, 480, 600, 600]


def test_after_a_hundred_attempts_telling_has_failed_and_says_why(edge, store, ses):
    ses.says[DEV] = refusal("AccountSuspendedException")
    held = ended(store, DEV)
    store.told(held.id, f"email:{DEV}", {"state": "due", "attempts": 99}, NOW)
    tell(store.run(held.id), edge, later(1))
    assert notice(store, DEV)["state"] == "failed"
    assert "AccountSuspendedException" in notice(store, DEV)["reason"]
    assert store.due(later(100_000)) == []


class Broken(Ses):
    """What no error of ours or of AWS foresees."""

    def send_email(self, **wanted):
        if DEV in wanted["Destination"]["ToAddresses"]:
            raise ZeroDivisionError("no mail is like this one")
        return super().send_email(**wanted)


def test_a_fault_of_ours_in_one_mail_hides_no_other(edge, store):
    ses = Broken()
    tell(ended(store, DEV, OPS), replace(edge, client=lambda *_: ses), later(1))
    assert ses.told == [OPS]
    assert notice(store, DEV) == {
        "state": "failed",
        "attempts": 1,
        "reason": "ZeroDivisionError: no mail is like this one",
    }


def test_nobody_to_tell_is_nothing_due(edge, store, ses):
    tell(ended(store), edge, later(1))
    assert ses.told == []
    assert store.due(later(10_000)) == []


def test_a_result_has_its_steps_in_their_order_also_from_the_tenth_on():
    steps = {str(index): StepResult(f"step{index}", StepStatus.PASSED, NOW, NOW) for index in (10, 2, 0, 1)}
    held = run(1, results=steps, started_at=later(1), ended_at=later(5))
    result = result_of(held, RunState.PASSED, None, later(9))
    assert [step.action for step in result.steps] == ["step0", "step1", "step2", "step10"]
    assert (result.started_at, result.ended_at) == (later(1), later(5))


def test_what_lies_behind_the_step_that_broke_is_of_an_earlier_claim_and_told_to_nobody():
    def step(action, status):
        return StepResult(action, status, NOW, NOW)

    steps = {
        "0": step("build", StepStatus.PASSED),
        "1": step("test", StepStatus.FAILED),
        "2": step("push", StepStatus.ERRORED),
    }
    result = result_of(run(1, results=steps), RunState.FAILED, "1 of 2 failed", NOW)
    assert [step.action for step in result.steps] == ["build", "test"]


def test_steps_for_when_something_went_wrong_are_told_with_what_went_wrong():
    def step(action, status):
        return StepResult(action, status, NOW, NOW)

    steps = {
        "0": step("test", StepStatus.FAILED),
        "1": step("push", StepStatus.PASSED),
        "2": step("script", StepStatus.PASSED),
    }
    planned = run(1, Step("test", {}), Step("push", {}), Step("script", {"when": "failure"}), results=steps)
    result = result_of(planned, RunState.FAILED, "1 of 2 failed", NOW)
    assert [step.action for step in result.steps] == ["test", "script"]
