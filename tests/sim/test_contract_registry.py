"""The registries in memory and distribution's own server live through the same stories, and answer the same."""

import hashlib
import json
import random

import pytest
import requests

from chalicelib.errors import StepErrored
from runner.registry import Credentials, Registry
from tests.sim.edges.engine import MemoryRegistries, digest_of

_IMAGES, _TAGS = range(4), ("latest", "develop", "r-1")
_KIND = "application/vnd.oci.image.manifest.v1+json"
_CONFIG_KIND = "application/vnd.oci.image.config.v1+json"


class Memory:
    def __init__(self, name):
        self._registries, self._name = MemoryRegistries(), f"code.example:5000/{name}"
        self.repository = self._registries.open("code.example:5000", name)

    def push(self, image, tag):
        self._registries.push(self._name, tag, digest_of(f"image {image}"))

    @staticmethod
    def digest_of(image):
        return digest_of(f"image {image}")


class Real:
    """An image is a manifest and a configuration without layers, put there as an engine puts it."""

    def __init__(self, name, registry):
        (login,) = registry.users.items()
        self._base, self._session = f"http://{registry.host}/v2/{name}", requests.Session()
        self._session.auth, self._session.trust_env = login, False
        self.repository = Registry(registry.host, name, Credentials(*login))

    def push(self, image, tag):
        config = self._config(image)
        place = self._session.post(f"{self._base}/blobs/uploads/").headers["Location"]
        self._session.put(place, params={"digest": _sha256(config)}, data=config).raise_for_status()
        kind = {"Content-Type": _KIND}
        self._session.put(f"{self._base}/manifests/{tag}", data=self._manifest(image), headers=kind).raise_for_status()

    def digest_of(self, image):
        return _sha256(self._manifest(image))

    @staticmethod
    def _config(image):
        fields = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}, "author": image}
        return json.dumps(fields).encode()

    def _manifest(self, image):
        config = self._config(image)
        about = {"mediaType": _CONFIG_KIND, "size": len(config), "digest": _sha256(config)}
        return json.dumps({"schemaVersion": 2, "mediaType": _KIND, "config": about, "layers": []}).encode()


def _sha256(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def story(seed, length=50):
    """What somebody does to one repository: (what, image, tag)."""
    choice = random.Random(seed)
    return [
        (choice.choice(["push", "digest", "digest", "tag"]), str(choice.choice(_IMAGES)), choice.choice(_TAGS))
        for _ in range(length)
    ]


def lived(world, steps):
    """What was answered to each step; a digest by the image that it is of."""
    images = {world.digest_of(str(image)): str(image) for image in _IMAGES}
    return [(what, tag, _answer(world, what, image, tag, images)) for what, image, tag in steps]


def _answer(world, what, image, tag, images):
    if what == "digest":
        return images.get(world.repository.digest(tag))
    try:
        (world.push(image, tag) if what == "push" else world.repository.tag(world.digest_of(image), tag))
    except StepErrored as error:
        return "404" if "answers 404 to read" in str(error) else str(error)
    return "done"


@pytest.mark.parametrize("seed", range(2))
def test_whatever_is_pushed_asked_and_moved_both_answer_the_same(registry, seed):
    name, steps = f"tau-test-sim/contract-{seed}", story(seed)
    answers = lived(Real(name, registry), steps)
    assert lived(Memory(name), steps) == answers
    said = {answer for _, _, answer in answers}
    assert {"done", "404", None} <= said, "the story has tags that are not there, and digests that are not"
