"""A storm of webhooks, with runners that are killed all the while: 0 lost, 0 twice, everybody told, nothing left.

TAU_STORM says how many deliveries (24); `python -m tests.proof.storm` is the same with more of them, and figures.
"""

import os

import pytest

from infra.local.sweep import left
from tests.proof.storm import LEASE_S, SYSTEM, Coast, blown, say
from tests.whole.world import world

pytestmark = [pytest.mark.engine, pytest.mark.apart, pytest.mark.cloud, pytest.mark.slow]

DELIVERIES = int(os.environ.get("TAU_STORM", "24"))
_KILL_EVERY_S = 6


def test_a_storm_loses_nothing_does_nothing_twice_and_leaves_nobody_guessing(engine, tmp_path):
    with world(engine, tmp_path, SYSTEM, lease_s=LEASE_S, kind=Coast) as coast:
        verdict = blown(coast, DELIVERIES, _KILL_EVERY_S, hurried=True)
        say(verdict)
        assert verdict.broken == []
        assert len(verdict.given_up) <= 1
    assert left(coast.docker, coast.system) == ()
