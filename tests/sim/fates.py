"""What befalls each version in the schedules, and how often: each fault that can be ordered, and some more."""

from hashlib import sha256

from chalicelib.environment import Answer
from infra.local.eb_faults import Fault
from tests.sim.edges.eb_fates import NO_WAY_BACK, RED_LATER, ROLLED_BACK, UNANSWERED, Fate

_GOOD = Fate()
SHARES = {
    ROLLED_BACK: 5,
    Fault.SILENT_ROLLBACK: 4,
    Fault.STUCK: 4,
    Fault.STUCK_FOR_GOOD: 3,
    Fault.TERMINATE: 3,
    Fault.MIXED: 4,
    Fault.RED: 4,
    RED_LATER: 4,
    NO_WAY_BACK: 3,
    Fault.YELLOW: 3,
    Fault.GREY: 3,
    UNANSWERED: 6,
    Fault.REFUSE: 4,
    Fault.DENY: 3,
    Fault.QUOTA: 3,
    Fault.OTHER_REGION: 3,
    Fault.LABEL_EXISTS: 4,
    Fault.CANNOT_PROCESS: 3,
    Fault.NEVER_PROCESS: 3,
}
"""Of a hundred versions. One that is `unanswered` is well where the pipeline has no probe."""
AT_EVERY_CALL = {Fault.THROTTLE: "throttled", Fault.LOSE_ANSWER: "answer lost"}
"""These do not befall a version, but any call to anything: tests/sim/faults.py, by its name there."""
_BEGINS_TO_ANSWER_S = 10


def fate_of(label):
    """One of SHARES or good, by the label's own digits; what was there before Tau came, is well."""
    digits = sha256(label.encode()).digest()
    roll = 100 * int.from_bytes(digits[:4]) / 256**4
    if label == "v0":
        return _GOOD
    for what, share in SHARES.items():
        roll -= share
        if roll < 0:
            return Fate(what, 1 + digits[4] % 3, 5 + digits[5], same_bundle=digits[6] < 128)
    return _GOOD


def probed(world, deployment):
    """What its environment's address answers now: a version that has just been deployed needs a moment."""
    beanstalk = world.cloud.beanstalk
    environment = beanstalk.environments.get(deployment.environment)
    if environment is None:
        return Answer(good=False, said="nobody is there")
    since, label = environment.history[-1]
    if fate_of(label).what == UNANSWERED:
        beanstalk.fates.met[UNANSWERED, label] += 1
        return Answer(good=False, said=f"{deployment.probe} answers 500")
    if (world.scheduler.now() - since).total_seconds() < _BEGINS_TO_ANSWER_S:
        return Answer(good=False, said=f"{deployment.probe} answers 502")
    return Answer(good=True, said=f"{deployment.probe} answers 200")
