"""Numbers and strangers' text in, a reader's words out: shared by mail, the command line and pages."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime, timedelta, tzinfo

from chalicelib.model import RunState, StepStatus

# --- text that somebody else wrote ----------------------------------------------------------------

# CSI (colours, cursor), OSC (titles, links), DCS and their kin, two-character escapes. Each alternative is
# linear: an unterminated one ends at the next escape, not at the end of the text.
_ESCAPE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
)
_BLANK = frozenset("\t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\u2028\u2029\u00a0")
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# Scripts and emoji need these two; all other invisible characters only hide something.
_JOINERS = frozenset("\u200c\u200d")


def clean(text: str, limit: int = 200) -> str:
    """`text` as one line that can stand anywhere: no control, no escape, nothing that reorders what is read.

    Escape sequences vanish, line ends and tabs become one space, directions and other controls become visible
    (`<U+202E>`), and what is longer than `limit` characters ends in `…`.
    """
    return short(re.sub(r" {2,}", " ", _plain(text, limit)).strip(), limit)


def clean_lines(text: str, count: int = 20, limit: int = 200) -> tuple[str, ...]:
    """The first `count` lines of `text` that are not blank, each clean, with the spaces that it has."""
    lines = (_plain(line.expandtabs(4), limit).rstrip() for line in text[: count * limit * 8].splitlines())
    return tuple(short(line, limit) for line in lines if line.strip())[:count]


def short(text: str, limit: int) -> str:
    """`text`, or its beginning and `…` where it is longer than `limit` characters."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def first_line(text: str | None, limit: int = 100) -> str:
    """The first line of a commit message that says something, clean; empty where there is none."""
    lines = clean_lines(text or "", count=1, limit=limit)
    return lines[0].strip() if lines else ""


def _plain(text: str, limit: int) -> str:
    # A limit on the work, too: nobody's megabyte is looked at character by character.
    return "".join(map(_visible, _ESCAPE.sub("", text[: limit * 8 + 64])))


def _visible(char: str) -> str:
    if char in _BLANK:
        return " "
    category = unicodedata.category(char)
    # Cs: a lone surrogate, which cannot even be encoded.
    if category in {"Cc", "Cs"} or char in _BIDI:
        return f"<U+{ord(char):04X}>"
    return "" if category == "Cf" and char not in _JOINERS else char


# --- numbers, times, commits ----------------------------------------------------------------------


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def duration(length: timedelta | float) -> str:
    """A length of time (or seconds) in its two largest units: `2m 14s`, `1h 3m`, `8s`, `<1s`."""
    exact = length.total_seconds() if isinstance(length, timedelta) else length
    if exact < 1:
        return "<1s"
    seconds = round(exact)
    for unit, unit_s, smaller, smaller_s in (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if seconds >= unit_s:
            large, rest = divmod(seconds, unit_s)
            return f"{large}{unit} {rest // smaller_s}{smaller}"
    return f"{seconds}s"


def span(length_s: int) -> str:
    """A length of time that somebody chose, as it is written in ci.yml: `30m`, `2h`; or `1m 30s`."""
    return re.sub(r" 0[hms]$", "", duration(length_s))


def size(size_bytes: int) -> str:
    """A number of bytes as Docker counts them, in thousands: `1.4 GB`, `512 MB`, `9 B`."""
    value, units = float(size_bytes), ["B", "kB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:  # noqa: PLR2004 - what would be rounded to 1000 is one of the next unit
        value, units = value / 1000, units[1:]
    whole = units[0] == "B" or round(value, 1) >= 10  # noqa: PLR2004 - two digits are as exact as anybody reads
    return f"{value:.0f} {units[0]}" if whole else f"{value:.1f} {units[0]}"


def limit(size_bytes: int) -> str:
    """A number of bytes as ci.yml has it, where 1 KB is 1024 bytes: `64MB`, `2GB`, `1000B`."""
    value, units = size_bytes, ["B", "KB", "MB", "GB"]
    while value and value % 1024 == 0 and len(units) > 1:
        value, units = value // 1024, units[1:]
    return f"{value}{units[0]}"


def commit(sha: str | None) -> str:
    """The seven characters of a commit that people use; `no commit` where there is none."""
    return clean(sha)[:7] if sha else "no commit"


def digest(text: str) -> str:
    """A digest as people compare it: `sha256:` and twelve characters."""
    kind, colon, value = clean(text).partition(":")
    return f"{kind}:{value[:12]}" if colon else kind[:12]


def built_there(stands_on: str | None) -> str:
    """That an image is not the one that was tested, and on what it stands; empty where it is that one."""
    if not stands_on:
        return ""
    name, at, exact = stands_on.partition("@")
    return f"built by Elastic Beanstalk from {clean(name)}" + (f" ({digest(exact)})" if at else "")


def counted(number: int, noun: str) -> str:
    """`1 test`, `2 tests`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def moment(at: datetime, zone: tzinfo | None) -> str:
    """A time as the reader's clock shows it (None: this machine's): `2 Mar 2026, 14:05 AEDT`, in no locale's words."""
    local = at.astimezone(zone)
    return f"{local.day} {_MONTHS[local.month - 1]} {local.year}, {local:%H:%M} {local.tzname() or ''}".rstrip()


# --- verdicts: a sign and a word, so that colour is never the only signal --------------------------

_SIGNS = {
    "passed": "✔",
    "failed": "✘",
    "errored": "⚠",
    "skipped": "·",
    "superseded": "·",
    "cancelled": "·",
    "running": "▸",
    "waiting": "◦",
    "queued": "◦",
    "not run": "·",
}


def sign(status: RunState | StepStatus | str) -> str:
    """One character for a state; it stands beside its word, never alone."""
    return _SIGNS.get(str(status), "?")


def sentence(text: str) -> str:
    """`text` with a full stop where it has no end of its own."""
    return text if not text or text[-1] in ".!?…:" else text + "."
