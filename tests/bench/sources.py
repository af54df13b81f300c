"""A repository of 1,500 files to an exact commit on disk: with mirror and kept tree, against `git clone --depth=1`."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from parts.table import show, timed_us, verdict

from chalicelib.model import Source
from runner.workspace import Workspace

AIM_AGAIN = 0.1
AIM_NEW = 0.85
_FILES, _FOLDERS, _BYTES = 1500, 60, 8000
_PUSHED = 5
_ROUNDS = 9
_REF = "refs/heads/develop"
_ENV = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}


class Repository:
    """A repository at a forge, of files that do not compress to nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._random = random.Random(1)
        self.address = f"file://{path}"
        path.mkdir()
        git("init", "--quiet", "--initial-branch=develop", folder=path)
        self.push(range(_FILES))

    def push(self, files: range) -> None:
        """A commit that changes these files."""
        for number in files:
            path = self._path / f"modules{number % _FOLDERS}" / f"action{number}.php"
            path.parent.mkdir(exist_ok=True)
            path.write_text(self._random.randbytes(_BYTES // 2).hex())
        git("add", "--all", folder=self._path)
        git("-c", "user.name=A", "-c", "user.email=a@2pisoftware.com", "commit", "-qm", "x", folder=self._path)


def git(*arguments: str, folder: Path) -> None:
    subprocess.run(("git", *arguments), cwd=folder, env=_ENV, check=True, capture_output=True)


class Runs:
    """Runs, one after the other, as a runner's claims check out."""

    def __init__(self, folder: Path, address: str) -> None:
        self._workspace = Workspace(folder, {}.__getitem__, _ENV)
        self._source = Source("github.com", "2pisoftware/cmfive", address, None)
        self._numbers = itertools.count()

    def checkout_us(self, lock: str) -> float:
        with self._workspace.run_folder(str(next(self._numbers)), lock) as folder:
            return timed_us(lambda: self._workspace.checkout(self._source, _REF, None, folder / "tree"))


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="tau-bench-") as temporary:
        folder = Path(temporary)
        repository = Repository(folder / "forge")
        runs = Runs(folder / "runner", repository.address)
        first_us = runs.checkout_us("kept")
        rounds = [_round(folder, repository, runs, number) for number in range(_ROUNDS)]
    _show(rounds, first_us)


def _round(folder: Path, repository: Repository, runs: Runs, number: int) -> dict[str, float]:
    """What each took, in microseconds; every other round in the other order."""

    def clone() -> float:
        into = folder / "clone"
        took = timed_us(lambda: git("clone", "--quiet", "--depth=1", repository.address, str(into), folder=folder))
        shutil.rmtree(into)
        return took

    def after_a_push() -> float:
        repository.push(range(number * _PUSHED, (number + 1) * _PUSHED))
        return runs.checkout_us("kept")

    ways: dict[str, Callable[[], float]] = {
        "clone": clone,
        "new": lambda: runs.checkout_us(f"new{number}"),
        "pushed": after_a_push,
        "same": lambda: runs.checkout_us("kept"),
    }
    order = list(ways)[:: -1 if number % 2 else 1]
    return {way: ways[way]() for way in order}


def _show(rounds: list[dict[str, float]], first_us: float) -> None:
    clone_us = statistics.median(one["clone"] for one in rounds)
    rows = [
        _row("the second time", "same", rounds, AIM_AGAIN),
        _row(f"after a push of {_PUSHED} files", "pushed", rounds, AIM_AGAIN),
        _row("a new tree from the mirror", "new", rounds, AIM_NEW),
        ("the first time of all", f"{first_us / 1000:.0f} ms", f"{first_us / clone_us:.3f}", "-", ""),
        ("git clone --depth=1", f"{clone_us / 1000:.0f} ms", "1", "-", ""),
    ]
    title = f"Sources: {_FILES} files, medians of {_ROUNDS} rounds"
    show(title, ("", "median", "ratio", "aim", ""), rows)


def _row(name: str, way: str, rounds: list[dict[str, float]], aim: float) -> tuple[str, ...]:
    took_us = statistics.median(one[way] for one in rounds)
    ratio = statistics.median(one[way] / one["clone"] for one in rounds)
    return (name, f"{took_us / 1000:.0f} ms", f"{ratio:.3f}", f"≤ {aim}", verdict(ratio, aim))


if __name__ == "__main__":
    main()
