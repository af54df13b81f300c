"""Who is let in, who waits for the disk and for how long, what is said of it, and what a full disk does to a run."""

import errno
import fcntl
import json
import os
from datetime import timedelta

import pytest

from chalicelib.cancelling import cancel
from chalicelib.errors import StepErrored, StepFailed
from chalicelib.model import RunState, Step, WaitingFor
from chalicelib.records.dead import LetterState
from runner import images
from runner.disk import Amount, Need, Room
from runner.needs import read_needs
from runner.storage import KeptStorage, Limits
from tests.claiming import A, B, pushed
from tests.installation import job as make_job
from tests.installation import later
from tests.installation import run as make_run
from tests.running import Action, built, passed, queued

MB = 1_000_000
NEW = Need(Amount(100 * MB, 100))
LIMITS = Limits(keep=1, reserve=Amount(50 * MB, 50), unknown=NEW)


class Disk:
    """A disk of the runner's folder, as full as a test says; images take of it what they say."""

    def __init__(self, docker):
        self.docker = docker
        self.free_mb, self.inodes = 10_000, 100_000
        self.folder = self.other = None
        """`folder`: its mirrors and trees take room too. `other`: lies on another disk, which has room."""

    def __call__(self, path):
        if path == self.other:
            return Room(str(path), 2, 10_000 * MB, None)
        taken = sum(image["Size"] for image in self.docker.image_list.values())
        lying = [*self.folder.glob("mirrors/*.git/pack"), *self.folder.glob("trees/*/file")] if self.folder else []
        taken += sum(file.stat().st_size for file in lying)
        return Room(str(path), 1, max(0, int(self.free_mb * MB) - taken), self.inodes)


@pytest.fixture
def disk(docker):
    return Disk(docker)


@pytest.fixture
def storage(tmp_path, docker, edge, pace, disk):
    docker.lies_at(tmp_path)
    return KeptStorage(tmp_path, docker, edge, pace, LIMITS, look=disk)


def run(number, *actions, **changes):
    steps = (Step(action, {}) for action in actions or ("build",))
    return make_run(number, *steps, **changes)


def image(docker, number, size_mb, lock="branch"):
    labels = {"tau_system": "tau-test", "tau_run": f"01A{number}", "tau_lock": images.label_value(f"{lock} {number}")}
    docker.add_image(f"sha256:{number}", f"x:r-01a{number}", size=size_mb * MB, created=number, **labels)


def test_after_a_claim_the_branch_that_was_built_is_tidied_and_no_other(storage, docker):
    for branch, number in ((1, 1), (1, 2), (2, 3), (2, 4)):
        labels = {"tau_system": "tau-test", "tau_run": f"01A{number}", "tau_lock": images.label_value(f"lock {branch}")}
        docker.add_image(f"sha256:{number}", f"x:r-01a{number}", size=MB, created=number, **labels)
    storage.built("lock 1")
    assert len(docker.image_list) == 4, "no claim waits for it"
    storage.tidy()
    assert list(docker.image_list) == ["sha256:2", "sha256:3", "sha256:4"]


# --- letting in -----------------------------------------------------------------------------------


def test_a_run_is_let_in_where_there_is_room_for_it_and_what_stays_free(storage, disk):
    disk.free_mb = 150
    assert storage.admit(run(1)) is None


def test_a_run_for_which_there_is_no_room_waits_and_says_how_much_is_missing(storage, disk, tmp_path):
    disk.free_mb = 149
    park = storage.admit(run(1))
    assert (park.waiting_for, park.due_at) == (WaitingFor.DISK, later(60))
    assert park.reason == f"{tmp_path} has 149 MB free, and 150 MB are needed; nothing is left that may be removed"


def test_files_run_out_as_bytes_do(storage, disk, tmp_path):
    disk.inodes = 149
    assert storage.admit(run(1)).reason.startswith(f"{tmp_path} has room for 149 more files, and 150 are needed")


def test_room_is_made_of_what_nothing_needs_least_recently_used_first_and_only_as_much_as_is_needed(
    storage, disk, docker
):
    for number in (1, 2, 3):
        image(docker, number, 100)
    disk.free_mb = 400
    assert storage.admit(run(1)) is None
    assert list(docker.image_list) == ["sha256:2", "sha256:3"]


def test_what_was_removed_in_vain_is_said(storage, disk, docker):
    image(docker, 1, 20)
    disk.free_mb = 120
    assert storage.admit(run(1)).reason.endswith("; 1 old image removed (20 MB)")


