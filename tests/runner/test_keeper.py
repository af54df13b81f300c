"""When a runner looks after its disk."""

import threading

import pytest

from chalicelib.errors import StepErrored
from runner.keeper import Keeper
from tests.pacing import PATIENCE_S


class Storage:
    """What is asked of it, in order. `trouble`: what it raises."""

    def __init__(self):
        self.asked, self.trouble = [], None
        self.came = threading.Semaphore(0)

    def tend(self):
        self._note("tend")

    def tidy(self):
        self._note("tidy")

    def _note(self, what):
        self.asked.append(what)
        self.came.release()
        if self.trouble:
            raise self.trouble

    def was_asked(self):
        assert self.came.acquire(timeout=PATIENCE_S)


@pytest.fixture
def storage():
    return Storage()


@pytest.fixture
def flags(storage, pace):
    over, stopping = pace.flag(), pace.flag()
    pace.start(Keeper(storage, over, stopping, pace).run, "keeper")
    yield over, stopping
    stopping.set()
    over.set()


def test_it_cleans_at_its_start_and_again_after_an_hour(storage, flags, clock):
    assert flags
    storage.was_asked()
    clock.somebody_waits(3600)
    clock.pass_(3600)
    storage.was_asked()
    assert storage.asked == ["tend", "tend"]


def test_after_each_claim_what_dead_claims_left_goes(storage, flags, clock):
    storage.was_asked()
    clock.somebody_waits(3600)
    flags[0].set()
    storage.was_asked()
    assert storage.asked == ["tend", "tidy"]


@pytest.mark.parametrize("trouble", [StepErrored("the Docker engine does not answer"), OSError("read-only")])
def test_whatever_goes_wrong_the_next_round_comes(storage, flags, clock, trouble):
    storage.was_asked()
    clock.somebody_waits(3600)
    storage.trouble = trouble
    for _ in range(2):
        flags[0].set()
        storage.was_asked()
        clock.somebody_waits(3600)
