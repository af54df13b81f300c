"""A machine whose time of day is wrong, as the processes see it that a test starts with its environment."""

import subprocess
from pathlib import Path

import pytest

from infra.local.processes import find_tool
from tests.conftest import LEFT_OUT, REQUIRED

SOURCE = Path(__file__).with_suffix(".c")


class WrongClock:
    """A machine whose time of day can be set, as the processes started with `environment` see it."""

    def __init__(self, library, file):
        self._file = file
        self.environment = {"LD_PRELOAD": str(library), "WRONG_CLOCK": str(file)}

    def set(self, ahead_s):
        self._file.write_text(f"{ahead_s:+}\n")


def wrong_clock(file):
    """A clock that is right until a test sets it; without a C compiler the test is left out.

    Args:
        file: where it is told how wrong it is; nothing lies there yet.
    """
    compiler = find_tool("cc")
    if compiler is None:
        reason = "no C compiler is installed: run `make setup`."
        if REQUIRED:
            pytest.fail(f"TAU_REQUIRE_ENGINE=1, and: {reason}", pytrace=False)
        pytest.skip(LEFT_OUT + reason)
    library = file.with_suffix(".so")
    subprocess.run((compiler, "-shared", "-fPIC", "-O1", "-Wall", "-o", library, SOURCE, "-ldl"), check=True)
    return WrongClock(library, file)
