import socket
import time
from types import SimpleNamespace

import pytest
from docker.errors import ImageNotFound

from chalicelib.errors import StepErrored, StepFailed
from chalicelib.graph import Base
from infra.local.base import base_image
from runner.bases import bases, built_on, host_of, refresh, resolved
from runner.dockerfiles import standing_on, without_frontend
from runner.pace import Real
from runner.stopping import Stopped, Stopping
from tests.installation import job
from tests.running import stopping_soon, within


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
        ("ARG BASE\nFROM $BASE\n", {"BASE": "php:8"}, ("php:8",)),
        ("ARG BASE\nFROM $BASE\n", {}, ()),
        ('ARG B="a/b:1"\nFROM ${B}\n', {}, ("a/b:1",)),
        ("ARG V=1 R=x/y\nFROM $R:$V\n", {}, ("x/y:1",)),
        ("ARG V=8\nARG TAG=${V}-fpm\nFROM php:$TAG\n", {}, ("php:8-fpm",)),
        ("FROM \\\n  # the base\n  php:8 \\\n  AS build\nFROM build\n", {}, ("php:8",)),
        ('FROM php:8\nRUN mysql -e "SELECT 1 \\\n  FROM users"\n', {}, ("php:8",)),
        ("FROM php:8\r\nRUN true\r\nFROM nginx\r\n", {}, ("php:8", "nginx")),
        ("FROM 127.0.0.1:5000/x:1@sha256:00ff\nFROM !!\n", {}, ("127.0.0.1:5000/x:1@sha256:00ff",)),
        ('ARG B="open\nFROM $B\nFROM php:8\n', {}, ("php:8",)),
    ],
)
def test_the_images_that_a_dockerfile_stands_on_are_found(dockerfile, args, expected):
    assert bases(dockerfile, args) == expected


@pytest.mark.parametrize(
    ("dockerfile", "args", "expected"),
    [
        ("FROM php:8\nRUN true", {}, "FROM php@sha256:00\nRUN true"),
        ("ARG V=8\nFROM --platform=$P php:$V as base\n", {}, "ARG V=8\nFROM --platform=$P php@sha256:00 as base\n"),
        (
            "FROM \\\n  # the base\n  php:8 \\\n  AS build\nRUN true\n",
            {},
            "FROM php@sha256:00 AS build\n\n\n\nRUN true\n",
        ),
        ("FROM php:8 AS php\nFROM php\nFROM nginx\n", {}, "FROM php@sha256:00 AS php\nFROM php\nFROM nginx\n"),
        ("ARG V\nFROM php:$V\n", {"V": "8"}, "ARG V\nFROM php@sha256:00\n"),
        ("# FROM php:8\nRUN echo \\\nFROM php:8\n", {}, "# FROM php:8\nRUN echo \\\nFROM php:8\n"),
    ],
)
def test_a_stage_begins_from_another_image_and_nothing_else_is_changed(dockerfile, args, expected):
    assert standing_on(dockerfile, args, {"php:8": "php@sha256:00"}) == expected


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
        self.stopping, self.pace = Stopping(), Real()

    def remaining_s(self):
        return 600.0

    def line(self, text):
        self.lines.append(text)

    def tail(self):
        return ()


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


@pytest.mark.engine
def test_a_registry_that_is_silent_keeps_nobody_who_asks_to_stop(docker_client):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        registry = SimpleNamespace(host=f"127.0.0.1:{silent.getsockname()[1]}")
        seen = Seen(docker_client, registry, "any")
        with within(10), stopping_soon(seen.stopping), pytest.raises(Stopped):
            refresh(f"FROM {registry.host}/2pisoftware/base\n", {}, seen)


@pytest.mark.engine
def test_a_registry_that_is_silent_has_failed_at_the_runs_deadline(docker_client):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        registry = SimpleNamespace(host=f"127.0.0.1:{silent.getsockname()[1]}")
        seen, until = Seen(docker_client, registry, "any"), time.monotonic() + 1
        seen.remaining_s = lambda: until - time.monotonic()
        with within(10), pytest.raises(StepFailed, match=r"the pull of .*/base took longer than the run's 1h"):
            refresh(f"FROM {registry.host}/2pisoftware/base\n", {}, seen)