def mirror(folder, name, size_mb, used_at):
    made = folder / "mirrors" / f"{name}.git"
    made.mkdir(parents=True)
    (made / "pack").write_bytes(b"x" * (size_mb * MB))
    (made / "FETCH_HEAD").touch()
    os.utime(made / "FETCH_HEAD", (used_at, used_at))
    return made


def test_where_no_image_is_left_mirrors_go_least_recently_used_first_but_none_that_is_held(
    storage, disk, tmp_path, docker
):
    old, older, held = (mirror(tmp_path, name, 1, at) for name, at in (("a", 30), ("b", 20), ("c", 10)))
    image(docker, 1, 10)
    disk.folder = tmp_path
    with (held.parent / f"{held.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        disk.free_mb = 152
        assert storage.admit(run(1)) is None
    assert (docker.image_list, old.exists(), older.exists(), held.exists()) == ({}, True, False, True)


def test_kept_trees_go_before_mirrors_and_no_more_than_it_needs(storage, disk, tmp_path):
    only = mirror(tmp_path, "a", 1, 10)
    trees = [tmp_path / "trees" / f"{name}.tree" for name in "ab"]
    for age, tree in enumerate(trees):
        tree.mkdir(parents=True)
        (tree / "file").write_bytes(b"x" * MB)
        os.utime(tree, (age, age))
    disk.folder = tmp_path
    disk.free_mb = 152
    assert storage.admit(run(1)) is None
    assert ([tree.exists() for tree in trees], only.exists()) == ([False, True], True)


def test_for_a_folder_on_a_disk_of_its_own_no_image_goes(disk, docker, edge, pace, tmp_path):
    image(docker, 1, 10)
    disk.other = tmp_path / "engine"
    disk.other.mkdir()
    docker.lies_at(disk.other)
    disk.free_mb = 0
    storage = KeptStorage(tmp_path, docker, edge, pace, LIMITS, look=disk)
    assert storage.admit(run(1)).reason.endswith("; nothing is left that may be removed")
    assert list(docker.image_list) == ["sha256:1"]


def test_an_engine_that_is_gone_is_for_the_step_to_tell(storage, disk, docker):
    docker.gone = True
    disk.free_mb = 1000
    assert storage.admit(run(1)) is None
    disk.free_mb = 0
    assert storage.admit(run(1)).waiting_for is WaitingFor.DISK


@pytest.mark.parametrize("actions", [["deploy_eb"], ["push", "tag"]])
def test_what_only_speaks_to_others_needs_no_room(storage, disk, actions):
    disk.free_mb = 0
    assert storage.admit(run(1, *actions)) is None


def test_nor_does_a_run_that_has_built_and_waits_for_its_environment(storage, disk):
    disk.free_mb = 0
    assert storage.admit(run(1, "build", "deploy_eb", results={"0": passed("build")})) is None


def test_a_deployment_under_way_is_finished_on_a_full_disk_too(storage, disk):
    disk.free_mb = 0
    assert storage.admit(run(1, "script", journal=({"kind": "intent", "step": 0, "must_finish": True},))) is None


def test_what_others_in_hand_are_about_to_take_is_not_free(storage, disk):
    disk.free_mb = 200
    assert storage.admit(run(1)) is None
    assert "250 MB are needed" in storage.admit(run(2)).reason
    storage.leave(run(1))
    assert storage.admit(run(2)) is None


def test_who_waits_longer_is_let_in_first_however_little_the_others_need(storage, disk, tmp_path):
    write(tmp_path, cmfive_dev=300)
    disk.free_mb = 160
    assert storage.admit(run(1)).waiting_for is WaitingFor.DISK
    small = job_of("small")
    assert "450 MB are needed" in storage.admit(run(2, job=small)).reason
    disk.free_mb = 400
    assert storage.admit(run(2, job=small)).waiting_for is WaitingFor.DISK
    assert storage.admit(run(1)) is None


def test_who_waits_too_long_keeps_nobody_from_the_room_that_there_is(storage, disk, tmp_path, clock):
    write(tmp_path, cmfive_dev=300)
    disk.free_mb = 160
    for _ in range(10):
        storage.admit(run(1))
        clock.pass_(200)
    assert storage.admit(run(2, job=job_of("small"))) is None


def test_who_does_not_come_back_keeps_nobody_waiting(storage, disk, tmp_path, clock):
    write(tmp_path, cmfive_dev=300)
    disk.free_mb = 160
    storage.admit(run(1))
    clock.pass_(181)
    assert storage.admit(run(2, job=job_of("small"))) is None


def test_the_longer_a_run_waits_the_rarer_it_is_looked_at(storage, disk, clock):
    disk.free_mb = 0
    pauses = []
    for _ in range(20):
        pause = storage.admit(run(1)).due_at - clock.now
        pauses.append(pause)
        clock.pass_(pause.total_seconds())
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (timedelta(seconds=60), timedelta(minutes=10))


# --- the operators --------------------------------------------------------------------------------


def test_operators_hear_once_of_a_disk_that_stays_full_and_once_more_that_there_is_room_again(
    storage, disk, edge, clock
):
    disk.free_mb = 0
    for _ in range(12):
        for number in (1, 2):
            storage.admit(run(number))
        clock.pass_(290)
    (letter,) = edge.store.dead_letters()
    assert letter.run == run(1).id
    assert letter.reason.startswith("it has waited 33m 50s for the disk: ")
    disk.free_mb = 10_000
    for number in (1, 2):
        assert storage.admit(run(number)) is None
    assert edge.store.dead_letters() == []
    (closed,) = edge.store.dead_letters(closed=True)
    assert (closed.state, closed.by) == (LetterState.DISCARDED, "the runner: there is room again")


def test_a_short_wait_is_nobodys_business(storage, disk, edge, clock):
    disk.free_mb = 0
    for _ in range(5):
        storage.admit(run(1))
        clock.pass_(290)
    assert edge.store.dead_letters() == []


# --- what runs needed -----------------------------------------------------------------------------


def job_of(pipeline):
    return make_job(Step("build", {}), pipeline=pipeline, lock=pipeline)


def write(folder, **megabytes):
    lines = {
        f"{name.replace('_', '-')} github.com/2pisoftware/cmfive": [[mb * MB, 0, 0, 0]]
        for name, mb in megabytes.items()
    }
    (folder / "needs.json").write_text(json.dumps(lines))


def taken(storage, number, folder, size_bytes=0, results=None):
    (folder / "file").write_bytes(b"x" * size_bytes)
    storage.admit(run(number))
    storage.took(run(number), folder, results or {})
    storage.leave(run(number))


def test_a_pipeline_needs_the_most_that_one_of_its_last_runs_took(storage, tmp_path, disk):
    work = tmp_path / "work"
    work.mkdir()
    for number, size in enumerate((400_000, 3 * MB, 200_000), 1):
        taken(storage, number, work, size)
    disk.free_mb = 52
    assert "53 MB are needed" in storage.admit(run(9)).reason


def test_what_a_run_took_long_ago_is_forgotten(storage, tmp_path, disk):
    work = tmp_path / "work"
    work.mkdir()
    taken(storage, 1, work, 3 * MB)
    for number in range(2, 7):
        taken(storage, number, work, 400_000)
    disk.free_mb = 51
    assert storage.admit(run(9)) is None


def test_an_image_counts_as_a_whole_and_what_went_meanwhile_does_where_nothing_else_went_on(
    storage, tmp_path, docker, disk
):
    result = passed("build", image={"name": "x", "id": "sha256:1"}, commits={}, size_bytes=30 * MB)
    assert storage.admit(run(1)) is None
    image(docker, 1, 30)
    disk.free_mb -= 70
    storage.took(run(1), tmp_path / "none", {"0": result})
    (need,) = read_needs(tmp_path)["cmfive-dev github.com/2pisoftware/cmfive"]
    assert need.engine.size_bytes == 100 * MB


def test_what_went_while_others_were_at_work_is_nobodys(storage, tmp_path, disk):
    storage.admit(run(1))
    storage.admit(run(2))
    disk.free_mb -= 500
    storage.took(run(1), tmp_path / "none", {})
    (need,) = read_needs(tmp_path)["cmfive-dev github.com/2pisoftware/cmfive"]
    assert need.engine.size_bytes == 0


@pytest.mark.parametrize("text", ["", "{", "[]", '{"x": 1}', '{"x": [["a"]]}'])
def test_a_file_that_cannot_be_read_is_no_file(storage, tmp_path, text):
    (tmp_path / "needs.json").write_text(text)
    assert read_needs(tmp_path) == {}
    assert storage.admit(run(1)) is None


# --- a full disk ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        StepErrored("the Docker engine refused: write /var/lib/docker/x: no space left on device"),
        StepErrored("git failed on this machine: fatal: write error: No space left on device"),
    ],
    ids=["log", "engine", "git"],
)
def test_whoever_meets_the_full_disk_it_is_named_with_what_is_free(storage, disk, tmp_path, error):
    disk.free_mb = 0
    assert storage.full("test", error) == f"disk full: {tmp_path}, 0 B free"


