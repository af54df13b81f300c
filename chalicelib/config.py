"""Compiled ci.yml in, what the planner reads out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from pathlib import Path

from chalicelib.errors import StaleConfig
from chalicelib.model import Json, Notify, Provider, Source, Step, Supersede

VERSION = 1
"""The version of the compiled form that this code reads."""


@dataclass(frozen=True)
class Forge:
    """Where repositories are cloned from.

    Args:
        clone: an address with `{repository}` in it.
        key: name of the secret that opens its repositories; None for public ones.
        webhook: names of the secrets that deliveries of its repositories may be signed with.
        webhooks: by `owner/name` in lower case, the secrets that alone may sign for that one.
        api: base address of its REST API, without a slash at its end; None where it has none that we speak.
        token: name of the secret that opens it; None = the forge is not reconciled.
    """

    name: str
    provider: Provider
    clone: str
    key: str | None
    webhook: tuple[str, ...]
    api: str | None = None
    token: str | None = None
    webhooks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every secret that any delivery may be signed with, each once."""
        return tuple(dict.fromkeys([*self.webhook, *(name for names in self.webhooks.values() for name in names)]))

    def signs_for(self, repository: str) -> tuple[str, ...]:
        """The secrets that may sign for a repository: its own where it has any, else those of the whole forge."""
        return self.webhooks.get(repository.lower(), self.webhook)

    def source(self, repository: str) -> Source:
        """How a repository (`owner/name`, already checked) is cloned."""
        return Source(self.name, repository, self.clone.replace("{repository}", repository), self.key)

    def sources(self, pattern: str) -> Source:
        """How the repositories of a pattern (`owner/name*`) are cloned: the address is left open."""
        return Source(self.name, pattern, self.clone, self.key)


class TriggerKind(StrEnum):
    """What a pipeline may answer to, as ci.yml says it."""

    PUSH = "push"
    BRANCH = "branch"
    TAG = "tag"
    IMAGE = "image"
    PULL_REQUEST = "pull_request"
    SCHEDULE = "schedule"
    MANUAL = "manual"


@dataclass(frozen=True)
class Trigger:
    """When a pipeline answers to one kind of event.

    Args:
        names: globs: of branches, tags, images with their tags, or a pull request's target; one must match.
        except_: globs that must not.
        paths: globs of which one must match a changed file; none given = any change.
        cron, timezone, ref: of a schedule; `ref` is a branch's name or a full ref, None = the default branch.
    """

    names: tuple[str, ...] = ()
    except_: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    cron: str | None = None
    timezone: str = "UTC"
    ref: str | None = None


@dataclass(frozen=True)
class Pipeline:
    """A rule of ci.yml.

    Args:
        repository: `forge/owner/name`; the name may hold globs and captures. Of a pipeline that answers to no
            repository's events and names none, it is the one that its image is built from.
        except_: names, or `owner/name`, of repositories that the pattern catches and should not.
        steps: with placeholders still in them, as `{"template": …, "sink": …}`.
        sources: `forge/owner/name` of every repository that the steps name.
        lock: like a setting of a step; None = pipeline + repository + ref.
        map: what a capture caught -> what is inserted instead.
        repository_id: the forge's own id of the repository, which no other one ever gets; None = its name is enough.
        rebuild: what stands on its images is built again after they were pushed.
        submodules: patterns of `forge/owner/name` that may be fetched as submodules; none = none is.
    """

    name: str
    repository: str
    except_: tuple[str, ...]
    triggers: Mapping[TriggerKind, Trigger]
    steps: tuple[Step, ...]
    sources: tuple[str, ...]
    notify: Notify
    lock: Json
    timeout_s: int
    pool: str
    map: Mapping[str, str] = field(default_factory=dict)
    supersede: Supersede = Supersede.QUEUED
    repository_id: str | None = None
    rebuild: bool = False
    submodules: tuple[str, ...] = ()


@dataclass(frozen=True)
class Config:
    """All of ci.yml.

    Args:
        registries: host -> name of the secret with its credentials, or None.
        hash: sha256 of the ci.yml that it was compiled from.
    """

    version: int
    operators: tuple[str, ...]
    forges: Mapping[str, Forge]
    registries: Mapping[str, str | None]
    pipelines: tuple[Pipeline, ...]
    hash: str


def parse(compiled: Mapping[str, Json]) -> Config:
    """The compiled form as nouns.

    Raises:
        StaleConfig: another version of the compiler wrote it.
    """
    if compiled.get("version") != VERSION:
        raise StaleConfig(f"ci.json has version {compiled.get('version')}, not {VERSION}: run `tau compile`")
    return Config(
        version=compiled["version"],
        operators=tuple(compiled["operators"]),
        forges={name: _forge(name, forge) for name, forge in compiled["forges"].items()},
        registries=dict(compiled["registries"]),
        pipelines=tuple(_pipeline(pipeline) for pipeline in compiled["pipelines"]),
        hash=compiled["source_sha256"],
    )


def load(folder: Path | None = None) -> Config:
    """The ci.json of a folder; of this package when none is named.

    Raises:
        StaleConfig: it is missing or unreadable, or the ci.yml beside it has changed since.
    """
    folder = Path(__file__).parent if folder is None else folder
    try:
        config = parse(json.loads((folder / "ci.json").read_bytes()))
    except FileNotFoundError as error:
        raise StaleConfig(f"{folder / 'ci.json'} is not there: run `tau compile`") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StaleConfig(f"{folder / 'ci.json'} cannot be read ({error!r}): run `tau compile`") from error
    source = folder / "ci.yml"
    if source.exists() and sha256(source.read_bytes()).hexdigest() != config.hash:
        raise StaleConfig(f"{source} has changed since ci.json was compiled: run `tau compile`")
    return config


def text(folder: Path | None = None) -> bytes:
    """The bytes of ci.json, to be kept with what it planned."""
    return ((folder or Path(__file__).parent) / "ci.json").read_bytes()


def _forge(name: str, forge: Mapping[str, Json]) -> Forge:
    return Forge(
        name,
        Provider(forge["provider"]),
        forge["clone"],
        forge.get("key"),
        tuple(forge.get("webhook", ())),
        forge.get("api"),
        forge.get("token"),
        {repository.lower(): tuple(names) for repository, names in forge.get("webhooks", {}).items()},
    )


def _trigger(said: Mapping[str, Json]) -> Trigger:
    return Trigger(
        names=tuple(said.get("names", ())),
        except_=tuple(said.get("except", ())),
        paths=tuple(said.get("paths", ())),
        cron=said.get("cron"),
        timezone=said.get("timezone", "UTC"),
        ref=said.get("ref"),
    )


def _pipeline(pipeline: Mapping[str, Json]) -> Pipeline:
    return Pipeline(
        name=pipeline["name"],
        repository=pipeline["repository"],
        except_=tuple(pipeline["except"]),
        triggers={TriggerKind(kind): _trigger(said) for kind, said in pipeline["triggers"].items()},
        steps=tuple(Step(step["action"], step["settings"]) for step in pipeline["steps"]),
        sources=tuple(pipeline["sources"]),
        notify=Notify(tuple(pipeline["notify"]["to"]), pipeline["notify"]["on"]),
        lock=pipeline["lock"],
        timeout_s=pipeline["timeout_s"],
        pool=pipeline["pool"],
        map=pipeline["map"],
        supersede=Supersede(pipeline.get("supersede", Supersede.QUEUED)),
        repository_id=pipeline.get("repository_id"),
        rebuild=pipeline.get("rebuild") == "dependents",
        submodules=tuple(pipeline.get("submodules", ())),
    )
