"""A line for whoever runs the tests, past pytest's capturing: a seed, say, by which they can be run again."""

import sys


def say(config, text):
    """Write it to standard error, which the processes that pytest spreads tests over have in common."""
    with config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\n{text}", file=sys.stderr, flush=True)  # noqa: T201 - the line is for the terminal
