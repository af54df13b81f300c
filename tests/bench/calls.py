"""What a runner asks of AWS, by minute: with nothing to do, and during a run with a long silent step."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence

from parts.runner import Call, Watched, installed, watched
from parts.table import show, verdict

from infra.local import samples
from infra.local.installation import Installation

# All that a runner with one pool may ask while nothing happens; and a run: what it needs once, and each of its minutes.
AIM_IDLE = 5
AIM_ONCE, AIM_MINUTE = 20, 14
_IDLE_MINUTES = 3
_SILENT_S = 110
_SETTLE_S = 5
_SYSTEM = "tau-bench-calls"


def main() -> None:
    with installed(_SYSTEM) as there, watched(there) as runner:
        time.sleep(_SETTLE_S)
        idle = watch_idle(runner)
        calls, whole_s = watch_run(there, runner)
    each = len(idle) / _IDLE_MINUTES
    tell(f"An idle runner, {_IDLE_MINUTES} minutes", idle, _IDLE_MINUTES)
    show(
        "Against the budget",
        ("what", "calls a minute", "aim", ""),
        [["idle", f"{each:.1f}", f"{AIM_IDLE}", verdict(each, AIM_IDLE)]],
    )
    minutes = whole_s / 60
    tell(f"A run with {_SILENT_S} silent seconds: {whole_s:.0f} s, from the webhook until all was told", calls, minutes)
    aim = AIM_ONCE + AIM_MINUTE * minutes
    show(
        "Against the budget",
        ("what", "calls", f"aim: {AIM_ONCE} + {AIM_MINUTE} a minute", ""),
        [["run", f"{len(calls)}", f"{aim:.0f}", verdict(len(calls), aim)]],
    )


def watch_idle(runner: Watched) -> list[Call]:
    """Whole minutes of nothing; a long poll that has not come back is counted in the minute in which it does."""
    began = time.time()
    time.sleep(60 * _IDLE_MINUTES)
    return [call for call in runner.calls() if began <= call.ended]


def watch_run(there: Installation, runner: Watched) -> tuple[list[Call], float]:
    """Everything that it asks from the webhook on until its run is over and its own part of it too."""
    silent = {"tests/run": samples.hello()["tests/run"].replace("set -u\n", f"set -u\nsleep {_SILENT_S}\n", 1)}
    commit = there.create(samples.HELLO_FORGE, samples.HELLO, {**samples.hello(), **silent})
    told = there.githost.describe(samples.HELLO_FORGE, samples.HELLO, commit)
    sent = time.time()
    answer = there.deliver(samples.github_push(samples.HELLO, [told], there.hook_secret))
    (run_id,) = json.loads(answer.body)["runs"]
    run = there.wait_for_end(run_id, timeout_s=_SILENT_S + 60)
    time.sleep(_SETTLE_S)  # it tidies up, and acknowledges
    print(f"the run ended {run.state}")
    over = time.time()
    return [call for call in runner.calls() if sent <= call.ended <= over], over - sent


def tell(title: str, calls: Sequence[Call], minutes: float) -> None:
    """A row for each operation of each thread, a column for each minute."""
    began = min((call.ended for call in calls), default=0.0)
    number = max(1, round(minutes))
    by_minute = [Counter[str]() for _ in range(number)]
    for call in calls:
        # A run's beat has the run's id in its name.
        name = f"{call.thread.partition('-')[0]}: {call.what}"
        by_minute[min(int((call.ended - began) // 60), number - 1)][name] += 1
    total = sum(by_minute, Counter())
    rows = [row(name, by_minute, total[name], minutes) for name in sorted(total)]
    sums = ["all", *(f"{minute.total()}" for minute in by_minute), f"{total.total()}", f"{total.total() / minutes:.1f}"]
    show(title, ("thread", *(f"minute {index + 1}" for index in range(number)), "all", "a minute"), [*rows, sums])


def row(name: str, by_minute: Sequence[Counter[str]], whole: int, minutes: float) -> list[str]:
    return [name, *(f"{minute[name] or ''}" for minute in by_minute), f"{whole}", f"{whole / minutes:.1f}"]


if __name__ == "__main__":
    main()
