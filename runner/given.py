"""A pipeline as it was read in; which placeholders its events have values for, and which may be lacking, out."""

from __future__ import annotations

from collections.abc import Mapping

from chalicelib.globs import captures, is_literal
from runner.fields import Compiling
from runner.yaml_places import Tree


def compiling(name: str, raw: Tree, forges: frozenset[str], registries: frozenset[str]) -> Compiling:
    """What a pipeline's texts may refer to, as far as the pipeline can be read."""
    pattern = raw.get("repository") if isinstance(raw, dict) else None
    pattern = pattern if isinstance(pattern, str) else ""
    full_name = pattern.partition("/")[2]
    samples = {
        "branch": "x",
        "tag": "x",
        "major": "1",
        "minor": "0",
        "commit": "0" * 40,
        "commit7": "0" * 7,
        "repository": full_name if full_name and is_literal(full_name) else "o/n",
        "pipeline": name,
        **dict.fromkeys(captures(pattern), "x"),
    }
    return Compiling(samples, _absent(mapping(raw, "trigger")), forges, registries)


def _absent(trigger: Mapping[str, Tree]) -> dict[str, str]:
    """Which placeholders an event of this trigger may lack, and why."""
    kinds = [kind for kind in _GIVEN if kind in trigger]
    given = {**_GIVEN, "schedule": _GIVEN["schedule"] | _of_schedule(trigger)}
    lacking = {word: [kind for kind in kinds if word not in given[kind]] for word in _OF_AN_EVENT}
    return {
        word: f"this pipeline answers to {lacks[0]}" + (" too" if len(lacks) < len(kinds) else "")
        for word, lacks in lacking.items()
        if lacks
    }


_OF_AN_EVENT = ("branch", "tag", "major", "minor", "commit", "commit7")
# What each trigger's events have a value for. Whoever starts a pipeline by hand gives what it needs.
_GIVEN = {
    "push": frozenset({"branch", "commit", "commit7"}),
    "branch": frozenset({"branch", "commit", "commit7"}),
    "tag": frozenset({"tag", "major", "minor", "commit", "commit7"}),
    "pull_request": frozenset({"branch", "commit", "commit7"}),
    # The run looks which commit its repository stands at.
    "image": frozenset({"commit", "commit7"}),
    "schedule": frozenset({"commit", "commit7"}),
    "manual": frozenset(_OF_AN_EVENT),
}


def _of_schedule(trigger: Mapping[str, Tree]) -> frozenset[str]:
    """What the ref of a schedule gives a value for."""
    ref = mapping(dict(trigger), "schedule").get("ref")
    return frozenset({"tag" if str(ref).startswith("refs/tags/") else "branch"} if ref else ())


def mapping(raw: Tree | None, key: str) -> dict[str, Tree]:
    """What stands under a key, where it is a mapping."""
    found = raw.get(key) if isinstance(raw, dict) else None
    return found if isinstance(found, dict) else {}
