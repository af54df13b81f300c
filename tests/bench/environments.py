"""Fifty deployments at once, each to an environment of its own, advanced by one runner: its memory, CPU and questions.

What is measured is a runner that has nothing else to do; the runs whose deployments these are wait for their end.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from parts.deploying import PATIENCE_S, Deploying, deploying, deployment
from parts.process import Seen, look
from parts.table import show, verdict

from chalicelib.environment import LOOK_EVERY
from chalicelib.model import DeploymentState

AIM_RSS_MB, AIM_CPU, AIM_QUESTIONS = 100, 5, 1
NUMBER = 50
# An update of three steps: long enough for many looks.
_STEP_S = 30
_IDLE_S = 20
_LOOKS = "DescribeEnvironments", "DescribeEvents"
_BEGUN = DeploymentState.VERIFYING, DeploymentState.LIVE


@dataclass(frozen=True)
class Moment:
    """The runner at one moment, and what was asked until then."""

    at: float
    runner: Seen
    asked: Counter[str]


def main() -> None:
    with deploying(_STEP_S) as there:
        there.create_environments(NUMBER)
        there.create_version("v2")
        idle = measured(there, lambda: time.sleep(_IDLE_S))
        begun = measured(there, lambda: deploy(there, lambda states: sum(map(states.get, _BEGUN, (0, 0))) == NUMBER))
        under_way = measured(there, lambda: wait(there, lambda states: states[DeploymentState.LIVE] > 0))
        wait(there, lambda states: states[DeploymentState.LIVE] == NUMBER)
    tell(idle, begun, under_way)


def ids() -> list[str]:
    return [f"01KAW3ZB80{number:016}.1" for number in range(NUMBER)]


def deploy(there: Deploying, done: Callable[[Counter[DeploymentState]], bool]) -> None:
    for number in range(NUMBER):
        deployment(there.edge, number, "v2")
    wait(there, done)


def wait(there: Deploying, done: Callable[[Counter[DeploymentState]], bool]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not done(states := there.states(ids())):
        if time.monotonic() > until:
            raise SystemExit(f"after {PATIENCE_S} s: {states}")
        time.sleep(2)


def measured(there: Deploying, do: Callable[[], None]) -> tuple[Moment, Moment]:
    before = moment(there)
    do()
    return before, moment(there)


def moment(there: Deploying) -> Moment:
    assert there.runner
    if there.runner is None:
        raise SystemExit("no runner")
    return Moment(time.monotonic(), look(there.runner.pid), Counter(there.service.asked))


def tell(*spans: tuple[Moment, Moment]) -> None:
    took = [after.at - before.at for before, after in spans]
    rss = [after.runner.rss_mb for _, after in spans]
    cpu = [
        (after.runner.cpu_s - before.runner.cpu_s) / seconds * 100
        for (before, after), seconds in zip(spans, took, strict=True)
    ]
    rows = [
        ["seconds", *(f"{one:.0f}" for one in took), "", ""],
        ["memory (RSS), MB", *(f"{one:.1f}" for one in rss), f"{AIM_RSS_MB}", verdict(max(rss), AIM_RSS_MB)],
        ["CPU, % of a core", *(f"{one:.2f}" for one in cpu), f"{AIM_CPU}", verdict(cpu[-1], AIM_CPU)],
    ]
    for name in _LOOKS:
        looks = [
            (after.asked[name] - before.asked[name]) / (seconds / LOOK_EVERY.total_seconds())
            for (before, after), seconds in zip(spans, took, strict=True)
        ]
        # One more may fall into the span at its edge.
        most = verdict(looks[-1], AIM_QUESTIONS * 1.1)
        rows.append([f"{name}, each 5 s", *(f"{one:.2f}" for one in looks), f"{AIM_QUESTIONS}", most])
    head = ("what", "nothing to do", "updates begun", "under way", "aim", "")
    show(f"{NUMBER} deployments to {NUMBER} environments at once, one runner", head, rows)


if __name__ == "__main__":
    main()
