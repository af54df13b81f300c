"""An installation whose runners may be killed: its lease is short, so that another takes over soon."""

import os
import random
from collections import Counter

import pytest

from infra.local.traces import leftovers, snapshot
from tests.proof.once import CLIENT
from tests.whole.world import world


@pytest.fixture(scope="module")
def installation(engine, tmp_path_factory):
    client = engine.client()
    before = snapshot(client)
    with world(engine, tmp_path_factory.mktemp("proof"), "tau-proof", lease_s=2) as made:
        made.create_environment(CLIENT)
        yield made
    assert leftovers(client, before) == ()


@pytest.fixture(scope="session")
def seed():
    """TAU_SEED, or a new one; `tally` says which it was."""
    return int(os.environ.get("TAU_SEED") or random.SystemRandom().randrange(1_000_000))


@pytest.fixture(scope="module")
def tally(request, seed):
    """What the kills hit; said at the end, with the seed, past pytest's capturing."""
    found = Counter()
    yield found
    hit = ", ".join(f"{count} {what}" for what, count in sorted(found.items()))
    plugins = request.config.pluginmanager
    with plugins.getplugin("capturemanager").global_and_fixture_disabled():
        plugins.getplugin("terminalreporter").write_line(f"\nkilled with TAU_SEED={seed}: {hit}")
