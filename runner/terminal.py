"""Bytes that anybody may have printed in; what a terminal may be given of them, out.

Colours stay. What moves the cursor, clears, links, renames the window, answers back or reorders what is read does not:
a build could otherwise paint a verdict over another, or type into the shell of whoever reads its log.
"""

from __future__ import annotations

import codecs
import re

RESET = "\x1b[0m"
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
# Any control sequence, any string of one, any other escape. https://ecma-international.org/publications-and-standards/standards/ecma-48/
_ESCAPE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-OQ-WYZ\\`-~]"
)
_BEGUN = re.compile(
    r"(?:(?:\x1b\[|\x9b)[0-?]*[ -/]*|(?:\x1b[\]PX^_]|[\x90\x98\x9d\x9e\x9f])[^\x07\x1b\x9c]*\x1b?|\x1b[ -/]*)\Z"
)
_MOST_BEGUN = 4096
# A tab and a line's end are text; a carriage return is how progress is shown. The others, and what turns the direction
# of reading, only hide something.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class Harmless:
    """A stream for a terminal. What may become an escape sequence waits for its rest."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._kept = ""

    def feed(self, chunk: bytes) -> bytes:
        return self._pass(self._kept + self._decoder.decode(chunk), last=False)

    def end(self) -> bytes:
        """Nothing more comes, and what comes of others has its usual colours."""
        return self._pass(self._kept + self._decoder.decode(b"", final=True), last=True) + RESET.encode()

    def _pass(self, text: str, *, last: bool) -> bytes:
        begun = None if last else _BEGUN.search(text)
        until = begun.start() if begun and len(text) - begun.start() <= _MOST_BEGUN else len(text)
        self._kept = text[until:]
        passed = _ESCAPE.sub(lambda found: found[0] if _COLOUR.fullmatch(found[0]) else "", text[:until])
        # What is left of escapes are those of colours, and pieces.
        kept = _COLOUR.findall(passed)
        parts = [_CONTROL.sub("", part) for part in _COLOUR.split(passed)]
        return "".join(part + colour for part, colour in zip(parts, [*kept, ""], strict=True)).encode()


def harmless_line(text: str) -> str:
    """One line of such a stream, as it stands in the end: what a carriage return would write over is gone."""
    stream = Harmless()
    shown = (stream.feed(text.encode("utf-8", "replace")) + stream.end()).decode().replace("\n", " ")
    shown = shown.removesuffix(RESET).rstrip("\r").rpartition("\r")[2]
    return f"{shown}{RESET}" if "\x1b" in shown else shown
