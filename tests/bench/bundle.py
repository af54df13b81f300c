"""A commit of 5,000 files and 100 MB to a source bundle, against `git archive --format=zip` of the same tree."""

from __future__ import annotations

import os
import random
import resource
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from parts.table import show, timed_us, verdict

from chalicelib.model import Source as Repository
from runner.bundle.making import Source, build
from runner.workspace import Workspace

AIM = 1.3
_FILES, _FOLDERS, _BYTES = 5000, 200, 20_000
_ROUNDS = 7
_REF = "refs/heads/develop"
_ENV = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
_WORDS = tuple(f"word{number} " for number in range(5000))


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="tau-bench-") as temporary:
        folder = Path(temporary)
        forge = _forge(folder / "forge")
        workspace = Workspace(folder / "runner", {}.__getitem__, _ENV)
        source = Repository("github.com", "2pisoftware/crm_deploy", f"file://{forge}", None)
        commit = workspace.checkout(source, _REF, None, folder / "tree")
        (mirror,) = (folder / "runner" / "mirrors").glob("*.git")
        sizes: dict[str, int] = {}

        def ours() -> None:
            sizes["ours"] = len(build(workspace.archive(source, commit), Source(())).body)

        def git_alone() -> None:
            packed = _git(f"--git-dir={mirror}", "archive", "--format=zip", commit, folder=folder)
            sizes["git"] = len(packed)

        rounds = [_round({"git": git_alone, "ours": ours}, number) for number in range(_ROUNDS)]
    _show(rounds, sizes)


def _forge(path: Path) -> Path:
    """A repository of files that pack as source code does, to about a third."""
    chosen = random.Random(1)
    path.mkdir()
    _git("init", "--quiet", "--initial-branch=develop", folder=path)
    for number in range(_FILES):
        file = path / f"modules{number % _FOLDERS}" / f"action{number}.php"
        file.parent.mkdir(exist_ok=True)
        file.write_text("".join(chosen.choices(_WORDS, k=_BYTES // 8))[:_BYTES])
    (path / "Dockerfile").write_text("FROM scratch\nCOPY . /app\n")
    _git("add", "--all", folder=path)
    _git("-c", "user.name=A", "-c", "user.email=a@2pisoftware.com", "commit", "-qm", "x", folder=path)
    return path


def _git(*arguments: str, folder: Path) -> bytes:
    return subprocess.run(("git", *arguments), cwd=folder, env=_ENV, check=True, capture_output=True).stdout


def _round(ways: dict[str, Callable[[], None]], number: int) -> dict[str, float]:
    """What each took, in microseconds; every other round in the other order."""
    order = list(ways)[:: -1 if number % 2 else 1]
    return {way: timed_us(ways[way]) for way in order}


def _show(rounds: list[dict[str, float]], sizes: dict[str, int]) -> None:
    ratio = statistics.median(one["ours"] / one["git"] for one in rounds)
    ours_us, git_us = (statistics.median(one[way] for one in rounds) for way in ("ours", "git"))
    most_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rows = [
        ("git archive --format=zip", f"{git_us / 1000:.0f} ms", "1", "-", f"{sizes['git'] / 1024**2:.1f} MB"),
        ("tree to bundle", f"{ours_us / 1000:.0f} ms", f"{ratio:.2f}", f"≤ {AIM}", verdict(ratio, AIM)),
        ("its size, and this process's memory", "", "", "-", f"{sizes['ours'] / 1024**2:.1f} MB, {most_mb:.0f} MB"),
    ]
    show(
        f"Bundle: {_FILES:,} files, {_FILES * _BYTES // 10**6} MB, medians of {_ROUNDS} rounds",
        ("", "median", "ratio", "aim", ""),
        rows,
    )


if __name__ == "__main__":
    main()
