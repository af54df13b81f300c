import pytest

from chalicelib.errors import StepErrored, StepFailed
from infra.local.base import base_image
from runner.bases import bases, host_of, refresh
from tests.installation import job


@pytest.mark.parametrize(
    ("dockerfile", "args", "expected"),
    [
        ("FROM debian:12\nRUN true\n", {}, ("debian:12",)),
        (
            "from code.example:5000/2pisoftware/crm:latest as base\nFROM base\n",
            {},
            ("code.example:5000/2pisoftware/crm:latest",),
        ),
        ("FROM scratch\nCOPY x /\n", {}, ()),
        ("FROM --platform=linux/amd64 php:8 AS Build\nFROM nginx\nCOPY --from=build /a /b\n", {}, ("php:8", "nginx")),
        ("FROM php:8\nFROM php:8\n", {}, ("php:8",)),
        ("ARG TAG=12\nFROM debian:${TAG}\n", {}, ("debian:12",)),
        ("ARG TAG=12\nFROM debian:$TAG\n", {"TAG": "13"}, ("debian:13",)),
        ("FROM debian:${TAG:-11}\n", {"TAG": "13"}, ("debian:11",)),
        ("# FROM nothing\nRUN echo FROM nowhere\nFROM debian\n", {}, ("debian",)),
        ("RUN true\n", {}, ()),
    ],
)
def test_the_images_that_a_dockerfile_stands_on_are_found(dockerfile, args, expected):
    assert bases(dockerfile, args) == expected


@pytest.mark.parametrize(
    ("image", "host"),
    [
        ("debian", "docker.io"),
        ("2pisoftware/cmfive:latest", "docker.io"),
        ("code.2pisoftware.com:5000/2pisoftware/crm", "code.2pisoftware.com:5000"),
        ("localhost/x", "localhost"),
        ("127.0.0.1:5000/x@sha256:00", "127.0.0.1:5000"),
        ("debian:12", "docker.io"),
    ],
)
def test_the_registry_of_an_image_is_the_one_that_the_engine_would_ask(image, host):
    assert host_of(image) == host


class Seen:
    """Stands in for a Context: the engine is real, and lines are kept."""

    def __init__(self, docker, registry, password):
        self.docker = docker
        self.job = job(registries={registry.host: "registry"})
        self.secret = {"registry": f"tau:{password}"}.__getitem__
        self.log = self
        self.lines = []

    def line(self, text):
        self.lines.append(text)


@pytest.fixture
def pushed(docker_client, registry):
    """An image that lies in the registry and not in the engine."""
    base = base_image(docker_client, "tau-test/base:latest", "tau-test")
    name = f"{registry.host}/2pisoftware/base"
    (user, password), *_ = registry.users.items()
    docker_client.api.tag(base, name, "latest")
    docker_client.api.push(name, "latest", auth_config={"username": user, "password": password})
    docker_client.api.remove_image(f"{name}:latest")
    yield f"{name}:latest", password
    for image in (f"{name}:latest", "tau-test/base:latest"):
        if docker_client.images.list(image):
            docker_client.api.remove_image(image)


@pytest.mark.engine
def test_a_base_in_our_registry_is_fetched_with_its_credentials(docker_client, registry, pushed):
    image, password = pushed
    refresh(f"FROM {image}\n", {}, Seen(docker_client, registry, password))
    assert docker_client.images.get(image)


@pytest.mark.engine
def test_a_base_that_the_registry_does_not_have_is_the_dockerfiles_fault(docker_client, registry):
    (_, password), *_ = registry.users.items()
    with pytest.raises(StepFailed, match=r"2pisoftware/none, which .* does not have"):
        refresh(f"FROM {registry.host}/2pisoftware/none\n", {}, Seen(docker_client, registry, password))


@pytest.mark.engine
def test_a_registry_that_refuses_us_is_ours_unless_the_base_is_here(docker_client, registry, pushed):
    image, password = pushed
    with pytest.raises(StepErrored, match="cannot be fetched"):
        refresh(f"FROM {image}\n", {}, Seen(docker_client, registry, "wrong"))
    refresh(f"FROM {image}\n", {}, Seen(docker_client, registry, password))
    seen = Seen(docker_client, registry, "wrong")
    refresh(f"FROM {image}\n", {}, seen)
    assert "building on the one that is here" in seen.lines[0]
