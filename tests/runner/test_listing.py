"""`tau runs` and `tau log` as somebody types them: what is listed, and what is said where it cannot be."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner

from chalicelib.lives import Standing
from chalicelib.model import Live, RunState, WaitingFor
from runner.cli import main
from runner.listing import latest, list_live, list_runs, local, of, state_words, took
from tests.installation import NOW, later, run

ROOT = Path(__file__).parents[2]
RUNNING = replace(run(1), state=RunState.RUNNING, started_at=NOW)
FAILED = replace(run(2), state=RunState.FAILED, started_at=NOW, ended_at=later(134), reason="1 of 3 tests failed")


def test_a_run_is_named_as_its_mail_names_it_with_the_reason():
    assert of(FAILED) == "2pisoftware/cmfive develop 2222222 (cmfive-dev): 1 of 3 tests failed"


def test_a_strangers_text_cannot_write_on_the_terminal():
    event = replace(FAILED.job.event, name="a\x1b[2Jb\nc")
    assert of(replace(FAILED, job=replace(FAILED.job, event=event))).startswith("2pisoftware/cmfive ab c 2222222")


@pytest.mark.parametrize(("one", "words"), [(run(1), ""), (RUNNING, "30s …"), (FAILED, "2m 14s")])
def test_a_run_says_how_long_it_took_or_takes_so_far(one, words):
    assert took(one, later(30)) == words


def test_a_waiting_run_says_for_what():
    assert state_words(replace(run(1), state=RunState.WAITING, waiting_for=WaitingFor.LOCK)) == "waiting for lock"


def test_where_nobody_watches_each_run_is_one_line_with_all_of_it(capsys):
    list_runs([replace(FAILED, reason="because " * 20), RUNNING], later(30))
    header, failed, running = capsys.readouterr().out.splitlines()
    assert [word for word in header.split() if "(" not in word] == ["run", "state", "began", "took", "of"]
    assert failed.endswith("because")
    assert failed.index("2pisoftware") == running.index("2pisoftware") == header.index("of")


def test_a_terminal_without_our_signs_gets_the_words_beside_them(tmp_path):
    path = tmp_path / "✔.yml"
    path.write_bytes((ROOT / "chalicelib" / "ci.yml").read_bytes())
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    command = (sys.executable, "-m", "runner", "check", "--config", str(path))
    done = subprocess.run(command, capture_output=True, check=True, cwd=ROOT, env=environment)
    assert done.stdout.endswith(b"?.yml: ok\n")


def left_live(**changes):
    left = Live(
        region="ap-southeast-2",
        application="client",
        environment="client-production",
        label="v1.12.0-2222222-5d6e7f80",
        deployment="01RUN.3",
        since=NOW,
        tag="v1.12.0",
        commit="2" * 40,
        image="code.2pisoftware.com:5000/2pisoftware/client@sha256:" + "ab" * 32,
        by="Sam Example",
        good_label="v1.11.0-1111111-5d6e7f80",
    )
    return replace(left, **changes)


def test_what_is_live_is_one_line_for_each_environment_with_what_is_wrong(capsys):
    list_live([Standing(left_live(), "Ok"), Standing(left_live(), "Severe", drift="changed outside Tau: runs v9")], NOW)
    header, well, changed = capsys.readouterr().out.splitlines()
    where = ["client-production", "ap-southeast-2", "v1.12.0-2222222-5d6e7f80", "v1.12.0", "2222222", "abababababab"]
    who = ["Sam", "Example", *local(NOW).split(), "Ok", "v1.11.0-1111111-5d6e7f80"]
    assert well.split() == [*where, *who]
    assert changed.endswith("Severe  v1.11.0-1111111-5d6e7f80  changed outside Tau: runs v9")
    assert [header.index(word) for word in ("image", "health", "last good")] == [
        well.index(word) for word in ("ababab", "Ok", "v1.11")
    ]


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of 120 columns."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")


@pytest.mark.usefixtures("terminal")
def test_in_a_terminal_it_fits_and_leaves_out_what_a_label_says(capsys):
    list_live([Standing(left_live(), "Warning"), Standing(left_live(label="by-hand", commit=None), "Ok")], NOW)
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 3
    assert max(map(len, lines)) <= 110, "there is room for a longer name"
    since = f"{NOW.astimezone():%d %b %H:%M}"
    assert re.split(r" {2,}", lines[1]) == [
        *("client-production", "v1.12.0-2222222", "abababababab", "Sam Example", since, "Warning", "v1.11.0-1111111")
    ]
    assert "by-hand" in lines[2]


@pytest.mark.usefixtures("terminal")
def test_a_region_is_named_where_there_are_two_and_wide_is_everything(capsys):
    both = [Standing(left_live(), "Ok"), Standing(left_live(region="eu-west-1"), "Ok")]
    list_live(both, NOW)
    assert "eu-west-1" in capsys.readouterr().out
    list_live(both[:1], NOW, wide=True)
    (_, line) = capsys.readouterr().out.splitlines()
    assert "ap-southeast-2  v1.12.0-2222222-5d6e7f80  v1.12.0  2222222" in line


def test_what_elastic_beanstalk_built_itself_is_said(capsys):
    base = "2pisoftware/crm:latest@sha256:" + "ab" * 32
    left = Live("r", "crm", "crm-production", "v2", "01RUN.3", NOW, built_from=base)
    list_live([Standing(left, "Green"), Standing(left, unseen="no network")], NOW)
    said = "built by Elastic Beanstalk from 2pisoftware/crm:latest (sha256:abababababab)"
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].endswith(said)
    assert lines[2].endswith(f"{said}; no network")


def test_nothing_is_live_yet(capsys):
    list_live([], NOW)
    assert capsys.readouterr().out == "Tau has brought no version to Elastic Beanstalk yet.\n"


def test_the_latest_runs_are_looked_for_on_the_days_before_until_there_are_enough():
    days = {"2026-11-23": ["c"], "2026-11-21": ["b", "a"], "2026-11-10": ["too old"]}
    asked = []

    def runs_of_day(day, most):
        asked.append(day)
        return days.get(day, [])[:most]

    assert latest(runs_of_day, date(2026, 11, 23), 2) == ["c", "b"]
    assert asked == ["2026-11-23", "2026-11-22", "2026-11-21"]
    assert latest(runs_of_day, date(2026, 11, 23), 20) == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["runs"], 1, "TAU_STAGE is not set"),
        (["log", "01K"], 1, "set -a; . /etc/tau/runner.env"),
        (["runs", "--commit", "abc1234"], 2, "git rev-parse abc1234"),
        (["runs", "--day", "yesterday"], 2, "%Y-%m-%d"),
    ],
)
def test_a_command_that_cannot_be_answered_says_what_to_do(arguments, code, words):
    answered = CliRunner(env=dict.fromkeys(("TAU_STAGE", "TAU_BUCKET", "TAU_SENDER"))).invoke(main, arguments)
    assert (answered.exit_code, words in answered.output) == (code, True)


def test_what_aws_refuses_is_one_sentence_and_no_traceback():
    environment = {
        "TAU_STAGE": "test",
        "TAU_BUCKET": "tau-test",
        "TAU_SENDER": "tau@2pisoftware.com",
        "AWS_DEFAULT_REGION": None,
        "AWS_REGION": None,
        "AWS_PROFILE": None,
        "AWS_CONFIG_FILE": "/dev/null",
    }
    answered = CliRunner(env=environment).invoke(main, ["runs"])
    assert answered.exit_code == 1
    assert answered.output.splitlines() == [
        "tau: AWS does not do what was asked: You must specify a region.",
        "The environment says which account and region: AWS_PROFILE, AWS_DEFAULT_REGION, …, as for the aws command.",
    ]
