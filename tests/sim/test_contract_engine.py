"""The engine in memory and the real one live through the same stories of images and containers, and answer the same."""

import os
import random

import pytest
from docker.errors import APIError, NotFound

from infra.local.base import base_image
from tests.sim.edges.engine import MemoryEngine, MemoryRegistries

_SYSTEM = f"tau-test-sim-{os.getpid()}"
_BASE = f"{_SYSTEM}/base:latest"
_IMAGES, _TAGS, _CONTAINERS = range(3), ("r-1", "r-2", "latest"), range(3)
_MINE = {"label": [f"tau.system={_SYSTEM}", "tau.run"]}
_FIT = ("tag", "tag", "untag", "has", "images", "create", "create", "remove", "containers")


def labels_of(number):
    return {"tau.system": _SYSTEM, "tau.run": f"r{number}", "tau.kind": "step"}


class Memory:
    def __init__(self):
        self.api = MemoryEngine(MemoryRegistries())
        self.ids = [f"sha256:{number}" for number in _IMAGES]
        for number, image_id in enumerate(self.ids):
            labels = {name.replace(".", "_"): value for name, value in labels_of(number).items()}
            self.api.add_image(image_id, f"{_SYSTEM}/{number}:made", **labels)

    def create(self, name, labels):
        self.api.create_container(name, labels)


class Real:
    def __init__(self, client):
        self.api = client.api
        self.base = base_image(client, _BASE, _SYSTEM)
        self.ids = [self._made(number) for number in _IMAGES]

    def _made(self, number):
        changes = [f"LABEL {name}={value}" for name, value in labels_of(number).items()]
        container = self.api.create_container(self.base, command=["/bin/true"])["Id"]
        made = self.api.commit(container, f"{_SYSTEM}/{number}", "made", changes=changes)["Id"]
        self.api.remove_container(container, force=True, v=True)
        return made

    def create(self, name, labels):
        self.api.create_container(self.base, command=["/bin/true"], labels=labels, name=name)

    def sweep(self):
        mine = {"label": [f"tau.system={_SYSTEM}"]}
        for container in self.api.containers(all=True, filters=mine):
            self.api.remove_container(container["Id"], force=True, v=True)
        # The base last: the others stand on it.
        for image in sorted(self.api.images(filters=mine), key=lambda one: one["Id"] == self.base):
            self.api.remove_image(image["Id"], force=True)


@pytest.fixture
def real(docker_client):
    made = Real(docker_client)
    yield made
    made.sweep()


def lived(world, seed, length=80):
    """What came of each step of a story."""
    choice = random.Random(seed)
    return [
        (what, image, tag, container, _answer(world, what, image, tag, container))
        for what, image, tag, container in (
            (choice.choice(_FIT), choice.choice(_IMAGES), choice.choice(_TAGS), choice.choice(_CONTAINERS))
            for _ in range(length)
        )
    ]


def _answer(world, what, image, tag, container):
    try:
        return getattr(_Steps, what)(world, image, tag, f"{_SYSTEM}-{container}")
    except NotFound:
        return "not found"
    except APIError:
        return "refused"


class _Steps:
    """Each step, and what of its answer the programs read."""

    @staticmethod
    def tag(world, image, tag, _):
        world.api.tag(world.ids[image], f"{_SYSTEM}/{image}", tag)
        return "done"

    @staticmethod
    def untag(world, image, tag, _):
        world.api.remove_image(f"{_SYSTEM}/{image}:{tag}")
        return "done"

    @staticmethod
    def has(world, image, *_):
        return world.api.inspect_image(world.ids[image])["Id"] == world.ids[image]

    @staticmethod
    def images(world, *_):
        found = world.api.images(filters=_MINE)
        return sorted((one["Labels"]["tau.run"], *sorted(one["RepoTags"])) for one in found)

    @staticmethod
    def create(world, image, _, name):
        world.create(name, labels_of(image))
        return "done"

    @staticmethod
    def remove(world, _image, _tag, name):
        world.api.remove_container(name, force=True, v=True)
        return "done"

    @staticmethod
    def containers(world, *_):
        return sorted(one["Labels"]["tau.run"] for one in world.api.containers(all=True, filters=_MINE))


@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_tagged_made_and_removed_both_answer_the_same(real, seed):
    answers = lived(real, seed)
    assert lived(Memory(), seed) == answers
    said = [answer for *_, answer in answers]
    assert {"done", "not found", "refused"} <= {answer for answer in said if isinstance(answer, str)}
