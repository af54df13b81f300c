"""A real PHP application on Debian's packages, its database a service beside it: its verdicts, and what they rest on.

Its test runner exits with 0 whatever happens, as the shop's own does: only what the suite leaves behind is believed.
"""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.local.cloud import ROOT

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.php,
    pytest.mark.apart,
    pytest.mark.usefixtures("building"),
]

HERE = Path(__file__).parents[2] / "php"
# Two sessions beside each other do not build on each other's.
NAMES = {name: f"tau-php-{os.getpid()}/{name}" for name in ("base", "app", "database")}
CI_YML = """\
version: 1
operators: [ops@2pisoftware.com]
forges:
  github.com: {{provider: github, clone: "http://127.0.0.1:9/{{repository}}.git", webhook: [hook-local]}}
pipelines:
  invoices:
    repository: github.com/2pisoftware/invoices
    trigger: {{push: [master]}}
    steps:
      - build: {{image: {app}, args: {{BASE: {base}}}}}
      - test:
          command: [/opt/testrunner/run]
          results: /results/*.xml
          environment: {{DB_HOST: db}}
          services: {{db: {{image: {database}, ready: {{within: 2m}}}}}}
          timeout: 5m
  without_database:
    repository: github.com/2pisoftware/invoices
    trigger: {{push: [master]}}
    steps:
      - build: {{image: {app}, args: {{BASE: {base}}}}}
      - test: {{command: [/opt/testrunner/run], results: /results/*.xml, environment: {{DB_HOST: db}}, timeout: 5m}}
"""
OTHER_INVOICE = ("public/index.php", "invoice = 1", "invoice = 2")
NO_CLASS = ("tests/InvoiceTest.php", "extends PHPUnit\\Framework\\TestCase", "extends No\\Such\\TestCase")


@pytest.fixture(scope="module")
def base(debian, docker_client):
    debian.imported(docker_client, NAMES["base"])
    yield NAMES["base"]
    for name in reversed(NAMES.values()):
        for image in docker_client.images.list(name, all=True):
            docker_client.images.remove(image.id, force=True)


@pytest.fixture(scope="module")
def building(base, docker_client):
    """The database's image, on its way while the first test builds the application."""
    wanted = {"path": str(HERE / "database"), "tag": NAMES["database"], "buildargs": {"BASE": base}, "rm": True}
    with ThreadPoolExecutor(1) as beside:
        yield beside.submit(docker_client.images.build, **wanted)


@pytest.fixture
def database(building):
    building.result()


@pytest.fixture
def verdict(tmp_path):
    """What `tau run` makes of the application, of which one text may be another: its exit code, and all it said."""

    def run(change=None, pipeline="invoices"):
        source = tmp_path / "invoices"
        shutil.copytree(HERE / "app", source)
        if change:
            path, old, new = change
            text = (source / path).read_text()
            assert old in text
            (source / path).write_text(text.replace(old, new))
        subprocess.run(("git", "init", "--quiet", "-b", "master", source), check=True)
        config = tmp_path / "ci.yml"
        config.write_text(CI_YML.format(**NAMES))
        tau = (sys.executable, "-c", "from runner.cli import main; main()")
        done = subprocess.run(
            (*tau, "run", pipeline, "--path", source, "--config", config, "--folder", tmp_path / "cache"),
            env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        return done.returncode, done.stdout

    return run


def test_a_suite_that_gives_up_without_its_database_is_no_test_run(verdict):
    code, said = verdict(pipeline="without_database")
    assert code == 1, said
    assert "the suite ran no test: it exited with 0" in said
    assert "no database: nothing to test" in said


@pytest.mark.usefixtures("database")
def test_all_tests_that_pass_are_a_pass(verdict):
    code, said = verdict()
    assert code == 0, said
    assert "3 passed, 0 failed, 0 skipped" in said


@pytest.mark.usefixtures("database")
def test_one_failure_is_a_failure_with_its_test_although_the_runner_exits_with_0(verdict):
    code, said = verdict(OTHER_INVOICE)
    assert code == 1, said
    assert "1 of 3 tests failed" in said
    assert "testThePageReadsTheDatabase" in said
    assert "'total' => 3300" in said


@pytest.mark.usefixtures("database")
def test_a_fatal_error_before_any_test_is_no_test_run(verdict):
    code, said = verdict(NO_CLASS)
    assert code == 1, said
    assert "the suite ran no test: it exited with 0" in said
    assert 'Class "No\\Such\\TestCase" not found' in said
