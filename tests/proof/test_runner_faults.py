"""Answers that a runner never hears, a table that refuses it, and sleep: it keeps its run, and does nothing twice."""

import os
import signal
import time
from datetime import UTC, datetime, timedelta

import pytest

from chalicelib.model import RunState
from tests.proof.faults import BROKEN, THROTTLED, calls, lost, refused
from tests.proof.interceptor import Fault
from tests.proof.once import PATIENCE_S, Trial
from tests.proof.writes import Writes, listed
from tests.whole.world import slow, wait_for
from tests.wrong_clock import wrong_clock

pytestmark = [pytest.mark.engine, pytest.mark.cloud, pytest.mark.slow]

_THROTTLED_S = 4
_LEASE_S = 2  # conftest.py's


@pytest.mark.parametrize("kind", ["push", "tag"])
def test_a_run_of_which_every_answer_is_lost_once_is_done_once(installation, kind):
    installation.runners(1)
    trial = Trial.of(installation, "v5.0.0" if kind == "tag" else None)
    writes, left, seen = Writes(), to_lose(kind), set()

    def first(call):
        name = writes.name(call)
        seen.add(name)
        is_first = name in left
        left.discard(name)
        return is_first

    # The note of a mail whose answer was lost is lost too, and made again.
    last = "told, again" if kind == "push" else "told"
    with installation.runner_calls.armed(lost(first, times=None)):
        sent = trial.begin()
        wait_for(lambda: has_ended(installation, sent.run) and last in seen, "its end", PATIENCE_S)
        wait_for(lambda: installation.messages() == 0, "every message to be deleted")
    # What follows from one lost answer may be the ticker's to do, and is not lost a second time.
    assert not left & {"claim", "end", "mail", "told", "CreateApplicationVersion", "UpdateEnvironment", "parked"}
    _, mails = trial.finish(sent)
    assert mails == (2 if kind == "push" else 1), "SES had taken the first, and nobody heard it"


def to_lose(kind):
    """The runner's own writes; of a tag those that a push has not, and without one that costs half a minute."""
    own = {"push": set(), "tag": set()}
    for of, name in listed():
        if "public tag" not in name and "run's tag" not in name:
            own[of].add(name)
    return own["push"] if kind == "push" else own["tag"] - own["push"] - {"deployment updating"}


def test_a_runner_whose_table_refuses_it_for_some_seconds_keeps_its_run(installation):
    installation.runners(0)
    patient = installation.runner(name="patient", lease_s=20)
    sent = installation.push("develop", slow(_THROTTLED_S + 1))
    installation.wait_for_tests(sent.run)
    with installation.runner_calls.armed(refused(calls("GetItem", "UpdateItem", "TransactWriteItems"), THROTTLED)):
        time.sleep(_THROTTLED_S)
    run = installation.wait_for_end(sent.run, PATIENCE_S)
    patient.stop()
    assert (run.state, run.epoch) == (RunState.PASSED, 1)
    assert len(installation.mails(sent.run)) == 1


def test_a_message_that_comes_back_while_its_holder_sleeps_changes_nothing(installation):
    installation.runners(2)
    sent = installation.push("develop", slow(4))
    installation.wait_for_state(sent.run, RunState.RUNNING)
    holder = installation.holder(sent.run)
    watched = Fault(lambda call: call.operation == "ChangeMessageVisibility" and bool(seen.append(call)))
    seen = []
    os.kill(holder.pid, signal.SIGSTOP)
    try:
        with installation.runner_calls.armed(watched):
            wait_for(lambda: seen, "the other to have the message, and to watch whether the holder lives")
    finally:
        os.kill(holder.pid, signal.SIGCONT)
    run = installation.wait_for_end(sent.run, PATIENCE_S)
    assert (run.state, run.epoch) == (RunState.PASSED, 1)
    assert installation.digest("develop") == installation.digest(f"r-{sent.run.lower()}")
    assert len(installation.mails(sent.run)) == 1


