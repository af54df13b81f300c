"""ci.yml in; its normal form out, which is all that the Lambda and the runner ever read of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from chalicelib.errors import BadConfig
from chalicelib.model import Json
from chalicelib.plan import OF_A_REPOSITORY
from runner import actions as folder
from runner import slips, values
from runner.complaints import complain
from runner.fields import Compiling, suggestion
from runner.given import compiling, mapping
from runner.grammar import CiFile, Pipeline
from runner.yaml_places import Complaint, Document, Path, Tree, read

VERSION = 1
"""The version of the normal form."""

_SHOWN = 100
"""More complaints than this help nobody."""

_A_VALUE = (
    "looks like {what}: write the name of a secret here, keep the value in the store, and make a new one: it was seen"
)

Actions = Mapping[str, type[BaseModel]]
"""The Settings of every action by its word in ci.yml."""


@dataclass(frozen=True)
class Compiled:
    """The normal form, and what is allowed but looks like a slip: `ci.yml:9:5: …`."""

    form: Mapping[str, Json]
    warnings: tuple[str, ...] = ()


def compile_text(text: str, path: str = "ci.yml") -> Mapping[str, Json]:
    """The normal form of a ci.yml.

    Raises:
        BadConfig: every complaint, a line each, as `path:line:column: where: what`.
    """
    return compile_source(text.encode("utf-8", "surrogatepass"), path).form


def compile_source(source: bytes, path: str = "ci.yml", actions: Actions | None = None) -> Compiled:
    """The normal form of a ci.yml's bytes, and the warnings.

    Args:
        actions: the words that steps may use; None = those of runner/actions.

    Raises:
        BadConfig: every complaint, a line each.
    """
    document = read(source)
    compiler = _Compiler(document, known_actions() if actions is None else actions)
    form = compiler.file() if document.root is not None else {}
    if document.complaints:
        raise BadConfig("\n".join(_lines(document.complaints, path)))
    return Compiled({**form, "source_sha256": sha256(source).hexdigest()}, tuple(_lines(compiler.warnings, path)))


def render(form: Mapping[str, Json]) -> str:
    """ci.json: the same text for the same form."""
    return json.dumps(form, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def known_actions() -> Actions:
    """The actions that there are."""
    return _Folder()


class _Folder(Actions):
    """The actions of runner/actions, each imported when ci.yml uses its word."""

    def __init__(self) -> None:
        self._names = folder.names()
        self._known: dict[str, type[BaseModel]] = {}

    def __getitem__(self, word: str) -> type[BaseModel]:
        if word not in self._names:
            raise KeyError(word)
        if word not in self._known:
            self._known[word] = folder.find(word).Settings
        return self._known[word]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _lines(complaints: list[Complaint], path: str) -> list[str]:
    lines = [f"{path}:{complaint}" for complaint in sorted(complaints, key=lambda one: one.place)]
    more = len(lines) - _SHOWN
    return lines if more <= 0 else [*lines[:_SHOWN], f"{path}: and {more} more"]


Model = TypeVar("Model", bound=BaseModel)


class _Compiler:
    """Goes through the document once, noting every complaint there."""

    def __init__(self, document: Document, actions: Actions) -> None:
        self.warnings: list[Complaint] = []
        self._document = document
        self._actions = actions

    def file(self) -> dict[str, Json]:
        """The normal form; worth something only when there was no complaint."""
        root = self._document.root
        # Before anything else complains of the same place, and repeats what stands there.
        for path, what in values.found(root or ""):
            self._document.complain(path, _A_VALUE.format(what=what))
        head = self._checked(CiFile, root, (), None)
        names = {key: mapping(root, key) for key in ("forges", "registries", "pipelines")}
        forges, registries = frozenset(names["forges"]), frozenset(names["registries"])
        pipelines = [
            self._pipeline(name, raw, compiling(name, raw, forges, registries))
            for name, raw in names["pipelines"].items()
        ]
        if head is None:
            return {}
        self._look_for_circles(pipelines)
        return {
            "version": VERSION,
            "operators": list(head.operators),
            "forges": {name: forge.model_dump(mode="json", exclude_none=True) for name, forge in head.forges.items()},
            "registries": {host: registry.credentials for host, registry in head.registries.items()},
            "pipelines": pipelines,
        }

    def _pipeline(self, name: str, raw: Tree, compiling: Compiling) -> dict[str, Json]:
        path: Path = ("pipelines", name)
        pipeline = self._checked(Pipeline, raw, path, compiling)
        steps = self._steps(raw.get("steps") if isinstance(raw, dict) else None, (*path, "steps"), compiling)
        if pipeline is None:
            return {}
        repository = self._repository(pipeline, steps, path)
        if repository is None:
            return {}
        form = pipeline.model_dump(mode="json", by_alias=True, exclude_none=True, context=compiling)
        form = {
            "name": name,
            "repository": repository,
            **({"repository_id": pipeline.repository_id} if pipeline.repository_id else {}),
            "except": form.get("except", []),
            "map": form.get("map", {}),
            "triggers": form["trigger"],
            "steps": steps,
            "sources": list(compiling.repositories),
            "notify": form["notify"],
            "lock": form.get("lock"),
            "timeout_s": form["timeout"],
            "pool": form["runs_on"],
            "supersede": form["supersede"],
            **{key: form[key] for key in ("rebuild", "submodules") if key in form},
        }
        self._look_for_slips(form, path)
        return form

    def _repository(self, pipeline: Pipeline, steps: list[dict[str, Json]], path: Path) -> str | None:
        """What the pipeline is about: where it names none, the repository that its image is built from."""
        if pipeline.repository is not None:
            return pipeline.repository
        needing = sorted(pipeline.trigger.model_fields_set & {str(kind) for kind in OF_A_REPOSITORY})
        if needing:
            self._document.complain(path, f'"repository" is required: {needing[0]} is about one')
            return None
        sources = [step["settings"].get("from") for step in steps if step["action"] == "build"]
        if not sources or sources[0] is None:
            self._document.complain(path, '"repository" is required, or a build that has "from"')
            return None
        if sources[0].get("into") is not None:
            self._document.complain(path, "no pushed tree goes into the build: name the repository that it comes from")
            return None
        return str(sources[0]["repository"])

    def _steps(self, raw: Tree | None, path: Path, compiling: Compiling) -> list[dict[str, Json]]:
        """The steps in normal form; empty when one of them was complained about."""
        listed = raw if isinstance(raw, list) else []
        steps = [
            self._step(word, settings, (*path, index, word), compiling)
            for index, step in enumerate(listed)
            if isinstance(step, dict) and len(step) == 1
            for word, settings in step.items()
        ]
        known = [step for step in steps if step is not None]
        if len(known) < len(listed):
            return []
        for index, step in enumerate(known):
            self._name_image(step, known, index, (*path, index, step["action"]))
        return known

    def _step(self, word: str, raw: Tree, path: Path, compiling: Compiling) -> dict[str, Json] | None:
        if word not in self._actions:
            self._document.complain(path, f"unknown action; {suggestion(word, list(self._actions))}")
            return None
        settings = self._checked(self._actions[word], raw, path, compiling)
        ambiguous = _looks_filled(raw)
        if ambiguous is not None:
            self._document.complain(
                (*path, *ambiguous), "a mapping of just template and sink means something else here"
            )
        if settings is None:
            return None
        form = settings.model_dump(mode="json", by_alias=True, exclude_none=True, context=compiling)
        return {"action": word, "settings": form}

    def _name_image(self, step: dict[str, Json], steps: list[dict[str, Json]], index: int, path: Path) -> None:
        """Fill in the image of the pipeline's only build where a step works on one and names none."""
        if "image" not in self._actions[step["action"]].model_fields or step["action"] in {"build", "tag"}:
            return
        builds = [(at, other["settings"]["image"]) for at, other in enumerate(steps) if other["action"] == "build"]
        named = step["settings"].get("image")
        # An action that takes any image says when it can do without one.
        may_lack_image = getattr(self._actions[step["action"]], "may_lack_image", None)
        if named is not None:
            if may_lack_image is None and named not in [image for at, image in builds if at < index]:
                self._warn((*path, "image"), "no build before this step makes it")
        elif len(builds) != 1:
            if may_lack_image and may_lack_image(step["settings"]):
                return
            several = f"has {len(builds)} builds" if builds else "builds none"
            self._document.complain((*path, "image"), f'"image" is required: this pipeline {several}')
        elif builds[0][0] > index:
            self._document.complain(path, "stands before the build whose image it needs")
        else:
            step["settings"]["image"] = builds[0][1]

    def _look_for_slips(self, form: dict[str, Json], path: Path) -> None:
        for inner, text in slips.wrong(form):
            self._document.complain(self._written((*path, *inner)), text)
        for inner, text in slips.doubtful(form):
            self._warn((*path, *inner), text)

    def _look_for_circles(self, forms: list[dict[str, Json]]) -> None:
        around = slips.circle([form for form in forms if form])
        if around:
            chain = " -> ".join([*around, around[0]])
            text = f"goes round in a circle: {chain}; each pushes the image that starts the next"
            self._document.complain(("pipelines", around[0], "trigger", "image"), text)

    def _written(self, path: Path) -> Path:
        """The path as ci.yml has it: in the short form of a trigger the names are the list itself."""
        short = tuple(part for part in path if part != "names")
        return short if path not in self._document.values and short in self._document.values else path

    def _checked(self, model: type[Model], raw: Tree | None, path: Path, compiling: Compiling | None) -> Model | None:
        try:
            return model.model_validate(raw, context=compiling)
        except ValidationError as error:
            complain(self._document, error, model, path, raw or "")
            return None

    def _warn(self, path: Path, text: str) -> None:
        self.warnings.append(Complaint(self._document.place_of(path), path, text))


def _looks_filled(raw: Tree) -> Path | None:
    """Where a mapping stands that the planner would take for a text with placeholders."""
    if isinstance(raw, dict):
        if set(raw) == {"template", "sink"}:
            return ()
        parts: list[tuple[str | int, Tree]] = list(raw.items())
    else:
        parts = list(enumerate(raw)) if isinstance(raw, list) else []
    found = ((key, _looks_filled(part)) for key, part in parts)
    return next(((key, *inner) for key, inner in found if inner is not None), None)
