"""`tau artifacts`, as somebody types it; what a record names is written below one folder, or not at all."""

import io

import pytest

from chalicelib.model import StepResult, StepStatus
from runner.retrieving import Kept, fetch, kept
from tests.installation import NOW, installation, run
from tests.runner.test_operating import queued_run, tau


def left(*files, action="test"):
    listed = [{"name": name, "bytes": size, "key": key} for name, size, key in files]
    return StepResult(action, StepStatus.FAILED, NOW, NOW, facts={"artifacts": {"files": listed}})


@pytest.fixture
def edge(monkeypatch):
    with installation(monkeypatch) as made:
        yield made


@pytest.fixture
def stored(edge):
    """A run whose second step left two files."""
    made = edge.store.claim(queued_run(edge.store), "r1", NOW)
    edge.store.finish_step(made, 1, left(("out/a.png", 3, "artifacts/a"), ("/var/log/b.log", 2, "artifacts/b")))
    for name, body in (("a", b"png"), ("b", b"hm")):
        edge.objects.put_file_once(f"artifacts/{name}", io.BytesIO(body), "text/plain", shown=False)
    return made.id


def test_they_are_listed_with_their_step_and_size(stored):
    header, *rows, hint = tau("artifacts", stored.lower()).stdout.splitlines()
    assert header.split() == ["step", "size", "name"]
    assert [row.split() for row in rows] == [["2-test", "3", "B", "out/a.png"], ["2-test", "2", "B", "/var/log/b.log"]]
    assert hint == "--to DIR fetches them."


def test_how_many_were_left_out_is_said_beside(edge):
    made = edge.store.claim(queued_run(edge.store), "r1", NOW)
    result = StepResult("test", StepStatus.PASSED, NOW, NOW, facts={"artifacts": {"files": [], "left_out": 3}})
    edge.store.finish_step(made, 0, result)
    said = tau("artifacts", made.id)
    assert said.stdout == f"Run {made.id} has no artifacts.\n"
    assert said.stderr == f"3 files left out: `tau log {made.id}` says why.\n"


def test_they_are_written_below_a_folder_that_is_new(stored, tmp_path):
    said = tau("artifacts", stored, "--to", str(tmp_path / "new"))
    assert said.exit_code == 0
    assert said.stdout.splitlines() == [
        f"{tmp_path}/new/2-test/out/a.png, 3 B",
        f"{tmp_path}/new/2-test/var/log/b.log, 2 B",
    ]
    assert (tmp_path / "new/2-test/out/a.png").read_bytes() == b"png"
    assert (tmp_path / "new/2-test/var/log/b.log").read_bytes() == b"hm"
    again = tau("artifacts", stored, "--to", str(tmp_path / "new"))
    assert (again.exit_code, again.stdout) == (1, "")
    assert "is not empty" in again.stderr


def test_what_has_expired_is_said_to_be_gone_and_the_rest_comes(edge, stored, tmp_path):
    edge.client("s3").delete_object(Bucket="tau-test", Key="artifacts/a")
    first, second = tau("artifacts", stored, "--to", str(tmp_path / "new")).stdout.splitlines()
    assert first == f"gone: {tmp_path}/new/2-test/out/a.png; artifacts are kept for 30 days"
    assert second.endswith("b.log, 2 B")
    assert [one.name for one in tmp_path.rglob("*") if one.is_file()] == ["b.log"]


def test_a_run_without_any_and_one_that_is_not_there_are_told_apart(edge):
    made = queued_run(edge.store)
    assert tau("artifacts", made.id).stdout == f"Run {made.id} has no artifacts.\n"
    nothing = tau("artifacts", run(9).id)
    assert nothing.exit_code == 1
    assert "`tau runs` lists the latest" in nothing.stderr


@pytest.mark.parametrize("name", ["../x", "a/../../x", "", "/", "/..", "a\nb", "a\0b", "..\\x", "\x1b[2Jx", "a\udcff"])
def test_a_name_that_leads_out_of_the_folder_writes_nothing(edge, tmp_path, name):
    edge.objects.put_file_once("artifacts/a", io.BytesIO(b"x"), "text/plain", shown=False)
    (line,) = fetch([Kept("2-test", name, 1, "artifacts/a")], edge.objects, tmp_path / "new")
    assert line.startswith("not written: ")
    assert list(tmp_path.rglob("*")) == []


def test_of_two_with_one_name_the_second_does_not_take_the_place_of_the_first(edge, tmp_path):
    for name in "ab":
        edge.objects.put_file_once(f"artifacts/{name}", io.BytesIO(name.encode()), "text/plain", shown=False)
    names = ("***", "***", "***/c", "d/e", "d")
    files = [Kept("2-test", name, 1, f"artifacts/{key}") for name, key in zip(names, "ababa", strict=True)]
    lines = list(fetch(files, edge.objects, tmp_path / "new"))
    assert [line.partition(":")[0] == "not written" for line in lines] == [False, True, True, False, True]
    assert (tmp_path / "new/2-test/***").read_bytes() == b"a"


def test_they_stand_in_the_order_of_the_steps_and_hostile_facts_are_none():
    hostile = StepResult("test", StepStatus.PASSED, NOW, NOW, facts={"artifacts": {"files": "x"}})
    found = kept({10: left(("c", 1, "k")), 2: left(("a", 1, "k"), ("b", 1, "k")), 3: hostile})
    assert [(one.step, one.name) for one in found] == [("3-test", "a"), ("3-test", "b"), ("11-test", "c")]
