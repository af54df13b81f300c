"""`make sim N=30000`: so many schedules, each from a seed of its own; `SEED=… make sim` replays one, step by step."""

import argparse
import gc
import logging
import multiprocessing
import os
import secrets
import sys
import time
from collections import Counter

import click

from tests.sim.errors import Broken
from tests.sim.world import World

_PART, _PARTS = 50, 20


def main():
    arguments = argparse.ArgumentParser(prog="tests.sim", description=__doc__)
    arguments.add_argument("-n", type=int, default=3000, help="how many schedules")
    arguments.add_argument("--first", type=int, help="the first seed; otherwise any")
    arguments.add_argument("--seed", help="replay this one, and say every step")
    chosen = arguments.parse_args()
    if chosen.seed:
        return replay(int(chosen.seed))
    first = secrets.randbelow(10**9) * 1000 if chosen.first is None else chosen.first
    return report(first, chosen.n, *search(first, chosen.n))


def search(first, number, processes=None):
    """Every schedule of a range of seeds: the failures (seed, what), and what happened in all of them."""
    parts = [range(start, min(start + _PART, first + number)) for start in range(first, first + number, _PART)]
    failures, happened = [], Counter()
    # What is loaded by now stays: no search for garbage has to go through it again and again.
    gc.collect()
    gc.freeze()
    # A greenlet that was killed keeps a little of its schedule in memory: a process goes before that is much.
    with multiprocessing.get_context("fork").Pool(processes or os.cpu_count(), maxtasksperchild=_PARTS) as pool:
        for found, counted in pool.imap_unordered(part, parts):
            failures += found
            happened += counted
    return sorted(failures), happened


def part(seeds):
    """Some schedules, in one process."""
    logging.disable(logging.CRITICAL)
    gc.disable()  # a part leaves little behind, and it is swept up at its end
    failures, happened = [], Counter()
    for seed in seeds:
        world = World(seed)
        try:
            world.run()
        except (Exception, Broken) as error:  # noqa: BLE001 - whatever breaks in a schedule is what is looked for
            failures.append((seed, f"{type(error).__name__}: {error}"))
        happened += world.counted()
    gc.collect()
    return failures, happened


def report(first, number, failures, happened):
    """Said to whoever waits; the exit code."""
    click.echo(f"sim: {number} schedules from seed {first}: {len(failures)} failed")
    for name in sorted(happened):
        click.echo(f"  {name:<26} {happened[name]:>10}")
    for seed, what in failures[:20]:
        click.echo(f"  FAILED {what}\n         again, step by step: SEED={seed} make sim", err=True)
    return 1 if failures else 0


def replay(seed):
    """One schedule, each step in a line: virtual seconds, who, what."""
    logging.getLogger("tau").addHandler(_Told())
    logging.getLogger("tau").setLevel(logging.INFO)
    world = World(seed, trace=lambda at, who, what: click.echo(f"{at:10.3f}  {who:<14} {what}"))
    try:
        world.run()
    except (AssertionError, Broken) as error:
        click.echo(f"FAILED {error}", err=True)
        return 1
    click.echo(f"over after {world.scheduler.time:.1f} virtual seconds and {world.scheduler.steps} steps")
    return 0


class _Told(logging.Handler):
    """What the programs themselves say, between the steps."""

    _WORDS = ("run", "state", "waiting_for", "epoch", "reason", "error", "deployment")

    def emit(self, record):
        said = {name: str(getattr(record, name)) for name in self._WORDS if hasattr(record, name)}
        click.echo(f"{'':10}  {'':<14} {record.name}: {record.getMessage()} {said or ''}")


if __name__ == "__main__":
    began = time.perf_counter()
    code = main()
    click.echo(f"  {'seconds':<26} {time.perf_counter() - began:>10.1f}")
    sys.exit(code)
