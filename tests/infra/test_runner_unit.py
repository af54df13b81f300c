"""The runner's systemd unit, as systemd itself reads it."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from runner import service
from runner.cli import main

UNIT = Path(__file__).resolve().parents[2] / "infra" / "code-server" / "tau-runner.service"

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def unit():
    parser = configparser.ConfigParser(strict=True, interpolation=None)
    parser.optionxform = str
    parser.read_string(UNIT.read_text())
    return parser


@needs_systemd
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path):
    program = tmp_path / "tau"
    program.touch(mode=0o755)
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/tau/.venv/bin/tau", str(program)))
    done = subprocess.run(("systemd-analyze", "verify", copy), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_systemd
def test_systemd_calls_its_exposure_low():
    done = subprocess.run(
        ("systemd-analyze", "security", "--offline=true", "--no-pager", UNIT),
        capture_output=True,
        text=True,
        check=True,
    )
    exposure = re.search(r"exposure level for \S+: ([0-9.]+)", done.stdout)
    assert float(exposure[1]) < 2.5, done.stdout


def test_runs_in_hand_are_finished_or_handed_back_before_the_runner_is_killed():
    section = unit()["Service"]
    # Only the runner hears SIGTERM: a git that it started is part of a run in hand.
    assert section["KillMode"] == "mixed"
    (drain,) = (option for option in main.commands["runner"].params if option.name == "drain_s")
    minutes, _, rest = section["TimeoutStopSec"].partition("min")
    assert rest == ""
    assert int(minutes) * 60 > drain.default + service._HAND_BACK_S + service._LAST_LOOK_S


def test_a_runner_that_was_told_to_stop_is_not_started_again():
    assert unit()["Service"]["Restart"] == "on-failure"  # it exits with 0


def test_checked_out_files_keep_the_modes_that_images_need():
    service = unit()["Service"]
    assert (service["UMask"], service["StateDirectoryMode"]) == ("0022", "0700")


def test_the_runner_is_not_root_and_reaches_docker_by_its_group():
    service = unit()["Service"]
    assert (service["User"], service["SupplementaryGroups"], service["CapabilityBoundingSet"]) == ("tau", "docker", "")
