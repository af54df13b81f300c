"""A runner's memory over many runs: what it holds after the first hundred, and after each hundred from then on.

The runs are whole ones (build, test, push, mail) of thirty branches; RUNS=500 says how many.
"""

from __future__ import annotations

import json
import os

from parts.process import look
from parts.runner import installed
from parts.table import show, verdict

from infra.local import processes, samples
from infra.local.installation import Installation

AIM_MB = 20
RUNS = int(os.environ.get("RUNS") or 500)
_BRANCHES = 30
_EVERY = 100
_PATIENCE_S = 600
_PLACE = (samples.HELLO_FORGE, samples.HELLO)
_SYSTEM = "tau-bench-memory"


def main() -> None:
    seen: list[tuple[int, float]] = []
    with installed(_SYSTEM) as there:
        there.create(*_PLACE, samples.hello())
        runner = there.start_runner()
        processes.wait_until(lambda: '"ready"' in runner.tail(), runner, 30)
        seen.append((0, look(runner.pid).rss_mb))
        for done in range(0, RUNS, _BRANCHES):
            pushes(there, done)
            if (done + _BRANCHES) // _EVERY > done // _EVERY or done + _BRANCHES >= RUNS:
                seen.append((done + _BRANCHES, look(runner.pid).rss_mb))
    first = seen[1][1]
    grown = max(mb - first for _, mb in seen[1:])
    show(
        "A runner's memory (RSS), MB",
        ("after", "holds", "more than after the first hundred", "aim", ""),
        [
            *([f"{runs} runs", f"{mb:.1f}", f"{mb - first:+.1f}" if runs else "", "", ""] for runs, mb in seen),
            ["most", "", f"{grown:+.1f}", f"{AIM_MB}", verdict(grown, AIM_MB)],
        ],
    )


def pushes(there: Installation, done: int) -> None:
    """One to each branch; returns when the last of their runs has ended."""
    page = samples.hello()["site/index.html"]
    runs = []
    for number in range(_BRANCHES):
        branch = f"feature/{number}"
        commit = there.githost.commit(*_PLACE, branch, {"site/index.html": f"{page}<!-- {done} -->\n"}, branch)
        told = there.githost.describe(*_PLACE, commit)
        answer = there.deliver(
            samples.github_push(samples.HELLO, [told], there.hook_secret, ref=f"refs/heads/{branch}")
        )
        runs += json.loads(answer.body)["runs"]
    for run in runs:
        there.wait_for_end(run, _PATIENCE_S)


if __name__ == "__main__":
    main()
