"""docs/promise.md names its tests: each is there, and every line of its tables is shown by something."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
PROMISE = TESTS.parent / "docs" / "promise.md"
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")
FILE = re.compile(r"`([\w/]+\.py)`")
SHOWN = re.compile(r"\b(sim|model|proof)\b|`[\w/]+\.py(::\w+)?`")


def missing(text):
    """What a page names and nobody has written: files below tests/, and tests in them."""
    files = [name for name in FILE.findall(text) if not (TESTS / name).is_file()]
    return files + [
        f"{name}::{test}"
        for name, test in NAMED.findall(text)
        if not (TESTS / name).is_file() or not re.search(rf"^def {test}\(", (TESTS / name).read_text(), re.MULTILINE)
    ]


def unshown(text):
    """The lines of its tables whose last column names nothing that shows them."""
    rows = [line for line in text.splitlines() if line.startswith("|") and not re.match(r"\|(-+\|)+$", line)]
    return [row for row in rows if not re.search(r"shown by *\|$", row) and not SHOWN.search(row.split("|")[-2])]


def test_every_test_that_the_promise_names_is_there():
    text = PROMISE.read_text()
    assert len(NAMED.findall(text)) > 40
    assert missing(text) == []


def test_every_line_of_the_promise_says_what_shows_it():
    assert unshown(PROMISE.read_text()) == []


def test_a_test_that_is_gone_and_a_promise_without_one_are_found():
    text = "| we promise | shown by |\n|---|---|\n| much | `test_promise.py::test_none` |\n| more | trust |\n"
    assert missing(text + "`test_nowhere.py`") == ["test_nowhere.py", "test_promise.py::test_none"]
    assert unshown(text) == ["| more | trust |"]
