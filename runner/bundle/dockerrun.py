"""Dockerrun.aws.json in; what is wrong with it, and the file as it is deployed, out.

Source, versions 1 and 3: https://docs.aws.amazon.com/elasticbeanstalk/latest/dg/single-container-docker-configuration.html
Source, version 2: https://docs.aws.amazon.com/elasticbeanstalk/latest/dg/create_deploy_docker_v2config.html
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from chalicelib.errors import StepFailed
from chalicelib.model import Json
from runner.bundle import containers
from runner.bundle.checks import PORTS, is_port, objects, text_complaints
from runner.bundle.placeholders import Image, wrong

DOCKERRUN = "Dockerrun.aws.json"
EXAMPLE = '{"AWSEBDockerrunVersion": "1", "Ports": [{"ContainerPort": 80}]}'
SINGLE, ECS, COMPOSE = "1", "2", "3"
_KNOWN = {
    SINGLE: "one container",
    ECS: "containerDefinitions, on the platform of ECS",
    COMPOSE: "what docker-compose.yml says",
}
# https://docs.aws.amazon.com/elasticbeanstalk/latest/dg/docker-configuration.remote-repo.html
_SPELLINGS = {
    SINGLE: ("Authentication", "Bucket", "Key"),
    ECS: ("authentication", "bucket", "key"),
    COMPOSE: ("Authentication", "bucket", "key"),
}
_UPDATES = frozenset({"true", "false"})


@dataclass(frozen=True)
class Place:
    """Where the instances find the registries' credentials."""

    bucket: str
    key: str


def dockercfg(logins: Mapping[str, tuple[str, str]]) -> bytes:
    """Registries' users and passwords in the old format, the only one that Elastic Beanstalk reads.

    Source: https://docs.aws.amazon.com/elasticbeanstalk/latest/dg/docker-configuration.remote-repo.html
    """
    hub = "https://index.docker.io/v1/"
    return json.dumps(
        {
            hub if registry == "docker.io" else registry: {
                "auth": base64.b64encode(f"{user}:{password}".encode()).decode(),
                "email": "",
            }
            for registry, (user, password) in logins.items()
        }
    ).encode()


