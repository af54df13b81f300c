"""A commit's tree as tar, and what was tested of it, in; the zip that Elastic Beanstalk runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from chalicelib.errors import StepFailed
from chalicelib.graph import Base
from chalicelib.model import Json
from chalicelib.reports.words import counted
from runner.bundle import containers, dockerrun, pins, zipping
from runner.bundle.checks import objects, unpacked
from runner.bundle.compose import COMPOSE_YML, Compose, within
from runner.bundle.dockerrun import COMPOSE, DOCKERRUN, ECS, EXAMPLE, SINGLE, Login
from runner.bundle.placeholders import Image
from runner.bundle.tree import FILE, LINK, Tree, complaints
from runner.image_names import host_of

# https://docs.aws.amazon.com/elasticbeanstalk/latest/dg/applications-sourcebundle.html
MOST_BYTES = 512 * 1024**2
DOCKERFILE = "Dockerfile"
IGNORE = ".ebignore"
# A Dockerfile would be built again over there, and the tested image ignored: only what sets up the environment goes.
_KEPT = frozenset({DOCKERRUN, ".ebextensions", ".platform"})
_MOST_RULES = 64 * 1024
_WRITTEN_HERE = (DOCKERRUN, COMPOSE_YML, DOCKERFILE, IGNORE)


@dataclass(frozen=True)
class Source:
    """That Elastic Beanstalk builds the Dockerfile, and on what.

    Args:
        bases: what its FROM lines meant when it was built and tested.
    """

    bases: tuple[Base, ...]
    commit: str | None = None


@dataclass(frozen=True)
class Bundle:
    """A source bundle: the same content is the same bytes.

    Args:
        content: sha256 of names, modes and bytes, whatever packed them.
        version: of Dockerrun.aws.json: 1 one container, 2 those of ECS, 3 those of docker-compose.yml.
        images: what the instances pull, and from which registries: `hosts`.
        built_from: what the image stands on that Elastic Beanstalk builds; None = it builds none.
        remarks: what can be deployed and yet is not as it should be.
    """

    body: bytes
    content: str
    version: str = SINGLE
    images: tuple[str, ...] = ()
    built_from: str | None = None
    remarks: tuple[str, ...] = ()

    @property
    def hosts(self) -> frozenset[str]:
        return _hosts(self.images)


def _hosts(images: Iterable[str]) -> frozenset[str]:
    return frozenset(host_of(image) for image in images)


@dataclass
class _Draft:
    """What is known of a bundle before it is packed.

    Args:
        said: Dockerrun.aws.json; None = there is none.
        written: the files whose bytes are not the tree's.
        images: what the instances pull.
    """

    tree: Tree
    version: str
    said: Mapping[str, Json] | None
    complaints: list[str] = field(default_factory=list)
    written: dict[str, bytes] = field(default_factory=dict)
    images: list[str] = field(default_factory=list)
    built_from: str | None = None
    remarks: list[str] = field(default_factory=list)


def _without_login(_hosts: frozenset[str]) -> None:
    return None


def _nothing(_rules: bytes) -> frozenset[str]:
    return frozenset()


def build(
    archive: bytes,
    wanted: Image | Source | None,
    *,
    login: Login = _without_login,
    ignored: Callable[[bytes], frozenset[str]] = _nothing,
    most_bytes: int = MOST_BYTES,
) -> Bundle:
    """The bundle of a commit.

    Args:
        archive: what `git archive --format=tar` wrote.
        wanted: the image that is filled in, or that it is built there; None = the images are as the files name them.
        ignored: the files of the commit that .ebignore leaves out, given what stands in it.

    Raises:
        StepFailed: with everything that is wrong with it.
    """
    tree = Tree(archive)
    _check_written(tree)
    if IGNORE in tree.entries:
        if tree.entries[IGNORE].size_bytes > _MOST_RULES:
            raise StepFailed(f"{IGNORE} has more than {_MOST_RULES // 1024} KB: name folders in it")
        tree = tree.ignoring(ignored(tree.read(IGNORE)))
    draft = _drafted(tree)
    if isinstance(wanted, Source):
        _from_source(draft, wanted)
    else:
        _from_image(draft, wanted)
    draft.complaints.extend(complaints(draft.tree, dangling=isinstance(wanted, Source)))
    if draft.complaints:
        raise _refused(draft.complaints)
    _write_dockerrun(draft, wanted, login(_hosts(draft.images)))
    body, content = _packed(draft, most_bytes)
    return Bundle(body, content, draft.version, tuple(draft.images), draft.built_from, tuple(draft.remarks))


def _check_written(tree: Tree) -> None:
    for name in _WRITTEN_HERE:
        if name in tree.entries and tree.entries[name].mode == LINK:
            raise StepFailed(f"{name} is a symbolic link: write a file")


def _drafted(tree: Tree) -> _Draft:
    """What the files at the top say that it is."""
    said = dockerrun.parsed(tree.read(DOCKERRUN)) if DOCKERRUN in tree.entries else None
    if said is not None:
        return _Draft(tree, dockerrun.version_of(said) or SINGLE, said)
    if _near(DOCKERRUN, tree):
        raise _missing(DOCKERRUN, tree, "")
    return _Draft(tree, COMPOSE if COMPOSE_YML in tree.entries else SINGLE, None)


def _from_image(draft: _Draft, image: Image | None) -> None:
    """Only what sets up the environment, and what its files take from the tree."""
    if draft.said is None and draft.version == SINGLE:
        raise _missing(DOCKERRUN, draft.tree, f": write {EXAMPLE}")
    _check_dockerrun(draft, image, builds=False)
    taken = list(_mounted(draft.said or {}))
    if draft.version == COMPOSE:
        compose = _compose(draft)
        draft.complaints.extend(f"{COMPOSE_YML}: {text}" for text in compose.complaints(image, builds=False))
        taken.extend(_taken(compose, draft))
        draft.written[COMPOSE_YML] = compose.filled(image)
        draft.images = compose.images()
    elif not draft.complaints:
        draft.images = _images(draft.said or {}, draft.version, image)
    left_out = frozenset({DOCKERFILE, IGNORE, ".env"} | ({COMPOSE_YML} if draft.version != COMPOSE else set()))
    draft.tree = draft.tree.only(_KEPT | {*draft.written, *taken}).without(left_out)


def _from_source(draft: _Draft, source: Source) -> None:
    """The whole tree; its Dockerfile stands on what was tested."""
    if draft.version == ECS:
        draft.complaints.append(f"{DOCKERRUN}: version 2 builds nothing: write bundle: image in ci.yml, or version 1")
    _check_dockerrun(draft, None, builds=True)
    if DOCKERFILE not in draft.tree.entries:
        raise _missing(DOCKERFILE, draft.tree, ", and bundle: source has Elastic Beanstalk build it")
    try:
        text = draft.tree.read(DOCKERFILE).decode()
    except UnicodeDecodeError as error:
        raise StepFailed(f"{DOCKERFILE} is not UTF-8: byte {error.start} cannot be read") from error
    made = pins.pinned(text, source.bases, source.commit)
    draft.complaints.extend(made.complaints)
    draft.written[DOCKERFILE] = made.text.encode()
    draft.images, draft.built_from = made.images, made.stands_on
    draft.remarks.extend(made.remarks)
    if draft.version == COMPOSE:
        compose = _compose(draft)
        draft.complaints.extend(f"{COMPOSE_YML}: {text}" for text in compose.complaints(None, builds=True))
        list(_taken(compose, draft))
        draft.images.extend(compose.images())
    elif COMPOSE_YML in draft.tree.entries:
        draft.complaints.append(
            f"{COMPOSE_YML} would be run in the place of {DOCKERRUN}: name it in {IGNORE}, or write version 3"
        )


def _images(said: Mapping[str, Json], version: str, image: Image | None) -> list[str]:
    """What a file without complaints pulls."""
    if version == ECS:
        return containers.images({containers.DEFINITIONS: containers.filled(said, image)})
    return [image.reference if image else said["Image"]["Name"]]


def _check_dockerrun(draft: _Draft, image: Image | None, *, builds: bool) -> None:
    if draft.said is not None:
        found = dockerrun.complaints(draft.said, image, builds=builds)
        draft.complaints.extend(f"{DOCKERRUN}: {text}" for text in found)


def _compose(draft: _Draft) -> Compose:
    if COMPOSE_YML not in draft.tree.entries:
        raise _missing(COMPOSE_YML, draft.tree, f": {DOCKERRUN} of version 3 says nothing of what is to run")
    return Compose(draft.tree.read(COMPOSE_YML))


def _taken(compose: Compose, draft: _Draft) -> Iterator[str]:
    """The files and folders that services take from the tree."""
    for place, text, needed in compose.taken():
        path = within(text) if text else None
        if text and path is None:
            draft.complaints.append(f"{COMPOSE_YML}: {place}: {text} leads out of the bundle")
        elif path and needed and not draft.tree.holds(path):
            draft.complaints.append(f"{COMPOSE_YML}: {place}: there is no {text} in the repository")
        elif path:
            yield path


def _mounted(said: Mapping[str, Json]) -> Iterator[str]:
    """The files and folders of the bundle that containers get to see."""
    for name, inner in (("Volumes", None), ("volumes", "host")):
        for _, volume in objects(said, name):
            part = (volume or {}).get(inner, {}) if inner else volume or {}
            path = unpacked(part.get("sourcePath" if inner else "HostDirectory")) if isinstance(part, Mapping) else None
            if path:
                yield path


def _write_dockerrun(draft: _Draft, wanted: Image | Source | None, place: dockerrun.Place | None) -> None:
    if draft.said is None and place is None:
        return
    said = draft.said if draft.said is not None else dockerrun.empty(draft.version)
    builds = isinstance(wanted, Source)
    draft.written[DOCKERRUN] = dockerrun.filled(
        said, wanted if isinstance(wanted, Image) else None, place, builds=builds
    )


def _packed(draft: _Draft, most_bytes: int) -> tuple[bytes, str]:
    entries = {entry.name: entry.mode for entry in draft.tree.entries.values()}
    entries |= dict.fromkeys(draft.written, FILE)
    files = (
        (name, mode, draft.written[name] if name in draft.written else draft.tree.read(name))
        for name, mode in sorted(entries.items())
    )
    try:
        return zipping.packed(files, most_bytes)
    except zipping.TooLarge:
        raise StepFailed(
            f"the bundle has more than {most_bytes / 1024**2:.0f} MB, which is what Elastic Beanstalk takes:"
            f" {_advice(draft)}"
        ) from None


def _advice(draft: _Draft) -> str:
    if draft.built_from is None:
        return "move large files out of .ebextensions and .platform, into the image"
    largest = sorted(draft.tree.entries.values(), key=lambda entry: -entry.size_bytes)[:3]
    named = ", ".join(f"{entry.name} ({entry.size_bytes / 1024**2:.0f} MB)" for entry in largest)
    return f"name what the application does not need in {IGNORE}; the largest are {named}"


def _refused(found: Iterable[str]) -> StepFailed:
    lines = tuple(found)
    more = f" (and {counted(len(lines) - 1, 'more complaint')})" if len(lines) > 1 else ""
    return StepFailed(f"{lines[0]}{more}", lines)


def _missing(name: str, tree: Tree, why: str) -> StepFailed:
    if name in tree.ignored:
        return StepFailed(f"{IGNORE} names {name}, which deploy_eb needs: take it out of there")
    near = _near(name, tree)
    meant = f"; did you mean {name} by {near}?" if near else why
    return StepFailed(f"the repository has no {name}, which deploy_eb needs{meant}")


def _near(name: str, tree: Tree) -> str | None:
    """A file at the top that is nearly called so."""
    there = {other.lower(): other for other in tree.entries if "/" not in other}
    near = get_close_matches(name.lower(), there, n=1, cutoff=0.7)
    return there[near[0]] if near else None
