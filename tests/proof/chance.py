"""Where chance comes from in these tests: one number, which is said at the end and may be given."""

import os
import random

SEED = int(os.environ.get("TAU_SEED") or random.SystemRandom().randrange(1_000_000))


def chance(what):
    """A source of chance for one purpose; the same for the same seed."""
    return random.Random(f"{SEED}/{what}")
