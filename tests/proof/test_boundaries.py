"""Runners killed with -9 right before or after one of their calls to AWS: where time alone would rarely hit.

TAU_CALLS says how often (3); TAU_SEED=… aims at the same calls again, as far as they come in the same order.
"""

import os
import random
import signal

import pytest

from chalicelib.model import RunState
from tests.proof.interceptor import Aim, Interceptor
from tests.proof.once import CLIENT, PATIENCE_S, Trial
from tests.whole.world import wait_for

pytestmark = [pytest.mark.engine, pytest.mark.cloud, pytest.mark.slow]

CALLS = int(os.environ.get("TAU_CALLS", "3"))


@pytest.fixture(scope="module")
def interceptor(installation):
    with Interceptor(installation.cloud.url) as between:
        yield between


@pytest.fixture(scope="module")
def usual(installation, interceptor):
    """The calls of a push, and of a tag, that nobody disturbs."""
    only_runner(installation, interceptor)
    found = []
    for begin in (lambda: installation.push("develop"), lambda: installation.release(CLIENT, "v1.0.0")):
        interceptor.arm(None)
        assert installation.wait_for_end(begin().run, PATIENCE_S).state is RunState.PASSED
        found.append(list(interceptor.calls))
    return found


@pytest.mark.parametrize("number", range(CALLS))
def test_a_run_whose_runner_dies_around_a_call_is_finished_by_another(
    installation, interceptor, usual, seed, tally, number
):
    chance = random.Random(f"{seed}/call/{number}")
    is_tag = number % 3 == 2
    calls = usual[is_tag]
    victim = only_runner(installation, interceptor)
    trial = Trial.of(installation, f"v1.{number}.1" if is_tag else None)
    aim = Aim(chance.randint(1, len(calls)), chance.random() < 0.5, lambda: os.kill(victim.pid, signal.SIGKILL))
    interceptor.arm(aim)
    sent = trial.begin()
    wait_for(lambda: not victim.running or is_over(installation, sent), f"call {aim.number} of the runner", 60)
    if victim.running:  # fewer calls than usual
        os.kill(victim.pid, signal.SIGKILL)
    victim.process.wait()
    hit, mails = trial.finish(sent)
    tally[f"{interceptor.struck or 'idle'} {hit}"] += 1
    tally["told twice"] += mails - 1


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_runner_that_dies_around_the_mail_leaves_nobody_untold(installation, interceptor, tally, after):
    victim = only_runner(installation, interceptor)
    trial = Trial.of(installation, None)
    interceptor.arm(Aim(1, after, lambda: os.kill(victim.pid, signal.SIGKILL), only="SendEmail"))
    sent = trial.begin()
    wait_for(lambda: not victim.running, "the runner to be killed at its mail", 60)
    _, mails = trial.finish(sent)
    tally["told twice"] += mails - 1
    assert mails == 1 + after, "SES had taken it, and nobody was left to note that"


def is_over(installation, sent):
    run = installation.run(sent.run)
    return run.ended and all(notice["state"] != "due" for notice in run.tell.values())


def only_runner(installation, interceptor):
    """One runner, whose calls go through the interceptor."""
    installation.runners(0)
    installation.endpoint = interceptor.url
    try:
        (victim,) = installation.runners(1)
    finally:
        installation.endpoint = None
    return victim
