"""An engine and a system's name in, everything on it that bears the name removed; what is left is named."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import docker
from docker.errors import APIError, NotFound

from infra.local.traces import SYSTEM_LABEL, Snapshot, remove_new_images

_NOTHING = Snapshot(*(frozenset[str]() for _ in range(5)))


def sweep(client: docker.DockerClient, system: str) -> int:
    """Remove the containers, networks and images of a system; returns how many there were.

    Its base image bears the label, and so does every layer that was built upon it.
    """
    there = len(left(client, system))
    ours = _filter(system)
    for container in client.api.containers(all=True, filters=ours):
        with suppress(NotFound):
            client.api.remove_container(container["Id"], force=True, v=True)
    for network in client.api.networks(filters=ours):
        with suppress(NotFound, APIError):  # 403: somebody's own container is still in it
            client.api.remove_network(network["Id"])
    remove_new_images(client, _NOTHING, system=system)
    return there


def left(client: docker.DockerClient, system: str) -> tuple[str, ...]:
    """What bears a system's name, as `container tau-…`, `network tau-…`, `image sha256:…`; sorted."""
    ours = _filter(system)
    return tuple(
        sorted(
            [
                *(f"container {_name(container)}" for container in client.api.containers(True, filters=ours)),
                *(f"network {network['Name']}" for network in client.api.networks(filters=ours)),
                *(f"image {image['Id'][:19]}" for image in client.api.images(all=True, filters=ours)),
            ]
        )
    )


def _name(container: Mapping[str, Any]) -> str:
    # One that is just being removed has none any more.
    names = container.get("Names") or [container["Id"][:12]]
    return str(names[0]).lstrip("/")


def _filter(system: str) -> dict[str, str | list[str]]:
    return {"label": [f"{SYSTEM_LABEL}={system}"]}
