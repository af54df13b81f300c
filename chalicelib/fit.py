"""A text and a place for it in; a text that the place can hold out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

from chalicelib.errors import CannotFit


class Sink(StrEnum):
    """Where a text ends up, and so what it may hold."""

    NAME = "name"
    HOST_LABEL = "host_label"
    IMAGE = "image"
    IMAGE_TAG = "image_tag"
    VERSION_LABEL = "version_label"
    ADDRESS = "address"
    TEXT = "text"


@dataclass(frozen=True)
class _Rule:
    """What one kind of place holds.

    Args:
        title: what it is called in a complaint.
        holds: the whole text.
        legal: what a pusher chose and may stay as it is; never wider than a part of `holds`.
        strange: what is replaced by a hyphen where it is not legal.
        lower: whether capital letters are strange too.
        size: how long a pusher's text may get, and how long the whole.
    """

    title: str
    holds: re.Pattern[str]
    legal: re.Pattern[str]
    strange: re.Pattern[str]
    lower: bool
    size: tuple[int, int]


# design: a host label is [a-z0-9-]{1,63}; a hyphen at an end would make it an option in an argv and no name in DNS.
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_NOT_LABEL = re.compile(r"[^a-z0-9]+")
# https://github.com/distribution/reference/blob/main/regexp.go; a first part with a dot would be taken for a registry.
_IMAGE_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(rf"(?!localhost/|[^/]*\.[^/]*/){_IMAGE_PART}(?:/{_IMAGE_PART})*")
_IMAGE_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_VERSION = re.compile(r"[^/]+")
# A host by its name, never by a number; no user, and nothing behind a `#`.
_PATH = r"/[A-Za-z0-9._~/%?&=+,;:@!-]*"
_ADDRESS = re.compile(
    rf"https://(?=[a-z0-9.-]*\.[a-z0-9-]*[a-z])[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[0-9]{{1,5}})?(?:{_PATH})?|{_PATH}"
)

_RULES: Mapping[Sink, _Rule] = {
    Sink.NAME: _Rule(
        "a name (letters, digits and inner hyphens)",
        re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?"),
        _LABEL,
        _NOT_LABEL,
        lower=True,
        size=(63, 63),
    ),
    Sink.HOST_LABEL: _Rule("a part of a host name", _LABEL, _LABEL, _NOT_LABEL, lower=True, size=(63, 63)),
    Sink.IMAGE: _Rule("an image name", _IMAGE, _LABEL, _NOT_LABEL, lower=True, size=(63, 255)),
    Sink.IMAGE_TAG: _Rule(
        "an image tag", _IMAGE_TAG, _IMAGE_TAG, re.compile(r"[^A-Za-z0-9_.]+"), lower=False, size=(128, 128)
    ),
    Sink.VERSION_LABEL: _Rule(
        "a version label", _VERSION, _VERSION, re.compile(r"[^A-Za-z0-9_.]+"), lower=False, size=(100, 100)
    ),
    Sink.ADDRESS: _Rule(
        "an address (https://host.example/path, or /path alone)",
        _ADDRESS,
        _LABEL,
        _NOT_LABEL,
        lower=True,
        size=(63, 1000),
    ),
}

# Every fitted text ends like this, so no text that does may stay as it is: two refs never share a name.
_FITTED_END = re.compile(r"-[0-9a-f]{8}\Z")
# The tag under which a run keeps its own image; a branch of that name must not move it.
_RUN_TAG = re.compile(r"r-[0-9a-z]{26}", re.IGNORECASE)

# `{word}` or `{word|filter}`; any other brace is a brace.
_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(?:\|([A-Za-z_]+))?\}")
CHOSEN_BY_PUSHER = frozenset({"branch", "tag"})
"""The placeholders whose value is fitted; every other value is inserted as it is, or refused."""


@dataclass(frozen=True)
class Placeholder:
    """`{name}` or `{name|filter}` in a template."""

    name: str
    filter: str | None = None

    def __str__(self) -> str:
        return f"{{{self.name}|{self.filter}}}" if self.filter else f"{{{self.name}}}"


def placeholders(template: str) -> tuple[Placeholder, ...]:
    """What is to be filled in, in order."""
    return tuple(Placeholder(name, word or None) for name, word in _PLACEHOLDER.findall(template))


def dash(text: str) -> str:
    """`_` and `.` as `-`: how a repository's name becomes an environment's."""
    return text.replace("_", "-").replace(".", "-")


def fit(text: str, sink: Sink, ref: str, room: int | None = None) -> str:
    """What a pusher chose, as the sink can hold it: unchanged where legal, else made legal and marked.

    The mark is `-` and 8 hex digits of the ref's sha256. A legal text that ends in such a mark gets one more, so that
    two branches, or two tags, never share a name.

    Args:
        ref: the full ref, `refs/heads/…` or `refs/tags/…`.
        room: how many characters the text around it leaves; None = all that the sink holds.

    Raises:
        CannotFit: nothing was chosen, or the text around it leaves no room.
    """
    if not text:
        raise CannotFit(f"an empty name cannot be {title(sink)}")
    if sink is Sink.TEXT:
        return text
    rule = _RULES[sink]
    room = rule.size[0] if room is None else min(room, rule.size[0])
    if len(text) <= room and _may_stay(text, rule):
        return text
    end = "-" + sha256(ref.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    if room <= len(end):
        raise CannotFit(f'no room for "{shown(text)}" in {rule.title} of at most {rule.size[1]} characters')
    slug = rule.strange.sub("-", text.lower() if rule.lower else text).strip("-.")
    return (slug[: room - len(end)].rstrip("-.") or "ref"[: room - len(end)]) + end


def insert(text: str, sink: Sink) -> str:
    """The text as it is.

    Raises:
        CannotFit: the sink cannot hold it. `{client|dash}` or `map:` in ci.yml may help.
    """
    if sink is Sink.TEXT:
        return text
    rule = _RULES[sink]
    if len(text) <= rule.size[1] and rule.holds.fullmatch(text) and text.isprintable():
        return text
    raise CannotFit(f'"{shown(text)}" cannot be {rule.title} of at most {rule.size[1]} characters')


def fill(template: str, sink: Sink, values: Mapping[str, str], ref: str) -> str:
    """The template with its placeholders filled in: what a pusher chose fitted, everything else inserted.

    Raises:
        CannotFit: a placeholder has no value here, or the sink cannot hold what came out.
    """
    found = placeholders(template)
    given = {str(one): _given(one, sink, values) for one in found}
    chosen = [one for one in found if one.name in CHOSEN_BY_PUSHER]
    if chosen and sink is not Sink.TEXT:
        around = len(_PLACEHOLDER.sub(lambda hit: "" if hit[1] in CHOSEN_BY_PUSHER else given[hit[0]], template))
        room = (_RULES[sink].size[1] - around) // len(chosen)
        given |= {str(one): fit(values[one.name], sink, ref, room) for one in chosen}
    return insert(_PLACEHOLDER.sub(lambda hit: given[hit[0]], template), sink)


def title(sink: Sink) -> str:
    """What the sink is called in a complaint."""
    return "a text" if sink is Sink.TEXT else _RULES[sink].title


def shown(text: str) -> str:
    """A text that somebody else chose, safe to print: what cannot be seen is escaped."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def _may_stay(text: str, rule: _Rule) -> bool:
    if _FITTED_END.search(text) or _RUN_TAG.fullmatch(text):
        return False
    return rule.legal.fullmatch(text) is not None and text.isprintable()


def _given(one: Placeholder, sink: Sink, values: Mapping[str, str]) -> str:
    value = values.get(one.name)
    if value is None:
        raise CannotFit(f"{one} has no value here")
    if one.name in CHOSEN_BY_PUSHER:
        return value
    # In an address it is a label of a host, or a word of a path: it must not lead elsewhere.
    part = Sink.HOST_LABEL if sink is Sink.ADDRESS else sink
    return insert(dash(value) if one.filter == "dash" else value, part)
