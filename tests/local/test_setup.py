"""`make setup`: says first what it will do, does only what is missing, and says why it cannot."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from infra.local import setup

ROOT = Path(__file__).parents[2]
# A user who is not root and may still read the same files.
SOMEBODY = (shutil.which("unshare") or "false", "--user", "--map-user=1000", "--")
can_be_another = pytest.mark.skipif(
    os.geteuid() != 0 or subprocess.run((*SOMEBODY, "true"), capture_output=True, check=False).returncode != 0,
    reason="needs root, and a kernel that lets it become somebody else",
)


@pytest.fixture
def project(tmp_path):
    """What setup reads, in a folder of its own, with Python's part as good as done."""
    for name in (*setup.PINNED, "Makefile", "infra/local/setup.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / ".stamp").write_text(json.dumps(setup.stamp(tmp_path)))
    return tmp_path


@pytest.fixture
def tools(tmp_path):
    """A PATH with what every machine has, and nothing of what setup installs."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in ("sh", "bash", "env", "apt-get", "awk", "make", "cat"):
        found = shutil.which(name)
        if found:
            (folder / name).symlink_to(found)
    (folder / "python3").symlink_to(sys.executable)
    return folder


def _run(project, *arguments, path=None, as_whom=()):
    environ = {**os.environ, "PATH": str(path or os.environ["PATH"])}
    environ.pop("DOCKER_HOST", None)
    argv = (*as_whom, sys.executable, project / "infra/local/setup.py", *arguments)
    return subprocess.run(argv, capture_output=True, text=True, check=False, env=environ)


def test_a_second_run_says_that_everything_is_there_and_takes_no_time(project):
    started = time.monotonic()
    done = _run(project, "--only-python")
    assert (done.returncode, done.stdout, done.stderr) == (0, "setup: everything is there.\n", "")
    assert time.monotonic() - started < 1


def test_a_changed_pin_makes_the_environment_again(project):
    before = setup.stamp(project)
    with (project / "runner/requirements.txt").open("a") as pins:
        pins.write("leftpad==1.0\n")
    after = setup.stamp(project)
    assert before["python"] == after["python"]
    assert before["packages"] != after["packages"]


def test_another_place_makes_the_environment_again(project, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(project, moved, ignore=shutil.ignore_patterns("tools", "moved"), symlinks=True)
    assert setup.stamp(moved)["python"] != setup.stamp(project)["python"]


@can_be_another
def test_without_root_the_exact_command_is_printed_and_nothing_is_installed(project, tools):
    done = _run(project, path=tools, as_whom=SOMEBODY)
    assert done.returncode == 1
    assert "only root may do that" in done.stderr
    command = done.stderr.split("sudo ")[1].splitlines()[0]
    assert command.startswith("apt-get install -y --no-install-recommends ")
    assert {"docker-registry", "apache2-utils", "busybox-static", "git"} <= set(command.split())
    assert "docker-registry   a real image registry to push to" in done.stdout


@can_be_another
def test_the_tests_go_on_where_packages_cannot_be_installed(project, tools):
    done = _run(project, "--optional-packages", path=tools, as_whom=SOMEBODY)
    assert done.returncode == 0
    assert "sudo apt-get install" in done.stderr


def test_elsewhere_than_on_debian_the_command_is_said_too():
    assert "not Debian or Ubuntu" in setup.obstacle(root=True, apt=False)
    assert "only root" in setup.obstacle(root=False, apt=True)
    assert setup.obstacle(root=True, apt=True) is None


def test_what_fails_is_shown_and_not_swallowed(project):
    (project / "requirements-dev.txt").write_text("no-such-package-of-ours==0\n")
    (project / ".venv" / ".stamp").write_text(json.dumps({"python": setup.stamp(project)["python"]}))
    python = project / ".venv" / "bin" / "python"
    python.write_text("#!/bin/sh\necho 'ERROR: nothing of that name'\nexit 3\n")
    python.chmod(0o755)
    done = _run(project, "--only-python")
    assert done.returncode == 1
    assert "ERROR: nothing of that name" in done.stderr
    assert str(project / ".cache/setup.log") in done.stderr
    assert "ERROR: nothing of that name" in (project / ".cache/setup.log").read_text()


def test_an_old_python_is_refused_with_the_way_out(project, tools):
    old = tools / "python3"
    old.unlink()
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.2"\nexit 1\n')
    old.chmod(0o755)
    done = _make(project, tools, "setup")
    assert done.returncode != 0
    assert "needs Python 3.11 or newer, and python3 is Python 3.9.2" in done.stderr
    assert "make setup PYTHON=" in done.stderr


def test_make_alone_says_what_there_is(project, tools):
    done = _make(project, tools)
    assert done.returncode == 0
    for target in ("setup", "demo", "test", "check", "bench", "compile", "deploy", "clean"):
        assert f"  make {target} " in done.stdout


def test_a_deployment_asks_for_its_stage(project, tools):
    done = _make(project, tools, "deploy")
    assert done.returncode != 0
    assert "make deploy STAGE=prod" in done.stderr


@pytest.mark.parametrize(("required", "code"), [("0", 0), ("1", 1)])
def test_what_needs_an_engine_is_named_where_there_is_none_or_fails_where_it_must_be(required, code, tmp_path):
    environ = {**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/nobody.sock", "TAU_REQUIRE_ENGINE": required}
    done = subprocess.run(
        (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/local/test_registry.py"),
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout
    assert "nobody.sock, and nothing is there" in done.stdout
    assert ("LEFT OUT, 4 tests: " in done.stdout) == (required == "0")
    assert ("tests/local/test_registry.py (4)" in done.stdout) == (required == "0")


def _make(project, tools, *targets):
    environ = {"PATH": str(tools), "HOME": str(project)}
    return subprocess.run(
        (tools / "make", *targets), cwd=project, env=environ, capture_output=True, text=True, check=False
    )