def test_a_runner_that_was_frozen_does_nothing_more_when_it_wakes_up(installation):
    first, second = installation.runners(2)
    sent = installation.push("develop", slow(3))
    installation.wait_for_tests(sent.run)
    frozen = installation.holder(sent.run)
    os.kill(frozen.pid, signal.SIGSTOP)
    try:
        run = installation.wait_for_end(sent.run, PATIENCE_S)
        assert installation.remains(sent.run) == [], (
            "the other has removed the container of the claim that it took over"
        )
    finally:
        os.kill(frozen.pid, signal.SIGCONT)
    assert (run.state, run.epoch) == (RunState.PASSED, 2)
    assert run.runner.startswith(f"{(second if frozen is first else first).name}-")
    wait_for(lambda: "claim lost" in frozen.log.read_text(), "the frozen runner to notice")
    assert installation.run(sent.run) == run
    assert installation.digest("develop") == installation.digest(f"r-{sent.run.lower()}")
    assert len(installation.mails(sent.run)) == 1
    assert frozen.running, "it goes on with other work"
    assert installation.remains(sent.run) == []


def test_a_queue_that_hides_nothing_for_several_leases_leaves_the_run_with_its_holder(installation):
    installation.runners(2)
    sent = installation.push("develop", slow(7))
    installation.wait_for_tests(sent.run)
    with installation.runner_calls.armed(fault := refused(calls("ChangeMessageVisibility"), BROKEN)):
        wait_for(lambda: installation.run(sent.run).ended, "its end", PATIENCE_S)
    run = installation.run(sent.run)
    assert fault.struck, "its message came back"
    assert (run.state, run.epoch) == (RunState.PASSED, 1), "the beat in the record says who has it"
    done_once(installation, sent.run)


def test_who_can_renew_neither_lease_nor_message_has_no_effect_until_it_can(installation):
    installation.runners(2)
    sent = installation.push("develop", slow(2))
    installation.wait_for_tests(sent.run)
    before = list(installation.puts)
    none = refused(calls("GetItem", "UpdateItem", "TransactWriteItems", "ChangeMessageVisibility"), THROTTLED)
    with installation.runner_calls.armed(none):
        time.sleep(3 * _LEASE_S)
        assert installation.puts == before, "its tests are over, and it may be another's by now"
    run = installation.wait_for_end(sent.run, PATIENCE_S)
    assert run.state is RunState.PASSED
    done_once(installation, sent.run)


@pytest.mark.parametrize("ahead_s", [240, -240])
def test_a_clock_that_jumps_while_a_run_goes_on_is_nothing_to_it(installation, tmp_path, ahead_s):
    installation.runners(0)
    clock = wrong_clock(tmp_path / "time")
    clock.set(0)
    jumping = installation.runner(name="jumping", environ=clock.environment)
    sent = installation.push("develop", slow(4))
    installation.wait_for_tests(sent.run)
    clock.set(ahead_s)
    run = installation.wait_for_end(sent.run, PATIENCE_S)
    jumping.stop()
    assert (run.state, run.epoch) == (RunState.PASSED, 1)
    assert run.started_at < run.ended_at < datetime.now(UTC) + timedelta(seconds=5), "times in records are AWS's"
    done_once(installation, sent.run)


def test_a_runner_whose_clock_jumps_an_hour_is_replaced_and_says_that_it_is_the_clock(installation, tmp_path):
    """From five minutes on AWS refuses what is signed by it: to everybody else that runner is silent."""
    installation.runners(0)
    clock = wrong_clock(tmp_path / "time")
    clock.set(0)
    jumping = installation.runner(name="jumping", environ=clock.environment)
    sent = installation.push("develop", slow(4))
    installation.wait_for_tests(sent.run)
    clock.set(3600)
    installation.runner(name="steady")
    run = installation.wait_for_end(sent.run, PATIENCE_S)
    wait_for(lambda: "the clock of this machine is" in jumping.log.read_text(), "it to say so")
    clock.set(0)
    wait_for(lambda: "claim lost" in jumping.log.read_text(), "it to notice")
    jumping.stop()
    assert (run.state, run.epoch) == (RunState.PASSED, 2)
    assert run.runner.startswith("steady-")
    done_once(installation, sent.run)


def done_once(installation, run_id):
    assert installation.digest("develop") == installation.digest(f"r-{run_id.lower()}")
    assert len(installation.mails(run_id)) == 1
    wait_for(lambda: installation.messages() == 0, "every message to be deleted")
    wait_for(lambda: installation.remains(run_id) == [], "its containers to be removed")


def has_ended(installation, run_id):
    """Whether it has; what waits for a lost message is due at once, as if the minutes had passed."""
    run = installation.run(run_id)
    if run.state is RunState.QUEUED and run.epoch > 0:
        installation.make_due(run_id)
        installation.cloud.tick()
    return run.ended
