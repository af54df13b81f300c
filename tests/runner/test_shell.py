import os
import subprocess
import time

import pytest

from runner import shell
from runner.stopping import Stopped, Stopping, Why
from tests.running import stopping_soon, within

ENV = {"PATH": os.environ["PATH"]}


def run(script, timeout_s=600, stopping=None, **more):
    argv = ("sh", "-c", script)
    return shell.run(argv, env=ENV, timeout_s=timeout_s, stopping=stopping or Stopping(), **more)


def lives(pattern):
    return subprocess.run(("pgrep", "--full", pattern), check=False, capture_output=True).returncode == 0


def test_a_command_leaves_its_exit_code_and_what_it_wrote(tmp_path):
    output = run("cat; pwd; echo oh >&2; exit 3", stdin=b"in ", folder=tmp_path)
    assert (output.code, output.ok, output.stdout) == (3, False, f"in {tmp_path}\n".encode())
    assert output.complaint == "oh"


def test_a_command_gets_no_environment_but_the_one_it_is_given(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    assert b"s3cret" not in run("env").stdout


def test_a_command_that_takes_too_long_is_killed_with_all_that_it_started():
    with within(10), pytest.raises(shell.TimedOut, match="sh took longer than 0 s"):
        run("sleep 611 & sleep 611", timeout_s=0.3)
    assert not lives("sleep 611")


def test_a_command_is_asked_to_end_for_whoever_asks(tmp_path):
    stopping = Stopping()
    with within(10), stopping_soon(stopping), pytest.raises(Stopped):
        run("trap 'touch tidied; exit' TERM; sleep 612 & wait", stopping=stopping, folder=tmp_path)
    assert (tmp_path / "tidied").exists()
    assert not lives("sleep 612")


def test_a_command_that_does_not_listen_is_killed_for_whoever_asks():
    stopping = Stopping()
    with within(10), stopping_soon(stopping, Why.LOST), pytest.raises(Stopped):
        run("trap '' TERM; sleep 613 & sleep 613", stopping=stopping)
    assert not lives("sleep 613")


def test_what_a_command_leaves_behind_when_it_is_asked_to_end_is_killed():
    stopping = Stopping()
    left = "(trap '' TERM; exec sleep 614) > /dev/null 2>&1 &"
    with within(10), stopping_soon(stopping), pytest.raises(Stopped):
        run(f"trap exit TERM; {left} sleep 600 & wait", stopping=stopping)
    until = time.monotonic() + 5
    while lives("sleep 614") and time.monotonic() < until:
        time.sleep(0.05)
    assert not lives("sleep 614")


def test_nothing_is_started_for_a_claim_that_is_to_stop(tmp_path):
    stopping = Stopping()
    stopping.ask(Why.HANDED_BACK)
    with pytest.raises(Stopped):
        run("touch started", stopping=stopping, folder=tmp_path)
    assert not list(tmp_path.iterdir())
