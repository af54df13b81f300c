import os

import pytest

from runner.builders import CLIENT, Client, EngineFacts, choose, clients
from runner.buildkit import environment

ENGINE = EngineFacts((1, 41))
DEBIAN = Client("/usr/bin/docker", "20.10.24+dfsg1")
PLAIN_28 = Client("/usr/local/bin/docker", "28.2.2")
BUILDX = Client("/usr/bin/docker", "27.5.1", has_buildx=True)
ANCIENT = Client("/opt/docker", "18.06.3")
PODMAN = Client("/usr/bin/docker", None)


@pytest.mark.parametrize(
    ("engine", "found", "chosen", "because"),
    [
        (ENGINE, [DEBIAN], DEBIAN, "by /usr/bin/docker 20.10.24+dfsg1"),
        (ENGINE, [PLAIN_28, DEBIAN], DEBIAN, "by /usr/bin/docker 20.10.24+dfsg1"),
        (ENGINE, [BUILDX, DEBIAN], BUILDX, "by /usr/bin/docker 27.5.1 with buildx"),
        (ENGINE, [PLAIN_28], None, "/usr/local/bin/docker 28.2.2 has no buildx"),
        (ENGINE, [ANCIENT, PODMAN], None, "/opt/docker 18.06.3 has no buildx; /usr/bin/docker is not Docker's"),
        (ENGINE, [], None, "there is no `docker` command on PATH"),
        (EngineFacts((1, 38)), [DEBIAN], None, "the engine is older than 18.09"),
        (EngineFacts((1, 39)), [DEBIAN], DEBIAN, "by /usr/bin/docker 20.10.24+dfsg1"),
        (EngineFacts((1, 41), "windows"), [DEBIAN], None, "the engine runs containers of windows"),
        (EngineFacts((1, 41), components=("Podman Engine",)), [DEBIAN], None, "Podman Engine is not Docker's"),
    ],
    ids=lambda value: None if isinstance(value, str | list) else str(getattr(value, "version", "")) or "none",
)
def test_buildkit_is_chosen_where_engine_and_client_have_it_and_the_reason_is_said(engine, found, chosen, because):
    choice = choose(engine, found)
    assert (choice.client, choice.because) == (chosen, because)


def command(folder, version, *, buildx=False):
    """A `docker` command that says what a real one says of itself, if it has its own configuration and no other."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "docker"
    path.write_text(
        "#!/bin/sh\n"
        'test "$DOCKER_CONFIG" = "$HOME" && test -z "$(ls "$DOCKER_CONFIG")" || exit 9\n'
        f'case "$1" in --version) echo "{version}";; buildx) exit {0 if buildx else 1};; *) exit 2;; esac\n'
    )
    path.chmod(0o755)
    return str(path)


def test_every_client_on_path_is_asked_once_in_its_order(tmp_path):
    first = command(tmp_path / "a", "Docker version 28.2.2, build e6534b4", buildx=True)
    second = command(tmp_path / "b", "Docker version 20.10.24+dfsg1, build 297e128")
    third = command(tmp_path / "c", "podman version 4.3.1")
    (tmp_path / "d").symlink_to(tmp_path / "b")
    path = os.pathsep.join(str(tmp_path / name) for name in ("none", "a", "d", "b", "c"))
    assert list(clients({"PATH": f"{path}{os.pathsep}/nowhere"})) == [
        Client(first, "28.2.2", has_buildx=True),
        Client(str(tmp_path / "d" / "docker"), "20.10.24+dfsg1"),
        Client(third, None),
    ]
    assert second


def test_the_client_that_the_operator_names_is_the_only_one_asked(tmp_path):
    named = command(tmp_path / "named", "Docker version 27.5.1, build 1", buildx=True)
    command(tmp_path / "path", "Docker version 20.10.24, build 1")
    found = list(clients({"PATH": str(tmp_path / "path"), CLIENT: named}))
    assert found == [Client(named, "27.5.1", has_buildx=True)]


def test_a_client_that_cannot_be_started_is_none_of_dockers(tmp_path):
    assert list(clients({CLIENT: str(tmp_path / "not there")})) == [Client(str(tmp_path / "not there"), None)]


def test_a_client_learns_of_our_environment_how_to_find_the_engine_and_nothing_else(tmp_path):
    ours = {"PATH": "/bin", "DOCKER_HOST": "tcp://x:2376", "DOCKER_TLS_VERIFY": "1", "AWS_SECRET_ACCESS_KEY": "s3cret"}
    given = environment({**ours, "DOCKER_CONFIG": "/root/.docker", "HOME": "/root"}, tmp_path)
    assert {name: given[name] for name in given if name in ours} == {
        name: value for name, value in ours.items() if not name.startswith("AWS")
    }
    assert given["DOCKER_CONFIG"] == given["HOME"] == str(tmp_path)
