import threading

import pytest

from chalicelib.errors import NotNow, StepErrored
from runner.pace import Real
from runner.retrying import patiently
from runner.stopping import Stopped, Stopping
from tests.running import context, stopping_soon, within


class Hasty(Real):
    """A pace at which nobody waits; for how long they would have is remembered."""

    def __init__(self):
        super().__init__()
        self.waited_s = []

    def flag(self):
        made = threading.Event()
        made.wait = self.waited_s.append
        return made


class Asked:
    """Somebody who answers with each of these in turn; an error is raised."""

    def __init__(self, *answers):
        self.answers, self.times = list(answers), 0

    def __call__(self):
        self.times += 1
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_who_cannot_just_now_is_asked_again_a_little_later_each_time_and_the_log_says_so(tmp_path):
    pace = Hasty()
    held = context(None, tmp_path, pace=pace)
    assert patiently(Asked(NotNow("it is busy"), NotNow("it restarts"), "there"), held) == "there"
    assert pace.waited_s == [1, 4]
    assert held.log.ours == ["it is busy; asking again in 1.0 s", "it restarts; asking again in 4.0 s"]


def test_the_last_refusal_is_the_answer(tmp_path):
    asked = Asked(*(NotNow(f"no {number}") for number in range(4)))
    with pytest.raises(NotNow, match="no 3"):
        patiently(asked, context(None, tmp_path, pace=Hasty()))
    assert asked.times == 4


def test_who_says_when_is_asked_then(tmp_path):
    pace = Hasty()
    patiently(Asked(NotNow("busy", after_s=30), "there"), context(None, tmp_path, pace=pace))
    assert pace.waited_s == [30]


@pytest.mark.parametrize(("after_s", "remaining_s"), [(61, 600), (30, 30)], ids=["too long", "the run is over by then"])
def test_who_wants_to_be_left_alone_for_long_is(tmp_path, after_s, remaining_s):
    asked = Asked(NotNow("busy", after_s=after_s), "there")
    with pytest.raises(NotNow):
        patiently(asked, context(None, tmp_path, pace=Hasty(), remaining_s=lambda: remaining_s))
    assert asked.times == 1


def test_a_refusal_is_believed_at_once(tmp_path):
    asked = Asked(StepErrored("wrong password"), "there")
    with pytest.raises(StepErrored, match="wrong password"):
        patiently(asked, context(None, tmp_path, pace=Hasty()))
    assert asked.times == 1


def test_nobody_who_should_stop_waits(tmp_path):
    stopping = Stopping()
    held = context(None, tmp_path, stopping=stopping)
    with within(3), stopping_soon(stopping, after_s=0.2), pytest.raises(Stopped):
        patiently(Asked(NotNow("busy", after_s=30), "there"), held)
