"""How a runner's process logs, what it needs, and how it comes to its end."""

import json
import logging
import os
import re
import signal
import sys
import threading
from dataclasses import replace
from importlib.metadata import version

import pytest

from chalicelib.errors import StepErrored
from chalicelib.model import RunState
from chalicelib.queue import Queue
from runner import service
from runner.agent import Agent
from runner.handed import Handed
from runner.service import wait_for_the_end
from runner.signals import ENDED, HURRY, STOP
from tests.pacing import PATIENCE_S
from tests.running import tools


def line(level=logging.INFO, message="claimed", error=None, **extra):
    record = logging.LogRecord("tau.agent", level, __file__, 1, message, None, error)
    vars(record).update(extra)
    text = service.JsonLines(Handed()).format(record)
    assert "\n" not in text
    return json.loads(text)


def test_a_line_of_the_log_is_json_with_ids_as_keys():
    said = line(run="01X", epoch=2)
    assert (said["message"], said["level"], said["logger"], said["run"], said["epoch"]) == (
        "claimed",
        "info",
        "tau.agent",
        "01X",
        2,
    )
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", said["at"])
    assert set(said) == {"at", "level", "logger", "message", "run", "epoch"}


def test_what_a_build_printed_cannot_begin_a_line_of_its_own():
    assert line(reason='x\n{"message": "claimed"}')["reason"] == 'x\n{"message": "claimed"}'


def test_whatever_stands_in_a_line_can_be_written():
    assert line(state=RunState.PASSED, thing=object)["state"] == "passed"


def test_a_failure_brings_its_traceback_along():
    try:
        _ = 1 / 0
    except ZeroDivisionError:
        said = line(logging.ERROR, error=sys.exc_info())
    assert said["traceback"].splitlines()[-1] == "ZeroDivisionError: division by zero"


def test_a_folder_is_made_where_it_is_missing(tmp_path):
    folder = tmp_path / "a" / "b"
    assert service.writable(folder) == folder
    assert folder.is_dir()
    assert service.writable(folder) == folder


def test_a_folder_that_cannot_be_made_is_named_with_what_to_do(tmp_path):
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(StepErrored, match=f"{folder} cannot be .* with --folder"):
            service.writable(folder)


def test_the_version_is_the_installed_ones_or_none_at_all():
    try:
        expected = version("tau-ci")
    except ModuleNotFoundError:
        expected = "from source"
    assert service.our_version() == expected


# --- coming to an end -----------------------------------------------------------------------------


class Told:
    """An agent that remembers what it was told."""

    running = ("01A",)

    def __init__(self, *, busy):
        self.busy, self.told = busy, []

    def drain(self):
        self.told.append("drain")

    def hand_back(self):
        self.told.append("hand back")


class Line:
    """Reasons to stop as a test has them: None = for as long as somebody waits, there is none."""

    def __init__(self, clock, *reasons):
        self.clock, self.reasons, self.last = clock, list(reasons), None

    def wait(self, timeout_s):
        self.last = self.reasons.pop(0)
        if self.last is None:
            self.clock.pass_(timeout_s)
        return self.last


ENDS = {
    "by itself": ([ENDED], True, [], 0),
    "idle": ([STOP], False, ["drain"], 0),
    "at its end in time": ([STOP, ENDED], True, ["drain"], 0),
    "too slow": ([STOP, None, ENDED], True, ["drain", "hand back"], 1500),
    "a second signal": ([STOP, STOP, ENDED], True, ["drain", "hand back"], 0),
    "a machine that goes, while it drains": ([STOP, HURRY, ENDED], True, ["drain", "hand back"], 0),
    "at once": ([HURRY, ENDED], True, ["drain", "hand back"], 0),
    "more and more signals": ([STOP, STOP, STOP, HURRY, STOP, ENDED], True, ["drain", "hand back"], 0),
    "what does not come back": ([HURRY, None], True, ["drain", "hand back"], 60),
}


@pytest.mark.parametrize(("reasons", "busy", "told", "took_s"), ENDS.values(), ids=ENDS)
def test_the_first_signal_drains_and_the_second_or_time_hands_back(clock, pace, reasons, busy, told, took_s):
    agent, line = Told(busy=busy), Line(clock, *reasons)
    wait_for_the_end(agent, line, 1500, pace)
    assert (agent.told, line.reasons, clock.monotonic()) == (told, [], took_s)


def test_a_signal_ends_an_idle_runner_in_the_middle_of_its_long_poll(edge, tmp_path, docker, pace, signals):
    polling, answered = threading.Event(), threading.Event()

    class Long(Queue):
        def receive(self, pool, **how):
            polling.set()
            answered.wait(PATIENCE_S)
            return super().receive(pool, **{**how, "wait_s": 0})

    slow = replace(edge, queue=Long(edge.client("sqs"), "tau-test"))
    agent = Agent(tools(slow, tmp_path, docker, pace), "default")
    serving = pace.start(lambda: signals.ended_by(agent.serve), "agent")
    assert polling.wait(PATIENCE_S)
    os.kill(os.getpid(), signal.SIGTERM)
    wait_for_the_end(agent, signals, 1500, pace)
    assert serving.is_alive(), "nobody waits for the answer"
    answered.set()
    serving.join(PATIENCE_S)


def test_an_agent_that_breaks_ends_its_process_with_the_reason(edge, tmp_path, docker, pace, signals):
    docker.gone = True
    agent = Agent(tools(edge, tmp_path, docker, pace), "default")
    serving = pace.start(lambda: signals.ended_by(agent.serve), "agent")
    wait_for_the_end(agent, signals, 1500, pace)
    serving.join(PATIENCE_S)
    with pytest.raises(StepErrored, match="the Docker engine does not answer"):
        signals.raise_what_ended_it()
