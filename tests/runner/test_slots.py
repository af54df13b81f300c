"""Places for runs: taken, given back, lent, and shared between repositories."""

import threading

import pytest

from runner.slots import Slots
from tests.pacing import PATIENCE_S


@pytest.fixture
def stopping(pace):
    return pace.flag()


@pytest.fixture
def slots(pace):
    return lambda most: Slots(most, pace)


class Beside:
    """Something done beside, up to where it waits for a place."""

    def __init__(self, clock, work, seconds=None):
        self._said = []
        self._thread = threading.Thread(target=lambda: self._said.append(work()), daemon=True)
        self._thread.start()
        clock.somebody_waits(seconds)

    @property
    def waits(self):
        return self._thread.is_alive()

    def outcome(self):
        self._thread.join(PATIENCE_S)
        return self._said[0]


def test_who_comes_too_late_waits_until_a_place_is_given_back(slots, stopping, clock):
    two = slots(2)
    assert (two.take(stopping), two.take(stopping)) == (True, True)
    third = Beside(clock, lambda: two.take(stopping))
    assert third.waits
    two.give()
    assert third.outcome()


def test_who_waits_for_a_place_hears_that_the_runner_stops(slots, stopping, clock):
    one = slots(1)
    one.take(stopping)
    second = Beside(clock, lambda: one.take(stopping))
    stopping.set()
    one.wake()
    assert not second.outcome()
    one.give()
    assert not one.take(stopping), "nor does anybody get a free one"


def test_a_place_that_is_lent_is_taken_back_when_it_is_free_again(slots, stopping, clock):
    one = slots(1)
    one.take(stopping)

    def lend():
        with one.lent(stopping):
            assert one.take(stopping), "somebody else has it meanwhile"

    lender = Beside(clock, lend)
    assert lender.waits
    one.give()
    lender.outcome()
    assert Beside(clock, one.wait_until_idle).waits
    one.give()


def test_who_lent_a_place_gets_one_before_those_who_come_for_one(slots, stopping, clock):
    one = slots(1)
    one.take(stopping)

    def lend():
        with one.lent(stopping):
            assert one.take(stopping)

    lender = Beside(clock, lend)
    assert one.wanted_back
    comer = Beside(clock, lambda: one.take(stopping))
    one.give()
    lender.outcome()
    assert not one.wanted_back
    assert comer.waits
    one.give()
    assert comer.outcome()


def test_who_lent_its_place_does_not_wait_for_it_when_the_runner_stops(slots, stopping):
    one = slots(1)
    one.take(stopping)
    with one.lent(stopping):
        one.take(stopping)
        stopping.set()
    one.give()
    one.give()
    one.wait_until_idle()


def test_who_lent_its_place_goes_before_those_who_come_for_one(slots, stopping, clock):
    one = slots(1)
    one.take(stopping)
    assert not one.wanted_back

    def lend():
        with one.lent(stopping):
            assert one.take(stopping), "somebody else has it meanwhile"
            assert one.wanted_back

    lender = Beside(clock, lend)
    newcomer = Beside(clock, lambda: one.take(stopping))
    one.give()
    lender.outcome()
    assert (newcomer.waits, one.wanted_back) == (True, False)
    one.give()
    assert newcomer.outcome()


def test_who_stops_waits_for_no_place_that_it_had_lent(slots, stopping):
    one = slots(1)
    one.take(stopping)
    with one.lent(stopping):
        assert one.take(stopping)
        stopping.set()
    one.give()
    one.give()
    one.wait_until_idle()


def test_it_is_idle_when_every_place_is_free(slots, stopping, clock):
    two = slots(2)
    two.wait_until_idle()
    two.take(stopping)
    two.take(stopping)
    idle = Beside(clock, two.wait_until_idle)
    two.give()
    clock.somebody_waits(None)
    assert idle.waits
    two.give()
    assert idle.outcome() is None


@pytest.mark.parametrize(("most", "share"), [(1, 1), (2, 1), (3, 2), (8, 7)])
def test_one_repository_gets_all_places_but_one(slots, most, share):
    places = slots(most)
    assert [places.enter("a") for _ in range(share + 1)] == [True] * share + [False]
    assert places.enter("b")
    places.leave("a")
    assert places.enter("a")


@pytest.fixture
def waiting(slots, stopping, clock):
    """A repository has its share of two places; one more of its runs waits for its turn, in a place that it lends."""
    two = slots(2)
    for _ in range(2):
        two.take(stopping)
    assert two.enter("a")
    return two, Beside(clock, lambda: two.enter_soon("a", 5, stopping), 5)


def test_who_waits_for_its_turn_gets_it_when_its_repository_has_a_place(waiting):
    two, waits = waiting
    two.leave("a")
    assert waits.outcome()
    assert not two.enter("a")


def test_who_waits_for_its_turn_in_vain_hears_so_after_a_while(waiting, clock):
    _, waits = waiting
    clock.pass_(5)
    assert not waits.outcome()


def test_who_waits_for_its_turn_while_the_runner_stops_waits_no_longer(waiting, stopping):
    two, waits = waiting
    stopping.set()
    two.wake()
    assert not waits.outcome()


def test_only_one_of_a_repository_waits_for_its_turn(waiting, stopping, clock):
    two, waits = waiting
    assert not two.enter_soon("a", 5, stopping)
    assert two.take(stopping), "and its place is somebody else's meanwhile"
    two.give()
    clock.pass_(5)
    waits.outcome()


def test_a_thousand_takings_by_many_threads_lose_no_place_and_make_none(slots, stopping):
    three, inside, most = slots(3), [], []

    def work():
        for _ in range(100):
            three.take(stopping)
            inside.append(1)
            most.append(len(inside))
            inside.pop()
            three.give()

    threads = [threading.Thread(target=work) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    three.wait_until_idle()
    assert max(most) <= 3
