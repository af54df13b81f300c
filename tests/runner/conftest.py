"""A runner's world in memory, on a clock that a test moves; and a corner of the real engine, swept at the end."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import dataclass
from typing import Any

import pytest
from docker.errors import ImageNotFound

from infra.local.base import base_image
from infra.local.traces import remove_new_images, snapshot
from runner.signals import Signals
from tests.claiming import Desk
from tests.installation import installation
from tests.mailing import mailing
from tests.pacing import Clock, Pace
from tests.running import Engine

# Two sessions beside each other do not sweep what is the other one's.
SYSTEM = f"tau-test-runner-{os.getpid()}"
BASE = f"{SYSTEM}/base:latest"
HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


def locked(call, lock):
    def under_lock(*wanted):
        with lock:
            return call(*wanted)

    return under_lock


@pytest.fixture
def edge(monkeypatch, ses):
    """An installation whose mail is remembered, and which several threads may use."""
    with installation(monkeypatch) as made:
        real, one_by_one = made.client, threading.RLock()
        for service in ("dynamodb", "sqs", "s3"):
            # moto undoes a transaction by putting back what all tables held before it.
            monkeypatch.setattr(real(service), "_make_api_call", locked(real(service)._make_api_call, one_by_one))
        yield mailing(made, ses)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def pace(clock):
    """Whatever a test has started is over at its end. A message is hidden before anybody looks whether it was."""
    made = Pace(clock, at_once=["hide-"])
    yield made
    made.everything_ends()


@pytest.fixture
def docker():
    return Engine()


@pytest.fixture
def desk(edge, tmp_path, docker, pace):
    return Desk(edge, tmp_path, docker, pace)


@pytest.fixture
def signals():
    """What this very process is told by signals; its own handlers are back afterwards."""
    before = {number: signal.getsignal(number) for number in HANDLED}
    made = Signals()
    yield made
    for number, handler in before.items():
        signal.signal(number, handler)
    made._reading.close()
    made._writing.close()


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
