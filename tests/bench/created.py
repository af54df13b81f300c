"""From a message in the runner's hands to the container of its run's test, as the engine's own events have it.

Once of runs that go on where their image is built already, as after a runner was stopped: nothing stands between the
two. Once of pushes with a warm mirror, in which the build does: its own time, from the builder's being asked to its
answer, is left out and shown beside. One run at a time, by one runner that is free.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from parts.runner import Call, Watched, installed, watched
from parts.stepped import BUILD, CREATE, ENGINE, FETCH, TREE
from parts.table import show, verdict
from ulid import ULID

from chalicelib import wire
from chalicelib.model import Message, Run, RunState
from chalicelib.records.run_items import new_run
from chalicelib.records.table import Put
from infra.local import samples
from infra.local.githost import MAIN
from infra.local.installation import Installation

AIM_MS = 50
ROUNDS = int(os.environ.get("ROUNDS") or 25)
_WARM_UP = 3
_SYSTEM = "tau-bench-created"
_STEPS = frozenset({FETCH, TREE, BUILD, CREATE, ENGINE})
_PLACE = (samples.HELLO_FORGE, samples.HELLO)


@dataclass(frozen=True)
class Moments:
    """When things happened in one run, in seconds since 1970, and what its runner did in between."""

    received: float
    claimed: float
    created: float
    done: Sequence[Call]

    def took_ms(self, *what: str) -> float:
        return sum(call.took_s for call in self.done if call.what in what) * 1e3

    @property
    def aws_ms(self) -> float:
        """Of the thread that enacts the run, after the claim."""
        asked = [call for call in self.done if call.what not in _STEPS and call.thread == "answer"]
        return sum(call.took_s for call in asked if call.began >= self.claimed) * 1e3

    @property
    def creation_ms(self) -> float:
        """Until the engine says that it is there."""
        (asked,) = (call for call in self.done if call.what == CREATE)
        return (self.created - asked.began) * 1e3

    @property
    def whole_ms(self) -> float:
        """Without what the builder took."""
        return (self.created - self.received) * 1e3 - self.took_ms(BUILD)

    def row(self) -> Mapping[str, float]:
        known = {
            "message to claim": (self.claimed - self.received) * 1e3,
            "fetch": self.took_ms(FETCH),
            "tree": self.took_ms(TREE),
            "calls to AWS": self.aws_ms,
            "other questions to the engine": self.took_ms(ENGINE),
            "the container's creation": self.creation_ms,
        }
        return {**known, "the rest": self.whole_ms - sum(known.values())}


class Bench:
    """An installation with one repository, and the events of its engine."""

    def __init__(self, there: Installation, runner: Watched, engine: Any) -> None:
        self.there, self.runner, self.engine = there, runner, engine
        self.head = there.create(*_PLACE, samples.hello())
        self.number = 0

    def push(self) -> Run:
        """A change of the page, and what became of its run."""
        self.number += 1
        before, page = self.head, samples.hello()["site/index.html"] + f"<!-- {self.number} -->\n"
        self.head = self.there.githost.commit(*_PLACE, MAIN, {"site/index.html": page}, f"Change {self.number}")
        told = self.there.githost.describe(*_PLACE, self.head)
        answer = self.there.deliver(samples.github_push(samples.HELLO, [told], self.there.hook_secret, before=before))
        (run_id,) = json.loads(answer.body)["runs"]
        return self.ended(run_id)

    def go_on(self, run: Run) -> Run:
        """The same job as another run, of which the build is done."""
        edge = self.there.edge
        again = replace(
            run, id=str(ULID()), state=RunState.QUEUED, created_at=edge.now(), started_at=None, ended_at=None
        )
        again = replace(again, send=1, epoch=0, beat=0, runner=None, due_at=None, journal=())
        item = {**new_run(again).item, "results": {"0": wire.dumps(run.results["0"])}}
        edge.store.table.write(Put(item))
        edge.queue.call(Message(again.id, again.send), again.job)
        return self.ended(again.id)

    def ended(self, run_id: str) -> Run:
        run = self.there.wait_for_end(run_id)
        if run.state is not RunState.PASSED:
            raise SystemExit(f"run {run_id} ended {run.state}: {run.reason}")
        time.sleep(0.3)  # it tidies up
        return run

    def moments(self, run: Run) -> Moments:
        received = next(
            call.ended
            for call in self.runner.calls()
            if any(json.loads(body)["run"] == run.id for body in call.messages)
        )
        claimed = next(line["at"] for line in self.runner.said("claimed") if line["run"] == run.id)
        created = self.created(run.id, received)
        done = [call for call in self.runner.calls() if received <= call.began <= created]
        return Moments(received, claimed, created, done)

    def created(self, run_id: str, since: float) -> float:
        wanted = {"type": "container", "event": "create", "label": [f"tau.run={run_id}", "tau.kind=step"]}
        events = self.engine.events(since=int(since), until=int(time.time()) + 1, filters=wanted, decode=True)
        return min(event["timeNano"] for event in events) / 1e9


def main() -> None:
    with installed(_SYSTEM) as there, watched(there, by="parts.stepped") as runner:
        bench = Bench(there, runner, there.engine.client())
        pushes = [(run := bench.push(), bench.moments(run)) for _ in range(_WARM_UP + ROUNDS)][_WARM_UP:]
        run = pushes[-1][0]
        again = [bench.moments(bench.go_on(run)) for _ in range(_WARM_UP + ROUNDS)][_WARM_UP:]
    tell("From a message to the container of its test, ms: runs that go on, their image built already", again)
    tell("The same of pushes, ms: without the build", [found for _, found in pushes])
    builds = [found.took_ms(BUILD) for _, found in pushes]
    print(f"\n  what was left out of it: the builder itself, {statistics.median(builds):.0f} ms")


def tell(title: str, found: Sequence[Moments]) -> None:
    rows = [one.row() for one in found]
    whole = [one.whole_ms for one in found]
    parts = [row(name, [one[name] for one in rows]) for name in rows[0] if any(one[name] for one in rows)]
    last = [*row("message to container", whole), f"{AIM_MS}", verdict(statistics.median(whole), AIM_MS)]
    show(f"{title} ({len(found)} runs)", ("what", "p50", "p95", "longest", "aim of p50", ""), [*padded(parts), last])


def padded(rows: Sequence[list[str]]) -> Iterator[list[str]]:
    return ([*row, "", ""] for row in rows)


def row(name: str, times_ms: Sequence[float]) -> list[str]:
    in_order = sorted(times_ms)
    p95 = in_order[min(len(in_order) - 1, int(len(in_order) * 0.95))]
    return [name, f"{statistics.median(in_order):.0f}", f"{p95:.0f}", f"{in_order[-1]:.0f}"]


if __name__ == "__main__":
    main()
