"""A commit's tree as tar and a pushed image in; the zip that Elastic Beanstalk runs out. Pure."""

from __future__ import annotations

import base64
import io
import json
import posixpath
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import sha256
from typing import Any

from chalicelib.errors import StepFailed

# https://docs.aws.amazon.com/elasticbeanstalk/latest/dg/applications-sourcebundle.html
MOST_BYTES = 512 * 1024**2
DOCKERRUN = "Dockerrun.aws.json"
# A Dockerfile would be built again over there, and the tested image ignored: only what sets up the environment goes.
_KEPT = frozenset({DOCKERRUN, ".ebextensions", ".platform"})
_EXAMPLE = '{"AWSEBDockerrunVersion": "1", "Ports": [{"ContainerPort": 80}]}'
_HIGHEST_PORT = 65535
# The oldest time that a zip can hold.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_FILE, _EXECUTABLE, _LINK = 0o100644, 0o100755, 0o120777


@dataclass(frozen=True)
class Place:
    """Where the instances find the registry's credentials."""

    bucket: str
    key: str


@dataclass(frozen=True)
class Bundle:
    """A source bundle: the same content is the same bytes.

    Args:
        content: sha256 of names, modes and bytes, whatever packed them.
    """

    body: bytes
    content: str


@dataclass(frozen=True)
class _Entry:
    name: str
    mode: int
    data: bytes


def build(tree: bytes, image: str, credentials: Place | None, *, most_bytes: int = MOST_BYTES) -> Bundle:
    """The bundle that runs `image`.

    Args:
        tree: what `git archive --format=tar` wrote.
        image: `registry/name@sha256:…`.

    Raises:
        StepFailed: Dockerrun.aws.json is missing or wrong, a link leads out of the bundle, or it is too large.
    """
    with tarfile.open(fileobj=io.BytesIO(tree)) as tar:
        entries = {entry.name: entry for entry in _kept(tar)}
        if DOCKERRUN not in entries:
            raise _missing([name for name in tar.getnames() if "/" not in name])
    _check_links(entries)
    if entries[DOCKERRUN].mode == _LINK:
        raise StepFailed(f"{DOCKERRUN} is a symbolic link: write a file")
    entries[DOCKERRUN] = _Entry(DOCKERRUN, _FILE, dockerrun(entries[DOCKERRUN].data, image, credentials))
    ordered = [entries[name] for name in sorted(entries)]
    body = _zip(ordered)
    if len(body) > most_bytes:
        raise StepFailed(
            f"the bundle has {len(body) / 1024**2:.0f} MB, Elastic Beanstalk takes {most_bytes / 1024**2:.0f} MB: "
            "move large files out of .ebextensions and .platform, into the image"
        )
    return Bundle(body, _content(ordered))


def dockercfg(registry: str, user: str, password: str) -> bytes:
    """A registry's credentials in the old format, the only one that Elastic Beanstalk reads.

    Source: https://docs.aws.amazon.com/elasticbeanstalk/latest/dg/docker-configuration.remote-repo.html
    """
    host = "https://index.docker.io/v1/" if registry == "docker.io" else registry
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    return json.dumps({host: {"auth": auth, "email": ""}}).encode()


