"""Signals of the real operating system to this very process, and other reasons to stop."""

import os
import signal
import threading
import time

import pytest

from runner.signals import ENDED, HURRY, STOP
from tests.pacing import PATIENCE_S


@pytest.mark.parametrize(
    ("number", "means"),
    [(signal.SIGTERM, STOP), (signal.SIGINT, STOP), (signal.SIGHUP, STOP), (signal.SIGQUIT, HURRY)],
)
def test_each_signal_has_its_meaning(signals, number, means):
    os.kill(os.getpid(), number)
    assert signals.wait(PATIENCE_S) == means
    assert signals.last == means


def test_a_signal_wakes_whoever_waits_for_whatever_time_it_takes(signals):
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    began = time.monotonic()
    assert signals.wait(None) == STOP
    assert time.monotonic() - began < PATIENCE_S
    timer.join()


def test_reasons_come_out_in_the_order_in_which_they_came(signals):
    os.kill(os.getpid(), signal.SIGTERM)
    signals.say(HURRY)
    os.kill(os.getpid(), signal.SIGTERM)
    signals.say(ENDED)
    assert [signals.wait(PATIENCE_S) for _ in range(4)] == [STOP, HURRY, STOP, ENDED]


def test_nobody_asks_and_the_time_is_over(signals):
    assert signals.wait(0.01) is None
    assert signals.last is None


def test_more_signals_than_the_line_holds_hold_up_nobody(signals):
    for _ in range(100_000):
        signals.say(STOP)
    assert signals.wait(PATIENCE_S) == STOP


def test_work_that_ends_says_so(signals):
    signals.ended_by(lambda: None)
    assert signals.wait(PATIENCE_S) == ENDED
    signals.raise_what_ended_it()


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
def test_work_that_breaks_in_a_thread_ends_the_process_with_its_error(signals, error):
    def work():
        raise error

    thread = threading.Thread(target=signals.ended_by, args=[work])
    thread.start()
    assert signals.wait(PATIENCE_S) == ENDED
    thread.join()
    with pytest.raises(error):
        signals.raise_what_ended_it()
