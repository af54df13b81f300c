"""One push through the runner against the same by hand: clone, docker build, docker run, docker push.

All alternate on one machine, each round with a new commit of the same repository, with the same engine and a warm
cache; by hand with the classic builder, with BuildKit, and isolated as the runner tests. The runner's time is what its
record says: from the claim to the end, and from the webhook to the end.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parts import ROOT
from parts.person import Person, client, with_buildkit
from parts.table import show, verdict

from chalicelib.model import Run, RunState
from infra.local import processes, samples
from infra.local.engine import ensure_engine
from infra.local.githost import MAIN
from infra.local.installation import Installation

# The runner's time, as a part of each way's by hand.
AIMS = {"by_hand": 0.8, "buildkit": 1.05, "isolated": 0.8}
NAMES = {"by_hand": "by hand", "buildkit": "by hand, BuildKit", "isolated": "by hand, isolated"}
ROUNDS = int(os.environ.get("ROUNDS") or 12)
TAGS = ("latest", MAIN)
_WARM_UP = 2
_EARLIER_COMMITS = 20
_SYSTEM = "tau-bench-overhead"
_STEPS = ("build", "test", "push")


@dataclass(frozen=True)
class Round:
    """One push each way, in seconds; the runner's calls to AWS as a number too."""

    by_hand: Mapping[str, Mapping[str, float]]
    runner: Mapping[str, float]
    calls: int


class Bench:
    """An installation with one runner and one repository, and somebody who does the same by hand."""

    def __init__(self, installation: Installation, folder: Path) -> None:
        self.there = installation
        self.folder = folder
        self.calls = folder / "calls.jsonl"
        self.head = installation.create(samples.HELLO_FORGE, samples.HELLO, samples.hello())
        self.number = 0
        self.order = deque((*AIMS, "runner"))

        for _ in range(_EARLIER_COMMITS):
            self.commit()
        self.person = Person(installation, folder)

    def commit(self) -> str:
        """A change of the page on top of the branch; returns the commit before it."""
        self.number += 1
        page = samples.hello()["site/index.html"] + f"<!-- {self.number} -->\n"
        before = self.head
        files = {"site/index.html": page}
        self.head = self.there.githost.commit(samples.HELLO_FORGE, samples.HELLO, MAIN, files, f"Change {self.number}")
        return before

    @contextmanager
    def runner(self) -> Iterator[None]:
        """A runner in a process of its own."""
        argv = (
            sys.executable,
            "-m",
            "parts.watched",
            str(self.calls),
            "runner",
            "--folder",
            str(self.folder / "runner"),
        )
        path = os.pathsep.join((str(Path(__file__).parent), str(ROOT)))
        env = {**os.environ, **self.there.environment, "PYTHONPATH": path}
        child = processes.start("runner", argv, self.folder / "runner.log", env=env, cwd=ROOT)
        try:
            processes.wait_until(lambda: '"ready"' in child.tail(), child, 30)
            yield
        finally:
            child.stop()

    def round(self) -> Round:
        """All of them, in an order that turns: what one leaves behind for the next is shared out."""
        ways: dict[str, Mapping[str, str]] = {
            "by_hand": {},
            "isolated": {"ISOLATED": "1"},
            "buildkit": with_buildkit(),
        }
        found: dict[str, Any] = {}
        for name in self.order:
            found[name] = self.by_runner() if name == "runner" else self.by_hand(**ways[name])
        self.order.rotate()
        runner, calls = found.pop("runner")
        return Round(by_hand=found, runner=runner, calls=calls)

    def by_hand(self, **how: str) -> Mapping[str, float]:
        self.commit()
        return self.person.does(samples.HELLO, MAIN, TAGS, **how)

    # --- by the runner ----------------------------------------------------------------------------

    def by_runner(self) -> tuple[dict[str, float], int]:
        before = self.commit()
        told = self.there.githost.describe(samples.HELLO_FORGE, samples.HELLO, self.head)
        webhook = samples.github_push(samples.HELLO, [told], self.there.hook_secret, before=before)
        sent_at = time.time()
        answer = self.there.deliver(webhook)
        if answer.status != 202:
            raise SystemExit(f"the hook answered {answer}")
        (run_id,) = json.loads(answer.body)["runs"]
        time.sleep(0.5)  # it takes longer than that; our asking would only disturb it
        run = self.there.wait_for_end(run_id)
        if run.state is not RunState.PASSED:
            raise SystemExit(f"run {run_id} ended {run.state}: {run.reason}")
        time.sleep(0.3)  # it tidies up
        return self.phases(run, sent_at)

    def phases(self, run: Run, sent_at: float) -> tuple[dict[str, float], int]:
        if run.started_at is None or run.ended_at is None:
            raise SystemExit(f"run {run.id} has no times")
        began, ended = run.started_at.timestamp(), run.ended_at.timestamp()
        lines = [json.loads(line) for line in self.calls.read_text().splitlines()]
        lines = [line for line in lines if line["thread"] == "answer" and began <= line["began"] <= ended]
        checkouts = [line for line in lines if line["what"] == "checkout"]
        calls = [line for line in lines if line["what"] != "checkout"]
        steps = dict(zip(_STEPS, (run.results[str(index)] for index in range(len(_STEPS))), strict=True))
        inside = {
            name: (step.ended_at - step.started_at).total_seconds()
            - taken(calls + checkouts, step.started_at.timestamp(), step.ended_at.timestamp())
            for name, step in steps.items()
        }
        known = {"checkout": taken(checkouts), **inside, "calls to AWS": taken(calls)}
        whole = ended - began
        found = {
            "webhook to claim": began - sent_at,
            **known,
            "the rest": whole - sum(known.values()),
            "whole": whole,
            "from the webhook": ended - sent_at,
        }
        return found, len(calls)


