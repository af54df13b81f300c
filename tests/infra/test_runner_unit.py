"""The runner's systemd unit, as systemd itself reads it."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

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


def test_a_run_in_hand_may_finish_before_the_runner_is_killed():
    service = unit()["Service"]
    # Only the runner hears SIGTERM: a git that it started is part of the run in hand.
    assert service["KillMode"] == "mixed"
    assert service["TimeoutStopSec"] == "65min"  # model.Job.timeout_s is an hour by default


def test_checked_out_files_keep_the_modes_that_images_need():
    service = unit()["Service"]
    assert (service["UMask"], service["StateDirectoryMode"]) == ("0022", "0700")


def test_the_runner_is_not_root_and_reaches_docker_by_its_group():
    service = unit()["Service"]
    assert (service["User"], service["SupplementaryGroups"], service["CapabilityBoundingSet"]) == ("tau", "docker", "")
