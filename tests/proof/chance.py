"""Where chance comes from in these tests: one number, which is said at the end and may be given."""

import os
import random

# Processes that share the tests are to choose the same ones.
SEED = int(os.environ.setdefault("TAU_SEED", str(random.SystemRandom().randrange(1_000_000))) or 0)


def chance(what):
    """A source of chance for one purpose; the same for the same seed."""
    return random.Random(f"{SEED}/{what}")