def dockerrun(source: bytes, image: str, credentials: Place | None) -> bytes:
    """The file with the image filled in; whatever else it says stays.

    Source: https://docs.aws.amazon.com/elasticbeanstalk/latest/dg/single-container-docker-configuration.html

    Raises:
        StepFailed: with everything that is wrong in it.
    """
    try:
        written = json.loads(source.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise StepFailed(f"{DOCKERRUN} is no JSON: {error}") from error
    complaints = tuple(_complaints(written))
    if complaints:
        raise StepFailed(f"{DOCKERRUN}: {complaints[0]}", complaints)
    filled = {**written, "Image": {**written.get("Image", {}), "Name": image, "Update": "true"}}
    if credentials:
        filled["Authentication"] = {"Bucket": credentials.bucket, "Key": credentials.key}
    return json.dumps(filled, indent=2).encode() + b"\n"


def _complaints(written: object) -> Iterator[str]:
    if not isinstance(written, Mapping):
        yield f"expected an object such as {_EXAMPLE}"
        return
    version = written.get("AWSEBDockerrunVersion")
    if version is None:
        yield 'AWSEBDockerrunVersion is missing: write "AWSEBDockerrunVersion": "1"'
    elif isinstance(version, bool) or str(version) != "1":
        yield f"AWSEBDockerrunVersion: {version!r} cannot be deployed: write version 1, which runs one container"
    if not isinstance(written.get("Image", {}), Mapping):
        yield "Image: expected an object; its Name is filled in with the image that was built"
    yield from _port_complaints(written.get("Ports"))


def _port_complaints(ports: Any) -> Iterator[str]:
    if not isinstance(ports, list) or not ports:
        yield 'Ports: expected the port that the container listens on, such as "Ports": [{"ContainerPort": 80}]'
        return
    for index, port in enumerate(ports):
        if not isinstance(port, Mapping) or "ContainerPort" not in port:
            yield f"Ports[{index}]: expected an object with a ContainerPort"
            continue
        for name in ("ContainerPort", "HostPort"):
            if name in port and not _is_port(port[name]):
                yield f"Ports[{index}].{name}: expected a number from 1 to {_HIGHEST_PORT}, got {port[name]!r}"


def _is_port(value: object) -> bool:
    number = isinstance(value, int | str) and not isinstance(value, bool) and str(value)
    return bool(number) and str(number).isascii() and str(number).isdigit() and 1 <= int(str(number)) <= _HIGHEST_PORT


def _kept(tar: tarfile.TarFile) -> Iterator[_Entry]:
    for member in tar:
        if member.name.split("/")[0] not in _KEPT or member.isdir():
            continue
        if not member.name.isprintable():
            raise StepFailed(f"{member.name!a} cannot stand in a bundle: give the file a printable name in UTF-8")
        if member.issym():
            yield _Entry(member.name, _LINK, member.linkname.encode("utf-8", "surrogateescape"))
        elif file := tar.extractfile(member):
            # git knows one bit of a mode.
            yield _Entry(member.name, _EXECUTABLE if member.mode & 0o100 else _FILE, file.read())


def _missing(there: list[str]) -> StepFailed:
    by_lower = {name.lower(): name for name in there}
    near = get_close_matches(DOCKERRUN.lower(), by_lower, n=1, cutoff=0.7)
    meant = f"; did you mean {DOCKERRUN} by {by_lower[near[0]]}?" if near else f": write {_EXAMPLE}"
    return StepFailed(f"the repository has no {DOCKERRUN}, which deploy_eb needs{meant}")


def _check_links(entries: Mapping[str, _Entry]) -> None:
    folders = {posixpath.dirname(name) for name in entries} - {""}
    for entry in entries.values():
        if entry.mode != _LINK:
            continue
        link = entry.data.decode("utf-8", "surrogateescape")
        target = posixpath.normpath(posixpath.join(posixpath.dirname(entry.name), link))
        if target not in entries and target not in folders:
            raise StepFailed(
                f"{entry.name} is a symbolic link to {link!a}, which is not in the bundle: write a file instead"
            )


def _zip(entries: list[_Entry]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry in entries:
            info = zipfile.ZipInfo(entry.name, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3  # Unix: the upper half of external_attr is a mode, and links are links
            info.external_attr = entry.mode << 16
            archive.writestr(info, entry.data)
    return packed.getvalue()


def _content(entries: list[_Entry]) -> str:
    digest = sha256()
    for entry in entries:
        name = entry.name.encode()
        digest.update(f"{len(name)} {entry.mode} {len(entry.data)} ".encode() + name + entry.data)
    return digest.hexdigest()
