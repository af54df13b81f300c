"""What BuildKit alone can do: secrets, caches by name, whole contexts; with a real engine and a real client."""

import os
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from chalicelib.errors import StepErrored, StepFailed
from infra.local.cloud import ROOT
from runner import builders
from runner.actions import build
from runner.classic import Classic
from runner.handed import Handed
from tests.installation import event, job
from tests.runner.trees_to_build import APP, dockerfile, settings, tree
from tests.running import Log, context
from tests.whole.seen import wait_for

IMAGE = f"tau-test-runner-{os.getpid()}/buildkit"
VALUE = "hunter2 and some more"
FORK = event(fork=True)


@pytest.fixture(scope="module")
def buildkit(docker_client):
    made = builders.builder(docker_client, os.environ)
    if made.name != "BuildKit":
        pytest.skip(f"left out: no BuildKit here, {made.because}.")
    return made


@pytest.fixture
def made(lab, tmp_path, buildkit):
    def make(files, *, given=None, number=0, **changes):
        folder = tmp_path / str(number)
        folder.mkdir(exist_ok=True)
        held = context(
            lab.client, folder, system=lab.system, trees={APP: tree(**files)}, **{"builder": buildkit, **changes}
        )
        return held, build.run(given or settings(IMAGE), held)

    return make


# --- secrets --------------------------------------------------------------------------------------

WITH_SECRET = {"given": settings(IMAGE, secrets={"npm": "npm-token"}), "secret": {"npm-token": VALUE}.__getitem__}


@pytest.mark.engine
def test_one_command_has_the_secret_and_neither_image_nor_log_nor_disk_do(lab, made):
    mount = "RUN --mount=type=secret,id=npm"
    text = dockerfile(
        lab, f"{mount} cat /run/secrets/npm; wc -c < /run/secrets/npm", "RUN ls /run/secrets || echo none"
    )
    before = set(Path("/dev/shm").iterdir())
    handed = Handed()
    held, result = made({"Dockerfile": text}, **{**WITH_SECRET, "secret": handed.listening(WITH_SECRET["secret"])})
    shown = handed.text(held.log.text)
    assert set(Path("/dev/shm").glob("tau-build-*")) <= before
    assert str(len(VALUE)) in shown
    assert "***" in shown
    assert VALUE not in shown
    assert "none" in shown
    image = result.facts["image"]["id"]
    assert VALUE not in str((lab.client.api.inspect_image(image), lab.client.api.history(image)))
    assert b"".join(lab.client.api.get_image(image)).find(VALUE.encode()) == -1


@pytest.mark.engine
def test_while_it_is_needed_the_secret_lies_in_memory_and_is_its_users_alone(lab, made):
    seen = {}

    class Watching:
        """The log, which looks at the secret's file while the build prints."""

        def __init__(self, log):
            self._log = log

        def write(self, chunk):
            for path in Path("/dev/shm").glob("tau-build-*/secret-*"):
                seen[path.read_text()] = (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode))
            self._log.write(chunk)

        def __getattr__(self, name):
            return getattr(self._log, name)

    text = dockerfile(lab, "RUN --mount=type=secret,id=npm echo begun")
    made({"Dockerfile": text}, log=Watching(Log()), **WITH_SECRET)
    assert seen == {VALUE: (0o600, 0o700)}


def test_the_classic_builder_takes_no_secret_and_says_what_to_do(tmp_path):
    held = context(None, tmp_path, trees={APP: tree(Dockerfile="FROM scratch\n")}, builder=Classic("no buildx"))
    with pytest.raises(StepErrored, match=r"secrets need BuildKit.*: no buildx\. Give its machine a `docker` command"):
        build.run(WITH_SECRET["given"], held)


@pytest.mark.engine
def test_a_fork_gets_no_secret(lab, made):
    with pytest.raises(StepFailed, match="no secret is ever given to a fork's code"):
        made({"Dockerfile": dockerfile(lab, "RUN true")}, job=job(event=FORK), **WITH_SECRET)


# --- caches ---------------------------------------------------------------------------------------


def looks(lab, identity, *, leaves=""):
    """Lists what lies in a cache of this name, and leaves something there."""
    then = f"; touch /cache/{leaves}" if leaves else ""
    # Never from the cache of layers.
    return {
        "Dockerfile": dockerfile(
            lab, f"RUN --mount=type=cache,id={identity},target=/cache echo {time.monotonic_ns()}; ls /cache{then}"
        )
    }


@pytest.mark.engine
def test_a_fork_neither_fills_nor_sees_a_cache_of_a_trusted_build_by_whatever_name(lab, made, buildkit):
    name = f"npm-{time.monotonic_ns()}"
    made(looks(lab, name, leaves="of-us"))
    for number, other in enumerate((name, f"../{name}", f"../../{name}", f"/{name}")):
        held, _ = made(looks(lab, other, leaves="poison"), job=job(event=FORK), number=number)
        assert "of-us" not in held.log.text, other
    held, _ = made(looks(lab, name), number=9)
    assert "of-us" in held.log.text, "a trusted build finds what one before it left"
    assert "poison" not in held.log.text
    assert buildkit.engine_id not in held.log.text


@pytest.mark.engine
def test_the_last_image_of_a_branch_lends_its_layers_when_the_engines_cache_was_emptied(lab, made):
    given = settings(f"{IMAGE}-last")
    files = {"Dockerfile": dockerfile(lab, f"RUN echo {time.monotonic_ns()} > /made")}
    made(files, given=given)
    lab.client.api.prune_builds()
    held, _ = made(files, given=given, number=1)
    assert any("step 2/2 from the cache" in line for line in held.log.ours), held.log.ours


