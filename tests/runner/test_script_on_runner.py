"""`script: {on: runner}` as processes of this machine; we stand for root."""

import os
import subprocess
import time

import pydantic
import pytest

from chalicelib.errors import NeedsAttention, StepErrored, StepFailed
from chalicelib.model import StepStatus
from runner.actions import script as action
from runner.context import Image
from runner.operators import Operators
from runner.stopping import Stopped, Stopping, Why
from tests.installation import event, job
from tests.running import Journal, context, stopping_soon, within

HOSTILE = "x;touch owned;$(touch owned)`touch owned`"


class Step:
    """A step on the runner, claim after claim: one journal, and what its process printed."""

    def __init__(self, folder):
        self.folder = folder
        self.work = folder / "work"
        self.work.mkdir()
        self.scripts = folder / "scripts"
        self.scripts.mkdir(mode=0o755)
        self.journal = Journal()
        self.log = None

    def write(self, body, name="deploy", first="#!/bin/sh"):
        (self.scripts / name).write_text(f"{first}\n{body}\n")
        (self.scripts / name).chmod(0o755)

    def run(
        self, body, *arguments, stopping=None, remaining_s=600.0, store=None, planned=None, images=None, **settings
    ):
        self.write(body)
        held = context(
            None,
            self.work,
            operators=Operators(self.scripts, frozenset({0, os.getuid()})),
            journal=self.journal,
            stopping=stopping or Stopping(),
            remaining_s=lambda: remaining_s,
            secret=(store or {}).__getitem__,
            images=images or {},
            job=planned,
        )
        self.log = held.log
        said = {"run": ["deploy", *arguments], "on": "runner", **settings}
        return action.run(action.Settings.model_validate(said), held)


@pytest.fixture
def step(tmp_path):
    return Step(tmp_path)


def lives(pattern):
    return subprocess.run(("pgrep", "--full", pattern), check=False, capture_output=True).returncode == 0


def test_a_script_of_the_operators_gets_its_arguments_and_its_output_is_in_the_log(step):
    result = step.run("echo out $1; echo err >&2; pwd", "live")
    assert result.status is StepStatus.PASSED
    assert step.log.text == f"out live\nerr\n{step.work}/script-1\n"


