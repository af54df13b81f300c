"""What ci.yml names in: secrets, forges and registries, each asked as a run would ask them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker.errors import APIError

from chalicelib.config import Config, Forge
from chalicelib.errors import MissingSecret
from chalicelib.globs import is_literal
from chalicelib.model import Json, Source
from chalicelib.providers.signature import LEAST_SECRET_BYTES
from runner import credentials, git, images, shell
from runner.doctor.findings import Mark, NotWell, Question
from runner.mirror import refusal
from runner.registry import Registry
from runner.registry import credentials as login_of
from runner.registry_trouble import trouble
from runner.stopping import Stopping

_GIT_S = 60
_NAME = "tau/doctor"
# By this name the engine knows it. https://docs.docker.com/reference/cli/docker/login/
_HUB = "https://index.docker.io/v1/"


@dataclass(frozen=True)
class Outside:
    """What is asked, and with what.

    Args:
        secret: value of a named secret.
        docker: None = no engine answers, and nothing is asked through it.
    """

    config: Config
    secret: Callable[[str], str]
    environ: Mapping[str, str]
    docker: Any


def questions(outside: Outside) -> Iterator[Question]:
    """Secrets first: forges and registries are asked with them."""
    yield "secrets", lambda: _secrets(outside)
    for forge in outside.config.forges.values():
        yield f"forge {forge.name}", _forge_of(forge, outside)
    for host, secret in outside.config.registries.items():
        yield f"registry {host}", _registry_of(host, secret, outside)
        if outside.docker is not None:
            yield f"engine at {host}", _engine_at(host, secret, outside)


def uses_build_secrets(config: Config) -> bool:
    """Whether a build wants secrets, which only BuildKit can give it."""
    steps = (step for pipeline in config.pipelines for step in pipeline.steps)
    return any(step.action == "build" and step.settings.get("secrets") for step in steps)


# --- secrets ----------------------------------------------------------------------------------------


def _secrets(outside: Outside) -> str:
    names, complaints = secret_names(outside.config), []
    signing = {name for forge in outside.config.forges.values() for name in forge.secrets}
    for name in names:
        try:
            value = outside.secret(name)
        except MissingSecret as error:
            complaints.append(str(error))
            continue
        if name in signing and len(value.encode()) < LEAST_SECRET_BYTES:
            complaints.append(f"the secret {name} signs webhooks, and is shorter than {LEAST_SECRET_BYTES} bytes")
    if complaints:
        raise NotWell("; ".join(complaints))
    return f"{len(names)} are there: {', '.join(names)}" if names else "ci.yml names none"


def secret_names(config: Config) -> list[str]:
    """Every secret that ci.yml names, once."""
    names = {name for name in config.registries.values() if name}
    for forge in config.forges.values():
        names |= {*forge.secrets, *(name for name in (forge.key, forge.token) if name)}
    for pipeline in config.pipelines:
        for step in pipeline.steps:
            names |= set(_of_step(step.settings))
    return sorted(names)


def _of_step(settings: Json) -> Iterator[str]:
    """What stands under `secrets`, of the step and of its services."""
    if not isinstance(settings, Mapping):
        return
    for key, value in settings.items():
        if key == "secrets" and isinstance(value, Mapping):
            yield from (name for name in value.values() if isinstance(name, str))
        else:
            yield from _of_step(value)


# --- forges -----------------------------------------------------------------------------------------


def _forge_of(forge: Forge, outside: Outside) -> Callable[[], str]:
    def ask() -> str:
        repository = _repository_of(forge, outside.config)
        if repository is None:
            raise NotWell("ci.yml names no repository of it in full, so none was asked", Mark.MIND)
        source = forge.source(repository)
        _listed(source, outside)
        return f"{repository} can be fetched with {forge.key or 'no key'}"

    return ask


def _repository_of(forge: Forge, config: Config) -> str | None:
    """One of a forge's repositories that ci.yml names without a placeholder or wildcard."""
    named = (name for one in config.pipelines for name in (one.repository, *one.sources))
    pairs = (name.partition("/") for name in named)
    return next((rest for where, _, rest in pairs if where == forge.name and is_literal(rest)), None)


def _listed(source: Source, outside: Outside) -> None:
    """Ask where its default branch stands, in the surroundings in which a run fetches."""
    with tempfile.TemporaryDirectory(prefix="tau-doctor-") as home, credentials.opened(source, outside.secret) as key:
        env = {**git.environment(outside.environ, source.clone, Path(home)), **key}
        done = shell.run(git.list_head(source.clone), env=env, timeout_s=_GIT_S, stopping=Stopping())
    if not done.ok:
        raise refusal(source, "HEAD", done.complaint)


# --- registries -------------------------------------------------------------------------------------


def _registry_of(host: str, secret: str | None, outside: Outside) -> Callable[[], str]:
    def ask() -> str:
        login = login_of(outside.secret(secret), secret) if secret else None
        Registry(host, _NAME, login).let_in(secret)
        return f"lets us in with {secret}" if secret else "is open"

    return ask


def _engine_at(host: str, secret: str | None, outside: Outside) -> Callable[[], str]:
    """The same by the engine, which has authorities of its own and pushes the layers."""

    def ask() -> str:
        login = login_of(outside.secret(secret), secret) if secret else None
        user, password = (login.user, login.password) if login else ("", "")
        address = _HUB if host == "docker.io" else host
        with images.answering():
            try:
                outside.docker.api.login(user, password, registry=address, reauth=True)
            except APIError as error:
                said = str(error.explanation or error)
                raise trouble(host, f"the engine cannot log in at {host}", said, secret=secret) from error
        return "reaches it, and is let in"

    return ask
