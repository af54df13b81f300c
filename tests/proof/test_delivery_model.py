"""The delivery protocol's model, docs/delivery.pml, searched to its end; each mistake planted in it is found."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import LEFT_OUT, REQUIRED

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "docs" / "delivery.pml"
TOOLS = ("spin", "gcc")
PATIENCE_S = 600

# What spin says of a broken promise: the assertion with its macros filled in, or a state from which nobody goes on.
TWICE = "assertion violated (landed[runner[_pid].about]==1)"
LOST = ".held==record[runner[_pid].about].epoch"
OVER_A_NEWER_ONE = "assertion violated (runner[_pid].about>=newest)"
TWO_HOLDERS = "(lock[("
UNTOLD = "assertion violated (heard=="
STUCK = "invalid end state"
MISTAKES = {
    "NO_FENCE": LOST,
    "NO_LOCK": TWO_HOLDERS,
    "NO_LOOK": TWICE,
    "NO_CHECK": LOST,
    "LATE_EFFECT": LOST,
    "HASTY": LOST,
    "NO_WAY": OVER_A_NEWER_ONE,
    "FORGOTTEN_HANDOVER": UNTOLD,
    "HANDED_TO_AN_END": UNTOLD,
    "DEAF_END": UNTOLD,
    "SPLIT_END": STUCK,
    "EARLY_ACK": STUCK,
}


@pytest.fixture
def search(tmp_path):
    """Searches every state that can be reached, in less than 2 GB; returns what the search said."""
    missing = [name for name in TOOLS if shutil.which(name) is None]
    reason = f"{' and '.join(missing)} not found. Run `make setup`, or: apt-get install spin gcc libc6-dev."
    if missing and REQUIRED:
        pytest.fail(f"TAU_REQUIRE_ENGINE=1, and: {reason}", pytrace=False)
    if missing:
        pytest.skip(LEFT_OUT + reason)

    def search(*defines, kind="-DSAFETY", options=(), optimised="-O2", deepest=1000):
        run(tmp_path, "spin", "-a", *defines, str(MODEL))
        run(tmp_path, "gcc", optimised, kind, "-DMEMLIM=1900", "-o", "pan", "pan.c")
        return run(tmp_path, "./pan", *options, f"-m{deepest}", "-w23")

    return search


@pytest.mark.slow
def test_whichever_two_faults_come_each_run_ends_once_and_everybody_is_told(search):
    said = search("-DFAULTS=2")
    assert_complete(said)
    assert re.search(r'unreached in proctype Runner\n.*"-end-"\n\t\(1 of ', said), "some step was never taken"


@pytest.mark.slow
def test_of_three_runs_too_whichever_fault_comes(search):
    assert_complete(search("-DRUNS=3", "-DFAULTS=1"))


def test_nothing_goes_round_in_circles(search):
    said = search("-DFAULTS=1", kind="-DNP", options=("-l",))
    assert re.search(r"non-progress cycles\s+\+", said)
    assert_complete(said)


def test_messages_that_are_deleted_in_time_are_enough_where_none_is_lost(search):
    assert_complete(search("-DVARIANT=ONE_NET", "-DFAULTS=1"))


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_found(mistake, search):
    said = search(f"-DVARIANT={mistake}", "-DFAULTS=1", optimised="-O0", deepest=150)
    assert re.search(r"errors: [1-9]", said), said
    assert MISTAKES[mistake] in said


def test_every_variant_of_the_model_is_searched():
    variants = MODEL.read_text().split("#define VARIANT 0")[1]
    assert {*re.findall(r"^#define (\w+) \d+ +/\*", variants, re.MULTILINE)} == {*MISTAKES, "ONE_NET"}


def test_what_the_model_stands_for_is_in_the_code():
    comments = " ".join(re.findall(r"/\*.*?\*/", MODEL.read_text(), re.DOTALL))
    sources = {path: path.read_text() for folder in ("chalicelib", "runner") for path in (ROOT / folder).rglob("*.py")}
    named = re.findall(r"([\w/]+\.py)(?: (_?[a-z]\w*))?", comments)
    assert len(named) > 20
    for file, function in named:
        code = "".join(text for path, text in sources.items() if path.as_posix().endswith(f"/{file}"))
        assert code, file
        assert not function or f"def {function}(" in code, f"{file} {function}"
    for kind, method in re.findall(r"\b([A-Z][a-z]+)\.(\w+)", comments):
        assert any(f"class {kind}" in text and f"def {method}(" in text for text in sources.values()), (
            f"{kind}.{method}"
        )


def run(folder: Path, *argv: str) -> str:
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def assert_complete(said: str) -> None:
    assert "errors: 0" in said, said
    assert "Full statespace search" in said
    for shortcoming in ("Search not completed", "max search depth too small", "reached -DMEMLIM bound"):
        assert shortcoming not in said, said
