"""What tests of claims stand on: one installation, one branch, one runner, and people who push."""

from __future__ import annotations

import threading
from dataclasses import replace

from chalicelib import superseding
from chalicelib.model import Notify, Pusher, RunState, Step, Supersede
from runner.claim import Claim
from tests.installation import NOW, event, job
from tests.mailing import DEV
from tests.pacing import PATIENCE_S
from tests.running import Branch, queued, tools
from tests.sim.storage import Storage

ANN, BEN, CAT = "ann@2pisoftware.com", "ben@2pisoftware.com", "cat@2pisoftware.com"
PEOPLE = {ANN: "Ann", BEN: "Ben", CAT: "Cat"}
A, B, C = "a" * 40, "b" * 40, "c" * 40
BEAT_S = 4.8


def pushed(commit, who=DEV, *, supersede=Supersede.QUEUED, notify="always", **changes):
    """A job of somebody's push."""
    pusher = Pusher(PEOPLE.get(who), PEOPLE.get(who), who)
    said = event(commit=commit, after=commit, pusher=pusher, head_commit_message=f"Change {commit[0]}\n\nAs asked.")
    fields = {"supersede": supersede, "notify": Notify(("pusher",), notify), **changes}
    return job(**{"event": said, **fields})


class Desk:
    """Where claims are made: one installation, one branch, one runner."""

    def __init__(self, edge, folder, docker, pace):
        self.edge, self.docker, self.pace, self.clock = edge, docker, pace, pace.clock
        self.branch = Branch(folder)
        self.storage = Storage(docker, edge, pace)

    def queued(self, number, planned=None, *actions):
        planned = replace(planned or job(), steps=tuple(Step(action.name, {}) for action in actions))
        return queued(self.edge, number, *actions, job=planned)

    def claim(self, number, *actions, planned=None, store=None, run=None):
        """A run's claim; its message is in hand.

        Args:
            store: a kind of store, as the runner sees it beside which something happens.
            run: that was queued before; its actions and its job are its own.
        """
        run = run or self.queued(number, planned, *actions)
        received = self.edge.queue.receive("default", wait_s=0, hidden_s=30)
        held = self.edge.store.claim(run, "r1", NOW)
        edge = replace(self.edge, store=store(self.edge.store.table)) if store else self.edge
        return Claim(held, received, tools(edge, self.branch, self.docker, self.pace, *actions, storage=self.storage))

    def run(self, number):
        return self.edge.store.run(f"01KAQ{number:021}")

    def end(self, number, state):
        """Another runner's doing."""
        run = self.run(number)
        held = run if run.state is RunState.RUNNING else self.edge.store.claim(run, "r9", NOW)
        assert self.edge.store.end(held, state, reason=None, tell={}, now=NOW) is None

    def hand_on(self, number, who, to):
        """An older push, of a lock of its own, whose run gives way to another one."""
        older = self.queued(number, pushed(A, who, lock=f"lock {number}"))
        held = self.edge.store.claim(older, "r8", NOW)
        people = superseding.handed(held)
        assert self.edge.store.supersede(held, self.edge.store.run(to), handed=people, reason="x", now=NOW)

    def beat(self):
        """Let the holder look at its record."""
        self.clock.somebody_waits(BEAT_S)
        self.clock.pass_(BEAT_S)

    def until_stopped(self, first=lambda: None):
        """A step that does something, and goes on until somebody stops it."""

        def work(context):
            first()
            self.beat()
            stopped = threading.Event()
            with context.stopping.telling(stopped.set):
                assert stopped.wait(PATIENCE_S), "nobody stopped it"
            context.stopping.check()

        return work
