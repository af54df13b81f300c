"""A runner whose folder is a small disk of its own that fills up: real git, real files, and nothing crashes."""

import contextlib
import errno
import os
import subprocess
from dataclasses import replace

import pytest

from chalicelib.model import RunState, WaitingFor
from runner.disk import Amount, Need, tells_of_full_disk
from runner.needs import read_needs
from runner.storage import KeptStorage, Limits
from runner.workspace import Workspace
from tests.installation import event, job, later
from tests.runner.test_workspace import DEVELOP, ENVIRON, Repository
from tests.running import Action, built, passed, queued

SMALL = "size=2m,nr_inodes=200"
LIMITS = Limits(reserve=Amount(100_000, 20), unknown=Need(Amount(400_000, 60)))


@pytest.fixture
def disk(tmp_path):
    """A file system of 2 MB and 200 files."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ("mount", "-t", "tmpfs", "-o", SMALL, "tmpfs", str(folder)), capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"left out: no file system can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(("umount", "--lazy", str(folder)), check=True)


def fill(folder, leave_bytes=0):
    """Take all its bytes, but so many."""
    with contextlib.suppress(OSError), (folder / "ballast").open("wb") as file:
        while True:
            file.write(os.urandom(4096))
            file.flush()
    size = (folder / "ballast").stat().st_size
    os.truncate(folder / "ballast", max(0, size - leave_bytes))


def fill_with_files(folder):
    """Take all the files that it can hold."""
    (folder / "many").mkdir()
    with contextlib.suppress(OSError):
        for number in range(1000):
            (folder / "many" / f"{number}").touch()


def empty(folder):
    for path in [*(folder / "many").glob("*"), folder / "ballast"]:
        path.unlink(missing_ok=True)


@pytest.fixture
def repository(tmp_path):
    made = Repository(tmp_path / "forge" / "hello")
    made.commit(page="x" * 200_000, Dockerfile="FROM scratch\n")
    return made


@pytest.fixture
def small(desk, disk, docker, edge, pace):
    """The desk of a runner that works on the small disk."""
    desk.branch = Workspace(disk, {}.__getitem__, ENVIRON)
    desk.storage = KeptStorage(disk, docker, edge, pace, LIMITS)
    return desk


def planned(repository):
    source = repository.source
    commit = repository.git("rev-parse", "HEAD")
    return job(event=event(commit=commit, after=commit), source=source, sources={source.name: source})


def checking_out(repository, docker):
    """A build that needs the tree, as each does."""

    def build(context):
        context.checkout(repository.source.name, DEVELOP, context.job.event.commit, context.folder / "tree")
        return built(docker)(context)

    return Action("build", build)


def again(desk, action):
    """What the ticker does when the time has come, and the claim that follows."""
    run = desk.run(1)
    desk.edge.queue.call(desk.edge.store.wake(run.id, run.waiting_for, later(600)), run.job)
    desk.claim(1, action, run=desk.run(1)).enact()
    return desk.run(1)


def test_a_disk_that_is_full_when_a_run_comes_makes_it_wait_and_it_goes_on_when_there_is_room(
    small, disk, repository, docker
):
    fill(disk)
    action = checking_out(repository, docker)
    small.claim(1, action, planned=planned(repository)).enact()
    run = small.run(1)
    assert (run.state, run.waiting_for) == (RunState.WAITING, WaitingFor.DISK)
    assert run.reason.startswith(f"{disk} has 0 B free, and 500 kB are needed")
    empty(disk)
    assert again(small, action).state is RunState.PASSED


def test_a_disk_that_fills_up_in_a_clone_is_our_failure_with_its_place_and_the_run_is_tried_again(
    small, disk, repository, docker
):
    repository.commit(large=os.urandom(2_000_000).hex())
    action = checking_out(repository, docker)
    small.claim(1, action, planned=planned(repository)).enact()
    run = small.run(1)
    assert (run.state, run.waiting_for) == (RunState.WAITING, WaitingFor.RETRY)
    assert run.reason.startswith(f"once more after: disk full: {disk}, ")
    assert list((disk / "runs").iterdir()) == []
    assert again(small, action).state is RunState.ERRORED
    assert small.run(1).reason.startswith(f"disk full: {disk}, ")


def test_files_that_run_out_are_as_bad_as_bytes(small, disk, repository, docker):
    small.storage = KeptStorage(disk, docker, small.edge, small.pace, replace(LIMITS, unknown=Need()))
    fill_with_files(disk)
    for number in range(25):
        (disk / "many" / f"{number}").unlink()
    action = checking_out(repository, docker)
    small.claim(1, action, planned=planned(repository)).enact()
    assert small.run(1).reason.startswith(f"once more after: disk full: {disk}, ")
    empty(disk)
    assert again(small, action).state is RunState.PASSED


def test_on_a_full_disk_a_runner_starts_and_looks_after_it_and_other_runs_go_on(small, disk, docker, edge, pace):
    fill(disk)
    fill_with_files(disk)
    with pytest.raises(OSError, match="No space left") as full:
        (disk / "one more").write_text("x")
    assert full.value.errno == errno.ENOSPC
    workspace = Workspace(disk, {}.__getitem__, ENVIRON)
    storage = KeptStorage(disk, docker, edge, pace, LIMITS)
    storage.tend()
    small.branch, small.storage = workspace, storage
    deploying = Action("deploy_eb", passed("deploy_eb"))
    other = queued(edge, 2, deploying, job=job(lock="another"))
    small.claim(2, deploying, run=other).enact()
    # It needs a folder to work in, as every run: that there is none is said, and is nobody else's trouble.
    assert small.run(2).waiting_for is WaitingFor.RETRY
    empty(disk)
    edge.queue.call(edge.store.wake(other.id, WaitingFor.RETRY, later(600)), other.job)
    small.claim(2, deploying, run=small.run(2)).enact()
    assert small.run(2).state is RunState.PASSED


def test_what_a_run_took_is_not_written_down_on_a_full_disk_and_what_was_known_stays(small, disk, docker):
    small.claim(1, Action("build", built(docker))).enact()
    known = read_needs(disk)
    assert known

    def fills_it(context):
        fill(disk)
        return built(docker)(context)

    other = queued(small.edge, 2, Action("build"), job=job(lock="another"))
    small.claim(2, Action("build", fills_it), run=other).enact()
    assert small.run(2).state is RunState.PASSED
    assert read_needs(disk) == known


def test_a_device_that_takes_nothing_tells_of_itself():
    with pytest.raises(OSError, match="No space") as full, open("/dev/full", "wb", buffering=0) as device:  # noqa: PTH123
        device.write(b"a line of the log")
    assert tells_of_full_disk(full.value)
