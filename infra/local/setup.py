"""A machine that never saw the project in, one that can run it out. Needs Python alone; says first what it will do.

python3 infra/local/setup.py [--only-python] [--tests] [--optional-packages]
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
LOG = ROOT / ".cache" / "setup.log"
PINNED = ("requirements.txt", "runner/requirements.txt", "requirements-dev.txt", "pyproject.toml")
DOCKER_SOCKET = Path("/var/run/docker.sock")
POLICY = Path("/usr/sbin/policy-rc.d")


class SetupFailed(Exception):
    """Something could not be installed. The text says what and what to do."""


@dataclass(frozen=True)
class Need:
    """A Debian package, what it is for, and whether this machine has what it brings."""

    package: str
    purpose: str
    there: Callable[[], bool]


def find(name: str) -> str | None:
    """The path of a program, also where only root's PATH has it."""
    return shutil.which(name) or shutil.which(name, path="/usr/local/sbin:/usr/sbin:/sbin")


def engine_there() -> bool:
    """Whether a Docker engine is installed or runs; the user's own is used as it is."""
    if "DOCKER_HOST" in os.environ or DOCKER_SOCKET.exists() or find("dockerd"):
        return True
    docker = find("docker")
    return docker is not None and subprocess.run((docker, "version"), capture_output=True, check=False).returncode == 0


def static_busybox_there() -> bool:
    path = find("busybox")
    # An executable that needs a loader names it in its first page.
    return path is not None and b"/ld-" not in Path(path).read_bytes()[:4096]


def http_backend_there() -> bool:
    git = find("git")
    if git is None:
        return False
    folder = subprocess.run((git, "--exec-path"), capture_output=True, text=True, check=True).stdout.strip()
    return Path(folder, "git-http-backend").exists()


NEEDS = (
    Need("docker.io", "the Docker engine that builds and tests", engine_there),
    Need("iptables", "the engine's networks", lambda: DOCKER_SOCKET.exists() or find("iptables") is not None),
    Need("iproute2", "a network that is the engine's alone", lambda: DOCKER_SOCKET.exists() or find("ip") is not None),
    Need("docker-registry", "a real image registry to push to", lambda: find("docker-registry") is not None),
    Need("apache2-utils", "htpasswd, the registry's users", lambda: find("htpasswd") is not None),
    Need("busybox-static", "the base image of the samples (takes the place of busybox)", static_busybox_there),
    Need("git", "git, and the git host of the demo", http_backend_there),
)
TEST_NEEDS = (
    Need("spin", "the model checker that searches docs/delivery.pml", lambda: find("spin") is not None),
    Need("gcc", "the C compiler, for spin's searches and for a clock that is wrong", lambda: find("gcc") is not None),
    Need("debootstrap", "a Debian that the PHP application stands on", lambda: find("debootstrap") is not None),
    Need("libc6-dev", "the headers that both include", lambda: Path("/usr/include/stdio.h").exists()),
)


def venv_need() -> Need:
    """Debian packs a part of Python's own venv apart."""
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    return Need(package, "Python's virtual environments", lambda: importlib.util.find_spec("ensurepip") is not None)


def install_command(packages: Sequence[str]) -> tuple[str, ...]:
    """The command of apt, without questions and without what is only recommended."""
    options = ("-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=120")
    return ("apt-get", "install", *options, *packages)


def obstacle(*, root: bool, apt: bool) -> str | None:
    """Why packages cannot be installed from here; None = they can."""
    if not apt:
        return "this is not Debian or Ubuntu: install the same with the system's package manager. There it would be"
    return None if root else "only root may do that. Run this, then try again"


def stamp(root: Path = ROOT) -> Mapping[str, str]:
    """What the virtual environment has to be made from: when this changes it is made again."""
    pins = hashlib.sha256(b"\0".join((root / name).read_bytes() for name in PINNED)).hexdigest()
    return {"python": f"{sys.version} at {root}", "packages": pins}


def stamped() -> Mapping[str, str]:
    try:
        found: Mapping[str, str] = json.loads((VENV / ".stamp").read_text())
    except (OSError, ValueError):
        return {}
    return found


def install_packages(packages: Sequence[str]) -> None:
    """Install Debian's packages; the lists of what there is are fetched only when the old ones do not do."""
    with _nothing_started():
        try:
            _run(*install_command(packages))
        except SetupFailed:
            _run("apt-get", "update")
            _run(*install_command(packages))
    # A registry without a password on port 5000 is nothing that anybody asked for.
    if "docker-registry" in packages and Path("/run/systemd/system").exists():
        _run("systemctl", "disable", "--quiet", "docker-registry.service")


