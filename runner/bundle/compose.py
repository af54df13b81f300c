"""docker-compose.yml in; what is wrong with it, what it takes from the bundle, and the file as it is deployed, out.

It is read as Compose reads it, and written anew: words and quotes stay as they are, comments go.

Source: https://docs.docker.com/reference/compose-file/,
    https://docs.aws.amazon.com/elasticbeanstalk/latest/dg/single-container-docker-configuration.html
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from chalicelib.errors import StepFailed
from runner.bundle.checks import unpacked
from runner.bundle.placeholders import Image, ours, wrong

COMPOSE_YML = "docker-compose.yml"
_MOST_BYTES = 256 * 1024
_MOST_DEPTH = 50
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MERGE = "tag:yaml.org,2002:merge"
_HERE = frozenset({".", "./"})
# Elastic Beanstalk writes this one itself, of the environment's properties.
_GENERATED = ".env"


@dataclass(frozen=True)
class Service:
    """One service: the mapping that is its own, and what it is called."""

    name: str
    node: yaml.MappingNode

    @property
    def path(self) -> str:
        return f"services.{self.name}"

    def get(self, key: str) -> yaml.Node | None:
        return _get(self.node, key)

    @property
    def image(self) -> str:
        found = self.get("image")
        return found.value if isinstance(found, yaml.ScalarNode) else ""


class Compose:
    """A file that is YAML and has services.

    Raises:
        StepFailed: it is not, or has none.
    """

    def __init__(self, source: bytes) -> None:
        self._root = _read(source)
        services = _get(self._root, "services")
        if not isinstance(services, yaml.MappingNode) or not services.value:
            raise StepFailed(f"{COMPOSE_YML}: services: expected what is to run, each with an image")
        odd = next((key.value for key, value in services.value if not isinstance(value, yaml.MappingNode)), None)
        if odd is not None:
            raise StepFailed(f"{COMPOSE_YML}: services.{odd}: expected a mapping with an image")
        self.services = [Service(str(key.value), value) for key, value in services.value]

    def images(self) -> list[str]:
        return [service.image for service in self.services if service.image]

    def complaints(self, image: Image | None, *, builds: bool) -> Iterator[str]:
        """What is wrong with the services, each with its place.

        Args:
            image: what is to be filled in; None = nothing is.
            builds: Elastic Beanstalk builds the Dockerfile that was tested.
        """
        built = image.name if image else None
        mine = ours(self.images(), built)
        if _get(self._root, "include") is not None:
            yield f"include: only {COMPOSE_YML} itself is read here: write it all into this file"
        for one in self.services:
            if isinstance(extends := one.get("extends"), yaml.MappingNode) and _get(extends, "file"):
                yield f"{one.path}.extends.file: only {COMPOSE_YML} itself is read here: write it all into this file"
            if one.get("build") is not None:
                yield from _of_build(one, builds=builds, is_ours=one.image in mine)
            elif not one.image and not one.get("extends"):
                yield f"{one.path}.image is missing"
            if one.image and one.image not in mine and (text := wrong(one.image, built, variables=True)):
                yield f"{one.path}.image: {text}"
        if builds and not any(one.get("build") for one in self.services):
            yield f"services: none of them builds the Dockerfile: write `build: .` in one, or {_AS_IMAGE}"
        if built and not mine:
            yield f"services: none of them runs {built}, which was built: name it as the image of one"

    def taken(self) -> Iterator[tuple[str, str, bool]]:
        """What services take from the bundle: the place that says so, the path, and whether it must be there."""
        for one in self.services:
            for node in _items(one.get("env_file")):
                said = isinstance(node, yaml.MappingNode)
                path = _get(node, "path") if said else node
                required = not said or _text(_get(node, "required")) != "false"
                if (text := _text(path)) and text.removeprefix("./") != _GENERATED:
                    yield f"{one.path}.env_file", text, required
            for node in _items(one.get("volumes")):
                yield f"{one.path}.volumes", _mounted(node), False
        for section in ("configs", "secrets"):
            named = _get(self._root, section)
            for key, value in named.value if isinstance(named, yaml.MappingNode) else []:
                if isinstance(value, yaml.MappingNode) and (text := _text(_get(value, "file"))):
                    yield f"{section}.{key.value}.file", text, True

    def filled(self, image: Image | None) -> bytes:
        """The file with our image by its digest, and nothing left of how it would be built."""
        mine = ours(self.images(), image.name if image else None)
        for one in self.services:
            if image and one.image in mine:
                # A mapping that several share is theirs as well: what is filled in is the service's own.
                own = [(key, value) for key, value in one.node.value if key.value not in {"image", "build"}]
                one.node.value = [(_scalar("image"), _scalar(image.reference, style='"')), *own]
        text: str = yaml.serialize(self._root, Dumper=yaml.SafeDumper, allow_unicode=True, width=4096)
        return text.encode()


_AS_IMAGE = "write bundle: image in ci.yml"


def within(path: str) -> str | None:
    """The path in the bundle that a file there means; `.` for all of it, None where it leads out of it."""
    clean = posixpath.normpath(path)
    return None if clean == ".." or clean.startswith(("../", "/")) else clean


def _of_build(one: Service, *, builds: bool, is_ours: bool) -> Iterator[str]:
    node = one.get("build")
    if not builds:
        if is_ours and _own(one.node, "build") is None:
            yield f"{one.path}.build: it comes from what is merged: write it in the service itself"
        elif not is_ours:
            yield f"{one.path}.build: nothing is built over there: name an image, or write bundle: source in ci.yml"
        return
    if isinstance(node, yaml.ScalarNode):
        context, others = node.value, []
    elif isinstance(node, yaml.MappingNode):
        context = _text(_get(node, "context")) or "."
        others = [str(key.value) for key, _ in node.value if key.value not in {"context", "dockerfile"}]
        if (_text(_get(node, "dockerfile")) or "Dockerfile").removeprefix("./") != "Dockerfile":
            yield f"{one.path}.build.dockerfile: only the Dockerfile at the top was built and tested here"
    else:
        yield f"{one.path}.build: expected a folder, or a mapping with a context"
        return
    if context not in _HERE:
        yield f"{one.path}.build.context: only the Dockerfile at the top was built and tested here: write `.`"
    for key in others:
        yield f"{one.path}.build.{key}: it was built and tested here without: leave it out"


def _mounted(node: yaml.Node) -> str:
    """What a volume takes from the bundle; empty where it takes nothing, or nobody knows what."""
    if isinstance(node, yaml.MappingNode):
        source = _text(_get(node, "source")) if _text(_get(node, "type")) == "bind" else ""
    else:
        source, colon, _ = _text(node).partition(":")
        source = source if colon else ""
    if source.startswith("/"):
        return unpacked(source) or ""
    return source if source.startswith(".") else ""


def _read(source: bytes) -> yaml.MappingNode:
    if len(source) > _MOST_BYTES:
        raise StepFailed(f"{COMPOSE_YML} has more than {_MOST_BYTES // 1024} KB")
    try:
        text = source.decode("utf-8-sig")
        _look_for_depth(text)
        root = yaml.compose(text, Loader=_LOADER)
    except UnicodeDecodeError as error:
        raise StepFailed(f"{COMPOSE_YML} is not UTF-8: byte {error.start} cannot be read") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise StepFailed(f"{COMPOSE_YML}{where} is no YAML: {getattr(error, 'problem', None) or error}") from error
    if not isinstance(root, yaml.MappingNode):
        raise StepFailed(f"{COMPOSE_YML}: expected a mapping with services")
    twice = next(_repeated(root), None)
    if twice:
        raise StepFailed(f"{COMPOSE_YML}:{twice.start_mark.line + 1}: {twice.value} stands here twice")
    return root


def _look_for_depth(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MOST_DEPTH:
            raise StepFailed(f"{COMPOSE_YML} is nested more than {_MOST_DEPTH} deep")


def _repeated(root: yaml.Node) -> Iterator[yaml.Node]:
    """The keys that a mapping has twice; of what aliases repeat, each once."""
    seen: set[int] = set()
    left = [root]
    while left:
        node = left.pop()
        if id(node) in seen or isinstance(node, yaml.ScalarNode):
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            keys: set[object] = set()
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
                    if key.value in keys:
                        yield key
                    keys.add(key.value)
                left.append(value)
        elif isinstance(node, yaml.SequenceNode):
            left.extend(node.value)


def _get(node: yaml.Node, key: str) -> yaml.Node | None:
    """The value of a key: the mapping's own, or of what is merged into it."""
    left, seen = [node], set[int]()
    while left:
        one = left.pop(0)
        if id(one) in seen or not isinstance(one, yaml.MappingNode):
            continue
        seen.add(id(one))
        found = _own(one, key)
        if found is not None:
            return found
        left = [*(part for name, value in one.value if name.tag == _MERGE for part in _items(value)), *left]
    return None


def _own(node: yaml.MappingNode, key: str) -> yaml.Node | None:
    return next((value for name, value in node.value if name.value == key), None)


def _items(node: yaml.Node | None) -> list[yaml.Node]:
    """The nodes of a list; one that stands alone is a list of one."""
    if node is None:
        return []
    return list(node.value) if isinstance(node, yaml.SequenceNode) else [node]


def _text(node: yaml.Node | None) -> str:
    return str(node.value) if isinstance(node, yaml.ScalarNode) else ""


def _scalar(text: str, style: str | None = None) -> yaml.ScalarNode:
    return yaml.ScalarNode("tag:yaml.org,2002:str", text, style=style)
