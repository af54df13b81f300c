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
import stat
import tarfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from infra.local import eb_bundle
from infra.local.eb_bundle import FROM, BadBundle, Bundle

COMPOSE = "docker-compose.yml"
PORT = 80
"""Of the instance: where a load balancer asks. Whoever publishes it answers."""
_UNDERSTOOD = frozenset(
    {"image", "build", "ports", "environment", "env_file", "command", "entrypoint", "depends_on", "volumes"}
)
# Without them it runs all the same. All services share one network.
_HARMLESS = frozenset(
    {"restart", "container_name", "expose", "healthcheck", "init", "stop_grace_period", "logging", "labels", "networks"}
    | {"links", "deploy", "mem_limit", "cpus", "pull_policy", "platform"}
)
GENERATED = ".env"
"""Elastic Beanstalk writes it, of the environment's variables."""
_VARIABLE = re.compile(r"\$(?:\$|\{(?P<braced>\w+)(?::?-(?P<default>[^}]*))?\}|(?P<bare>[A-Za-z_]\w*))")


@dataclass(frozen=True)
class Service:
    """One container.

    Args:
        name: by which the others find it.
        variables: its own, with the environment's filled in by `with_variables`.
        all_variables: it gets all of the environment's variables.
        answers: it is the one behind the environment's address.
        files: what of the bundle it finds inside, as a tar file whose names are places there.
        volumes: where it keeps what it writes, for as long as it lives.
    """

    name: str
    bundle: Bundle
    variables: Mapping[str, str] = field(default_factory=dict)
    all_variables: bool = True
    answers: bool = True
    files: bytes = b""
    volumes: tuple[str, ...] = ()

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
    env_files = _listed(said.get("env_file"))
    mounts = list(_mounts(name, said.get("volumes", [])))
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
        variables={
            **_env_files(name, [one for one in env_files if one != GENERATED], archive),
            **_variables(name, said.get("environment", {})),
        },
        all_variables=GENERATED in env_files,
        answers=port is not None,
        files=_files(name, [mount for mount in mounts if mount[0]], archive),
        volumes=tuple(inside for outside, inside in mounts if not outside),
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


def _mounts(name: str, said: Any) -> Iterator[tuple[str, str]]:
    """(path in the bundle, or nothing for a volume; place inside): "./a.conf:/etc/a.conf:ro", or the long form."""
    for one in said:
        short = str(one).split(":")
        outside, inside = (
            (str(one.get("source", "")), str(one.get("target", "")))
            if isinstance(one, dict)
            else ("" if len(short) == 1 else short[0], short[0] if len(short) == 1 else short[1])
        )
        if outside.startswith("/") or not inside.startswith("/"):
            raise BadBundle(f"{COMPOSE}: services.{name}.volumes: {one!r} is not served here")
        yield (posixpath.normpath(outside) if outside.startswith(".") else ""), posixpath.normpath(inside)


def _files(name: str, mounts: Sequence[tuple[str, str]], archive: bytes) -> bytes:
    """The bundle's files at their places inside: copied, so that nothing of this machine is mounted."""
    if not mounts:
        return b""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as files, tarfile.open(fileobj=out, mode="w") as tar:
        for outside, inside in mounts:
            found = [entry for entry in files.infolist() if _lies_in(entry.filename, outside) and not entry.is_dir()]
            if not found:
                raise BadBundle(f"{COMPOSE}: services.{name}.volumes: there is no {outside} in the bundle")
            for entry in found:
                below = posixpath.relpath(entry.filename, outside) if entry.filename != outside else ""
                member = tarfile.TarInfo(posixpath.join(inside, below).strip("/"))
                member.size, member.mode = entry.file_size, stat.S_IMODE(entry.external_attr >> 16) or 0o644
                tar.addfile(member, io.BytesIO(files.read(entry)))
    return out.getvalue()


def _lies_in(path: str, folder: str) -> bool:
    return folder in {".", path} or path.startswith(f"{folder}/")


def _env_files(name: str, paths: Sequence[str], archive: bytes) -> dict[str, str]:
    lines: list[str] = []
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        for path in map(posixpath.normpath, paths):
            if path not in files.namelist():
                raise BadBundle(f"{COMPOSE}: services.{name}.env_file: there is no {path} in the bundle")
            lines += files.read(path).decode(errors="replace").splitlines()
    pairs = (line.partition("=") for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return {key.strip(): value for key, _, value in pairs}


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
