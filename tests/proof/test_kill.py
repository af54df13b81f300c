"""Runners killed with -9 at random moments of a run: another finishes it, nothing is lost, nothing is done twice.

TAU_KILLS says how often (2); TAU_SEED=… repeats the same moments.
"""

import os
import shutil
import signal
import time
from dataclasses import dataclass

import pytest

from chalicelib.model import RunState
from tests.proof.chance import chance
from tests.proof.once import PATIENCE_S, Trial
from tests.proof.services import Service
from tests.whole.world import slow, wait_for

pytestmark = [pytest.mark.engine, pytest.mark.cloud, pytest.mark.slow]

KILLS = int(os.environ.get("TAU_KILLS", "2"))


@dataclass(frozen=True)
class Typical:
    """How long a run takes that nobody disturbs, from its claim until everybody was told."""

    push_s: float
    tag_s: float


@pytest.fixture(scope="module")
def typical(installation):
    installation.runners(1)
    timed(installation, installation.push("develop"))  # makes the layers that every later build finds
    push_s = timed(installation, installation.push("develop"))
    return Typical(push_s, timed(installation, installation.release("proof", "v0.0.0")))


@pytest.mark.parametrize("number", range(KILLS))
def test_a_run_whose_runner_is_killed_is_finished_by_another(installation, typical, tally, number):
    random = chance(f"kill {number}")
    is_tag, is_alone = number % 3 == 2, random.random() < 0.3
    moment_s = random.uniform(0, typical.tag_s if is_tag else typical.push_s)
    installation.runners(1 if is_alone else 2)
    trial = Trial.of(installation, f"v0.{number}.1" if is_tag else None)
    sent = trial.begin()
    wait_for(lambda: installation.run(sent.run).epoch > 0, "somebody to claim it")
    time.sleep(moment_s)
    victim = holder(installation, sent.run) or random.choice(installation.runners_alive())
    kill(victim)
    hit, mails = trial.finish(sent)
    tally[hit] += 1
    tally["told twice"] += mails - 1


def test_a_code_server_that_loses_its_power_and_its_disk_goes_on_with_its_run(installation):
    installation.runners(0)
    service = Service(installation, "powerless")
    service.start()
    sent = installation.push("develop", slow(1))
    installation.wait_for_tests(sent.run)
    service.kill()
    shutil.rmtree(service.folder)
    service.start()
    run = installation.wait_for_end(sent.run, PATIENCE_S)
    assert (run.state, run.epoch) == (RunState.PASSED, 2)
    assert run.runner.startswith(f"{service.name}-")
    assert len(installation.mails(sent.run)) == 1
    wait_for(lambda: installation.remains(sent.run) == [], "what the dead claim left to be removed")


def holder(installation, run_id):
    """The runner that has a run in hand now, or None."""
    run = installation.run(run_id)
    return installation.holder(run_id) if run.state is RunState.RUNNING else None


def kill(runner):
    os.kill(runner.pid, signal.SIGKILL)
    runner.process.wait()


def timed(installation, sent):
    wait_for(lambda: installation.run(sent.run).epoch > 0, "somebody to claim it")
    began = time.monotonic()
    assert installation.wait_for_end(sent.run, PATIENCE_S).state is RunState.PASSED
    return time.monotonic() - began
