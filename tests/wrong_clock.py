"""A machine whose time of day is wrong, as the processes see it that a test starts with its environment."""

import subprocess

import pytest

from infra.local.processes import find_tool
from tests.conftest import LEFT_OUT, REQUIRED


class WrongClock:
    """A machine whose time of day can be set, as the processes started with `environment` see it (libfaketime)."""

    def __init__(self, preload, file):
        self._file = file
        self.environment = {
            "LD_PRELOAD": preload,
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_TIMESTAMP_FILE": str(file),
        }

    def set(self, ahead_s):
        self._file.write_text(f"{ahead_s:+}\n")


def wrong_clock(file):
    """A clock that is right until a test sets it; without faketime the test is left out.

    Args:
        file: where it is told how wrong it is; nothing lies there yet.
    """
    faketime = find_tool("faketime")
    if faketime is None:
        reason = "faketime is not installed: run `make setup`."
        if REQUIRED:
            pytest.fail(f"TAU_REQUIRE_ENGINE=1, and: {reason}", pytrace=False)
        pytest.skip(LEFT_OUT + reason)
    argv = (faketime, "-m", "-f", "+0s", "env")
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    preload = next(line for line in said.splitlines() if line.startswith("LD_PRELOAD="))
    return WrongClock(preload.partition("=")[2], file)
