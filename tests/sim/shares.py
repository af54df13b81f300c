"""What must hold between repositories: one has a runner never to itself, and none waits for what another one did."""

from chalicelib.records.breakers import breaker_place
from chalicelib.wire import time_of
from tests.sim.errors import Broken
from tests.sim.pipelines import SOURCES
from tests.sim.scheduler import BEGAN

_MAY_CROSS_S = 120
"""Who looks whether a repository is left alone may be held up for so long before he claims."""
_UNSURE = frozenset({"answer lost", "sent twice", "throttled"})
"""After these a runner may hold a run by its record, and not in fact."""


class Shares:
    """Looks at every run that is claimed, and at every one that is put aside."""

    def __init__(self, world):
        self._world = world

    def look(self, before, item):
        """A run's item as it is about to be written.

        Args:
            before: its state until now.
        """
        after = item["state"]
        if after == "running" and before == "queued":
            self._leaves_a_place(item)
            self._is_not_left_alone(item)
        elif after == "waiting" and before == "queued" and item["waiting_for"] == "runner":
            self._waits_for_its_own(item)

    def _leaves_a_place(self, item):
        world, runner, source = self._world, item["runner"], SOURCES[item["pipeline"]]
        if any(process == runner and what in _UNSURE for _, what, process, _ in world.faults.happened):
            return
        held = [
            other["pk"]
            for place, other in world.cloud.table.items.items()
            if place[1] == "run"
            and other["state"] == "running"
            and other["runner"] == runner
            and SOURCES[other["pipeline"]] == source
        ]
        if len(held) >= max(1, world.jobs - 1):
            raise Broken(f"{runner} takes {item['pk']} of {source} beside {held}, with {world.jobs} places")

    def _breaker(self, item):
        return self._world.cloud.table.items.get(breaker_place(SOURCES[item["pipeline"]]))

    def _is_not_left_alone(self, item):
        breaker = self._breaker(item)
        if breaker is None or "opened_at" not in breaker:
            return
        since_s = self._world.scheduler.time - (time_of(breaker["opened_at"]) - BEGAN).total_seconds()
        if _MAY_CROSS_S < since_s < 3600 - _MAY_CROSS_S:
            raise Broken(f"{item['pk']} is claimed, though its repository was left alone {since_s:.0f} s ago")

    def _waits_for_its_own(self, item):
        if self._breaker(item) is None:
            raise Broken(f"{item['pk']} waits, and none of its repository killed a runner: {item['reason']}")
