"""Who stops a runner, cancels a run, and has done again or discards what stands in the dead letters."""

import json
from functools import partial

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.cancelling import Unsteady, cancel
from chalicelib.errors import NotThere
from chalicelib.redriving import NothingToRedrive, discard, redrive
from tests.sim.scheduler import Process, SimPace

_BY = "sam@laptop"
_TRIES = 4


class Operators:
    """The `tau` command in somebody's hands.

    `cancelled`: what became of each wish to cancel, by run; `redriven`: what was said of each redrive, by its name.
    """

    def __init__(self, world, people):
        self._world, self._people, self._random = world, people, world.dice
        self.cancelled, self.redriven = {}, {}

    def stop_a_runner(self):
        agents = [process.agent for process in self._world.runners.values() if process.alive]
        if agents:
            agent = self._random.choice(agents)
            (agent.hand_back if self._random.random() < 0.7 else agent.drain)()

    def cancel_a_run(self):
        run = self._some_run()
        if run:
            self.act(partial(self._cancel, run))

    def redrive_a_run(self):
        """Whatever state it is in."""
        run = self._some_run()
        if run:
            self.act(partial(self._redrive, run))

    def letter(self, item):
        """One was written: sooner or later somebody comes by, or two do, and most of the time the cause is mended."""
        after_s, roll = 5 + self._random.random() * 300, self._random.random()
        if self._random.random() < 0.9:
            run = self._world.cloud.table.items[f"run#{item['run']}", "run"]
            self._people.mend(json.loads(run["job"])["event"]["commit"])
        if roll < 0.8:
            self.act(partial(self._redrive, item["sk"]), after_s)
        if roll < 0.2:
            self.act(partial(self._redrive, item["repository"]), after_s + self._random.random() * 5)
        if 0.7 < roll < 0.9:
            self.act(partial(self._discard, item["sk"]), after_s + self._random.random() * 5)

    def _some_run(self):
        runs = [place[0].removeprefix("run#") for place in self._world.cloud.table.items if place[1] == "run"]
        return self._random.choice(runs) if runs else None

    def act(self, act, after_s=0.0):
        """Somebody types a command then: `act(edge, now)`, and again where AWS does not answer."""
        process = Process("operator")
        process.again = self._people.finished
        pace = SimPace(self._world.scheduler, process)
        self._people.begin(process, partial(self._patiently, act, self._world.edge(pace), pace), after_s)

    def _patiently(self, act, edge, pace):
        for _ in range(_TRIES):
            try:
                act(edge, pace.now())
                break
            except (ClientError, BotoCoreError):
                pace.sleep(5)
        self._people.finished()

    def _cancel(self, run, edge, now):
        self.cancelled[run] = None
        try:
            self.cancelled[run] = cancel(run, _BY, edge, now)
        except (NotThere, Unsteady):
            return

    def _redrive(self, named, edge, now):
        try:
            self.redriven[named] = redrive(named, _BY, edge, now)
        except (NotThere, NothingToRedrive):
            return

    @staticmethod
    def _discard(letter, edge, now):
        discard(letter, _BY, edge, now)