# --- what a FROM line meant ------------------------------------------------------------------------------


class Inspected:
    """An engine that has these images: reference -> (id, digests by repository)."""

    def __init__(self, **images):
        self.api, self.docker = self, self
        self.there = images

    def inspect_image(self, image):
        if image not in self.there:
            raise ImageNotFound(image)
        image_id, *digests = self.there[image]
        return {"Id": image_id, "RepoDigests": digests or None}


@pytest.mark.parametrize(
    ("image", "digests", "expected"),
    [
        (
            "code.example:5000/2pisoftware/crm:1.2",
            ("2pisoftware/crm@sha256:b", "code.example:5000/2pisoftware/crm@sha256:a"),
            Base("code.example:5000", "2pisoftware/crm", "1.2", "sha256:a"),
        ),
        ("debian", ("debian@sha256:d",), Base("docker.io", "debian", "latest", "sha256:d")),
        ("docker.io/library/debian:12", ("debian@sha256:d",), Base("docker.io", "debian", "12", "sha256:d")),
        ("2pisoftware/own:x", (), Base("docker.io", "2pisoftware/own", "x", "sha256:id", local=True)),
        ("debian:12@sha256:d", ("debian@sha256:d",), Base("docker.io", "debian", None, "sha256:d")),
    ],
)
def test_a_base_is_its_digest_in_the_registry_that_the_line_names_or_its_id(image, digests, expected):
    assert resolved(image, Inspected(**{image: ("sha256:id", *digests)})) == expected


def test_a_base_whose_tag_moved_while_it_was_built_is_the_one_that_was_there_before():
    engine = Inspected(a=("sha256:new",), b=("sha256:b",))
    before = [Base("docker.io", "a", "latest", "sha256:old")]
    assert [one.digest for one in built_on("FROM a\nFROM b\n", {}, before, engine)] == ["sha256:old", "sha256:b"]


@pytest.mark.engine
def test_the_digest_of_a_base_is_the_one_that_its_registry_tells(docker_client, registry, pushed):
    image, password = pushed
    (base,) = refresh(f"FROM {image}\n", {}, Seen(docker_client, registry, password))
    assert base.digest == registry.manifest_digest("2pisoftware/base", "latest")
    assert (base.registry, base.name, base.tag) == (registry.host, "2pisoftware/base", "latest")


# --- a frontend is a program that reads the Dockerfile ----------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "# syntax=docker/dockerfile:1",
        "#syntax = docker/dockerfile:1.4@sha256:" + "0" * 64,
        "# Syntax=docker.io/docker/dockerfile",
        "// syntax=docker/dockerfile:1",
    ],
)
def test_dockers_own_frontend_is_the_engines_and_no_line_moves(line):
    assert without_frontend(f"{line}\nFROM debian\n") == "\nFROM debian\n"


@pytest.mark.parametrize(
    "text",
    [
        "# syntax=evil/frontend\nFROM debian\n",
        "#syntax=docker/dockerfile-evil:1\n",
        "# escape=`\n# a comment\n\n#  SYNTAX =  evil/frontend:latest\r\nFROM debian\n",
        "\ufeff# syntax=evil/frontend\n",
        "#!/usr/bin/env docker\n// syntax=evil/frontend\nFROM debian\n",
        "#\x0csyntax=evil/frontend\n",
        '{"syntax": "evil/frontend"}',
        '#!/bin/x\n {\n"syntax":\n"evil/frontend"}',
    ],
)
def test_no_other_frontend_gets_to_see_anything(text):
    with pytest.raises(StepFailed, match="frontend"):
        without_frontend(text)


@pytest.mark.parametrize("text", ["FROM debian\n# syntax=later\n", "FROM debian\nRUN echo '{}'\n", "", "# a page\n"])
def test_what_asks_for_none_stays_as_it_is(text):
    assert without_frontend(text) == text
