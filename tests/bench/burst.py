"""Thirty pushes at once: a runner with as many jobs as it takes by itself, against the same by hand, two at a time.

They are of five repositories, each of a branch of its own: none waits for another. The runner's time is from the first
webhook until the last record has ended, the time by hand from the first clone until the last push.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from parts.person import Person, with_buildkit
from parts.runner import installed
from parts.table import show, verdict

from chalicelib.model import RunState
from infra.local import processes, samples
from infra.local.installation import Installation

AIM = 0.65
ROUNDS = int(os.environ.get("ROUNDS") or 3)
_PUSHES = 30
_AT_A_TIME = 2
_PATIENCE_S = 600
_REPOSITORIES = 5
_SYSTEM = "tau-bench-burst"


@dataclass(frozen=True)
class Push:
    """A commit on a branch."""

    repository: str
    branch: str
    commit: str

    @property
    def tags(self) -> tuple[str, str]:
        """As ci.yml has them."""
        return "latest", self.branch.replace("/", "-")


class Burst:
    """Repositories with thirty branches in all, who pushes to them, and who builds them."""

    def __init__(self, there: Installation, person: Person) -> None:
        self.there = there
        self.person = person
        self.number = 0
        ci_yml = there.ci_yml().replace(f"github.com/{samples.HELLO}", "github.com/2pisoftware/{app}")
        there.deploy(ci_yml.replace(f"image: {samples.HELLO}", 'image: "2pisoftware/{app}"'))
        for number in range(_REPOSITORIES):
            there.create(samples.HELLO_FORGE, f"2pisoftware/app{number}", samples.hello())

    def commits(self) -> list[Push]:
        """A new commit on each branch, whose content no other has."""
        self.number += 1
        page = samples.hello()["site/index.html"]
        pushes = []
        for number in range(_PUSHES):
            repository, branch = f"2pisoftware/app{number % _REPOSITORIES}", f"feature/{number}"
            files = {"site/index.html": f"{page}<!-- {branch} {self.number} -->\n"}
            commit = self.there.githost.commit(samples.HELLO_FORGE, repository, branch, files, branch)
            pushes.append(Push(repository, branch, commit))
        return pushes

    def by_hand(self, **how: str) -> float:
        pushes = self.commits()
        began = time.monotonic()
        with ThreadPoolExecutor(_AT_A_TIME) as two:
            list(two.map(lambda push: self.person.does(push.repository, push.branch, push.tags, **how), pushes))
        return time.monotonic() - began

    def by_runner(self) -> float:
        there = self.there
        hooks = [
            samples.github_push(
                push.repository,
                [there.githost.describe(samples.HELLO_FORGE, push.repository, push.commit)],
                there.hook_secret,
                ref=f"refs/heads/{push.branch}",
            )
            for push in self.commits()
        ]
        began = time.time()
        answers = [there.deliver(hook) for hook in hooks]
        runs = [run for answer in answers for run in json.loads(answer.body)["runs"]]
        ended = [there.wait_for_end(run, _PATIENCE_S) for run in runs]
        bad = [f"{run.id}: {run.state}: {run.reason}" for run in ended if run.state is not RunState.PASSED]
        if bad or len(ended) != _PUSHES:
            raise SystemExit("\n".join(bad) or f"{_PUSHES} pushes started {len(ended)} runs")
        return max(run.ended_at.timestamp() for run in ended if run.ended_at) - began


def main() -> None:
    with installed(_SYSTEM) as there, tempfile.TemporaryDirectory(prefix="tau-bench-") as folder:
        burst = Burst(there, Person(there, Path(folder)))
        runner = there.start_runner()
        processes.wait_until(lambda: '"ready"' in runner.tail(), runner, 30)
        ways: tuple[Callable[[], float], ...] = (
            burst.by_runner,
            burst.by_hand,
            lambda: burst.by_hand(**with_buildkit()),
        )
        burst.by_runner()  # mirrors and caches are as on any other day
        rounds = [[way() for way in ways] for _ in range(ROUNDS)]
    show(
        f"{_PUSHES} pushes at once, s",
        ("round", "runner", "by hand", "ratio", "by hand, BuildKit", "ratio"),
        list(rows(rounds)),
    )


def rows(rounds: Sequence[Sequence[float]]) -> Iterator[list[str]]:
    for number, (runner, classic, buildkit) in enumerate(rounds, start=1):
        yield [
            f"{number}",
            *(f"{part:.2f}" for part in (runner, classic, runner / classic, buildkit, runner / buildkit)),
        ]
    middle = [statistics.median(one[0] / one[way] for one in rounds) for way in (1, 2)]
    yield ["median", "", "", f"{middle[0]:.2f}", "", f"{middle[1]:.2f}"]
    yield ["aim", "", "", f"{AIM}", "", ""]
    yield ["", "", "", verdict(middle[0], AIM), "", ""]


if __name__ == "__main__":
    main()
