"""Registries in memory, and a Docker engine that pushes to them."""

import hashlib
from collections import defaultdict
from dataclasses import dataclass, field
from functools import lru_cache, partial

from docker.errors import APIError, ImageNotFound

from chalicelib.errors import StepErrored
from tests.running import Engine
from tests.sim.edges.point import at_once


@dataclass
class Repository:
    """One image name in one registry.

    Args:
        tags: tag -> its digest now.
        history: tag -> every digest that it was ever moved to, oldest first.
    """

    tags: dict[str, str] = field(default_factory=dict)
    manifests: set[str] = field(default_factory=set)
    history: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def move(self, tag, digest):
        self.tags[tag] = digest
        self.history[tag].append(digest)


class MemoryRegistries:
    """Every registry there is: `repositories` by (host, image name)."""

    def __init__(self, *, point=at_once):
        self._point = point
        self.repositories = defaultdict(Repository)

    def open(self, host, name, login=None):  # noqa: ARG002 - as runner.registry.Registry is made
        return MemoryRegistry(host, name, self.repositories[host, name], self._point)

    def push(self, reference, tag, digest):
        """What an engine does: the image by its digest, and the tag."""
        repository = self.repositories[host_and_name(reference)]
        repository.manifests.add(digest)
        repository.move(tag, digest)


class MemoryRegistry:
    """runner.registry.Registry."""

    def __init__(self, host, name, repository, point):
        self._host, self._name, self._repository, self._point = host, name, repository, point

    def digest(self, tag):
        return self._point("registry.digest", partial(self._repository.tags.get, tag))

    def tag(self, digest, tag):
        return self._point("registry.tag", partial(self._tag, digest, tag))

    def _tag(self, digest, tag):
        if digest not in self._repository.manifests:
            raise StepErrored(f"the registry {self._host} answers 404 to read {digest} of {self._name}")
        self._repository.move(tag, digest)


class MemoryEngine(Engine):
    """A Docker engine that can push, too; each of its calls goes through the hook."""

    def __init__(self, registries, *, point=at_once):
        super().__init__()
        self._registries, self._point = registries, point

    def tag(self, image_id, name, tag):
        self._point("docker.tag", partial(self._tag, image_id, f"{name}:{tag}"))

    def push(self, name, *, tag, stream, decode, auth_config=None):  # noqa: ARG002 - the SDK's arguments
        assert stream
        assert decode
        yield from self._point("docker.push", partial(self._push, name, tag))

    def inspect_image(self, image_id):
        return self._point("docker.inspect_image", partial(super().inspect_image, image_id))

    def history(self, image_id):
        return self._point("docker.history", partial(self._history, image_id))

    def images(self, *, all=False, filters=None):  # noqa: A002 - the SDK's name
        return self._point("docker.images", partial(super().images, all=all, filters=filters))

    def volumes(self, *, filters):
        return self._point("docker.volumes", partial(super().volumes, filters=filters))

    def containers(self, *, all, filters=None):  # noqa: A002 - the SDK's name
        return self._point("docker.containers", partial(super().containers, all=all, filters=filters))

    def networks(self, *, filters):
        return self._point("docker.networks", partial(super().networks, filters=filters))

    def create_container(self, name, labels):
        """Of the SDK's arguments what matters here."""
        self._point("docker.create_container", partial(self._create, name, labels))

    def start(self, begin):
        """`begin` is what happens then."""
        self._point("docker.start", begin)

    def remove_container(self, name, *, force, v):
        self._point("docker.remove_container", partial(super().remove_container, name, force=force, v=v))

    def remove_network(self, name):
        self._point("docker.remove_network", partial(super().remove_network, name))

    def remove_image(self, name, *, noprune=False):  # noqa: ARG002 - the SDK's argument
        self._point("docker.remove_image", partial(self._untag, name))

    def _history(self, image_id):
        """Nothing of it is remembered here but that there is an image."""
        super().inspect_image(image_id)
        return []

    def _create(self, name, labels):
        self._answer()
        if name in self.container_list:
            raise APIError(f"Conflict. The container name {name} is already in use")
        self.container_list[name] = {"Id": name, "ImageID": "", "State": "running", "Labels": dict(labels)}

    def _tag(self, image_id, reference):
        self._answer()
        if image_id not in self.image_list:
            raise ImageNotFound(image_id)
        image = self.image_list[image_id]
        image["RepoTags"] = sorted({*(image["RepoTags"] or ()), reference})

    def _push(self, name, tag):
        self._answer()
        image_id = self._image_of(f"{name}:{tag}")
        if image_id is None:
            return [{"error": f"An image does not exist locally with the tag: {name}"}]
        digest = digest_of(image_id)
        self._registries.push(name, tag, digest)
        return [{"status": f"The push refers to repository [{name}]"}, {"aux": {"Tag": tag, "Digest": digest}}]

    def _untag(self, name):
        """One name less; the image goes with its last."""
        image_id = self._image_of(name)
        if image_id and len(self.image_list[image_id]["RepoTags"]) > 1:
            self._answer()
            image = self.image_list[image_id]
            image["RepoTags"] = [tag for tag in image["RepoTags"] if tag != name]
        else:
            super().remove_image(name)

    def _image_of(self, reference):
        return next((key for key, image in self.image_list.items() if reference in (image["RepoTags"] or ())), None)


@lru_cache(maxsize=4096)
def digest_of(image_id):
    """What a registry calls an image, whichever registry it is."""
    return f"sha256:{hashlib.sha256(image_id.encode()).hexdigest()}"


def host_and_name(reference):
    """The other way round of runner.registry.reference."""
    host, slash, name = reference.partition("/")
    return (host, name) if slash and ("." in host or ":" in host or host == "localhost") else ("docker.io", reference)
