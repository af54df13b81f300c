"""A corner of the real engine for these tests, swept when they are over."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import pytest
from docker.errors import ImageNotFound

from infra.local.base import base_image
from infra.local.traces import remove_new_images, snapshot

# Two sessions beside each other do not sweep what is the other one's.
SYSTEM = f"tau-test-runner-{os.getpid()}"
BASE = f"{SYSTEM}/base:latest"


@dataclass(frozen=True)
class Lab:
    """The engine, the name of a base image in it, and the system whose labels everything bears."""

    client: Any
    base: str = BASE
    system: str = SYSTEM

    def containers(self):
        return self.client.api.containers(all=True, filters={"label": f"tau.system={SYSTEM}"})

    def networks(self):
        return self.client.api.networks(filters={"label": f"tau.system={SYSTEM}"})

    def labels(self, image):
        return self.client.images.get(image).labels

    def name(self, image):
        """The name of an image of this session's own."""
        return f"{self.system}/{image}"


@pytest.fixture(scope="session")
def lab(docker_client):
    before = snapshot(docker_client)
    base_image(docker_client, BASE, SYSTEM)
    made = Lab(docker_client)
    yield made
    for container in made.containers():
        docker_client.api.remove_container(container["Id"], force=True, v=True)
    for network in made.networks():
        docker_client.api.remove_network(network["Id"])
    try:
        remove_new_images(docker_client, before, BASE, SYSTEM)
    except ImageNotFound:
        remove_new_images(docker_client, before, None, SYSTEM)
