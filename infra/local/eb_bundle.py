"""A source bundle's bytes in, what to run out: Dockerrun.aws.json version 1, a Dockerfile, or both.

Source: https://docs.aws.amazon.com/elasticbeanstalk/latest/dg/single-container-docker-configuration.html
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import re
import shlex
import stat
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DOCKERRUN = "Dockerrun.aws.json"
FROM = re.compile(r"^\s*FROM\s+(?:--\S+\s+)*(\S+)", re.IGNORECASE | re.MULTILINE)
DOCKER_HUB = "index.docker.io"


class BadBundle(Exception):
    """Nothing that Elastic Beanstalk's Docker platform could run. Its text is the event's."""


@dataclass(frozen=True)
class Bundle:
    """What to run.

    Args:
        image: the name of an image to pull; None = build the Dockerfile.
        ignored_image: an image that Dockerrun.aws.json names beside a Dockerfile: the Dockerfile wins.
        bases: the images that the Dockerfile builds on.
        port: where the container listens; None = what the image exposes.
        authentication: bucket and key of the registry's credentials.
    """

    archive: bytes
    image: str | None = None
    ignored_image: str | None = None
    bases: tuple[str, ...] = ()
    port: int | None = None
    authentication: tuple[str, str] | None = None
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()


def read(archive: bytes) -> Bundle:
    """What a zip file says should run.

    Raises:
        BadBundle: it is no zip file, holds neither file, or Dockerrun.aws.json cannot be used.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as files:
            names = set(files.namelist())
            dockerrun = files.read(DOCKERRUN) if DOCKERRUN in names else None
            dockerfile = files.read("Dockerfile") if "Dockerfile" in names else None
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise BadBundle(f"The source bundle is not a valid zip file: {error}") from error
    if dockerrun is None and dockerfile is None:
        raise BadBundle(f"Dockerfile and {DOCKERRUN} are both missing, abort deployment")
    said = _dockerrun(dockerrun) if dockerrun is not None else {}
    image = _text(_section(said, "Image").get("Name"), "Image.Name")
    if dockerfile is None and not image:
        raise BadBundle(f"{DOCKERRUN} names no image (Image.Name), and there is no Dockerfile")
    return Bundle(
        archive=archive,
        image=image if dockerfile is None else None,
        ignored_image=image if dockerfile is not None else None,
        bases=tuple(FROM.findall((dockerfile or b"").decode(errors="replace"))),
        port=_port(said),
        authentication=_authentication(said),
        entrypoint=tuple(shlex.split(_text(said.get("Entrypoint"), "Entrypoint") or "")),
        command=tuple(shlex.split(_text(said.get("Command"), "Command") or "")),
    )


def context(bundle: Bundle) -> bytes:
    """The bundle as the tar file that a Docker engine builds from, with modes and links as they were."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(bundle.archive)) as files, tarfile.open(fileobj=out, mode="w") as tar:
        for entry in files.infolist():
            member, content = tarfile.TarInfo(entry.filename.rstrip("/")), files.read(entry)
            mode = entry.external_attr >> 16
            member.mode = stat.S_IMODE(mode) or (0o755 if entry.is_dir() else 0o644)
            if entry.is_dir():
                member.type = tarfile.DIRTYPE
            elif stat.S_ISLNK(mode):
                member.type, member.linkname = tarfile.SYMTYPE, content.decode()
            else:
                member.size = len(content)
            tar.addfile(member, io.BytesIO(content) if member.isreg() else None)
    return out.getvalue()


def credentials(dockercfg: bytes, image: str) -> dict[str, str]:
    """User and password for the registry of an image; empty where the file names it not.

    Args:
        dockercfg: Docker's old format, `{"https://host:port": {"auth": …, "email": …}}`: config.json is not understood.

    Raises:
        BadBundle: the file is in another format.
    """
    try:
        entries = json.loads(dockercfg)
        if not isinstance(entries, dict) or "auths" in entries:
            raise BadBundle(
                "The authentication file must be in the .dockercfg format: a `docker login` of today writes another"
            )
        for address, entry in entries.items():
            if _host_of_address(address) == registry_of(image):
                user, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
                return {"username": user, "password": password}
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise BadBundle(f"The authentication file is not in the .dockercfg format: {error!r}") from error
    return {}


def registry_of(image: str) -> str:
    """The host and port that an image is pulled from."""
    first, slash, _ = image.partition("/")
    if slash and (first == "localhost" or "." in first or ":" in first) and first != "docker.io":
        return first
    return DOCKER_HUB


def _host_of_address(address: str) -> str:
    host = re.sub(r"^https?://", "", address).partition("/")[0]
    return DOCKER_HUB if host == "docker.io" else host


def _dockerrun(text: bytes) -> Mapping[str, Any]:
    try:
        said = json.loads(text)
    except ValueError as error:
        raise BadBundle(f"{DOCKERRUN} is not valid JSON format, abort deployment: {error}") from error
    if not isinstance(said, dict) or str(said.get("AWSEBDockerrunVersion")) != "1":
        raise BadBundle(f"Invalid {DOCKERRUN} version, abort deployment")
    return said


def _section(said: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = said.get(name, {})
    if not isinstance(section, dict):
        raise BadBundle(f"{DOCKERRUN}: {name} must be an object, got {section!r}")
    return section


def _text(value: object, name: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise BadBundle(f"{DOCKERRUN}: {name} must be text, got {value!r}")
    return value


def _port(said: Mapping[str, Any]) -> int | None:
    ports = said.get("Ports", [])
    if not ports:
        return None
    try:
        port = int(ports[0]["ContainerPort"])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise BadBundle(f"{DOCKERRUN}: Ports[0].ContainerPort must be a port, got {ports!r}") from error
    if not 0 < port < 65536:
        raise BadBundle(f"{DOCKERRUN}: Ports[0].ContainerPort must be a port, got {port}")
    return port


def _authentication(said: Mapping[str, Any]) -> tuple[str, str] | None:
    section = _section(said, "Authentication")
    if not section:
        return None
    bucket, key = (_text(section.get(name), f"Authentication.{name}") for name in ("Bucket", "Key"))
    if not bucket or not key:
        raise BadBundle(f"{DOCKERRUN}: Authentication needs Bucket and Key")
    return bucket, key