def install_python() -> None:
    """Make .venv and put every pinned package and the `tau` command into it."""
    wanted, found = stamp(), stamped()
    if found.get("python") != wanted["python"]:
        # Not the python of .venv itself, where that is the one that runs this: it would remove what it stands on.
        python = getattr(sys, "_base_executable", sys.executable)
        _run(python, "-m", "venv", "--clear", str(VENV))
    pip = (str(VENV / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input", "install")
    # Not compiled ahead: most of it is never imported, and what is gets compiled then.
    _run(*pip, "--no-compile", "--requirement", str(ROOT / "requirements-dev.txt"))
    _run(*pip, "--no-deps", "--no-build-isolation", "--editable", str(ROOT))
    (VENV / ".stamp").write_text(json.dumps(wanted))


def main() -> int:
    """Install what is missing; returns the exit code."""
    options = _options()
    needs = () if options.only_python else (*NEEDS, *TEST_NEEDS) if options.tests else NEEDS
    packages = [need for need in needs if not need.there()]
    python = stamped() != stamp()
    venv = [need for need in (venv_need(),) if python and not need.there()]
    if not (packages or python):
        print("setup: everything is there.")
        return 0
    _announce([*venv, *packages], python=python)
    LOG.parent.mkdir(exist_ok=True)
    LOG.write_text("")
    blocked = obstacle(root=os.geteuid() == 0, apt=find("apt-get") is not None)
    try:
        if blocked and (venv or packages):
            _give_command([*venv, *packages], blocked)
            if venv or not options.optional_packages:
                return 1
            packages = []
        if venv:
            _timed("Python's venv", install_packages, [need.package for need in venv])
        return _install([need.package for need in packages], python=python, optional=options.optional_packages)
    except SetupFailed as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1


def _install(packages: Sequence[str], *, python: bool, optional: bool) -> int:
    """Both at once: one waits for the network mostly, the other for the disk."""
    with ThreadPoolExecutor() as pool:
        system = pool.submit(_timed, "system packages", install_packages, packages) if packages else None
        ours = pool.submit(_timed, "Python packages", install_python) if python else None
    if ours is not None:
        ours.result()
    try:
        if system is not None:
            system.result()
    except SetupFailed as error:
        if not optional:
            raise
        print(f"setup: {error}\nsetup: going on without; what needs them is left out.", file=sys.stderr)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Install what the project needs and this machine lacks.")
    parser.add_argument("--only-python", action="store_true", help="no system packages: enough for the checks")
    parser.add_argument("--tests", action="store_true", help="what only tests need, too")
    parser.add_argument("--optional-packages", action="store_true", help="go on where they cannot be installed")
    return parser.parse_args()


def _announce(needs: Sequence[Need], *, python: bool) -> None:
    print("setup: this machine lacks, and now gets:")
    for need in needs:
        print(f"  {need.package:<17} {need.purpose}")
    if python:
        print(f"  {'.venv':<17} the Python packages that requirements-dev.txt pins, and the `tau` command")
    if needs:
        print("  Packages are installed by apt; no service is started.")
    sys.stdout.flush()


def _give_command(needs: Sequence[Need], why: str) -> None:
    command = " ".join(install_command([need.package for need in needs]))
    print(f"setup: the packages are not installed: {why}:\n\n  sudo {command}\n", file=sys.stderr)


def _timed(what: str, do: Callable[..., None], *arguments: object) -> None:
    started = time.monotonic()
    do(*arguments)
    print(f"  {what}: {time.monotonic() - started:.0f} s", flush=True)


def _run(*argv: str) -> None:
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, env=environ)
    said = done.stdout.decode(errors="replace")
    with LOG.open("a") as log:
        log.write(f"$ {' '.join(argv)}\n{said}\n")
    if done.returncode != 0:
        last = "\n".join(f"  {line}" for line in said.splitlines()[-15:])
        raise SetupFailed(f"`{' '.join(argv)}` failed (everything is in {LOG}). It ended with:\n{last}")


@contextmanager
def _nothing_started() -> Iterator[None]:
    """Debian's way to install a service without starting it.

    Source: https://people.debian.org/~hmh/invokerc.d-policyrc.d-specification.txt
    """
    mine = not POLICY.exists()
    if mine:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    try:
        yield
    finally:
        if mine:
            POLICY.unlink()


if __name__ == "__main__":
    sys.exit(main())
