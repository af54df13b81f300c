"""A bundle in, the id of its image in the engine out: pulled by its name, or built of its Dockerfile."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from docker import DockerClient
from docker.errors import APIError, DockerException, ImageNotFound

from infra.local.eb_bundle import Bundle, context, registry_of

TAIL_LINES = 20
SEE = "Check snapshot logs for details."
ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


class DeployFailed(Exception):
    """The version does not run. Its text is what the instance's command printed."""


class Images:
    """The images of one system.

    Args:
        labels: what is built bears them.
    """

    def __init__(self, client: DockerClient, labels: Mapping[str, str]) -> None:
        self._client = client
        self._labels = labels
        self._pulled: set[str] = set()

    def of(self, bundle: Bundle, login: Callable[[str], dict[str, str]]) -> str:
        """The id of the bundle's image, pulled or built.

        Args:
            login: user and password for an image's registry; empty for none.

        Raises:
            DeployFailed: it cannot be had.
        """
        if bundle.image:
            return self._pull(bundle.image, login(bundle.image))
        for base in bundle.bases:
            if login(base):  # the engine does not know the bundle's credentials when it builds
                self._pull(base, login(base))
        return self._build(bundle)

    def port(self, image: str) -> int:
        """Where the image says that it listens."""
        ports: Iterable[str] = self._client.images.get(image).attrs["Config"].get("ExposedPorts") or ()
        return min((int(port.partition("/")[0]) for port in ports if not port.endswith("/udp")), default=80)

    def clean(self) -> None:
        """Remove every image that was pulled or built."""
        wanted: dict[str, str | list[str] | bool] = {
            "label": [f"{name}={value}" for name, value in self._labels.items()]
        }
        built = [tag for image in self._client.images.list(filters=wanted) for tag in image.tags]
        for name in [*built, *self._pulled]:
            # 404: somebody else removed it. 409: somebody else's container uses it, so it is not only ours.
            with suppress(ImageNotFound, APIError):
                self._client.images.remove(name)
        self._pulled.clear()

    def _pull(self, name: str, login: dict[str, str]) -> str:
        repository, reference = split(name)
        full = f"{repository}@{reference}" if reference.startswith("sha256:") else f"{repository}:{reference}"
        known = self._has(full)
        try:
            # Never None for no login: the SDK would then use what this machine's user logged in with.
            stream = self._client.api.pull(repository, tag=reference, stream=True, decode=True, auth_config=login)
            for _ in _lines(stream):
                pass
            image = self._client.images.get(full)
        except (DockerException, _Said) as error:
            where = f"{name} from {registry_of(name)}"
            raise DeployFailed(f"Failed to pull Docker image {where}: {error}. {SEE}") from error
        if not known:
            self._pulled.add(full)
        return str(image.id)

    def _build(self, bundle: Bundle) -> str:
        archive = context(bundle)
        tag = f"tau-local-eb:{hashlib.sha256(archive + self._labels['tau.system'].encode()).hexdigest()[:20]}"
        printed: list[str] = []
        try:
            stream = self._client.api.build(
                fileobj=archive,  # type: ignore[arg-type]  # with a custom context the SDK sends it as the body it is
                custom_context=True,
                tag=tag,
                labels=dict(self._labels),
                rm=True,
                forcerm=True,
                decode=True,
            )
            printed.extend(line.get("stream", "") for line in _lines(stream))
            return str(self._client.images.get(tag).id)
        except (DockerException, _Said) as error:
            said = last_lines("".join(printed))
            raise DeployFailed(f"Failed to build Docker image: {error}: {said}. {SEE}") from error

    def _has(self, name: str) -> bool:
        try:
            self._client.images.get(name)
        except ImageNotFound:
            return False
        return True


class _Said(Exception):
    """What a stream of the engine says went wrong: the SDK does not raise it."""


def _lines(stream: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for line in stream:
        if "error" in line:
            raise _Said(line["error"])
        yield line


def split(name: str) -> tuple[str, str]:
    """An image's repository, and its digest or tag; a tag beside a digest is left out, as the engine does.

    Source: https://pkg.go.dev/github.com/distribution/reference
    """
    repository, at, digest = name.partition("@")
    head, colon, tag = repository.rpartition(":")
    if not colon or "/" in tag:  # that colon is a port's
        head, tag = repository, "latest"
    return head, digest if at else tag


def last_lines(text: str, lines: int = TAIL_LINES) -> str:
    return "\n".join(ANSI.sub("", text).strip().splitlines()[-lines:])
