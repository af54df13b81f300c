"""The local registry: a real one, with passwords, gone when it is stopped."""

import http.client
from contextlib import closing

import pytest
from docker.errors import APIError

from infra.local import traces
from infra.local.base import base_image
from infra.local.registry import Registry

BASE = "tau-test/registry-base:latest"
SYSTEM = "tau-test-registry"


@pytest.fixture
def image(docker_client):
    before = traces.snapshot(docker_client)
    yield docker_client.images.get(base_image(docker_client, BASE, SYSTEM))
    traces.remove_new_images(docker_client, before, system=SYSTEM)


def _push(client, image, name, **who):
    image.tag(name, tag="r-1")
    return [
        line for line in client.api.push(name, tag="r-1", stream=True, decode=True, auth_config=who) if "error" in line
    ]


def test_an_image_that_was_pushed_is_found_with_the_digest_that_docker_was_told(docker_client, registry, image):
    name = f"{registry.host}/2pisoftware/pushed"
    user, password = next(iter(registry.users.items()))
    assert _push(docker_client, image, name, username=user, password=password) == []
    digest = docker_client.images.get(f"{name}:r-1").attrs["RepoDigests"]
    assert f"{name}@{registry.manifest_digest('2pisoftware/pushed', 'r-1')}" in digest
    assert registry.tags("2pisoftware/pushed") == ("r-1",)


def test_a_wrong_password_is_refused(docker_client, registry, image):
    name = f"{registry.host}/2pisoftware/refused"
    complaints = _push(docker_client, image, name, username="tau", password="guessed")
    assert "no basic auth credentials" in str(complaints) or "unauthorized" in str(complaints)
    assert registry.tags("2pisoftware/refused") == ()
    assert registry.manifest_digest("2pisoftware/refused", "r-1") is None


def test_it_comes_back_at_the_same_address_with_its_images(docker_client, image, tmp_path):
    registry = Registry(tmp_path, {"sam": 'with "$quotes" and spaces'})
    with registry:
        address = registry.host
        complaints = _push(
            docker_client, image, f"{address}/kept", username="sam", password='with "$quotes" and spaces'
        )
        assert complaints == []
        digest = registry.manifest_digest("kept", "r-1")
    assert not _listens(registry.port)
    with registry:
        assert registry.host == address
        assert registry.manifest_digest("kept", "r-1") == digest


def test_passwords_lie_nowhere_in_the_folder(registry):
    secret = next(iter(registry.users.values())).encode()
    files = [path for path in registry.folder.rglob("*") if path.is_file() and path.stat().st_size < 100_000]
    assert files
    assert [path for path in files if secret in path.read_bytes()] == []
    assert (registry.folder / "htpasswd").stat().st_mode & 0o077 == 0


def test_a_manifest_can_be_deleted(docker_client, registry, image):
    name = f"{registry.host}/2pisoftware/deleted"
    user, password = next(iter(registry.users.items()))
    assert _push(docker_client, image, name, username=user, password=password) == []
    digest = registry.manifest_digest("2pisoftware/deleted", "r-1")
    status, _, _ = registry._ask("DELETE", f"/v2/2pisoftware/deleted/manifests/{digest}")
    assert status == 202
    with pytest.raises(APIError):
        docker_client.api.pull(name, tag="r-1", auth_config={"username": user, "password": password})


def _listens(port):
    try:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=1)) as connection:
            connection.connect()
    except OSError:
        return False
    return True
