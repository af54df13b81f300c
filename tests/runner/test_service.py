import json
import logging
import re
import sys
from importlib.metadata import version

import pytest

from chalicelib.errors import StepErrored
from chalicelib.model import RunState
from runner import service


def line(level=logging.INFO, message="claimed", error=None, **extra):
    record = logging.LogRecord("tau.agent", level, __file__, 1, message, None, error)
    vars(record).update(extra)
    text = service.JsonLines().format(record)
    assert "\n" not in text
    return json.loads(text)


def test_a_line_of_the_log_is_json_with_ids_as_keys():
    said = line(run="01X", epoch=2)
    assert (said["message"], said["level"], said["logger"], said["run"], said["epoch"]) == (
        "claimed",
        "info",
        "tau.agent",
        "01X",
        2,
    )
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", said["at"])
    assert set(said) == {"at", "level", "logger", "message", "run", "epoch"}


def test_what_a_build_printed_cannot_begin_a_line_of_its_own():
    assert line(reason='x\n{"message": "claimed"}')["reason"] == 'x\n{"message": "claimed"}'


def test_whatever_stands_in_a_line_can_be_written():
    assert line(state=RunState.PASSED, thing=object)["state"] == "passed"


def test_a_failure_brings_its_traceback_along():
    try:
        _ = 1 / 0
    except ZeroDivisionError:
        said = line(logging.ERROR, error=sys.exc_info())
    assert said["traceback"].splitlines()[-1] == "ZeroDivisionError: division by zero"


def test_a_folder_is_made_where_it_is_missing(tmp_path):
    folder = tmp_path / "a" / "b"
    assert service.writable(folder) == folder
    assert folder.is_dir()
    assert service.writable(folder) == folder


def test_a_folder_that_cannot_be_made_is_named_with_what_to_do(tmp_path):
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(StepErrored, match=f"{folder} cannot be .* with --folder"):
            service.writable(folder)


def test_the_version_is_the_installed_ones_or_none_at_all():
    try:
        expected = version("tau-ci")
    except ModuleNotFoundError:
        expected = "from source"
    assert service.our_version() == expected
