"""Answers in; the files of a first ci.yml, or of a deployment repository, out: templates filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from chalicelib.errors import BadConfig
from chalicelib.fit import dash
from runner.fields import REFERENCE

_TEMPLATES = Path(__file__).parent / "templates"
_SUFFIX = ".j2"
PROVIDERS = {"github.com": "github", "bitbucket.org": "bitbucket_cloud"}
HUB = "docker.io"

# Elastic Beanstalk's limit for `<name>-production`.
_MOST_OF_AN_ENVIRONMENT = 40
_CLIENT = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_FOLDER = re.compile(r"(/[A-Za-z0-9._-]+)+")


@dataclass(frozen=True)
class Answers:
    """What a first ci.yml needs to know.

    Args:
        repository: `owner/name`.
        image: without registry and tag.
        tell: the address of whoever hears of it.
    """

    forge: str
    repository: str
    image: str
    registry: str
    tell: str


@dataclass(frozen=True)
class Deployment:
    """What a deployment repository needs to know.

    Args:
        client: its name without `_deploy`.
        base: the image that it stands on, as a Dockerfile names it.
        app: where the application lies in that image.
        start: how that image starts its web server, for the smoke test; empty = it is not started.
    """

    client: str
    base: str
    registry: str
    app: str
    start: str


def first_ci_yml(answers: Answers) -> str:
    """A ci.yml with one pipeline."""
    name = answers.repository.rpartition("/")[2]
    return _rendered(
        f"ci.yml{_SUFFIX}",
        {
            **vars(answers),
            "provider": PROVIDERS[answers.forge],
            "key": answers.forge.partition(".")[0],
            "credentials": "dockerhub" if answers.registry == HUB else "registry",
            "pipeline": re.sub(r"^[^A-Za-z0-9]+", "", name)[:63] or "first",
        },
    )


def deployment(wanted: Deployment) -> Mapping[str, str]:
    """The files of a deployment repository, by name.

    Raises:
        BadConfig: what was said cannot become one, and why.
    """
    _check(wanted)
    values = {
        **vars(wanted),
        "base": base_of(wanted.base, wanted.registry),
        "image": f"{wanted.registry}/2pisoftware/{wanted.client}",
        "repository": f"{wanted.client}_deploy",
        "environment": dash(wanted.client),
    }
    folder = _TEMPLATES / "deployment"
    names = sorted(path.name for path in folder.iterdir())
    return {name.removesuffix(_SUFFIX): _rendered(f"deployment/{name}", values) for name in names}


def base_of(image: str, registry: str) -> str:
    """The image with its host and its tag: without a host Docker would look for it at Docker Hub."""
    first, slash, _ = image.partition("/")
    has_host = slash and (set(first) & {".", ":"} or first == "localhost")
    full = image if has_host or registry == HUB else f"{registry}/{image}"
    return full if re.search(r"[:@][^/]*\Z", full) else f"{full}:latest"


def _check(wanted: Deployment) -> None:
    if not _CLIENT.fullmatch(wanted.client):
        raise BadConfig(
            f"{wanted.client!r} names no client: write small letters, digits and inner _ . -, such as acme_shop"
        )
    environment = f"{dash(wanted.client)}-production"
    if len(environment) > _MOST_OF_AN_ENVIRONMENT:
        raise BadConfig(f"{wanted.client!r} is too long: the environment {environment} may have 40 characters")
    if not REFERENCE.fullmatch(wanted.base):
        raise BadConfig(
            f"--from {wanted.base!r} is no image: write one such as 2pisoftware/crm or 2pisoftware/cmfive:latest"
        )
    if not _FOLDER.fullmatch(wanted.app):
        raise BadConfig(f"--app {wanted.app!r} is no folder of an image: write a path such as /var/www/html")
    if "'" in wanted.start or not wanted.start.isprintable():
        raise BadConfig(
            "--start holds a quote or a line's end: write the command in a script of the image, and its path here"
        )


def _rendered(name: str, values: Mapping[str, str]) -> str:
    return _environment().get_template(name).render(values)


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - Dockerfiles and YAML, no HTML; each value is checked before
    )
