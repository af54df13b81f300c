"""The results of a run's steps in; the images that they made, and the steps that are spared by them, out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from chalicelib import wire
from chalicelib.graph import Base
from chalicelib.model import Step, StepResult, StepStatus
from runner.context import Image

SPARED = "spared"
"""A fact of a step: the image whose `build`, and the steps up to its push, are not needed any more."""
_MAKING = frozenset({"build", "test", "push"})


def built(results: Mapping[str, StepResult]) -> dict[str, Image]:
    """By the step's index, what each build made."""
    return {
        index: Image(
            result.facts["image"]["name"],
            result.facts["image"]["id"],
            bases=tuple(wire.from_json(Base, base) for base in result.facts.get("bases", ())),
            commits=result.facts.get("commits", {}),
        )
        for index, result in results.items()
        if result.action == "build" and result.status is StepStatus.PASSED
    }


def images_of(results: Mapping[str, StepResult]) -> Mapping[str, Image]:
    """By name, the images that the steps built or found so far, with their digests where they were pushed."""
    found = {image.name: image for image in built(results).values()}
    for result in results.values():
        said = result.facts.get("image", {})
        if result.status is not StepStatus.PASSED or result.action not in {"push", "tag"} or not said:
            continue
        image = found.get(said["name"]) or Image(said["name"], said["id"])
        found[image.name] = replace(image, digests={**image.digests, **result.facts["digests"]})
    return found


def is_spared(step: Step, results: Mapping[str, StepResult]) -> bool:
    """Whether a step would only make an image that an earlier step found."""
    spared = {result.facts[SPARED] for result in results.values() if SPARED in result.facts}
    return step.action in _MAKING and step.settings.get("image") in spared