def test_a_cause_that_is_hidden_behind_others_is_found(storage, disk):
    disk.free_mb = 0
    error = StepErrored("the log cannot be kept")
    error.__cause__ = OSError(errno.ENOSPC, "x")
    assert storage.full("test", error)


def test_files_that_ran_out_are_said_too(storage, disk, tmp_path):
    disk.inodes = 0
    said = storage.full("build", OSError(errno.ENOSPC, "x"))
    assert said == f"disk full: {tmp_path}, 10 GB free, 0 files"


def test_a_command_of_a_build_that_met_the_full_disk_is_not_to_blame(storage, tmp_path):
    error = StepFailed(
        "the Dockerfile's command `dd` exited with 1", ("dd: error writing '/x': No space left on device",)
    )
    assert storage.full("build", error) == f"disk full: {tmp_path}, 10 GB free by now"


def test_a_test_may_fill_a_file_system_of_its_own(storage, disk):
    error = StepFailed("the tests exited with 1", ("dd: error writing '/dev/shm/x': No space left on device",))
    assert storage.full("test", error) is None
    disk.free_mb = 1
    assert storage.full("test", error)


def test_a_registrys_disk_is_not_ours(storage):
    error = StepErrored("pushing 2pisoftware/x failed: received unexpected HTTP status: no space left on device")
    assert storage.full("push", error) is None


