"""A branch in; the same that the runner does with it done by hand out, with the time of each part."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path

from infra.local import samples
from infra.local.installation import USER, Installation
from runner import builders

_SCRIPT = Path(__file__).parents[1] / "byhand.sh"
_SUITE = "/opt/testrunner/run"


class Person:
    """Somebody who is logged in at the registry and types what byhand.sh says."""

    def __init__(self, there: Installation, folder: Path) -> None:
        self._there = there
        self._docker_config = folder / "docker"
        self._docker_config.mkdir()
        login = b64encode(f"{USER}:{there.password}".encode()).decode()
        auths = {"auths": {there.registry.host: {"auth": login}}}
        (self._docker_config / "config.json").write_text(json.dumps(auths))

    def does(self, repository: str, branch: str, tags: Sequence[str], **how: str) -> Mapping[str, float]:
        """Clone, build, test and push a branch of the sample's kind: seconds of each, and of the whole.

        Args:
            how: variables that byhand.sh reads.
        """
        there = self._there
        git = there.githost.url(samples.HELLO_FORGE, repository)
        image = f"{there.registry.host}/by-hand/{repository}"
        env = {**os.environ, **there.engine.environ, "DOCKER_CONFIG": str(self._docker_config), "DOCKER": client()}
        argv = (str(_SCRIPT), git, branch, image, _SUITE, *tags)
        began = time.monotonic()
        with tempfile.TemporaryFile("w+") as log:
            done = subprocess.run(argv, env=env | how, stdout=subprocess.PIPE, stderr=log, text=True, check=False)
            took_s = time.monotonic() - began
            if done.returncode:
                log.seek(0)
                raise SystemExit(f"byhand.sh failed:\n{log.read()[-2000:]}")
        return {**{name: int(us) / 1e6 for name, us in map(str.split, done.stdout.splitlines())}, "whole": took_s}


def client() -> str:
    return os.environ.get("DOCKER") or shutil.which("docker") or "docker"


def with_buildkit() -> Mapping[str, str]:
    """How to build with BuildKit; where no client can, the classic builder is timed again."""
    able = (one.path for one in builders.clients(os.environ) if one.speaks_buildkit)
    return {"BUILDKIT": "1", "DOCKER": next(able, client())}
