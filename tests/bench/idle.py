"""A runner that has nothing to do, against the local cloud: memory, CPU and calls to AWS."""

from __future__ import annotations

import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parts.process import look
from parts.table import show, verdict

from infra.local import processes, samples
from infra.local.engine import ensure_engine
from infra.local.installation import Installation

AIM_RSS_MB = 80
AIM_CPU = 0.5
_SYSTEM = "tau-bench-idle"
_SETTLE_S, _WATCH_S = 4, 30


@dataclass(frozen=True)
class Idle:
    """What doing nothing costs: medians, and CPU and requests over the whole time."""

    rss_mb: float
    pss_mb: float
    cpu_percent: float
    requests_per_minute: float
    threads: int


def counted(front: Any) -> Callable[[], int]:
    """How many requests the front has passed on since now; all are the runner's while nobody else asks."""
    take, count = front.take, itertools.count()

    def counting() -> Any:
        next(count)
        return take()

    front.take = counting
    return lambda: next(copy(count))


def main() -> None:
    with (
        ensure_engine() as engine,
        tempfile.TemporaryDirectory(prefix="tau-bench-") as folder,
        Installation(engine, Path(folder), system=_SYSTEM) as installation,
    ):
        runner = installation.start_runner()
        processes.wait_until(lambda: '"ready"' in runner.tail(), runner, 30)
        requests = counted(installation.cloud.front)
        fresh = watch(runner.pid, requests)
        work(installation)
        worked = watch(runner.pid, requests)
    head = ("what", "just started", "after a run", "aim", "")
    show(f"An idle runner, {_WATCH_S} s each", head, list(rows(fresh, worked)))


def work(installation: Installation) -> None:
    """One run, so that everything is loaded that a run needs."""
    commit = installation.create(samples.HELLO_FORGE, samples.HELLO, samples.hello())
    told = installation.githost.describe(samples.HELLO_FORGE, samples.HELLO, commit)
    answer = installation.deliver(samples.github_push(samples.HELLO, [told], installation.hook_secret))
    (run_id,) = json.loads(answer.body)["runs"]
    installation.wait_for_end(run_id)


def watch(pid: int, requests: Callable[[], int]) -> Idle:
    time.sleep(_SETTLE_S)
    asked = requests()
    started = time.monotonic()
    seen = [look(pid)]
    while time.monotonic() - started < _WATCH_S:
        time.sleep(1)
        seen.append(look(pid))
    took_s = time.monotonic() - started
    return Idle(
        rss_mb=statistics.median(moment.rss_mb for moment in seen),
        pss_mb=statistics.median(moment.pss_mb for moment in seen),
        cpu_percent=(seen[-1].cpu_s - seen[0].cpu_s) / took_s * 100,
        requests_per_minute=(requests() - asked) / took_s * 60,
        threads=seen[-1].threads,
    )


def rows(fresh: Idle, worked: Idle) -> Iterator[list[str]]:
    rss, cpu = max(fresh.rss_mb, worked.rss_mb), max(fresh.cpu_percent, worked.cpu_percent)
    yield ["memory (RSS), MB", f"{fresh.rss_mb:.1f}", f"{worked.rss_mb:.1f}", f"{AIM_RSS_MB}", verdict(rss, AIM_RSS_MB)]
    yield ["  of the aim", f"{fresh.rss_mb / AIM_RSS_MB:.2f}", f"{worked.rss_mb / AIM_RSS_MB:.2f}", "1", ""]
    yield ["memory without what is shared (PSS), MB", f"{fresh.pss_mb:.1f}", f"{worked.pss_mb:.1f}", "", ""]
    yield [
        "CPU, % of a core",
        f"{fresh.cpu_percent:.2f}",
        f"{worked.cpu_percent:.2f}",
        f"{AIM_CPU}",
        verdict(cpu, AIM_CPU),
    ]
    yield ["  of the aim", f"{fresh.cpu_percent / AIM_CPU:.2f}", f"{worked.cpu_percent / AIM_CPU:.2f}", "1", ""]
    yield [
        "requests to AWS per minute",
        f"{fresh.requests_per_minute:.0f}",
        f"{worked.requests_per_minute:.0f}",
        "",
        "",
    ]
    yield ["threads", f"{fresh.threads}", f"{worked.threads}", "", ""]


if __name__ == "__main__":
    main()
