"""Signals: what systemd sends when the runner is stopped, restarted or replaced, and what its machine sends."""

import signal
import time
from operator import attrgetter

import pytest

from chalicelib.model import RunState
from tests.metadata_stand_in import NOTICE, metadata_service
from tests.whole.world import slow

pytestmark = [pytest.mark.engine, pytest.mark.cloud]

WAYS = {
    "two SIGTERM": [signal.SIGTERM, signal.SIGTERM],
    "SIGQUIT": [signal.SIGQUIT],
    "SIGTERM, and not done in time": [signal.SIGTERM],
}


def say(runner, *numbers):
    for number in numbers:
        runner.process.send_signal(number)
        time.sleep(0.05)  # the kernel makes one of two that are the same


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT], ids=attrgetter("name")
)
def test_an_idle_runner_stops_at_once(runner, number):
    began = time.monotonic()
    say(runner, number)
    assert runner.process.wait(5) == 0
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=attrgetter("name"))
def test_a_runner_finishes_the_run_in_hand_and_takes_no_other(installation, runner, number):
    sent = installation.push(f"feature/last-one-{number}", slow(1))
    installation.wait_for_tests(sent.run)
    say(runner, number)
    other = installation.push(f"feature/after-the-last-{number}")
    run = installation.wait_for_state(sent.run, RunState.PASSED)
    ended = time.monotonic()
    assert runner.process.wait(20) == 0
    assert time.monotonic() - ended < 3, "it does not wait for the next message"
    assert run.epoch == 1
    assert len(installation.mails(sent.run)) == 1
    assert installation.run(other.run).state is RunState.QUEUED
    assert installation.tau("cancel", other.run).returncode == 0


# --- handed back ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def handed_back(installation, start):
    """A run whose runners were stopped in the middle of its tests, one after the other; by way, what was seen then."""
    found, holder = {}, start(name="first")
    sent = installation.push("feature/handed-back", slow(3))
    for epoch, (way, numbers) in enumerate(WAYS.items(), start=1):
        installation.wait_for_tests(sent.run, epoch)
        successor = start(*(["--drain-s", "0.5"] if epoch + 1 == len(WAYS) else []), name=f"after-{epoch}")
        began = time.monotonic()
        say(holder, *numbers)
        code = holder.process.wait(20)
        found[way] = (code, time.monotonic() - began)
        holder = successor
    return sent, found


@pytest.mark.parametrize("way", WAYS)
def test_a_runner_that_is_to_stop_now_hands_its_run_back_within_seconds(handed_back, way):
    code, took_s = handed_back[1][way]
    assert code == 0
    assert took_s < 10


def test_a_run_that_was_handed_back_is_finished_by_another_runner_with_one_effect(installation, handed_back):
    sent, _ = handed_back
    run = installation.wait_for_end(sent.run)
    assert (run.state, run.epoch, run.attempts) == (RunState.PASSED, 1 + len(WAYS), 0)
    assert run.runner.startswith(f"after-{len(WAYS)}-")
    assert [entry["kind"] for entry in run.journal].count("handed_back") == len(WAYS)
    assert len(installation.mails(sent.run)) == 1
    assert installation.digest(f"r-{sent.run.lower()}")
    assert installation.remains(sent.run) == []


# --- a spot instance that is about to go ----------------------------------------------------------


def test_a_runner_whose_instance_is_taken_away_hands_its_run_back_long_before(installation, start):
    """EC2 gives two minutes; a runner asks every five seconds."""
    installation.runners(0)
    with metadata_service() as metadata:
        going = start("--spot", name="spot", environ={"AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.url})
        sent = installation.push("feature/spot", slow(8))
        installation.wait_for_tests(sent.run)
        start(name="stays")
        assert metadata.asked > 0
        began = time.monotonic()
        metadata.say(NOTICE)
        assert going.process.wait(30) == 0
    assert time.monotonic() - began < 20
    run = installation.wait_for_end(sent.run)
    assert (run.state, run.epoch, run.attempts) == (RunState.PASSED, 2, 0)
    assert run.runner.startswith("stays-")
    assert [entry["kind"] for entry in run.journal].count("handed_back") == 1
    assert len(installation.mails(sent.run)) == 1
    assert installation.remains(sent.run) == []
