"""The containerDefinitions of a Dockerrun.aws.json of version 2 in; what is wrong with them, and these filled in, out.

Source: https://docs.aws.amazon.com/elasticbeanstalk/latest/dg/create_deploy_docker_v2config.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from chalicelib.model import Json
from runner.bundle.checks import PORTS, is_port, objects, text_complaints
from runner.bundle.placeholders import Image, ours, wrong

DEFINITIONS = "containerDefinitions"
# Elastic Beanstalk makes these itself, one for each container.
_LOGS = "awseb-logs-"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")
_LEAST_MEMORY_MB = 4


def complaints(said: Mapping[str, Json], built: str | None) -> Iterator[str]:
    """What is wrong with the containers and their volumes.

    Args:
        built: the image of ours, as ci.yml calls it.
    """
    if not isinstance(said.get(DEFINITIONS), list) or not said[DEFINITIONS]:
        yield f'{DEFINITIONS}: version 2 runs these, expected [{{"name": "web", "image": "…", "memory": 512}}]'
        return
    mine = ours(images(said), built)
    names: set[object] = set()
    for path, one in objects(said, DEFINITIONS):
        if one is None:
            yield f"{path}: expected an object"
            continue
        yield from _of_container(one, path, built, is_ours=_image(one) in mine)
        name = one.get("name")
        if isinstance(name, str):
            if name in names:
                yield f"{path}.name: there is a container {name} already"
            elif not _NAME.fullmatch(name):
                yield f"{path}.name: {name!r} can be no container's name: letters, digits, - and _"
            names.add(name)
    if built and not mine:
        yield f"{DEFINITIONS}: none of them runs {built}, which was built: name it as the image of one"
    yield from _volumes(said)


def filled(said: Mapping[str, Json], image: Image | None) -> list[Json]:
    """The containers, of which those that run our image run it by its digest."""
    mine = ours(images(said), image.name if image else None)
    return [{**one, "image": image.reference} if image and _image(one) in mine else one for one in said[DEFINITIONS]]


def images(said: Mapping[str, Json]) -> list[str]:
    return [_image(one) for _, one in objects(said, DEFINITIONS)]


def _image(one: Mapping[str, Json] | None) -> str:
    return str((one or {}).get("image", ""))


def _of_container(one: Mapping[str, Json], path: str, built: str | None, *, is_ours: bool) -> Iterator[str]:
    yield from text_complaints(one, "name", path)
    yield from text_complaints(one, "image", path)
    if not is_ours and (text := wrong(_image(one), built, variables=False)):
        yield f"{path}.image: {text}"
    sizes = {name: one[name] for name in ("memory", "memoryReservation") if name in one}
    if not sizes:
        yield f"{path}.memory is missing: write how many MB it may have, or memoryReservation"
    for name, value in sizes.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < _LEAST_MEMORY_MB:
            yield f"{path}.{name}: expected a number of MB, {_LEAST_MEMORY_MB} or more, got {value!r}"
    if "essential" in one and not isinstance(one["essential"], bool):
        yield f"{path}.essential: expected true or false, got {one['essential']!r}"
    for inner, port in objects(one, "portMappings"):
        if port is None or "containerPort" not in port:
            yield f"{path}.{inner}: expected objects with a containerPort"
            continue
        for name in ("containerPort", "hostPort"):
            # The host's port 0 is any that is free.
            if name in port and not is_port(port[name]) and (name, str(port[name])) != ("hostPort", "0"):
                yield f"{path}.{inner}.{name}: {PORTS}, got {port[name]!r}"


def _volumes(said: Mapping[str, Json]) -> Iterator[str]:
    named: set[object] = set()
    for path, volume in objects(said, "volumes"):
        if volume is None:
            yield f"{path}: expected objects with a name"
            continue
        yield from text_complaints(volume, "name", path)
        host = volume.get("host", {})
        if not isinstance(host, Mapping):
            yield f'{path}.host: expected an object such as {{"sourcePath": "/var/app/current/conf"}}'
        if isinstance(volume.get("name"), str):
            named.add(volume["name"])
    for path, one in objects(said, DEFINITIONS):
        for inner, mount in objects(one or {}, "mountPoints"):
            source = (mount or {}).get("sourceVolume")
            if not isinstance(source, str) or (source not in named and not source.startswith(_LOGS)):
                yield f"{path}.{inner}.sourceVolume: {source!r} is none of volumes"
