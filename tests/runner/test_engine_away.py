"""Where no engine is found: what is wrong, and what to do."""

import gc
import socket

import pytest
from docker.errors import DockerException

from chalicelib.errors import StepErrored
from runner import images

# docker's client leaves open the socket by which it did not come through.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


@pytest.fixture(autouse=True)
def _closed():
    yield
    gc.collect()


@pytest.fixture
def refusing(tmp_path):
    """A socket at which nobody listens."""
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "refusing"))
        yield f"unix://{tmp_path}/refusing"


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("unix:///nowhere/docker.sock", "No such file or directory"),
        ("tcp://127.0.0.1:1", "Connection refused"),
        (None, "Connection refused"),
    ],
)
def test_one_that_is_not_there_is_missed_in_one_plain_sentence(monkeypatch, refusing, address, why):
    monkeypatch.setenv("DOCKER_HOST", address or refusing)
    with pytest.raises(StepErrored) as caught:
        images.connect()
    assert str(caught.value) == (
        f"the Docker engine does not answer ({why}):"
        " start it, or set DOCKER_HOST to where it is (`docker context ls` shows that)"
    )


def test_who_may_not_open_its_socket_is_told_so():
    error = DockerException("Error while fetching server API version: …")
    error.__cause__ = PermissionError(13, "Permission denied")
    said = images.unanswered(error)
    assert said.startswith("the Docker engine does not answer (Permission denied): this user may not open its socket")


def test_what_is_wrong_by_itself_is_said_as_it_is(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "carrier-pigeon://here")
    with pytest.raises(StepErrored, match="carrier-pigeon"):
        images.connect()
