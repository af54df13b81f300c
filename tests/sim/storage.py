"""A disk without an end, of which one image of each branch is kept."""

from contextlib import nullcontext

from runner import storage
from runner.cleaning import Cleaner
from runner.inventory import known_by
from runner.retention import Policy


class _NoLock:
    """Processes of a schedule have no files in common; builds take no time between two of its points."""

    def alone(self, until):  # noqa: ARG002 - as runner.locking.BuildLock is asked
        return nullcontext(True)


class Storage(storage.Storage):
    """runner.storage.KeptStorage, as far as it is about images."""

    def __init__(self, docker, edge, pace):
        self._cleaner = Cleaner(docker, edge.settings.system, known_by(edge), _NoLock(), Policy(keep=1), pace)

    def built(self, lock):
        self._cleaner.clean(lock)
