"""The same edge in memory and emulated, for the tests that hold one to the other."""

import pytest

from tests.sim.edges.worlds import WORLDS, entered


@pytest.fixture(params=WORLDS)
def world(request):
    """An edge; `ERRS` of the test's module says where an emulator is not like AWS."""
    with entered(request, getattr(request.module, "ERRS", None)) as made:
        yield made


@pytest.fixture
def table(world):
    return world.table()
