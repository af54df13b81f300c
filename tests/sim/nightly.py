"""A schedule of ci.yml that comes due once, two tickers that look for it, and what must have come of it."""

from datetime import timedelta

from chalicelib.wire import time_of
from tests.sim.errors import Broken
from tests.sim.forge import OTHER_REPOSITORY
from tests.sim.scheduler import BEGAN, Process

CRON = "2 12 * * *"
_MOMENT = BEGAN + timedelta(minutes=2)
_BRANCH = "refs/heads/develop"
_PLACE = ("schedules", "schedules")


class Nightly:
    """One moment of a schedule.

    `awaited`: somebody looked before it came, so it must not be missed; `built`: what each run builds, by its id.
    """

    def __init__(self, world):
        self._world = world
        self.awaited, self.built = False, {}

    def start(self):
        """The branch is there, and moves on while its run is under way; no webhook says so."""
        forge, scheduler = self._world.forges[OTHER_REPOSITORY], self._world.scheduler
        forge.commit(_BRANCH, "night@example.com")
        for _ in range(5):
            after_s = 120 + self._world.random() * 80
            scheduler.start(Process("somebody"), lambda: forge.commit(_BRANCH, "night@example.com"), after_s)

    def looked(self, item):
        """A look is about to be written down."""
        self.awaited |= time_of(item["at"]) < _MOMENT

    def builds(self, run, commit):
        """A run is about to build this."""
        if self.built.setdefault(run, commit) != commit:
            raise Broken(f"{run} built {self.built[run]}, and goes on with {commit}")

    def is_over(self):
        """Whether somebody has looked since."""
        last = self._world.cloud.table.items.get(_PLACE)
        return last is not None and time_of(last["at"]) >= _MOMENT

    def check(self, runs):
        """It was fired once, if anybody could."""
        fired = {run.delivery for run in runs.values() if run.job.pipeline == "nightly"}
        if self.awaited and not fired:
            raise Broken(f"the moment {_MOMENT} was missed")
        if len(fired) > 1:
            raise Broken(f"one moment, {len(fired)} runs: {sorted(fired)}")
