"""A pattern and a name in; whether they fit, and what the captures caught."""

from __future__ import annotations

import re
from functools import lru_cache

_WILD = re.compile(r"(\*+|\?|\{[a-z][a-z0-9_]*\})")
_CAPTURE = re.compile(r"\{([a-z][a-z0-9_]*)\}")
# Whatever ends a line, moves a cursor or cannot be written as UTF-8 has no place in a name.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def matches(glob: str, name: str) -> bool:
    """Whether the whole name fits: `*` stops at `/`, `**` does not, `?` is one character but `/`.

    There are no classes: `[` is itself. Control characters never match, whatever the glob.
    """
    if _CONTROL.search(name):
        return False
    return _compiled(glob, fold=False).match(name) is not None


def capture(pattern: str, name: str) -> dict[str, str] | None:
    """What each `{capture}` of the pattern caught, as spelled in the name; None where the whole does not fit.

    A capture catches one or more characters except `/`. ASCII letters match in both cases, as forges do it.
    """
    if _CONTROL.search(name):
        return None
    found = _compiled(pattern, fold=True).match(name)
    return None if found is None else found.groupdict()


def captures(pattern: str) -> tuple[str, ...]:
    """The names of the pattern's captures, in order."""
    return tuple(_CAPTURE.findall(pattern))


def is_literal(pattern: str) -> bool:
    """Whether only one name fits."""
    return _WILD.search(pattern) is None


def has_control(text: str) -> bool:
    """Whether the text holds a character that never matches."""
    return _CONTROL.search(text) is not None


def covers(glob: str, other: str) -> bool:
    """Whether every name that fits `other` fits `glob`, as far as their wildcards, taken one by one, can say."""
    begins = min(_literal_length(glob), _literal_length(other))
    if glob[:begins] != other[:begins]:
        return False
    wide, narrow = _pieces(glob[begins:]), _pieces(other[begins:])
    # Which places of the wide one can be reached; a wildcard of the narrow one is swallowed whole or not at all.
    reached = _beyond({0}, wide)
    for part in narrow:
        reached = _beyond({after for place in reached for after in _swallowed(wide, place, part)}, wide)
    return len(wide) in reached


@lru_cache(maxsize=4096)
def _literal_length(glob: str) -> int:
    """How much of it stands before its first wildcard."""
    return min(glob.find(sign) if sign in glob else len(glob) for sign in "*?")


def _pieces(glob: str) -> list[str]:
    return re.findall(r"\*\*+|[*]|.", glob, re.DOTALL)


def _beyond(places: set[int], wide: list[str]) -> set[int]:
    """The places, and those behind wildcards that may stand for nothing."""
    found = set(places)
    for place in range(len(wide)):
        if place in found and wide[place].startswith("*"):
            found.add(place + 1)
    return found


def _swallowed(wide: list[str], place: int, part: str) -> tuple[int, ...]:
    """Where the wide glob stands once it has taken a part of the other."""
    here = wide[place] if place < len(wide) else ""
    if here.startswith("**"):
        return (place,)
    if here == "*":
        return () if part == "/" or part.startswith("**") else (place,)
    one_character = not part.startswith("*")
    fits = one_character and part != "/" if here == "?" else here == part
    return (place + 1,) if fits else ()


@lru_cache(maxsize=4096)
def _compiled(pattern: str, *, fold: bool) -> re.Pattern[str]:
    """The pattern as a regular expression that needs at most quadratic time.

    A name is chosen by whoever may push, so the expression must not be one that explodes. What stands between two
    wildcards is therefore looked for once, leftmost, and never again (an atomic group): if a later place would do,
    the next wildcard can swallow the difference. Only a `**` that a `*` follows could not, so there the group
    reaches up to the next `**`; and the last wildcard has to reach the end, so it is never atomic.
    """
    parts = [_split(part) for part in re.split(r"\*\*+", pattern)]
    last = len(parts) - 1
    text = "".join(_part(part, first=number == 0, last=number == last) for number, part in enumerate(parts))
    return re.compile(text + r"\Z", re.ASCII | re.IGNORECASE if fold else re.ASCII)


def _split(part: str) -> list[tuple[str, str]]:
    """What stands between two `**`, as pairs of a wildcard and the text after it; the first wildcard is empty."""
    pairs = [("", "")]
    for piece in _WILD.split(part):
        if piece == "*" or _CAPTURE.fullmatch(piece):
            pairs.append((piece, ""))
        else:
            wild, literal = pairs[-1]
            pairs[-1] = (wild, literal + ("[^/]" if piece == "?" else re.escape(piece)))
    return pairs


def _part(pairs: list[tuple[str, str]], *, first: bool, last: bool) -> str:
    text = pairs[0][1]
    for number, (wild, literal) in enumerate(pairs[1:], start=1):
        any_of = "[^/]*?" if wild == "*" else f"(?P<{wild[1:-1]}>[^/]+?)"
        final = last and number == len(pairs) - 1
        text += any_of + literal if final else f"(?>{any_of}{literal})"
    if first:
        return text
    return f".*?{text}" if last else f"(?>.*?{text})"
