"""A log as somebody reads it while it grows, and a run's end as somebody waits for it."""

from datetime import timedelta

import pytest

from chalicelib.errors import NotThere
from chalicelib.model import RunState
from runner.following import FOLLOWED_FOR, print_log, wait_for_end
from runner.runlog import StepLog, step_prefix
from tests.installation import NOW, installation, later
from tests.running import queued


class Pace:
    """A time that passes only while somebody sleeps; what is due meanwhile happens then."""

    def __init__(self):
        self.passed_s = 0.0
        self.plans = {}

    def now(self):
        return NOW + timedelta(seconds=self.passed_s)

    def monotonic(self):
        return self.passed_s

    def sleep(self, seconds):
        self.passed_s += seconds
        for at in [at for at in self.plans if at <= self.passed_s]:
            self.plans.pop(at)()


@pytest.fixture
def edge(monkeypatch):
    with installation(monkeypatch) as made:
        yield made


@pytest.fixture
def held(edge):
    return edge.store.claim(queued(edge, 1), "r1", NOW)


@pytest.fixture
def pace():
    return Pace()


def end(edge, held):
    edge.store.end(held, RunState.FAILED, reason="1 of 2 tests failed", tell={}, now=NOW)


def test_a_runner_is_told_every_half_minute_that_somebody_reads_along(edge, held, pace, capfdbinary):
    said = []
    for second in (1, 29, 31, 61, 99):
        pace.plans[second] = lambda: said.append(edge.store.run(held.id).followed_until - FOLLOWED_FOR)
    pace.plans[100] = lambda: end(edge, held)
    print_log(edge, held.id, pace, follow=True)
    assert said == [NOW, NOW, later(30), later(60), later(90)]
    assert capfdbinary.readouterr().err == f"[tau] {held.id}: failed: 1 of 2 tests failed\n".encode()


def test_whoever_only_looks_once_slows_nobody_down(edge, held, pace):
    print_log(edge, held.id, pace, follow=False)
    assert edge.store.run(held.id).followed_until is None
    assert pace.passed_s == 0


def test_a_run_at_its_end_has_nobody_left_to_tell(edge, held, pace):
    end(edge, held)
    print_log(edge, held.id, pace, follow=True)
    assert edge.store.run(held.id).followed_until is None


def test_what_is_written_while_it_is_followed_comes_once_and_in_order(edge, held, pace, capfdbinary):
    log = StepLog(edge.objects, step_prefix(held.id, 1, 0), lambda: NOW)
    pace.plans[2] = lambda: log.write(b"first\n")
    pace.plans[3] = log.close
    pace.plans[5] = lambda: end(edge, held)
    print_log(edge, held.id, pace, follow=True)
    assert capfdbinary.readouterr().out == b"first\n"


def test_the_end_is_waited_for_as_long_as_it_is_worth(edge, held, pace):
    assert wait_for_end(edge, held.id, pace).state is RunState.RUNNING
    assert pace.passed_s == 15
    pace.plans[17] = lambda: end(edge, held)
    assert wait_for_end(edge, held.id, pace).state is RunState.FAILED
    assert pace.passed_s == 17


def test_a_run_that_does_not_exist_is_not_waited_for(edge, pace):
    with pytest.raises(NotThere):
        wait_for_end(edge, "01NONE", pace)
    with pytest.raises(NotThere):
        print_log(edge, "01NONE", pace, follow=True)
