"""Runners killed with -9 at random moments of a run: another finishes it, nothing is lost, nothing is done twice.

TAU_KILLS says how often (6); TAU_SEED=… repeats the same moments.
"""

import os
import random
import signal
import time
from dataclasses import dataclass

import pytest

from chalicelib.model import RunState
from tests.proof.once import CLIENT, PATIENCE_S, Trial
from tests.whole.world import slow, wait_for

pytestmark = [pytest.mark.engine, pytest.mark.cloud, pytest.mark.slow]

KILLS = int(os.environ.get("TAU_KILLS", "6"))


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
    return Typical(push_s, timed(installation, installation.release(CLIENT, "v0.0.0")))


@pytest.mark.parametrize("number", range(KILLS))
def test_a_run_whose_runner_is_killed_is_finished_by_another(installation, typical, seed, tally, number):
    chance = random.Random(f"{seed}/{number}")
    is_tag, is_alone = number % 3 == 2, chance.random() < 0.3
    moment_s = chance.uniform(0, typical.tag_s if is_tag else typical.push_s)
    installation.runners(1 if is_alone else 2)
    trial = Trial.of(installation, f"v0.{number}.1" if is_tag else None)
    sent = trial.begin()
    wait_for(lambda: installation.run(sent.run).epoch > 0, "somebody to claim it")
    time.sleep(moment_s)
    victim = holder(installation, sent.run) or chance.choice(installation.runners_alive())
    kill(victim)
    hit, mails = trial.finish(sent)
    tally[hit] += 1
    tally["told twice"] += mails - 1


@pytest.mark.usefixtures("typical")
def test_a_runner_that_was_frozen_does_nothing_more_when_it_wakes_up(installation):
    first, second = installation.runners(2)
    sent = installation.push("develop", slow(3))
    wait_for(lambda: installation.remains(sent.run) != [], "the container of its test")
    frozen = holder(installation, sent.run)
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


def holder(installation, run_id):
    """The runner that has a run in hand now, or None."""
    run = installation.run(run_id)
    if run.state is not RunState.RUNNING:
        return None
    return next(child for child in installation.runners_alive() if run.runner.startswith(f"{child.name}-"))


def kill(runner):
    os.kill(runner.pid, signal.SIGKILL)
    runner.process.wait()


def timed(installation, sent):
    wait_for(lambda: installation.run(sent.run).epoch > 0, "somebody to claim it")
    began = time.monotonic()
    assert installation.wait_for_end(sent.run, PATIENCE_S).state is RunState.PASSED
    return time.monotonic() - began
