"""A Dockerfile's text in, the images that its stages begin from out.

Source: https://docs.docker.com/reference/dockerfile/#from, #arg, #parser-directives
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from chalicelib.errors import StepFailed

_INSTRUCTION = re.compile(r"([A-Za-z]+)\s+(.*)", re.DOTALL)
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::-([^}]*))?\})")
_ESCAPE = re.compile(r"(?:#[^\n]*\n)*#\s*escape\s*=\s*`", re.IGNORECASE)
_ENDS = ("\n", "\r")
_FRONTEND = re.compile(r"(?:#|//)\s*syntax\s*=\s*(?P<image>\S*).*", re.IGNORECASE | re.DOTALL)
_JSON = re.compile(r"(?:#!.*\n)?\s*\{")
_OFFICIAL = re.compile(r"(?:docker\.io/)?docker/dockerfile(?::[\w.-]+)?(?:@sha256:[0-9a-f]{64})?")
# What could be an image's name; anything else is the engine's to complain of.
_NAME = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._/-]*(:[0-9]+/[A-Za-z0-9._/-]+)?(:[A-Za-z0-9_.-]+)?(@[a-z0-9]+:[0-9a-fA-F]+)?"
)


def bases(dockerfile: str, args: Mapping[str, str]) -> tuple[str, ...]:
    """The images that its stages begin from, each once; neither `scratch` nor another stage of its own.

    What cannot be read as a name is left out: the build says what is wrong with it.

    Args:
        args: the build's arguments; they count for what is declared before the first stage.
    """
    return tuple(dict.fromkeys(begin.image for begin in _begins(dockerfile, args)))


def standing_on(dockerfile: str, args: Mapping[str, str], others: Mapping[str, str]) -> str:
    """The text whose stages begin from other images.

    Args:
        others: instead of each image, as `bases` calls it, which.
    """
    lines = dockerfile.splitlines(keepends=True)
    for begin in _begins(dockerfile, args):
        if begin.image in others:
            flags, (_, *rest) = flags_and_words(begin.rest)
            first, last = begin.lines
            # As many lines as there were: a complaint of the engine names one by its number.
            lines[first : last + 1] = [
                f"FROM {' '.join((*flags, others[begin.image], *rest))}\n",
                *("\n" for _ in range(last - first)),
            ]
    return "".join(lines)


class Reader:
    """What FROM lines mean, given the arguments before them: its instructions are handed over in their order.

    Args:
        args: the build's arguments; they count for what is declared before the first stage.
    """

    def __init__(self, args: Mapping[str, str]) -> None:
        self._args = args
        self._values: dict[str, str] = {}
        self._begun = False

    def declare(self, rest: str) -> None:
        """An ARG; after the first stage it says nothing about FROM."""
        if not self._begun:
            _declare(rest, self._args, self._values)

    def stage(self, rest: str) -> tuple[str, str]:
        """The image of a FROM, and what its stage is called."""
        self._begun = True
        return _stage(rest, self._values)


def is_odd(dockerfile: str) -> bool:
    """Whether its lines go on at another sign than a backslash."""
    return _ESCAPE.match(dockerfile) is not None


def without_frontend(dockerfile: str) -> str:
    """The text for the engine's own frontend: a line that asks for Docker's is left empty, as the engine has that.

    Raises:
        StepFailed: it asks for another one, which would be a program of somebody else's that sees everything here.

    Source: https://docs.docker.com/reference/dockerfile/#syntax
    """
    text = dockerfile.removeprefix("\ufeff")
    if _JSON.match(text):
        raise StepFailed("the Dockerfile begins with `{`: it is for another frontend than the engine's own")
    # Not `splitlines`: BuildKit takes what that ends a line at for spaces.
    lines = text.split("\n")
    for index, line in enumerate(lines):
        found = _FRONTEND.fullmatch(line.strip())
        if found and not _OFFICIAL.fullmatch(found["image"]):
            raise StepFailed(
                f"the Dockerfile asks for the frontend {found['image'][:100]}: only the engine's own reads Dockerfiles"
                " here; leave out the line `syntax=`"
            )
        if found:
            lines[index] = ""
        elif line.strip() and not line.lstrip().startswith(("#", "//")):
            break
    return "\n".join(lines)


@dataclass(frozen=True)
class _Begin:
    """A stage that begins from an image.

    Args:
        rest: what stands behind FROM.
        lines: its first and its last, from 0.
    """

    image: str
    rest: str
    lines: tuple[int, int]


def _begins(dockerfile: str, args: Mapping[str, str]) -> Iterator[_Begin]:
    """Every stage that begins from neither `scratch` nor another stage."""
    reader = Reader(args)
    stages: set[str] = {"scratch"}
    for word, rest, lines in _instructions(dockerfile):
        if word == "ARG":
            reader.declare(rest)
        elif word == "FROM":
            image, stage = reader.stage(rest)
            if image.lower() not in stages and _NAME.fullmatch(image):
                yield _Begin(image, rest, lines)
            stages.add(stage.lower())


def _instructions(dockerfile: str) -> Iterator[tuple[str, str, tuple[int, int]]]:
    """Each instruction's word, the rest of its line, which may go on over several, and the first and last of these."""
    parts: list[str] = []
    first = 0
    for number, line in enumerate(dockerfile.splitlines()):
        text = line.strip()
        # Also in the middle of an instruction these are passed over.
        if not text or text.startswith("#"):
            continue
        if not parts:
            first = number
        if text.endswith("\\"):
            parts.append(text[:-1])
            continue
        found = _INSTRUCTION.fullmatch(" ".join([*parts, text]).strip())
        parts = []
        if found:
            yield found[1].upper(), found[2].strip(), (first, number)


def _declare(rest: str, args: Mapping[str, str], values: dict[str, str]) -> None:
    """One ARG, which may name several."""
    try:
        words = shlex.split(rest)
    except ValueError:
        return  # a quote without its end
    for word in words:
        name, equals, default = word.partition("=")
        if name in args:
            values[name] = args[name]
        elif equals:
            values[name] = _filled(default, values)


def _stage(rest: str, values: Mapping[str, str]) -> tuple[str, str]:
    """The image of a FROM, and what its stage is called."""
    _, words = flags_and_words(rest)
    image = _filled(words[0], values) if words else ""
    is_named = len(words) == 3 and words[1].lower() == "as"  # noqa: PLR2004 - image AS name
    return image, words[2] if is_named else ""


def flags_and_words(rest: str) -> tuple[list[str], list[str]]:
    """The parts of what stands behind FROM."""
    words = rest.split()
    flags = [word for word in words if word.startswith("--")]
    return flags, [word for word in words if word not in flags]


def _filled(text: str, values: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda found: values.get(found[1] or found[2]) or found[3] or "", text)


def marked(dockerfile: str, line: str) -> str:
    """The text with one more instruction at the beginning of each stage: what a build leaves behind bears its labels.

    One whose lines go on at another sign than a backslash stays as it is.
    """
    if is_odd(dockerfile):
        return dockerfile
    lines: list[str] = []
    within: str | None = None
    for text in dockerfile.splitlines(keepends=True):
        lines.append(text)
        plain = text.strip()
        if not plain or plain.startswith("#"):
            continue
        within = within or plain.split()[0].upper()
        if not plain.endswith("\\"):
            if within == "FROM":
                lines.append(f"{'' if text.endswith(_ENDS) else _ENDS[0]}{line}\n")
            within = None
    return "".join(lines)
