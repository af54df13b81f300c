"""The engine: the user's is taken as it is, ours leaves nothing behind, and what is made on either is found again."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from docker.errors import APIError

from infra.local import firewall, traces
from infra.local.base import base_image
from infra.local.engine import NoEngine, ensure_engine, start_engine
from infra.local.processes import find_tool

ROOT = Path(__file__).parents[2]
SYSTEM = "tau-test-engine"
BASE = "tau-test/base:latest"
# A user who is not root and may still read the same files.
SOMEBODY = (find_tool("unshare") or "false", "--user", "--map-user=1000", "--")

can_start = pytest.mark.skipif(
    os.geteuid() != 0 or not find_tool("dockerd") or not find_tool("iptables"),
    reason="left out: only root can start an engine of its own, and dockerd and iptables must be installed.",
)

IRON = """*filter
:INPUT ACCEPT [1:2]
:FORWARD ACCEPT [0:0]
-A INPUT -s 10.0.0.1/32 -m comment --comment "the user's own" -j DROP
COMMIT
"""
WITH_DOCKER = """*nat
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
COMMIT
*filter
:INPUT ACCEPT [3:4]
:FORWARD DROP [0:0]
:DOCKER-USER - [0:0]
-A INPUT -s 10.0.0.1/32 -m comment --comment "the user's own" -j DROP
-A INPUT -s 10.0.0.2/32 -j DROP
-A FORWARD -j DOCKER-USER
COMMIT
"""


@pytest.fixture
def short_path():
    """A path for Unix sockets: pytest's own are too long for them."""
    return Path(tempfile.mkdtemp(prefix="tau-")) / "engine"


def test_an_engine_that_runs_is_used_and_left_alone(engine, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", engine.host)
    with ensure_engine() as found:
        assert not found.started
        assert found.host == engine.host
    assert engine.client().ping()


def test_a_docker_host_that_does_not_answer_is_named_and_not_replaced(monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    with pytest.raises(
        NoEngine, match=r"DOCKER_HOST is unix://.*/nobody\.sock, and nothing is there.*unset DOCKER_HOST"
    ):
        ensure_engine()


@can_start
def test_an_engine_of_ours_answers_and_leaves_nothing_when_it_is_stopped(short_path):
    with start_engine(short_path, apart=True) as ours:
        assert ours.client().ping()
        assert (short_path / "docker.pid").exists()
        daemon = int((short_path / "docker.pid").read_text())
    assert not short_path.exists()
    assert not _runs(daemon)
    short_path.parent.rmdir()


@can_start
def test_an_engine_of_ours_ends_with_us_when_we_are_killed(short_path):
    code = (
        "import sys, time; from pathlib import Path; from infra.local.engine import start_engine\n"
        "start_engine(Path(sys.argv[1]), apart=True); print('up', flush=True); time.sleep(60)"
    )
    with subprocess.Popen((sys.executable, "-c", code, short_path), cwd=ROOT, stdout=subprocess.PIPE) as user:
        assert user.stdout.readline() == b"up\n"
        daemon = int((short_path / "docker.pid").read_text())
        user.send_signal(signal.SIGKILL)
    assert _within(20, lambda: not short_path.exists() and not _runs(daemon))
    short_path.parent.rmdir()


@can_start
def test_an_engine_that_gives_up_says_why(short_path):
    short_path.mkdir()
    (short_path / "data").write_text("a file where a folder should be")
    with pytest.raises(NoEngine, match=r"dockerd was started and gave up(.|\n)*/data"):
        start_engine(short_path, apart=True)
    assert not short_path.exists()
    short_path.parent.rmdir()


@pytest.mark.skipif(
    os.geteuid() == 0 and subprocess.run((*SOMEBODY, "true"), capture_output=True, check=False).returncode != 0,
    reason="needs a kernel that lets root become somebody else",
)
def test_without_root_the_reason_and_the_way_out_are_said():
    code = "from infra.local import engine\ntry: engine.start_engine()\nexcept engine.NoEngine as error: print(error)"
    argv = (*(SOMEBODY if os.geteuid() == 0 else ()), sys.executable, "-c", code)
    said = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "without root none can be started" in said
    assert "run as root" in said


def test_what_docker_added_to_the_firewall_is_taken_back_and_the_users_rules_stay():
    assert [" ".join(argv) for argv in firewall.undo(IRON, WITH_DOCKER)] == [
        "iptables -w -t nat -D POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
        "iptables -w -t nat -D DOCKER -i docker0 -j RETURN",
        "iptables -w -t filter -D FORWARD -j DOCKER-USER",
        "iptables -w -t nat -F DOCKER",
        "iptables -w -t filter -F DOCKER-USER",
        "iptables -w -t nat -X DOCKER",
        "iptables -w -t filter -X DOCKER-USER",
        "iptables -w -P FORWARD ACCEPT",
    ]


def test_a_firewall_that_knew_docker_before_stays_as_it_is():
    assert firewall.undo(WITH_DOCKER, WITH_DOCKER.replace("172.17.0.0", "172.18.0.0")) == []


def test_what_is_new_on_an_engine_is_named(docker_client):
    before = traces.snapshot(docker_client)
    network = docker_client.networks.create("tau-test-traces")
    volume = docker_client.volumes.create("tau-test-traces")
    try:
        found = traces.leftovers(docker_client, before)
    finally:
        network.remove()
        volume.remove()
    assert f"network {network.id[:40]} (tau-test-traces)" in found
    assert "volume tau-test-traces" in found
    assert not [line for line in traces.leftovers(docker_client, before) if "tau-test-traces" in line]


def test_the_images_of_a_build_go_with_their_layers_and_other_peoples_stay(docker_client, tmp_path):
    docker_client.api.import_image_from_data(b"\0" * 10240, repository="tau-test/stranger", tag="latest")
    stranger = docker_client.images.get("tau-test/stranger:latest").id
    before = traces.snapshot(docker_client)
    base_image(docker_client, BASE, SYSTEM)
    # The label is taken back, so that only the way over the parents leads to the first image's layers.
    (tmp_path / "Dockerfile").write_text(f"FROM {BASE}\nLABEL tau.system=\nRUN echo one > /one\nRUN echo two > /two\n")
    built, _ = docker_client.images.build(path=str(tmp_path), tag="tau-test/built:latest", forcerm=True)
    assert len(traces.leftovers(docker_client, before)) >= 5
    try:
        assert traces.remove_new_images(docker_client, before, base=BASE) >= 4
        assert not [
            line for line in traces.leftovers(docker_client, before) if "tau-test" in line or built.id[7:] in line
        ]
        assert docker_client.images.get("tau-test/stranger:latest").id == stranger
    finally:
        docker_client.images.remove("tau-test/stranger:latest")


def test_the_base_image_runs_a_shell_and_carries_our_label(docker_client):
    before = traces.snapshot(docker_client)
    image = base_image(docker_client, BASE, SYSTEM)
    try:
        said = docker_client.containers.run(
            image, ["sh", "-c", "echo $((6 * 7)); ls /tmp"], remove=True, network_mode="none"
        )
        assert said == b"42\n"
        assert docker_client.images.get(image).labels["tau.system"] == SYSTEM
        assert base_image(docker_client, BASE, SYSTEM) == image
    finally:
        assert traces.remove_new_images(docker_client, before, system=SYSTEM) == 1
    with pytest.raises(APIError):
        docker_client.api.inspect_image(image)


def _runs(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _within(seconds, holds) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    return holds()
