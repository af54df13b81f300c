"""`tau gc`, as somebody types it."""

import pytest

from runner.collecting import goes, stays
from runner.disk import Amount, Room
from runner.leftovers import Leftover
from runner.retention import Fate, Made, Verdict
from runner.storage import Survey
from tests.installation import installation, later
from tests.runner.test_cleaning import built
from tests.runner.test_operating import tau

ROOM = Room("/var/lib/tau", 1, 5_000_000_000, None)


def verdict(number, fate, reason, size=1_000_000):
    image = Made(f"sha256:{number}", f"01{number}", "l", (f"x:r-01{number}",), own_bytes=size, used_at=later(number))
    return Verdict(image, fate, reason)


def test_each_thing_that_goes_is_named_with_its_size_and_the_reason_oldest_first():
    survey = Survey(
        (Leftover("container", "c1", "tau-01a-1-0", "01A"),),
        (verdict(2, Fate.SURPLUS, "1 newer run"), verdict(1, Fate.SURPLUS, "2 newer runs"), verdict(3, Fate.KEPT, "")),
        (),
        (ROOM,),
    )
    rows = list(goes(survey))
    assert [(row[0], row[1], row[3], row[4]) for row in rows] == [
        ("container", "", "tau-01a-1-0", "left by a dead claim of run 01A"),
        ("image", "1.0 MB", "x:r-011", "2 newer runs"),
        ("image", "1.0 MB", "x:r-012", "1 newer run"),
    ]


def test_what_stays_is_counted_with_its_reasons():
    live = "it is live in acme-production"
    verdicts = (verdict(1, Fate.NEEDED, live), verdict(2, Fate.NEEDED, live), verdict(3, Fate.KEPT, "the newest of x"))
    assert list(stays(Survey((), verdicts, (Amount(1_000_000, 9), Amount(500_000, 1)), (ROOM,), (Amount(1, 1),)))) == [
        "stays, needed: 2 images, 2.0 MB",
        f"    2  {live}",
        "stays, kept until the disk is short: 1 image, 1.0 MB",
        "    1  the newest of x",
        "stays, kept until the disk is short: 1 tree, 1 B",
        "stays, kept until the disk is short: 2 mirrors, 1.5 MB",
    ]


def test_a_folder_that_is_not_there_is_not_made(tmp_path, monkeypatch):
    with installation(monkeypatch):
        said = tau("gc", "--folder", str(tmp_path / "none"))
    assert (said.exit_code, said.stderr.splitlines()) == (
        1,
        [f"tau: there is no folder {tmp_path}/none: give the runner's with --folder"],
    )
    assert not (tmp_path / "none").exists()


@pytest.mark.engine
def test_a_dry_run_removes_nothing_and_says_what_the_next_one_does(lab, tmp_path, monkeypatch):
    system = f"{lab.system}-gc"
    monkeypatch.setenv("TAU_SYSTEM", system)
    labels = {"system": system, "kind": "image", "lock": "l"}
    ids = [
        built(lab, f"RUN echo {name} >/gc", f"{lab.name('gc')}:r-01{name}", run=f"01{name.upper()}", **labels)
        for name in "ab"
    ]
    network = lab.client.api.create_network(
        f"tau-gc-{tmp_path.name}",
        labels={"tau.system": system, "tau.kind": "network", "tau.run": "01A", "tau.epoch": "1"},
    )
    arguments = ("gc", "--folder", str(tmp_path), "--keep-images", "1")
    with installation(monkeypatch):
        dry = tau(*arguments, "--dry-run")
        there = [image["Id"] for image in lab.client.api.images(filters={"label": f"tau.system={system}"})]
        wet = tau(*arguments)
        again = tau(*arguments)
    assert sorted(there) == sorted(ids)
    assert dry.stdout.splitlines()[-1] == "Nothing was removed: this was a dry run."
    for said in (dry, wet):
        assert "left by a dead claim of run 01A" in said.stdout
        assert "1 newer run of l" in said.stdout
    assert wet.stdout.splitlines()[-1].startswith("Removed 1 leftover and 1 image (")
    assert again.stdout.splitlines()[-1] == "Removed 0 leftovers and 0 images (0 B)."
    assert [image["Id"] for image in lab.client.api.images(filters={"label": f"tau.system={system}"})] == [ids[1]]
    assert lab.client.api.networks(ids=[network["Id"]]) == []
