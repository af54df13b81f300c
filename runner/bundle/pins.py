"""A Dockerfile and what its bases were when they were tested in; the Dockerfile that stands on exactly these out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from chalicelib.graph import Base
from runner.dockerfiles import Reader, flags_and_words, is_odd
from runner.image_names import parts, split

# https://github.com/moby/buildkit/blob/master/frontend/dockerfile/parser/parser.go (reHeredoc)
_HEREDOC = re.compile(r"(?:^|\s)\d*<<-?([\"']?)(\w+)\1(?=\s|$)")
_FROM = re.compile(r"--from=(\S+)")
_COMMIT = re.compile(r"TAU_COMMIT(=.*)?")
_TAKES_HEREDOCS = frozenset({"RUN", "COPY", "ADD"})
SCRATCH = "scratch"
_ENDLESS = "<<"


@dataclass
class Pinned:
    """What became of a Dockerfile.

    Args:
        text: with every FROM line pinned. Only valid without complaints.
        images: what its FROM lines name now.
        stands_on: what the last stage begins from, with its tag.
        remarks: what is not pinned, in words.
    """

    text: str = ""
    images: list[str] = field(default_factory=list)
    stands_on: str = SCRATCH
    complaints: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Instruction:
    """One instruction; `first` and `end` are the lines that it takes, counted from 0."""

    word: str
    rest: str
    first: int
    end: int


def pinned(dockerfile: str, bases: Iterable[Base], commit: str | None) -> Pinned:
    """The Dockerfile with each image that a FROM names written by its digest.

    Args:
        bases: what its FROM lines meant in the test.
        commit: the value of TAU_COMMIT where the Dockerfile declares it: Elastic Beanstalk builds without arguments.
    """
    made = Pinned()
    if is_odd(dockerfile):
        made.complaints.append("Dockerfile: leave out the line `escape=`: bundle: source does not read such a file")
        return made
    known = {(base.registry, base.name, base.tag): base for base in bases}
    # Docker ends a line here and nowhere else.
    reader, lines = Reader({}), dockerfile.removeprefix("\ufeff").split("\n")
    begins: dict[str, str] = {}
    for one in tuple(_instructions(lines)):
        if one.word == "ARG":
            reader.declare(one.rest)
            if commit and _COMMIT.fullmatch(one.rest):
                _write(lines, one, f"ARG TAU_COMMIT={commit}")
        elif one.word == "FROM":
            image, stage = reader.stage(one.rest)
            if image.lower() in {SCRATCH, *begins}:
                made.stands_on = begins.get(image.lower(), SCRATCH)
            else:
                _pin(one, image, known.get(parts(image)), lines, made)
            begins[stage.lower() or f"{len(begins)}"] = made.stands_on
        elif one.word in _TAKES_HEREDOCS:
            made.remarks.extend(_remarks(one, begins))
        elif one.word == _ENDLESS:
            made.complaints.append(
                f"Dockerfile, line {one.first + 1}: <<{one.rest} has no line {one.rest} that ends it"
            )
    if not begins:
        made.complaints.append("Dockerfile: there is no FROM in it")
    made.text = "\n".join(lines)
    return made


def _pin(one: _Instruction, image: str, base: Base | None, lines: list[str], made: Pinned) -> None:
    place = f"Dockerfile, line {one.first + 1}: FROM {image}"
    if "@" in image:
        made.images.append(image)
        made.stands_on = image
    elif base is None:
        made.complaints.append(f"{place}: which image that was in the test is not known: build it in this very run")
    elif base.local:
        made.complaints.append(f"{place} was made on this machine, and no registry has it: push it, and name it there")
    else:
        to = f"{split(image)[0]}@{base.digest}"
        _write(lines, one, f"FROM {_with_image(one.rest, to)}")
        made.images.append(to)
        made.stands_on = f"{image}@{base.digest}"


def _remarks(one: _Instruction, begins: Mapping[str, str]) -> Iterator[str]:
    """The images that COPY and RUN take files from, and that no build says anything about."""
    for image in _FROM.findall(one.rest):
        if "@" not in image and image.lower() not in begins and not image.isdigit():
            yield (
                f"Dockerfile, line {one.first + 1}: {image} is not pinned, since only FROM lines are: name it by its"
                " digest, or as a stage"
            )


def _with_image(rest: str, image: str) -> str:
    """The rest of a FROM with another image: its flags and its stage's name stay."""
    flags, (_, *more) = flags_and_words(rest)
    return " ".join([*flags, image, *more])


def _write(lines: list[str], one: _Instruction, text: str) -> None:
    """One instruction in the place of another; one that took several lines leaves empty ones: numbers stay."""
    lines[one.first : one.end] = [text, *[""] * (one.end - one.first - 1)]


def _instructions(lines: list[str]) -> Iterator[_Instruction]:
    """Each instruction with its place; what stands in a heredoc is none."""
    first: int | None = None
    begun: list[str] = []
    ends: list[str] = []
    begun_at = 0
    for number, line in enumerate(lines):
        text = line.strip()
        if ends:
            ends = ends[1:] if text == ends[0] else ends
            continue
        if not text or text.startswith("#"):
            continue
        first = number if first is None else first
        if text.endswith("\\"):
            begun.append(text[:-1])
            continue
        words = " ".join([*begun, text]).split(maxsplit=1)
        one = _Instruction(words[0].upper(), words[1] if len(words) > 1 else "", first, number + 1)
        first, begun = None, []
        if one.word in _TAKES_HEREDOCS:
            ends = [found[1] for found in _HEREDOC.findall(one.rest)]
            begun_at = one.first
        yield one
    if ends:
        yield _Instruction(_ENDLESS, ends[0], begun_at, begun_at)
