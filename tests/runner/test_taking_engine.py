"""The same out of real containers, whatever became of the command."""

from dataclasses import replace

import pytest

from chalicelib.errors import StepErrored, StepFailed
from runner.actions import test as action
from runner.context import Image
from tests.runner.test_taking import Bucket, names
from tests.running import context

pytestmark = pytest.mark.engine

IMAGE = "2pisoftware/cmfive-dev"
PASSED = '<testsuite><testcase name="one"/></testsuite>'


@pytest.fixture
def bucket():
    return Bucket()


@pytest.fixture
def run(lab, bucket, tmp_path):
    """Run a shell command as a test step; its result or its failure, with the log."""

    def run(script, **changes):
        image = Image(IMAGE, lab.client.images.get(lab.base).id)
        held = context(lab.client, tmp_path, system=lab.system, images={IMAGE: image})
        held = replace(held, aws=replace(held.aws, objects=bucket))
        said = {"command": ["sh", "-c", script], "image": IMAGE, "results": "none", **changes}
        try:
            return action.run(action.Settings.model_validate(said), held), held.log.ours
        except (StepFailed, StepErrored) as failed:
            return failed, held.log.ours
        finally:
            assert (lab.containers(), lab.networks()) == ([], [])
            assert list(tmp_path.iterdir()) == []

    return run


HOSTILE = r"""
mkdir -p /tmp/o/deep && cd /tmp/o && echo good > deep/good.txt
ln -s /etc/passwd link; ln deep/good.txt second; mkfifo pipe; ln -s / root; ln -s .. up
echo x > "$(printf 'a\nb')"; echo x > "$(printf 'n\377')"; echo x > ./-rf
truncate -s 9G zz || dd if=/dev/zero of=zz bs=1 count=0 seek=9G
"""


def test_whatever_a_container_leaves_only_its_plain_files_are_taken_and_soon(run, bucket):
    result, log = run(HOSTILE, artifacts=["/tmp/o/**"])
    assert sorted(body for body, _, _ in bucket.held.values()) == [b"good\n", b"x\n"]
    assert names(result.facts) == ["/tmp/o/-rf", "/tmp/o/deep/good.txt"]
    left = [line for line in log if line.startswith("left out")]
    assert sorted(line.rpartition(": ")[2] for line in left) == [
        *["it is a link"] * 4,
        "it is a pipe",
        "it is larger than 50 MB",
        *["its name cannot be written"] * 2,
    ]
    assert "not complete: /tmp/o/zz stands before the rest, and has 9.7 GB" in log[-1]


@pytest.mark.parametrize(
    ("script", "changes", "reason"),
    [
        ("exit 3", {}, "exited with 3"),
        ("sleep 60", {"timeout": "1s"}, "took longer than 1s"),
        ("true", {"results": "/none/*.xml"}, "ran no test"),
        ("exit 137", {}, "killed from outside"),
        (f"mkdir /results; echo '{PASSED}' > /results/a.xml; exit 137", {"results": "/results/*.xml"}, "from outside"),
    ],
)
def test_they_are_taken_whatever_the_verdict(run, bucket, script, changes, reason):
    failed, _ = run(f"mkdir /shots; echo late > /shots/last.txt; {script}", artifacts=["/shots/*"], **changes)
    assert reason in str(failed)
    assert names(failed.facts) == ["/shots/last.txt"]
    assert list(bucket.held.values()) == [(b"late\n", "text/plain; charset=utf-8", False)]


def test_a_relative_glob_and_one_of_the_root_are_found_where_the_command_starts(run):
    result, log = run("echo a > here.txt; mkdir -p build/x; echo b > build/x/y.txt", artifacts=["*.txt", "build/**"])
    assert sorted(names(result.facts)) == ["build/x/y.txt", "here.txt"]
    assert not [line for line in log if "not complete" in line]
