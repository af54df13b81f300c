"""A real PHP application on Debian's packages, its database a service beside it: what becomes of it, and why.

Its test runner exits with 0 whatever happens, as the shop's own does: only what the suite leaves behind is believed.
"""

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from chalicelib.errors import StepFailed
from chalicelib.model import StepStatus
from infra.local.processes import find_tool
from runner.actions import test
from runner.context import Image
from tests.running import context

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.php]

HERE = Path(__file__).parents[1] / "php"
# Two sessions beside each other do not build on each other's.
NAMES = {name: f"tau-php-{os.getpid()}/{name}" for name in ("base", "app", "database")}
MIRROR = "http://deb.debian.org/debian"
OTHER_INVOICE = ("public/index.php", "invoice = 1", "invoice = 2")
NO_CLASS = ("tests/InvoiceTest.php", "extends PHPUnit\\Framework\\TestCase", "extends No\\Such\\TestCase")


@pytest.fixture(scope="session")
def base(docker_client, tmp_path_factory):
    """A minimal Debian, made of its packages: no registry has to be there."""
    debootstrap = find_tool("debootstrap")
    assert debootstrap, "debootstrap is not installed: run `make test`, or apt-get install debootstrap"
    root = tmp_path_factory.mktemp("debian") / "root"
    subprocess.run((debootstrap, "--variant=minbase", "bookworm", root, MIRROR), check=True, capture_output=True)
    archive = root.parent / "root.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(
            root, arcname=".", filter=lambda one: None if one.name.startswith(("./var/cache/apt/", "./dev/")) else one
        )
    shutil.rmtree(root)
    docker_client.api.import_image_from_file(str(archive), repository=NAMES["base"])
    archive.unlink()
    yield {"BASE": NAMES["base"]}
    for name in reversed(NAMES.values()):
        for image in docker_client.images.list(name, all=True):
            docker_client.images.remove(image.id, force=True)


@pytest.fixture(scope="session")
def database(base, docker_client):
    docker_client.images.build(path=str(HERE / "database"), tag=NAMES["database"], buildargs=base, rm=True)
    return NAMES["database"]


@pytest.fixture
def verdict(base, database, lab, tmp_path):
    """What becomes of the application, of which one text may be another."""

    def run(change=None, **settings):
        source = tmp_path / "app"
        shutil.copytree(HERE / "app", source)
        if change:
            path, old, new = change
            text = (source / path).read_text()
            assert old in text
            (source / path).write_text(text.replace(old, new))
        built, _ = lab.client.images.build(path=str(source), tag=NAMES["app"], buildargs=base, rm=True)
        held = context(lab.client, tmp_path, system=lab.system, images={"app": Image("app", built.id)})
        given = {
            "image": "app",
            "command": ["/opt/testrunner/run"],
            "services": {"db": {"image": database, "ready": {"within": "2m"}}},
            "environment": {"DB_HOST": "db"},
            **settings,
        }
        try:
            return test.run(test.Settings.model_validate(given), held)
        finally:
            assert (lab.containers(), lab.networks()) == ([], [])

    return run


def test_all_tests_that_pass_are_a_pass(verdict):
    result = verdict()
    assert result.status is StepStatus.PASSED
    assert (result.facts["tests"]["passed"], result.facts["tests"]["failed"]) == (3, 0)


def test_one_failure_is_a_failure_with_its_test_although_the_runner_exits_with_0(verdict):
    with pytest.raises(StepFailed, match="1 of 3 tests failed") as said:
        verdict(OTHER_INVOICE)
    (failure,) = said.value.facts["tests"]["failures"]
    assert failure["name"].endswith("testThePageReadsTheDatabase")
    assert "'total' => 3300" in failure["message"]


def test_a_fatal_error_before_any_test_is_no_test_run(verdict):
    with pytest.raises(StepFailed, match="the suite ran no test: it exited with 0") as said:
        verdict(NO_CLASS)
    assert any("No\\Such\\TestCase" in line for line in said.value.lines)
    assert "TEST FAILED" in said.value.lines


def test_a_suite_that_gives_up_without_its_database_is_no_test_run(verdict):
    with pytest.raises(StepFailed, match="the suite ran no test: it exited with 0") as said:
        verdict(services={})
    assert "no database: nothing to test" in said.value.lines