def parsed(source: bytes) -> Mapping[str, Json]:
    """The file's object.

    Raises:
        StepFailed: it is none.
    """
    try:
        said = json.loads(source.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise StepFailed(f"{DOCKERRUN} is no JSON: {error}") from error
    if not isinstance(said, Mapping):
        raise StepFailed(f"{DOCKERRUN}: expected an object such as {EXAMPLE}")
    return said


def version_of(said: Mapping[str, Json]) -> str | None:
    """1, 2 or 3, written as a number or as text; None where it is anything else."""
    version = said.get("AWSEBDockerrunVersion")
    known = isinstance(version, str | int) and not isinstance(version, bool) and str(version) in _KNOWN
    return str(version) if known else None


def complaints(said: Mapping[str, Json], image: Image | None, *, builds: bool) -> Iterator[str]:
    """Everything that is wrong in it, each with its place.

    Args:
        image: what is to be filled in; None = nothing is.
        builds: Elastic Beanstalk builds a Dockerfile, so that no image has to be named.
    """
    version = version_of(said)
    if "AWSEBDockerrunVersion" not in said:
        yield 'AWSEBDockerrunVersion is missing: write "AWSEBDockerrunVersion": "1"'
    elif version is None:
        versions = ", ".join(f"{number} ({what})" for number, what in _KNOWN.items())
        yield f"AWSEBDockerrunVersion: {said['AWSEBDockerrunVersion']!r} is not known: write one of {versions}"
    yield from _of_authentication(said)
    built = image.name if image else None
    if version == ECS:
        yield from containers.complaints(said, built)
    elif version == COMPOSE:
        yield from _not_read(said)
    else:
        yield from _of_one(said, built, builds=builds)


def filled(said: Mapping[str, Json], image: Image | None, place: Place | None, *, builds: bool) -> bytes:
    """The file as it is deployed, once nothing is wrong with it; whatever else it says stays.

    Args:
        place: where the credentials lie; None = as the file says.
    """
    version = version_of(said) or SINGLE
    left = {key: value for key, value in said.items() if key.lower() != "authentication"}
    if version == SINGLE:
        left.pop("Image", None)
        if not builds:
            left["Image"] = _image(said.get("Image", {}), image)
            left = {key: left[key] for key in ("AWSEBDockerrunVersion", "Image", *left)}
    elif version == ECS:
        left["containerDefinitions"] = containers.filled(said, image)
    written = place or _written(said)
    if written:
        name, bucket, key = _SPELLINGS[version]
        left[name] = {bucket: written.bucket, key: written.key}
    return json.dumps(left, indent=2).encode() + b"\n"


def empty(version: str) -> Mapping[str, Json]:
    """One that says nothing but where the credentials lie."""
    return {"AWSEBDockerrunVersion": version}


def _image(said: Mapping[str, Json], image: Image | None) -> Mapping[str, Json]:
    if image:
        return {**said, "Name": image.reference, "Update": "true"}
    return {**said, **({"Update": str(said["Update"]).lower()} if "Update" in said else {})}


def _of_one(said: Mapping[str, Json], built: str | None, *, builds: bool) -> Iterator[str]:
    """Version 1."""
    image = said.get("Image", {})
    if not isinstance(image, Mapping):
        yield "Image: expected an object; its Name is filled in with the image that was built"
    elif not builds:
        yield from _of_image(image, built)
    if not builds or said.get("Ports") is not None:
        yield from _ports(said.get("Ports"))
    for name in ("Logging", "Entrypoint", "Command"):
        yield from text_complaints(said, name, "", needed=False)
    for path, volume in objects(said, "Volumes"):
        if volume is None:
            yield f"{path}: expected objects with a HostDirectory and a ContainerDirectory"
            continue
        yield from text_complaints(volume, "HostDirectory", path)
        yield from text_complaints(volume, "ContainerDirectory", path)
    if "containerDefinitions" in said:
        yield "containerDefinitions: version 1 runs one container and does not read them: write version 2"


def _of_image(image: Mapping[str, Json], built: str | None) -> Iterator[str]:
    update = image.get("Update", "true")
    if str(update).lower() not in _UPDATES:
        yield f'Image.Update: expected "true" or "false", got {update!r}'
    if built is None:
        yield from text_complaints(image, "Name", "Image")
        if isinstance(image.get("Name"), str) and (text := wrong(image["Name"], None, variables=False)):
            yield f"Image.Name: {text}"


def _ports(ports: Any) -> Iterator[str]:
    if not isinstance(ports, list) or not ports:
        yield 'Ports: expected the port that the container listens on, such as "Ports": [{"ContainerPort": 80}]'
        return
    for index, port in enumerate(ports):
        if not isinstance(port, Mapping) or "ContainerPort" not in port:
            yield f"Ports[{index}]: expected an object with a ContainerPort"
            continue
        for name in ("ContainerPort", "HostPort"):
            if name in port and not is_port(port[name]):
                yield f"Ports[{index}].{name}: {PORTS}, got {port[name]!r}"


def _not_read(said: Mapping[str, Json]) -> Iterator[str]:
    """Version 3 says where credentials lie; everything else stands in docker-compose.yml."""
    for name in said:
        if name != "AWSEBDockerrunVersion" and name.lower() != "authentication":
            yield f"{name}: version 3 reads nothing but Authentication: say it in docker-compose.yml"


def _of_authentication(said: Mapping[str, Json]) -> Iterator[str]:
    named = [name for name in said if name.lower() == "authentication"]
    if len(named) > 1:
        yield f"{named[0]} and {named[1]} say the same: leave one out"
    elif named and _written(said) is None:
        yield f'{named[0]}: expected an object such as {{"Bucket": "my-bucket", "Key": "my.dockercfg"}}'


def _written(said: Mapping[str, Json]) -> Place | None:
    """Where the file says that credentials lie, in whichever spelling."""
    section = next((value for name, value in said.items() if name.lower() == "authentication"), None)
    if not isinstance(section, Mapping):
        return None
    found = {name.lower(): value for name, value in section.items()}
    bucket, key = found.get("bucket"), found.get("key")
    return Place(bucket, key) if isinstance(bucket, str) and isinstance(key, str) and bucket and key else None


Login = Callable[[frozenset[str]], Place | None]
"""The registries from which the instances pull -> where their credentials lie; None = none of them needs any."""
