"""What a tick costs when there is a past: 10,000 runs at their end against a table without any.

In process, against the table in memory: its indexes hold what DynamoDB's would, so what a query reads is right, and its
time is only ours. Both sides also have the same few runs that are due soon, and are found.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from parts import ROOT as _ROOT  # noqa: F401 - makes the project importable
from parts.table import show, timed_us, verdict

from chalicelib.edge import Edge
from chalicelib.model import RunState
from chalicelib.records.run_items import UNSENT_AFTER, new_run
from chalicelib.ticker import tick
from tests.installation import NOW, SETTINGS, job, run
from tests.sim.edges.cloud import MemoryCloud

AIM = 1.1
_ENDED, _WAITING = 10_000, 5
_TICKS = 2000
_AHEAD = timedelta(seconds=30)
_WHOM = "dev@2pisoftware.com"


class Counting:
    """Every call of the edge, counted by name; what a query brings too."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def __call__(self, name: str, do: Callable[[], Any]) -> Any:
        found = do()
        self.calls[name] += 1
        if name == "table.query":
            self.calls["items read"] += len(found)
        return found


def cloud(ended: int) -> tuple[Edge, Counting]:
    """A cloud with so many runs that are over, each by the way that a runner goes."""
    counting = Counting()
    edge = MemoryCloud(SETTINGS, lambda: NOW, time.monotonic, lambda _: None, point=counting).edge()
    store = edge.store
    for number in range(ended + _WAITING):
        made = run(number, job=job(lock=f"hello/{number}"), created_at=NOW + _AHEAD / 2 - UNSENT_AFTER)
        store.table.write(new_run(made))
        if number < ended:
            claimed = store.claim(store.run(made.id), "r1", NOW)
            store.end(claimed, RunState.PASSED, reason=None, tell={_WHOM: {"state": "due", "attempts": 0}}, now=NOW)
            store.told(made.id, _WHOM, {"state": "told"}, None)
    return edge, counting


def main() -> None:
    sides = {"empty": cloud(0), "full": cloud(_ENDED)}
    us: dict[str, list[float]] = {name: [] for name in sides}
    for _, counting in sides.values():
        counting.calls.clear()
    for _ in range(_TICKS):
        # One after the other: what else the machine does is shared out.
        for name, (edge, _) in sides.items():
            us[name].append(timed_us(lambda edge=edge: tick(edge, NOW, ahead=_AHEAD)))
    ratio = statistics.median(full / empty for full, empty in zip(us["full"], us["empty"], strict=True))
    tell(us, {name: counting.calls for name, (_, counting) in sides.items()}, ratio)


def tell(us: dict[str, list[float]], calls: dict[str, Counter[str]], ratio: float) -> None:
    times = [f"{statistics.median(us[side]):.0f}" for side in ("empty", "full")]
    rows = [["time, µs", *times, f"{ratio:.2f}", f"{AIM}", verdict(ratio, AIM)]]
    for name in calls["full"] | calls["empty"]:
        empty, full = (calls[side][name] / _TICKS for side in ("empty", "full"))
        more = full / empty if empty else float("inf")
        rows.append([name, f"{empty:g}", f"{full:g}", f"{more:.2f}", "1", verdict(more, 1)])
    head = ("a tick's", "empty table", f"{_ENDED} ended runs", "ratio", "aim", "")
    show(f"A tick that has nothing to do, median of {_TICKS}; {_WAITING} runs are due soon", head, rows)


if __name__ == "__main__":
    main()
