"""An image's name as people and FROM lines write it in; its registry, its plain name and its tag out."""

from __future__ import annotations

HUB = "docker.io"


def host_of(image: str) -> str:
    """The registry that an image's name means, as the engine reads it.

    Source: https://github.com/distribution/reference/blob/main/normalize.go (splitDockerDomain)
    """
    first, slash, _ = image.partition("/")
    return first if slash and (set(first) & {".", ":"} or first == "localhost") else HUB


def split(image: str) -> tuple[str, str]:
    """The name with its host as written, and its tag or digest; `latest` where it has neither."""
    name, at, digest = image.partition("@")
    if at:
        # A tag beside a digest says nothing more.
        return (name.rpartition(":")[0] if ":" in name.rpartition("/")[2] else name), digest
    head, colon, tag = image.rpartition(":")
    return (head, tag) if colon and "/" not in tag else (image, "latest")


def plain(name: str) -> str:
    """A name without its host, and without Docker Hub's `library/`, which people leave out."""
    host = host_of(name)
    return name.removeprefix(f"{host}/").removeprefix("library/" if host == HUB else "")


def parts(image: str) -> tuple[str, str, str | None]:
    """Registry, plain name and tag; no tag where it names a digest."""
    name, tag = split(image)
    return host_of(image), plain(name), None if "@" in image else tag
