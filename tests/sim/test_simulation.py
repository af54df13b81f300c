"""The real programs in thousands of schedules that nobody would think of; each run of this test tries new ones."""

import os
import re
import secrets
import time

import pytest

from tests.saying import say
from tests.sim.__main__ import search
from tests.sim.errors import Broken
from tests.sim.fates import SHARES
from tests.sim.faults import Odds
from tests.sim.planted import PLANTED
from tests.sim.world import World

SCHEDULES = int(os.environ.get("TAU_SCHEDULES", "2000"))
WITHIN_S = 10
# What makes each bug show: one that needs a frozen runner is not looked for by killing it.
ODDS = {
    "no fence": Odds(kill=0, freeze=40, throttle=0, lost=0, repeat=0, slow=5, most=12),
    "a script is handed back": Odds(most=0, stopped=1, elsewhere=1),
    "a script goes on": Odds(kill=40, freeze=0, throttle=0, lost=0, repeat=0, slow=0, elsewhere=1),
    "cancelled too late": Odds(kill=0, freeze=0, abort=0.8),
    "no word is a good word": Odds(released=1),
    "any answer is good": Odds(released=1),
    "the code's fault": Odds(released=1),
    "announced too early": Odds(kill=40, freeze=0, throttle=20, lost=0, repeat=0, slow=0, most=20),
}


@pytest.mark.slow
def test_nothing_is_lost_nothing_is_done_twice_and_nobody_is_left_guessing(request):
    first = secrets.randbelow(10**9) * 1000
    say(request.config, f"sim: {SCHEDULES} schedules from seed {first}")
    failures, happened = search(first, SCHEDULES)
    assert failures == [], f"replay one: SEED={failures[0][0]} make sim"
    # It tried what it says that it tries.
    for fault in ("killed before", "killed after", "frozen before", "frozen after", "throttled", "answer lost"):
        assert happened[f"fault: {fault}"] > SCHEDULES / 100
    for end in ("passed", "failed", "errored", "cancelled", "superseded"):
        assert happened[f"run: {end}"] > SCHEDULES / 200
    assert happened["taken over"] > SCHEDULES / 10
    assert happened["scripts begun"] > SCHEDULES / 10
    assert happened["schedules fired"] > SCHEDULES / 20
    assert happened["redriven"] > SCHEDULES / 100
    for end in ("live", "failed", "rolled_back", "rollback_failed", "cancelled", "superseded"):
        assert happened[f"deployment: {end}"] > SCHEDULES / 500
    for what in SHARES:
        assert happened[f"eb: {what}"] > SCHEDULES / 2000, what
    for said in ("stopped_by", "approved_by", "refused_by", "instead_of"):
        assert happened[f"deployment {said}"] > SCHEDULES / 1000


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_found_within_ten_seconds_of_work(name):
    plant, said = PLANTED[name]
    seed, until, found = secrets.randbelow(10**9) * 1000, time.process_time() + WITHIN_S, None
    with plant():
        while found is None and time.process_time() < until:
            found = broken_by(seed, ODDS.get(name), said)
            seed += 1
    assert found, f"nobody said {said!r}"
    assert found.startswith(f"seed {seed - 1}:"), "it is told how to see it again"


def broken_by(seed, odds, said):
    """What the bug's own invariant said; None if nothing was seen, or another of its consequences."""
    try:
        World(seed, odds=odds).run()
    except Broken as broken:
        return str(broken) if re.search(said, str(broken)) else None
    return None


def test_one_seed_is_one_schedule():
    assert steps_of(4711) == steps_of(4711) != steps_of(4712)


def steps_of(seed):
    steps = []
    World(seed, trace=lambda *step: steps.append(step)).run()
    return steps
