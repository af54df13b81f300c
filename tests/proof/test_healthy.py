"""Runs with runners that are killed and people who cancel: what is left of Tau is what the policy keeps, and no more.

TAU_HEALTHY says how many runs (8); `python -m tests.proof.healthy` is the same with 200, and figures.
"""

import os

import pytest

from tests.proof.healthy import LEASE_S, SYSTEM, Yard, passed, say
from tests.whole.world import world

pytestmark = [pytest.mark.engine, pytest.mark.apart, pytest.mark.cloud, pytest.mark.slow]

RUNS = int(os.environ.get("TAU_HEALTHY", "8"))
_KILL_EVERY_S = 4


def test_a_machine_is_as_it_was_but_for_the_images_that_the_policy_keeps(engine, tmp_path):
    with world(engine, tmp_path, SYSTEM, lease_s=LEASE_S, kind=Yard) as yard:
        verdict = passed(yard, RUNS, _KILL_EVERY_S)
        say(verdict)
        assert verdict.broken == []
