"""What befalls a version at Elastic Beanstalk: in the words in which the local one is ordered to, and a few more."""

from collections import Counter
from dataclasses import dataclass

from infra.local.eb_faults import HEALTHS, OF_UPDATES, REFUSALS, Fault
from tests.sim.edges.point import refused

GOOD = "good"
ROLLED_BACK = "rolled back"
"""It does not start: Elastic Beanstalk says why, and keeps the version before."""
RED_LATER = "red later"
NO_WAY_BACK = "no way back"
"""It turns red, and the update that leads away from it is denied."""
UNANSWERED = "unanswered"
"""It is well, and does not answer its probe."""

COLOURS = {Fault.YELLOW: "Yellow", Fault.RED: "Red", Fault.GREY: "Grey", NO_WAY_BACK: "Red"}
BEFALLS_UPDATES = frozenset({ROLLED_BACK, RED_LATER, Fault.MIXED, *OF_UPDATES, *HEALTHS})
NEVER_ENDS = frozenset({Fault.STUCK, Fault.STUCK_FOR_GOOD})
KEEPS_THE_OLD = frozenset({ROLLED_BACK, Fault.SILENT_ROLLBACK})


@dataclass(frozen=True)
class Fate:
    """What befalls one version.

    Args:
        what: a `Fault`, or one of the words above.
        times: how often a request for it is refused, before it is granted.
        after_s: how long after it was deployed its health changes (`red later`).
        same_bundle: of `label exists`: what is suddenly there is of our bundle.
    """

    what: str = GOOD
    times: int = 1
    after_s: float = 0
    same_bundle: bool = False


class Fates:
    """The fate of each version, and what of it was met.

    Args:
        of: label -> Fate.

    `met` counts (what, label).
    """

    def __init__(self, of):
        self._of = of
        self.met = Counter()

    def __call__(self, label):
        return self._of(label)

    def begins(self, label):
        """The fate of a version to which an update begins."""
        fate = self._of(label)
        if fate.what in BEFALLS_UPDATES:
            self.met[fate.what, label] += 1
        return fate

    def meets(self, label, *whats):
        """The fate of a version, if it is one of these and met now: so many times as it says."""
        fate = self._of(label)
        if fate.what not in whats or self.met[fate.what, label] >= fate.times:
            return None
        self.met[fate.what, label] += 1
        return fate

    def refusal(self, operation, label, environment, *whats):
        """The refusal that a version meets now, or None."""
        fate = self.meets(label, *whats)
        if fate is None:
            return None
        said = REFUSALS[Fault.DENY if fate.what == NO_WAY_BACK else Fault(fate.what)]
        return refused(operation, said.code, said.message.format(environment=environment), said.status)