def test_it_gets_the_contract_what_the_step_says_and_nothing_of_the_runners_environment(step, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-runners-own")
    image = Image("2pisoftware/cmfive", "sha256:1", {"r:5000": "sha256:" + "a" * 64})
    step.run("env", environment={"TARGET": "live"}, images={image.name: image}, image=image.name)
    values = dict(line.split("=", 1) for line in step.log.text.splitlines())
    assert "the-runners-own" not in step.log.text
    assert (values["TARGET"], values["TAU_BRANCH"], values["TAU_IMAGE"]) == ("live", "develop", image.name)
    # The last four are the shell's own.
    assert {name for name in values if not name.startswith("TAU_")} <= {
        *("PATH", "HOME", "LANG", "TARGET"),
        *("PWD", "SHLVL", "_", "OLDPWD"),
    }


def test_it_gets_the_secrets_that_the_step_names_and_no_other(step):
    stored = {"chat-token": "s3cret-value", "other": "of-no-concern"}
    step.run('echo "$TOKEN"; [ "$TOKEN" = s3cret-value ]; env', store=stored, secrets={"TOKEN": "chat-token"})
    assert step.log.text.startswith("s3cret-value\n")
    assert "of-no-concern" not in step.log.text


def test_no_secret_is_given_to_a_fork(step):
    with pytest.raises(StepFailed, match="comes from a fork, and no secret"):
        step.run("echo ran", store={"t": "value"}, secrets={"TOKEN": "t"}, planned=job(event=event(fork=True)))


def test_a_hostile_branch_is_the_value_of_a_variable_and_nothing_more(step):
    planned = job(event=event(name=HOSTILE, ref=f"refs/heads/{HOSTILE}"))
    step.run('printf "%s" "$TAU_BRANCH"; ls', planned=planned)
    assert step.log.text == HOSTILE


def test_any_other_code_is_its_fault_and_shows_its_last_lines(step):
    with pytest.raises(StepFailed, match="the script exited with 3") as said:
        step.run("echo no such host; exit 3")
    assert said.value.lines == ("no such host",)


def test_one_that_takes_too_long_is_killed_with_all_that_it_started(step):
    with within(10), pytest.raises(StepFailed, match="the script took longer than 1s and had to be stopped"):
        step.run("sleep 621 & sleep 621", timeout="1s")
    assert not lives("sleep 621")


def test_it_has_no_more_time_than_the_run(step):
    with within(10), pytest.raises(StepFailed, match="the script took longer than"):
        step.run("sleep 622", remaining_s=0.5)


def test_what_it_leaves_behind_of_its_group_is_killed(step):
    with within(10):
        step.run("sleep 623 & echo done")
    assert step.log.text == "done\n"
    until = time.monotonic() + 5
    while lives("sleep 623") and time.monotonic() < until:
        time.sleep(0.05)
    assert not lives("sleep 623")


def test_one_that_leaves_its_group_and_keeps_the_output_open_holds_nobody_up(step):
    with within(10):
        step.run("echo done; setsid sleep 8 &")
    assert step.log.text == "done\n"


def test_one_that_others_may_write_is_not_begun(step):
    step.scripts.chmod(0o777)
    with pytest.raises(StepErrored, match="could have been written by others than root") as said:
        step.run("echo ran")
    assert not isinstance(said.value, NeedsAttention)
    assert (step.log.text, step.journal.entries) == ("", [])


def test_one_that_is_no_program_says_what_is_missing(step):
    step.write("", "empty", first="")
    with pytest.raises(StepFailed, match="cannot be started: Exec format error; does its first line say #!"):
        step.run("", run=["empty"])


def test_what_an_earlier_claim_has_seen_is_the_verdict_and_it_runs_no_second_time(step):
    with pytest.raises(StepFailed, match="exited with 3"):
        step.run("echo ran; exit 3")
    with pytest.raises(StepFailed, match="exited with 3"):
        step.run("echo ran")
    assert step.log.text == ""


def test_one_whose_runner_died_in_the_middle_is_a_persons_to_look_at_unless_it_may_run_again(step):
    step.journal.intend("script")
    with pytest.raises(NeedsAttention, match="needs attention: `deploy live` was interrupted"):
        step.run("echo ran", "live")
    assert step.run("echo ran", retry="safe").status is StepStatus.PASSED


def test_one_that_somebody_kills_is_a_persons_to_look_at_unless_it_may_run_again(step):
    with pytest.raises(NeedsAttention, match=r"was interrupted \(the script was killed from outside"):
        step.run("kill -9 $$")
    with pytest.raises(StepErrored, match="the script was killed from outside") as said:
        step.run("kill -9 $$", retry="safe")
    assert not isinstance(said.value, NeedsAttention)


@pytest.mark.parametrize("retry", ["never", "safe"])
@pytest.mark.parametrize("why", [Why.ASKED, Why.LOST])
def test_it_is_ended_for_whoever_asks_and_may_tidy_up(step, retry, why):
    stopping = Stopping()
    with within(10), stopping_soon(stopping, why), pytest.raises(Stopped) as stopped:
        step.run("trap 'touch tidied; exit' TERM; sleep 624 & wait", stopping=stopping, retry=retry)
    assert stopped.value.why is why
    assert (step.work / "script-1" / "tidied").exists()
    assert not lives("sleep 624")


@pytest.mark.parametrize("why", [Why.HANDED_BACK, Why.SUPERSEDED])
def test_one_that_must_not_run_twice_is_not_handed_to_another_runner(step, why):
    stopping = Stopping()
    with stopping_soon(stopping, why, 0.3):
        assert step.run("sleep 1; echo done", stopping=stopping).status is StepStatus.PASSED
    assert step.log.ours[-1] == "this run is to stop, and waits for the script: it must not be begun twice"


@pytest.mark.parametrize("name", ["../deploy", "/bin/sh", "a/b", ".deploy", "-rf", ""])
def test_what_is_no_plain_name_of_a_file_is_refused_while_ci_yml_is_compiled(name):
    with pytest.raises(pydantic.ValidationError, match="begins with the name of an operators' script"):
        action.Settings.model_validate({"run": [name], "on": "runner"})
