"""One installation for all of these tests: each uses a branch, or a client, of its own."""

import pytest

from infra.local.traces import leftovers, snapshot
from tests.whole.world import world


@pytest.fixture(scope="session")
def installation(engine, tmp_path_factory):
    """A whole installation without a runner. When it is gone, the engine is as it was."""
    client = engine.client()
    before = snapshot(client)
    with world(engine, tmp_path_factory.mktemp("whole"), "tau-whole", lease_s=5) as made:
        yield made
    assert leftovers(client, before) == ()


@pytest.fixture
def runner(installation):
    """One runner, idle."""
    (child,) = installation.runners(1)
    return child


@pytest.fixture
def no_runner(installation):
    installation.runners(0)


@pytest.fixture(scope="module")
def start(installation):
    """Starts a runner with options of its own; none lives but those of this module."""
    installation.runners(0)
    yield installation.runner
    installation.runners(0)
