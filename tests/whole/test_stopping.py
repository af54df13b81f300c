"""SIGTERM: what systemd sends when the runner is stopped, restarted or replaced."""

import time

import pytest

from chalicelib.model import RunState
from tests.whole.world import slow, terminate

pytestmark = [pytest.mark.engine, pytest.mark.cloud]


def test_an_idle_runner_stops_at_once(runner):
    began = time.monotonic()
    terminate(runner)
    assert runner.process.wait(5) == 0
    assert time.monotonic() - began < 2


def test_a_runner_finishes_the_run_in_hand_and_takes_no_other(installation, runner):
    sent = installation.push("feature/last-one", slow(2))
    installation.wait_for_state(sent.run, RunState.RUNNING)
    terminate(runner)
    terminate(runner)  # whoever is impatient does no harm
    other = installation.push("feature/after-the-last")
    assert runner.process.wait(20) == 0
    run = installation.run(sent.run)
    assert (run.state, run.epoch) == (RunState.PASSED, 1)
    assert [notice["state"] for notice in run.tell.values()] == ["told"]
    assert installation.run(other.run).state is RunState.QUEUED
    installation.runners(1)
    assert installation.wait_for_end(other.run).state is RunState.PASSED
