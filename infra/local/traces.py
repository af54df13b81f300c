"""A Docker engine in, what is new on it since a moment out; and the images among that which are ours, removed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import docker
from docker.errors import APIError, NotFound

SYSTEM_LABEL = "tau.system"
UNTAGGED = "<none>:<none>"


@dataclass(frozen=True)
class Snapshot:
    """Everything that an engine holds, by id; tags by name."""

    images: frozenset[str]
    tags: frozenset[str]
    containers: frozenset[str]
    networks: frozenset[str]
    volumes: frozenset[str]


def snapshot(client: docker.DockerClient) -> Snapshot:
    """What the engine holds now, the untagged layers of builds too."""
    images = _images(client)
    return Snapshot(
        images=frozenset(image["Id"] for image in images),
        tags=frozenset(tag for image in images for tag in _tags(image)),
        containers=frozenset(container["Id"] for container in client.api.containers(all=True)),
        networks=frozenset(network["Id"] for network in client.api.networks()),
        volumes=frozenset(volume["Name"] for volume in client.api.volumes()["Volumes"] or ()),
    )


def leftovers(client: docker.DockerClient, before: Snapshot) -> tuple[str, ...]:
    """What is there now and was not before, each as `container 3f2a… (name)`; sorted, empty when nothing is."""
    images, now = _images(client), snapshot(client)
    names = {container["Id"]: container["Names"] for container in client.api.containers(all=True)}
    names |= {network["Id"]: [network["Name"]] for network in client.api.networks()}
    names |= {image["Id"]: _tags(image) for image in images}
    found = []
    for kind in ("images", "tags", "containers", "networks", "volumes"):
        for key in getattr(now, kind) - getattr(before, kind):
            called = ", ".join(names.get(key) or ())
            found.append(
                f"{kind.removesuffix('s')} {key.removeprefix('sha256:')[:40]}" + (f" ({called})" if called else "")
            )
    return tuple(sorted(found))


def remove_new_images(
    client: docker.DockerClient, before: Snapshot, base: str | None = None, system: str | None = None
) -> int:
    """Remove the images and tags made since `before` that are ours; returns how many images went.

    Ours is what carries the label `tau.system` = `system`, or descends from the image `base`. A layer that a build left
    without a tag or label is found by its parents. Whatever somebody else made meanwhile stays.
    """
    images = _images(client)
    ours = _ours(images, _id_of(client, base) if base else None, system)
    for tag in sorted({tag for image in images if image["Id"] in ours for tag in _tags(image)} - before.tags):
        _remove(client, tag)
    # A layer goes only after those that stand on it: those that can go, then again.
    while any(_remove(client, image) for image in ours - before.images):
        pass
    return len(ours - before.images - snapshot(client).images)


def _images(client: docker.DockerClient) -> list[Mapping[str, Any]]:
    images: list[Mapping[str, Any]] = client.api.images(all=True)
    return images


def _tags(image: Mapping[str, Any]) -> list[str]:
    return [tag for tag in image["RepoTags"] or () if tag != UNTAGGED]


def _ours(images: Iterable[Mapping[str, Any]], base_id: str | None, system: str | None) -> set[str]:
    images = list(images)
    ours = {image["Id"] for image in images if system and (image["Labels"] or {}).get(SYSTEM_LABEL) == system}
    ours |= {base_id} if base_id else set()
    while True:
        children = {image["Id"] for image in images if image.get("ParentId") in ours} - ours
        if not children:
            return ours
        ours |= children


def _id_of(client: docker.DockerClient, name: str) -> str:
    return str(client.images.get(name).id)


def _remove(client: docker.DockerClient, image: str) -> bool:
    """Whether it went; False for one that others stand on, or that is gone already."""
    try:
        # noprune: parents without a tag that were there before are not ours to take along.
        client.api.remove_image(image, force=True, noprune=True)
    except NotFound:
        return False
    except APIError as error:
        if error.status_code == 409:
            return False
        raise
    return True
