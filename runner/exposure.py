"""What anybody who may pull an image can read without starting it in; which secrets stand there, by name, out."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping
from urllib.parse import quote

from chalicelib.errors import MissingSecret, StepFailed
from chalicelib.model import Json
from runner import images
from runner.context import Context

# Shorter ones stand in half of all words.
_SHORTEST = 8
# Where a line of a key is no secret: `-----BEGIN OPENSSH PRIVATE KEY-----`.
_FRAME = "-----"


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
    needles = [(name, needle) for name, value in secrets.items() for needle in _written(value)]
    for where, text in _texts(described, ""):
        for name, needle in needles:
            if needle in text:
                yield name, where
                break


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


def _written(value: str) -> Iterator[str]:
    """The ways in which a value is written: as it is, a password without its user, in base64, in an address."""
    parts = {value, value.partition(":")[2], *value.splitlines()}
    for part in (part.strip() for part in parts):
        if len(part) >= _SHORTEST and not part.startswith(_FRAME):
            yield part
            yield quote(part, safe="")
            # Three places in which it can begin; what its neighbours have a share in is left out.
            for shift in range(3):
                encoded = b64encode(b"\0" * shift + part.encode()).decode().rstrip("=")
                yield encoded[(0, 2, 3)[shift] : len(encoded) - (1 if (shift + len(part.encode())) % 3 else 0)]


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
