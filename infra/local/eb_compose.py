"""A source bundle in; every container that it wants, and which of them is to answer, out.

Without docker-compose.yml it is one, as eb_bundle.py reads it. With that file it is what Compose would bring up, as far
as Elastic Beanstalk's own examples go; what is not understood is refused, not left out.

Source: https://docs.aws.amazon.com/elasticbeanstalk/latest/dg/docker-compose-migration.html
"""

from __future__ import annotations

import io
import json
import posixpath
import re
import shlex
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from infra.local import eb_bundle
from infra.local.eb_bundle import FROM, BadBundle, Bundle

COMPOSE = "docker-compose.yml"
PORT = 80
"""Of the instance: where a load balancer asks. Whoever publishes it answers."""
_UNDERSTOOD = frozenset({"image", "build", "ports", "environment", "env_file", "command", "entrypoint", "depends_on"})
_HARMLESS = frozenset({"restart", "container_name", "expose", "healthcheck", "init", "stop_grace_period", "logging"})
_VARIABLE = re.compile(r"\$(?:\$|\{(?P<braced>\w+)(?::?-(?P<default>[^}]*))?\}|(?P<bare>[A-Za-z_]\w*))")


@dataclass(frozen=True)
class Service:
    """One container.

    Args:
        name: by which the others find it.
        variables: its own, with the environment's filled in by `with_variables`.
        all_variables: it gets all of the environment's variables.
        answers: it is the one behind the environment's address.
    """

    name: str
    bundle: Bundle
    variables: Mapping[str, str] = field(default_factory=dict)
    all_variables: bool = True
    answers: bool = True

    def with_variables(self, given: Mapping[str, str]) -> dict[str, str]:
        own = {name: _filled(value, given) for name, value in self.variables.items()}
        return {**(given if self.all_variables else {}), **own}


def read(archive: bytes) -> tuple[Service, ...]:
    """What a source bundle brings up, in the order in which it is started.

    Raises:
        BadBundle: nothing that the platform could run.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as files:
            found = files.read(COMPOSE) if COMPOSE in files.namelist() else None
            beside = files.read(eb_bundle.DOCKERRUN) if eb_bundle.DOCKERRUN in files.namelist() else b"{}"
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError):
        found = None
    if found is None:
        return (Service("app", eb_bundle.read(archive)),)
    try:
        said = yaml.safe_load(found)
    except yaml.YAMLError as error:
        raise BadBundle(f"{COMPOSE} is not valid YAML: {error}") from error
    wanted = said.get("services") if isinstance(said, dict) else None
    if not isinstance(wanted, dict) or not all(isinstance(one, dict) for one in wanted.values()) or not wanted:
        raise BadBundle(f"{COMPOSE} has no services")
    authentication = _authentication(beside)
    services = tuple(_service(name, wanted[name], archive, authentication) for name in _in_order(wanted))
    if sum(service.answers for service in services) != 1:
        raise BadBundle(f"{COMPOSE}: exactly one service must publish port {PORT}")
    return services


def _service(name: str, said: Mapping[str, Any], archive: bytes, authentication: tuple[str, str] | None) -> Service:
    if unknown := said.keys() - _UNDERSTOOD - _HARMLESS:
        raise BadBundle(f"{COMPOSE}: services.{name}.{min(unknown)} is not served here")
    image, build = said.get("image"), said.get("build")
    if build is None and not isinstance(image, str):
        raise BadBundle(f"{COMPOSE}: services.{name} has neither image nor build")
    tree, dockerfile = _tree(name, build, archive) if build is not None else (archive, b"")
    port = next((inside for outside, inside in _ports(name, said.get("ports", [])) if outside == PORT), None)
    return Service(
        name,
        Bundle(
            archive=tree,
            image=image if build is None else None,
            bases=tuple(FROM.findall(dockerfile.decode(errors="replace"))),
            port=port,
            authentication=authentication,
            entrypoint=_words(said.get("entrypoint")),
            command=_words(said.get("command")),
        ),
        variables=_variables(name, said.get("environment", {})),
        all_variables=".env" in _listed(said.get("env_file")),
        answers=port is not None,
    )


def _tree(name: str, build: Any, archive: bytes) -> tuple[bytes, bytes]:
    """The files that an image is built from, as a zip file of their own, and the Dockerfile there."""
    said = {"context": build} if isinstance(build, str) else build
    if not isinstance(said, dict) or said.keys() - {"context"}:
        raise BadBundle(f"{COMPOSE}: services.{name}.build: only a context is served here")
    folder = posixpath.normpath(str(said.get("context", ".")))
    start = "" if folder == "." else f"{folder}/"
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as files, zipfile.ZipFile(out, "w") as tree:
        for entry in files.infolist():
            inner = entry.filename.removeprefix(start)
            if entry.filename.startswith(start) and inner:
                content = files.read(entry)
                entry.filename = inner
                tree.writestr(entry, content)
        if "Dockerfile" not in tree.namelist():
            raise BadBundle(f"{COMPOSE}: services.{name}.build: there is no {start}Dockerfile")
    with zipfile.ZipFile(out) as tree:
        return out.getvalue(), tree.read("Dockerfile")


def _ports(name: str, said: Any) -> Iterator[tuple[int, int]]:
    """(published, inside): "80:8000", or the long form."""
    for one in said:
        outside, inside = (one.get("published"), one.get("target")) if isinstance(one, dict) else _split(str(one))
        try:
            yield int(outside or 0), int(inside or 0)
        except ValueError as error:
            raise BadBundle(f"{COMPOSE}: services.{name}.ports: {one!r} is no port") from error


def _split(port: str) -> tuple[str, str]:
    outside, _, inside = port.removesuffix("/tcp").rpartition(":")
    return outside.rpartition(":")[2], inside


def _in_order(services: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Whoever is needed goes first."""
    done: list[str] = []
    while len(done) < len(services):
        ready = [
            name
            for name, said in services.items()
            if name not in done and set(_listed(said.get("depends_on"))) <= set(done)
        ]
        if not ready:
            raise BadBundle(f"{COMPOSE}: depends_on names what is not there, or goes in a circle")
        done += ready
    return done


def _variables(name: str, said: Any) -> dict[str, str]:
    if isinstance(said, list):
        return {key: value for key, _, value in (str(one).partition("=") for one in said)}
    if not isinstance(said, dict):
        raise BadBundle(f"{COMPOSE}: services.{name}.environment must be a mapping or a list")
    return {str(key): "" if value is None else str(value) for key, value in said.items()}


def _filled(text: str, given: Mapping[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        name = found["braced"] or found["bare"]
        return "$" if name is None else given.get(name) or found["default"] or ""

    return _VARIABLE.sub(value, text)


def _words(said: Any) -> tuple[str, ...]:
    return tuple(shlex.split(said)) if isinstance(said, str) else tuple(str(word) for word in said or ())


def _listed(said: Any) -> list[str]:
    return [said] if isinstance(said, str) else [str(one) for one in said or ()]


def _authentication(dockerrun: bytes) -> tuple[str, str] | None:
    """Bucket and key of the registry's credentials: Dockerrun.aws.json of version 3 names nothing else."""
    try:
        section = json.loads(dockerrun).get("Authentication", {})
        place = {key.lower(): value for key, value in section.items()}
    except (ValueError, AttributeError) as error:
        raise BadBundle(f"{eb_bundle.DOCKERRUN} is not valid JSON format, abort deployment: {error}") from error
    return (place["bucket"], place["key"]) if {"bucket", "key"} <= place.keys() else None