@pytest.mark.engine
def test_no_image_lends_to_a_fork_and_none_of_a_forks_lends(lab, made):
    files = {"Dockerfile": dockerfile(lab, f"RUN echo {time.monotonic_ns()}")}
    lock = replace(job(event=FORK), lock="forks and others")
    held, result = made(files, given=settings(f"{IMAGE}-fork"), job=lock)
    assert lab.labels(result.facts["image"]["id"])["tau.fork"] == "yes"
    trusted = context(lab.client, held.folder, system=lab.system, job=replace(job(), lock="forks and others"))
    assert build.caches(trusted) == ()
    _, result = made(files, given=settings(f"{IMAGE}-trusted"), job=trusted.job, number=1)
    assert build.caches(trusted) == (f"{IMAGE}-trusted:r-{held.run.lower()}",)
    assert build.caches(held) == ()


# --- the log, the context -----------------------------------------------------------------------------


@pytest.mark.engine
def test_a_step_that_prints_megabytes_in_seconds_is_logged_whole(lab, made, engine):
    if not engine.started:
        pytest.skip("left out: this engine was not started by us, and may clip.")
    bursts, lines, counted = 5, 4500, Counted()
    command = f"for n in $(seq {bursts}); do seq {lines} | sed 's/$/ {'x' * 100}/'; sleep 0.6; done"
    made({"Dockerfile": dockerfile(lab, f"RUN : {time.monotonic_ns()}; {command}")}, log=counted)
    printed = [line.split() for line in b"".join(counted.pieces).splitlines() if line.endswith(b"x" * 100)]
    assert [int(words[2]) for words in printed] == [*range(1, lines + 1)] * bursts
    assert not [line for line in counted.ours if "left out" in line]


@pytest.mark.engine
def test_a_step_that_prints_faster_than_buildkit_passes_on_ends_all_the_same_and_says_what_is_missing(lab, made):
    counted = Counted()
    made({"Dockerfile": dockerfile(lab, f"RUN : {time.monotonic_ns()}; seq 600000")}, log=counted)
    assert sum("left out some of this build's output" in line for line in counted.ours) == 1


class Counted(Log):
    """A log that keeps its pieces apart: putting megabytes together line by line takes minutes."""

    def __init__(self):
        super().__init__()
        self.pieces = []

    def write(self, chunk):
        self.pieces.append(chunk)


@pytest.mark.engine
def test_an_ignore_file_beside_the_dockerfile_counts_no_more_than_with_the_classic_builder(lab, made):
    files = {
        "docker__My.Dockerfile": dockerfile(lab, "COPY . /x", "RUN ls /x"),
        "docker__My.Dockerfile.dockerignore": "page\n",
        ".dockerignore": "ignored\n",
        "page": "x",
        "ignored": "x",
    }
    held, _ = made(files, given=settings(IMAGE, dockerfile="docker/My.Dockerfile"))
    words = held.log.text.split()
    assert "page" in words
    assert "ignored" not in words


@pytest.mark.engine
def test_a_client_that_is_killed_in_the_middle_is_our_fault(lab, made, buildkit, tmp_path):
    client = tmp_path / "docker"
    client.write_text("#!/bin/sh\nkill -9 $$\n")
    client.chmod(0o755)
    with pytest.raises(StepErrored, match="killed by signal 9 in the middle of the build"):
        made({"Dockerfile": dockerfile(lab)}, builder=replace(buildkit, client=str(client)))


@pytest.mark.engine
@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("exit 0", "without an image and without an error"),
        (
            f'for word; do case "$word" in --iidfile=*) echo sha256:{"0" * 64} > "${{word#*=}}";; esac; done',
            "not have it",
        ),
    ],
    ids=["nothing", "something else"],
)
def test_an_image_that_is_not_in_the_engine_was_not_built(lab, made, buildkit, tmp_path, script, words):
    client = tmp_path / "docker"
    client.write_text(f"#!/bin/sh\n{script}\n")
    client.chmod(0o755)
    with pytest.raises(StepErrored, match=words):
        made({"Dockerfile": dockerfile(lab)}, builder=replace(buildkit, client=str(client)))


def test_a_client_that_is_gone_is_our_fault(tmp_path):
    from runner.building import Wanted
    from runner.buildkit import BuildKit

    gone = BuildKit(str(tmp_path / "none"), "because", {}, "id")
    with pytest.raises(StepErrored, match="cannot be started: No such file or directory"):
        gone.build(Wanted(tmp_path, "FROM scratch\n", {}, {}), context(None, tmp_path))


RUNNER = """
import sys
from pathlib import Path
from runner.building import Wanted
from runner.buildkit import BuildKit
from tests.running import context

client, path, folder = sys.argv[1:]
tree = Path(folder)
BuildKit(client, "because", {"PATH": path}, "id").build(Wanted(tree, "FROM scratch\\n", {}, {}), context(None, tree))
"""


def test_a_build_ends_with_the_runner_that_is_killed(tmp_path):
    client, pid = tmp_path / "docker", tmp_path / "pid"
    client.write_text(f"#!/bin/sh\necho $$ >{pid}.new && mv {pid}.new {pid}\nexec sleep 60\n")
    client.chmod(0o755)
    runner = subprocess.Popen(
        (sys.executable, "-c", RUNNER, client, os.environ["PATH"], tmp_path),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    wait_for(pid.exists, "the build to begin")
    runner.kill()
    runner.wait()
    wait_for(lambda: not Path(f"/proc/{int(pid.read_text())}").exists(), "the build to end")
