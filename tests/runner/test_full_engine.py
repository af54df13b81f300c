"""A real engine whose disk is small: whose fault a build is that fills it, and what is cleaned for the next one."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from chalicelib.errors import StepFailed
from chalicelib.model import Step
from infra.local.base import base_image
from infra.local.engine import NoEngine, start_engine
from runner.actions import build
from runner.disk import Amount, Need
from runner.pace import Real
from runner.storage import KeptStorage, Limits
from tests.installation import run as make_run
from tests.runner.trees_to_build import APP, settings, tree
from tests.running import context

pytestmark = [pytest.mark.engine, pytest.mark.slow]

SYSTEM = "tau-test-full"
MB = 1_000_000
LIMITS = Limits(keep=1, reserve=Amount(10 * MB), unknown=Need(engine=Amount(25 * MB)))


@pytest.fixture(scope="module")
def small():
    """An engine of our own on a file system of 64 MB; its client, and where that is."""
    folder = Path(tempfile.mkdtemp(prefix="tau-small-"))
    (folder / "e" / "data").mkdir(parents=True)
    mounted = subprocess.run(
        ("mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder / "e" / "data")),
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("left out: no file system can be mounted here")
    try:
        engine = start_engine(folder / "e", apart=True)
    except NoEngine as error:
        subprocess.run(("umount", "--lazy", str(folder / "e" / "data")), check=True)
        pytest.skip(f"left out: {error}")
    client = engine.client()
    base_image(client, f"{SYSTEM}/base:latest", "another")
    yield client, folder / "e" / "data"
    engine.stop()
    subprocess.run(("umount", "--lazy", str(folder / "e" / "data")), check=False)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def storage(small, edge, tmp_path):
    return KeptStorage(tmp_path, small[0], edge, Real(), LIMITS)


def made(client, folder, line, number):
    run = f"01KAQ{number:021}"
    folder.mkdir()
    text = f"FROM {SYSTEM}/base:latest\n{line}\n"
    held = context(client, folder, system="tau-test", trees={APP: tree(Dockerfile=text)}, run=run)
    held.labels.update({"tau.run": run, "tau.lock": f"branch {number}"})
    return build.run(settings(f"{SYSTEM}/x"), held)


def test_a_build_that_fills_the_engines_disk_is_our_fault_and_room_is_made_for_the_next(small, storage, tmp_path):
    client, disk = small
    for number in (1, 2):
        made(client, tmp_path / f"{number}", f"RUN dd if=/dev/urandom of=/x bs=1000000 count=15 # {number}", number)
    with pytest.raises(StepFailed) as failed:
        made(client, tmp_path / "3", "RUN dd if=/dev/zero of=/x bs=1000000 count=100", 3)
    assert storage.full("build", failed.value).startswith(f"disk full: {disk}, ")
    assert storage.full("test", failed.value) is None
    assert storage.admit(make_run(4, Step("build", {}))) is None
    tags = {tag for image in client.api.images() for tag in image["RepoTags"]}
    assert tags == {f"{SYSTEM}/base:latest", f"{SYSTEM}/x:r-01kaq000000000000000000002"}
    made(client, tmp_path / "4", "RUN dd if=/dev/urandom of=/x bs=1000000 count=15 # 4", 4)