def test_other_failures_are_what_they_are(storage):
    assert storage.full("build", StepFailed("exited with 1", ("FAIL",))) is None
    assert storage.full("push", StepErrored("the registry does not answer")) is None


# --- a whole claim --------------------------------------------------------------------------------


def test_a_claimed_run_without_room_is_parked_and_goes_on_when_there_is_some(desk, storage, disk, docker):
    desk.storage = storage
    disk.free_mb = 0
    action = Action("build", built(docker))
    assert desk.claim(1, action).enact()
    parked = desk.run(1)
    assert (parked.state, parked.waiting_for, action.calls) == (RunState.WAITING, WaitingFor.DISK, 0)
    assert "0 B free" in parked.reason
    disk.free_mb = 10_000
    desk.edge.queue.call(desk.edge.store.wake(parked.id, WaitingFor.DISK, later(60)), parked.job)
    assert desk.claim(1, action, run=desk.run(1)).enact()
    assert desk.run(1).state is RunState.PASSED


def test_a_run_that_waits_for_the_disk_gives_way_to_a_newer_push_all_the_same(desk, storage, disk):
    desk.storage = storage
    disk.free_mb = 0
    build = Action("build")
    older = desk.claim(1, build, planned=pushed(A))
    desk.queued(2, pushed(B), build)
    desk.branch.line = [A, B]
    older.enact()
    assert (desk.run(1).state, build.calls) == (RunState.SUPERSEDED, 0)


def test_a_run_that_waits_for_the_disk_can_be_cancelled(desk, storage, disk):
    desk.storage = storage
    disk.free_mb = 0
    desk.claim(1, Action("build")).enact()
    cancel(desk.run(1).id, "sam", desk.edge, later(60))
    assert desk.run(1).state is RunState.CANCELLED


def test_a_run_that_meets_the_full_disk_is_our_failure_and_is_tried_again(desk, storage, disk):
    desk.storage = storage

    def fills_it(_):
        disk.free_mb = 0
        raise OSError(errno.ENOSPC, "No space left on device", "/var/lib/tau/runs/x")

    assert desk.claim(1, Action("build", fills_it)).enact()
    parked = desk.run(1)
    assert (parked.state, parked.waiting_for) == (RunState.WAITING, WaitingFor.RETRY)
    assert parked.reason == f"once more after: disk full: {storage._folder}, 0 B free"


def test_a_run_that_was_let_in_and_is_over_takes_no_room_any_more(desk, storage, docker):
    desk.storage = storage
    desk.claim(1, Action("build", built(docker))).enact()
    assert storage._in_hand == {}


def test_runs_of_other_repositories_go_on_where_one_fills_its_own_quota(desk, storage, docker):
    desk.storage = storage
    desk.claim(1, Action("build", OSError(errno.EDQUOT, "Disk quota exceeded"))).enact()
    other, action = job_of("other"), Action("build", built(docker))
    desk.claim(2, action, run=queued(desk.edge, 2, action, job=other)).enact()
    assert desk.run(2).state is RunState.PASSED
