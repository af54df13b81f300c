"""The unit that writes the rules of the firewall, as systemd itself reads it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from runner.cli import main

UNIT = Path(__file__).resolve().parents[2] / "infra" / "code-server" / "tau-zones.service"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path):
    program, docker = tmp_path / "tau", tmp_path / "docker.service"
    program.touch(mode=0o755)
    docker.write_text(f"[Service]\nExecStart={program}\n")
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/tau/.venv/bin/tau", str(program)))
    done = subprocess.run(("systemd-analyze", "verify", copy, docker), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_what_it_starts_is_a_command_that_there_is():
    (words,) = re.findall(r"^ExecStart=/opt/tau/.venv/bin/tau (.*)$", UNIT.read_text(), re.MULTILINE)
    assert words in main.commands


def test_it_has_the_rights_on_the_firewall_and_no_others():
    assert "CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW\n" in UNIT.read_text()
