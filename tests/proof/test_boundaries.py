"""Runners killed with -9 right before or after each of the writes of a run: where time alone would rarely hit.

boundaries.txt beside this file names them all; a run that writes anything else fails the first test here.
TAU_BOUNDARIES says how many are tried (2, or `all`); TAU_SEED=… chooses the same ones again.
"""

import os
import signal
from contextlib import ExitStack, contextmanager

import pytest

from chalicelib.model import RunState
from tests.proof.chance import chance
from tests.proof.interceptor import Fault
from tests.proof.once import CLIENT, PATIENCE_S, Trial
from tests.proof.writes import Writes, listed
from tests.whole.world import wait_for

pytestmark = [pytest.mark.engine, pytest.mark.cloud, pytest.mark.slow]

CASES = [(kind, name, side) for kind, name in listed() for side in ("before", "after")]
HOW_MANY = os.environ.get("TAU_BOUNDARIES", "2")


def chosen():
    """The cases to try: of so many, one in four dies over a tag, which takes much longer."""
    if HOW_MANY == "all":
        return CASES
    shuffled = chance("boundaries").sample(CASES, len(CASES))
    tags = -(-int(HOW_MANY) // 4)
    of_tags = [case for case in shuffled if case[0] == "tag"][:tags]
    return of_tags + [case for case in shuffled if case[0] == "push"][: int(HOW_MANY) - tags]


def test_the_list_names_every_write_of_a_push_and_of_a_tag(installation):
    installation.runners(1)
    found = []
    for kind, begin in (
        ("push", lambda: installation.push("develop")),
        ("tag", lambda: installation.release(CLIENT, "v1.0.0")),
    ):
        with noted(installation) as names:
            assert installation.wait_for_end(begin().run, PATIENCE_S).state is RunState.PASSED
            wait_for(lambda: installation.messages() == 0, "its message to be deleted")
        found += [(kind, name) for name in names]
    assert sorted(found) == sorted(listed()), "\n".join(["write them down:", *map(": ".join, found)])


@pytest.mark.parametrize(("kind", "name", "side"), chosen())
def test_a_run_whose_runner_dies_around_a_write_is_finished_by_another(installation, tally, kind, name, side):
    (victim,) = installation.runners(1)
    trial = Trial.of(installation, f"v1.{CASES.index((kind, name, side))}.1" if kind == "tag" else None)
    writes = Writes()
    death = Fault(lambda call: writes.name(call) == name, after=side == "after", strike=lambda _: kill(victim))
    with struck(installation, death):
        sent = trial.begin()
        wait_for(lambda: not victim.running, f"the runner to be killed {side} {name}", 90)
    hit, mails = trial.finish(sent)
    tally[f"{side} {name} {hit}"] += 1
    if name != "mail":
        return
    assert mails == 1 + (side == "after"), "SES had taken it, and nobody was left to note that"


@contextmanager
def noted(installation):
    """The names of the writes that runners make while the block lasts, in their order."""
    writes, names = Writes(), []

    def note(call):
        name = writes.name(call)
        if name:
            names.append(name)
        return False

    with struck(installation, Fault(note)):
        yield names


@contextmanager
def struck(installation, fault):
    """A fault in whatever runners do while the block lasts."""
    with ExitStack() as stack:
        for calls in (installation.runner_calls, installation.registry_calls):
            stack.enter_context(calls.armed(fault))
        yield


def kill(runner):
    os.kill(runner.pid, signal.SIGKILL)
    runner.process.wait()
