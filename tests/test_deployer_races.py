"""Two drivers, any order, any crash: one update and one end."""

import random
import threading
from datetime import timedelta
from types import SimpleNamespace

import pytest

from chalicelib.deployer import advance_deployments
from chalicelib.edge import by_http
from chalicelib.model import DeploymentState
from tests.deploying import World, deployment

ENDS = {
    "good": (DeploymentState.LIVE, ["v2"]),
    "rolled back": (DeploymentState.ROLLED_BACK, ["v2"]),
    "Red": (DeploymentState.ROLLED_BACK, ["v2", "v1"]),
}
"""What becomes of an update, and which updates were made on the way."""


class Killed(BaseException):
    pass


class Baton:
    """Lets one thread at a time do one operation, in an order that a seed decides; time passes in between."""

    def __init__(self, seed, clock):
        self.random, self.clock = random.Random(seed), clock
        self.lock = threading.Condition()
        self.waiting, self.running = {}, 0

    def perform(self, name, operation):
        me = threading.get_ident()
        with self.lock:
            self.waiting[me] = (name, self.clock(), None)
            self.running -= 1
            self.lock.notify_all()
            self.lock.wait_for(lambda: self.waiting[me][2])
            fate = self.waiting.pop(me)[2]
        if fate == "killed before":
            raise Killed
        try:
            return operation()
        finally:
            if fate == "killed after":
                raise Killed

    def step(self, *, may_kill):
        """Let one of those that wait go on; False when nobody is left."""
        with self.lock:
            assert self.lock.wait_for(lambda: self.running == 0, timeout=10)
            if not self.waiting:
                return False
            me = self._next()
            name, since, _ = self.waiting[me]
            kill = may_kill and self.random.random() < 0.04
            fate = self.random.choice(["killed before", "killed after"]) if kill else "goes on"
            # No call takes longer than this: clients have their own limits.
            if name != "update_environment" and not self._late():
                self.clock.pass_(self.random.choice([0, 0, 0, 1, 1, 4]))
            self.waiting[me] = (name, since, fate)
            self.running += 1
            self.lock.notify_all()
            return fate

    def _late(self):
        return any(
            n == "update_environment" and self.clock() - at > timedelta(seconds=15)
            for n, at, _ in self.waiting.values()
        )

    def _next(self):
        if self._late():
            return next(me for me, (name, _, _) in self.waiting.items() if name == "update_environment")
        return self.random.choice(list(self.waiting))


class Through:
    """Anything, each of whose calls waits for the baton."""

    def __init__(self, target, baton):
        self._target, self._baton = target, baton

    def __getattr__(self, name):
        method = getattr(self._target, name)
        return lambda *args, **kwargs: self._baton.perform(name, lambda: method(*args, **kwargs))


def simulate(seed):
    """Two drivers and their successors until all is at its end; the world then."""
    dice = random.Random(seed)
    fate = dice.choice(["good", "good", "rolled back", "Red"])
    takes_s = dice.choice([0, 3, 60])
    # A call that never arrives and an answer that never comes look alike: any of both, in any order.
    world = World(fate=fate, takes_s=takes_s, lost=dice.choice([0, 1]), dropped=dice.choice([0, 0, 1]))
    baton = Baton(seed, world.clock)
    store, queue = Through(world.store, baton), Through(world.queue, baton)
    client = Through(world.beanstalk, baton)
    edge = SimpleNamespace(store=store, queue=queue, client=lambda *_: client, now=world.clock, probe=by_http)

    def done():
        return world.store.deployments["01RUN.3"].due_at is None

    def driver():
        try:
            while not done():
                advance_deployments(["01RUN.3"], edge=edge, now=world.clock())
                baton.perform("sleep", lambda: world.clock.pass_(1))
        except Killed:
            pass
        finally:
            with baton.lock:
                baton.running -= 1
                baton.lock.notify_all()

    def start():
        baton.running += 1
        thread = threading.Thread(target=driver)
        thread.start()
        return thread

    threads, kills = [start(), start()], 0
    while fate := baton.step(may_kill=kills < 6):
        if fate != "goes on":
            kills += 1
            with baton.lock:
                threads.append(start())
    for thread in threads:
        thread.join()
    return world, kills


@pytest.mark.parametrize("start", range(0, 200, 50))
def test_whatever_the_order_and_whoever_is_killed_there_is_one_update_and_one_end(start):
    kills = 0
    for seed in range(start, start + 50):
        world, killed = simulate(seed)
        record = world.store.deployments["01RUN.3"]
        assert (record.state, world.beanstalk.updates) == ENDS[world.beanstalk.fate], f"seed {seed}: {record}"
        assert "01RUN" not in world.store.waiting, f"seed {seed}"
        world.add(deployment("01NEXT", due_at=world.clock()))
        assert world.tick("01NEXT.3").state is not DeploymentState.PREPARED, f"seed {seed}: the environment is locked"
        kills += killed
    assert kills > 50
