"""The Docker engine, spoken to by the SDK: one place turns its silence and its refusals into our errors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import docker
import requests.exceptions
import urllib3.exceptions
from docker.errors import APIError, DockerException, NotFound

from chalicelib.errors import StepErrored


def connect(*, timeout_s: int = 3600) -> docker.DockerClient:
    """The engine of DOCKER_HOST, or of this machine.

    Args:
        timeout_s: for how long it may say nothing. Long: a silent build step is no dead engine, and every wait of ours
            has its own deadline.

    Raises:
        StepErrored: none answers; says what to do.
    """
    try:
        return docker.from_env(timeout=timeout_s)
    except DockerException as error:
        raise StepErrored(unanswered(error)) from error


def unanswered(error: BaseException) -> str:
    """What is wrong where no engine is found, and what to do about it."""
    reason = _of_system(error)
    if isinstance(reason, PermissionError):
        hint = "this user may not open its socket: root and the group `docker` may, as a rule"
    else:
        hint = "start it, or set DOCKER_HOST to where it is (`docker context ls` shows that)"
    return f"the Docker engine does not answer ({reason.strerror if reason else error}): {hint}"


def _of_system(error: BaseException) -> OSError | None:
    """The first thing that went wrong, of all that was raised because of it, as far as the system has words for it."""
    found, at = None, error.__cause__ or error.__context__
    while at is not None:
        found = at if isinstance(at, OSError) and at.strerror else found
        at = at.__cause__ or at.__context__
    return found


@contextlib.contextmanager
def answering() -> Iterator[None]:
    """Whatever the engine does wrong inside becomes StepErrored.

    Raises:
        StepErrored: it does not answer, or refuses; naming what it said.
    """
    try:
        yield
    except APIError as error:
        raise StepErrored(f"the Docker engine refused: {error.explanation or error}") from error
    except (DockerException, requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as error:
        raise StepErrored(f"the Docker engine does not answer: {error}") from error


def has(client: Any, image_id: str) -> bool:
    """Whether the engine has an image."""
    with answering():
        try:
            client.api.inspect_image(image_id)
        except NotFound:
            return False
    return True


def label_value(text: str) -> str:
    """A text as an image's label holds it: percent-encoded where a Dockerfile reads quotes, variables and escapes."""
    return quote(text, safe="/:@+.,=-_ ")
