"""An installation whose runners may be killed: its lease is short, so that another takes over soon."""

from collections import Counter

import pytest

from infra.local.sweep import left
from tests.proof.chance import SEED
from tests.proof.once import CLIENT
from tests.proof.watched import Watched
from tests.saying import say
from tests.whole.world import world


@pytest.fixture(scope="session")
def installation(engine, tmp_path_factory):
    """One for all of these tests. At its end nothing of it is left in the engine, whatever others do there."""
    with world(engine, tmp_path_factory.mktemp("proof"), "tau-proof", lease_s=2, kind=Watched) as made:
        made.create_environment(CLIENT)
        yield made
        made.stop_runners()
        assert made.containers() == frozenset()
    assert left(made.docker, made.system) == ()


@pytest.fixture(scope="module")
def tally(request):
    """What the kills hit; said at the end, with the seed, past pytest's capturing."""
    found = Counter()
    yield found
    hit = ", ".join(f"{count} {what}" for what, count in sorted(found.items()))
    say(request.config, f"{request.module.__name__} with TAU_SEED={SEED}: {hit}")
