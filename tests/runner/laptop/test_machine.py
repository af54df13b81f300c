"""What somebody at a laptop may do while something goes on: stop it, stop it at once, start it a second time."""

import io
import os
import signal
import threading

import pytest

from chalicelib.errors import BadInput
from runner.laptop.machine import Left, Machine, only_one, until_stopped
from tests.pacing import PATIENCE_S


@pytest.fixture
def said():
    return []


@pytest.fixture
def machine(tmp_path, said):
    return Machine(tmp_path, {}, io.BytesIO(), said.append)


def ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_before_the_first_step_is_heard_by_whatever_is_under_way(machine, said):
    asked = threading.Event()

    def work():
        with machine.stopping.telling(asked.set):
            ctrl_c()
            assert asked.wait(PATIENCE_S)
        machine.stopping.check()

    assert until_stopped(work, machine, "tau up") is None
    assert said == ["stopping; once more leaves at once"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_does_not_wait_and_says_who_cleans_up(machine, said):
    cleaned = threading.Event()

    def work():
        with machine.stopping.telling(ctrl_c):
            ctrl_c()
            cleaned.wait(PATIENCE_S)

    with pytest.raises(Left):
        until_stopped(work, machine, "tau up")
    assert not cleaned.is_set()
    cleaned.set()
    assert said[-1] == "left as it is: the next `tau up` of the same removes what stayed in the engine"


def test_what_breaks_is_raised_where_the_process_can_end_of_it(machine):
    def work():
        raise BadInput("no such thing")

    with pytest.raises(BadInput, match="no such thing"):
        until_stopped(work, machine, "tau up")


def test_of_one_system_there_is_one_at_a_time(tmp_path):
    with only_one(tmp_path, "laptop-1", "tau up"):
        with (
            pytest.raises(BadInput, match="another `tau up` of the same is under way"),
            only_one(tmp_path, "laptop-1", "tau up"),
        ):
            pass
        with only_one(tmp_path, "laptop-2", "tau up"):
            pass
    with only_one(tmp_path, "laptop-1", "tau up"):
        pass
