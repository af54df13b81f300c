"""What anybody who may pull an image can read without starting it in; which secrets stand there, by name, out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from chalicelib.errors import MissingSecret, StepFailed
from chalicelib.model import Json
from runner import images
from runner.context import Context
from runner.disguises import disguises

# A word of six letters may be somebody's password and a label all the same; a log can do without it, a push cannot.
_SHORTEST = 8


def check(image: str, context: Context) -> None:
    """No secret of this run stands in the configuration or the history of an image.

    Raises:
        StepFailed: one does; named, and never shown.
    """
    with images.answering():
        inspected, history = context.docker.api.inspect_image(image), context.docker.api.history(image)
    described = {"config": inspected.get("Config"), "labels": inspected.get("Labels"), "history": list(history)}
    found = next(exposed(described, _of_the_run(context)), None)
    if found:
        name, where = found
        raise StepFailed(
            f"the image holds the secret {name} where everybody who pulls it can read it ({where}): take it out of"
            " ENV, LABEL and ARG, and let the command that needs it have it by RUN --mount=type=secret (`secrets` of"
            f" build in ci.yml). Make a new {name}: this one was seen"
        )


def exposed(described: Json, secrets: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The secrets that stand somewhere in a description, and where: `config.Env[3]`.

    Args:
        secrets: the values, by name.
    """
    forms = [(name, form) for name, value in secrets.items() for form in disguises(value) if len(form) >= _SHORTEST]
    for where, text in _texts(described, ""):
        raw = text.encode("utf-8", "surrogateescape")
        name = next((name for name, form in forms if form in raw), None)
        if name is not None:
            yield name, where


def _of_the_run(context: Context) -> Mapping[str, str]:
    """Every secret that the run's steps and registries are given; to a fork's code nothing is."""
    named = {
        str(name): None for step in context.job.steps for name in (step.settings.get("secrets") or {}).values()
    } | {name: None for name in context.job.registries.values() if name}
    values = {}
    for name in named:
        try:
            values[name] = context.secret(name)
        except MissingSecret:
            continue  # then nobody was given it; the step that needs it says so
    return values


def _texts(described: Json, where: str) -> Iterator[tuple[str, str]]:
    if isinstance(described, str):
        yield where, described
    elif isinstance(described, Mapping):
        for key, value in described.items():
            # A key may be the secret itself, and what is found is shown.
            yield where, str(key)
            yield from _texts(value, f"{where}.{key}".lstrip("."))
    elif isinstance(described, list | tuple):
        for index, value in enumerate(described):
            yield from _texts(value, f"{where}[{index}]")
