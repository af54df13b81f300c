"""docs/mission.md promises files and tests: each of them is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MISSION = ROOT / "docs" / "mission.md"
SENTENCES = 55
_FILE = re.compile(r"`((?:[\w.-]+/)*[\w.-]+\.(?:py|yml|json|md|service|j2))(?:::(\w+))?`")


def rows(text: str) -> list[list[str]]:
    """The table's cells, a list for each sentence."""
    lines = [line for line in text.splitlines() if re.match(r"\| \d+ \|", line)]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def missing(text: str) -> list[str]:
    """What the text names and is not there."""
    return [
        f"{path}::{test}" if test else path
        for path, test in _FILE.findall(text)
        if not (ROOT / path).is_file() or (test and not _has(ROOT / path, test))
    ]


def _has(path: Path, test: str) -> bool:
    return re.search(rf"^ *def {test}\(", path.read_text(), re.MULTILINE) is not None


def test_every_file_and_test_that_it_names_is_there():
    assert missing(MISSION.read_text()) == []


@pytest.mark.parametrize("named", ["`runner/nothing.py`", "`tests/test_plan.py::test_nothing`", "`docs/nothing.md`"])
def test_a_file_or_test_that_is_not_there_is_found(named):
    assert missing(f"see {named}") == [named.strip("`")]


def test_every_sentence_has_its_row_in_order_and_no_cell_is_empty():
    table = rows(MISSION.read_text())
    assert [row[0] for row in table] == [str(number) for number in range(1, SENTENCES + 1)]
    assert [row for row in table if len(row) != 4 or not all(row)] == []


def test_a_row_is_proved_by_a_test_or_says_which_work_will_bring_it():
    for _, asked, where, proof in rows(MISSION.read_text()):
        if proof == "not yet":
            assert re.match(r"Not yet: (the |`)", where), asked
        else:
            assert _FILE.fullmatch(proof), asked
            assert proof.startswith("`tests/"), asked