def taken(lines: list[dict[str, Any]], since: float = 0, until: float = float("inf")) -> float:
    return sum(line["took_s"] for line in lines if since <= line["began"] <= until)


def tell(rounds: list[Round]) -> None:
    version = subprocess.run((client(), "--version"), capture_output=True, text=True, check=True).stdout.strip()
    head = ("round", "claim to end", "webhook to end", *(part for name in NAMES.values() for part in (name, "ratio")))
    rows = [
        [str(number), ms(one.runner["whole"]), ms(one.runner["from the webhook"]), *ratios(one)]
        for number, one in enumerate(rounds, start=1)
    ]
    middle = {way: statistics.median(ratio(one, way) for one in rounds) for way in AIMS}
    times = {way: statistics.median(one.by_hand[way]["whole"] for one in rounds) for way in AIMS}
    whole, all_ = (statistics.median(one.runner[name] for one in rounds) for name in ("whole", "from the webhook"))
    parts = [part for way in AIMS for part in (ms(times[way]), f"{middle[way]:.2f}")]
    rows.append(["median", ms(whole), ms(all_), *parts])
    rows.append(["aim", "", "", *(part for aim in AIMS.values() for part in ("", f"{aim}"))])
    rows.append(["", "", "", *(part for way, aim in AIMS.items() for part in ("", verdict(middle[way], aim)))])
    show(f"One push by the runner and by hand, ms ({client()}: {version})", head, rows)
    tell_phases(rounds)


def ratio(one: Round, way: str) -> float:
    return one.runner["whole"] / one.by_hand[way]["whole"]


def ratios(one: Round) -> list[str]:
    return [part for way in AIMS for part in (ms(one.by_hand[way]["whole"]), f"{ratio(one, way):.2f}")]


def ms(time_s: float) -> str:
    return f"{time_s * 1e3:.0f}"


def tell_phases(rounds: list[Round]) -> None:
    """Where the time goes; what by hand has no counterpart stays empty."""

    def median_ms(sides: list[Mapping[str, float]], name: str) -> str:
        taken_s = [side[name] for side in sides if name in side]
        return ms(statistics.median(taken_s)) if taken_s else ""

    names = ("webhook to claim", "checkout", *_STEPS, "calls to AWS", "the rest")
    sides = ([one.runner for one in rounds], *([one.by_hand[way] for one in rounds] for way in AIMS))
    rows = [[name, *(median_ms(side, name) for side in sides)] for name in names]
    calls = statistics.median(one.calls for one in rounds)
    show(f"Phases, ms; {calls:.0f} calls to AWS in a run", ("phase", "runner", *NAMES.values()), rows)


def main() -> None:
    with (
        ensure_engine() as engine,
        tempfile.TemporaryDirectory(prefix="tau-bench-") as folder,
        Installation(engine, Path(folder), system=_SYSTEM) as installation,
    ):
        bench = Bench(installation, Path(folder))
        with bench.runner():
            rounds = [bench.round() for _ in range(_WARM_UP + ROUNDS)][_WARM_UP:]
    tell(rounds)


if __name__ == "__main__":
    main()
