"""Pipelines in normal form in; what cannot be meant, and what may not be, out: each with its path."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from chalicelib.fit import placeholders
from chalicelib.globs import capture, captures, covers, is_literal
from chalicelib.model import Json
from chalicelib.pinning import UNKNOWN_AT_FIRST
from chalicelib.providers.reading import NOT_A_REF
from runner.yaml_places import Path

Form = Mapping[str, Json]
Slip = tuple[Path, str]

_OF_REFS = ("push", "branch", "tag", "pull_request")
_A = {"schedule": "a schedule", "image": "an image"}
_AS_ELASTIC_BEANSTALK = {"dockerfile": "Dockerfile", "context": ".", "target": None}
_WILD = re.compile(r"\*+|\?")
# As `Sink.IMAGE` of chalicelib/fit.py, and a tag.
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_TAGGED = re.compile(rf"(?!localhost/|[^/]*[.:][^/]*/){_PART}(?:/{_PART})*:[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}}")


def wrong(form: Form) -> Iterator[Slip]:
    """Why a pipeline could never do what it says."""
    one = is_literal(form["repository"])
    for kind in ("image", "schedule"):
        if kind in form["triggers"] and not one:
            yield ("trigger", kind), "it is for one repository, and this pipeline's is a pattern of many"
    if "repository_id" in form and not one:
        yield ("repository_id",), "it is one repository's, and this pipeline's is a pattern of many"
    if form["map"] and not captures(form["repository"]):
        yield ("map",), "maps what the repository's captures catch, and it has none"
    if one and any(_is_excepted(form["repository"], name) for name in form["except"]):
        yield ("except",), f"excepts {form['repository']} itself: this pipeline would never run"
    yield from _too_early(form)
    yield from _built_otherwise(form)
    for kind, trigger in form["triggers"].items():
        yield from _unreachable(kind, trigger)


def _built_otherwise(form: Form) -> Iterator[Slip]:
    """A deployment that has Elastic Beanstalk build what was built and tested here in a way that it does not know."""
    builds = {str(step["settings"]["image"]): step["settings"] for step in form["steps"] if step["action"] == "build"}
    for index, step in enumerate(form["steps"]):
        if step["action"] != "deploy_eb" or step["settings"].get("bundle") != "source":
            continue
        build = builds.get(str(step["settings"].get("image")), {})
        odd = [f"`{key}`" for key, usual in _AS_ELASTIC_BEANSTALK.items() if build.get(key, usual) not in {usual, None}]
        odd += [f"`{key}`" for key in ("from", "args", "secrets") if build.get(key)]
        if odd:
            text = f"Elastic Beanstalk builds the Dockerfile at the top as it is, and the build has {', '.join(odd)}"
            yield ("steps", index, "deploy_eb", "bundle"), f"{text}: leave that out, or deploy the image"
        elif form.get("submodules"):
            text = "a bundle holds no submodules, and the build has them: leave them out, or deploy the image"
            yield ("steps", index, "deploy_eb", "bundle"), text


def _too_early(form: Form) -> Iterator[Slip]:
    """A lock that is named after a commit which nobody knows when the run is made."""
    if form["lock"] is None:
        return
    named = next((word for word in placeholders(_template(form["lock"])) if word.name in UNKNOWN_AT_FIRST), None)
    kind = next((kind for kind in ("schedule", "image") if kind in form["triggers"]), None)
    if named and kind:
        yield (
            ("lock",),
            f"{named} is not known yet when {_A[kind]} starts a run, and the lock is chosen then: leave it out",
        )


def _unreachable(kind: str, trigger: Form) -> Iterator[Slip]:
    """The globs that nothing can ever match."""
    excepted = trigger.get("except", [])
    for index, glob in enumerate(trigger.get("names", [])):
        path = ("trigger", kind, "names", index)
        by = next((other for other in excepted if covers(other, glob)), None)
        if by is not None:
            yield path, f"can never match: everything that fits {glob} is excepted by {by}"
        elif kind in _OF_REFS and NOT_A_REF.search(_WILD.sub("x", glob)):
            yield path, f"can never match: git lets no {'tag' if kind == 'tag' else 'branch'} be called {glob}"
        elif kind == "image" and not _is_image(glob):
            yield (
                path,
                f"can never match {glob}: write an image with its tag and no registry, 2pisoftware/cmfive:latest",
            )
    for index, glob in enumerate(trigger.get("paths", [])):
        if {".", ".."} & set(glob.removeprefix("./").split("/")):
            yield ("trigger", kind, "paths", index), f"can never match a file of the repository: {glob} leads elsewhere"
        elif glob.startswith(("/", "./")) or glob.endswith("/") or "//" in glob:
            right = re.sub("/+", "/", glob.removeprefix(".")).strip("/") + ("/**" if glob.endswith("/") else "")
            yield ("trigger", kind, "paths", index), f"can never match a file of the repository; did you mean {right}?"


def _is_image(glob: str) -> bool:
    """Whether an image with its tag can fit; a wildcard may stand for the colon between them too."""
    tried = (_WILD.sub("x", glob), *(f"{glob[: at.start()]}x:x{glob[at.end() :]}" for at in _WILD.finditer(glob)))
    return any(_TAGGED.fullmatch(_WILD.sub("x", one)) for one in tried)


def doubtful(form: Form) -> Iterator[Slip]:
    """What may be meant, and is more often a slip."""
    words = [step["action"] for step in form["steps"]]
    for index, word in enumerate(words):
        if word.startswith("deploy_") and "test" not in words[:index]:
            yield ("steps", index, word), "goes live untested: no test stands before it"
    repository = form["repository"]
    forge, _, pattern = repository.partition("/")
    owner = pattern.partition("/")[0]
    for index, name in enumerate(form["except"]):
        full = name if "/" in name else f"{owner}/{name}"
        if capture(pattern, full) is None:
            yield ("except", index), f"excepts nothing: {forge}/{full} is not {repository}"


def _is_excepted(repository: str, name: str) -> bool:
    full_name = repository.partition("/")[2].lower()
    return name.lower() in {full_name, full_name.partition("/")[2]}


# --- circles of images ----------------------------------------------------------------------------


def circle(forms: Sequence[Form]) -> list[str] | None:
    """The pipelines of which each pushes what starts the next, and the last what starts the first; None = none do.

    An image whose tag a placeholder makes counts where the trigger takes every such tag.
    """
    pushed = {one["name"]: tuple(_pushed(one)) for one in forms}
    heard = [other for other in forms if "image" in other["triggers"]]
    follows = {name: [other["name"] for other in heard if _starts(images, other)] for name, images in pushed.items()}
    for name in follows:
        found = _way(follows, name)
        if found:
            return found
    return None


def _way(follows: Mapping[str, Sequence[str]], start: str) -> list[str] | None:
    """The shortest way from a pipeline back to it."""
    ways, seen = [[start]], set[str]()
    for way in ways:
        for after in follows[way[-1]]:
            if after == start:
                return way
            if after not in seen:
                seen.add(after)
                ways.append([*way, after])
    return None


def _starts(images: Sequence[str], other: Form) -> bool:
    trigger = other["triggers"]["image"]
    return any(_covered(trigger["names"], one) and not _covered(trigger.get("except", []), one) for one in images)


def _covered(globs: Sequence[str], image: str) -> bool:
    return any(glob == image if is_literal(glob) else covers(glob, image) for glob in globs)


def _pushed(form: Form) -> Iterator[str]:
    """The images that a pipeline gives a tag in a registry, `*` for each placeholder."""
    for step in form["steps"]:
        if step["action"] in {"push", "tag"}:
            for tag in step["settings"]["tags"]:
                yield f"{_globbed(step['settings']['image'])}:{_globbed(tag)}"


def _template(value: Json) -> str:
    return str(value["template"] if isinstance(value, dict) else value)


def _globbed(value: Json) -> str:
    text = _template(value)
    for one in placeholders(text):
        text = text.replace(str(one), "*")
    return text
