"""The plain progress of `docker build` with BuildKit in; the run's log, each step's time, and why it failed, out.

Every line of a step begins with `#` and its number, so nothing that a command prints is taken for BuildKit's own words.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable

from runner.building import step_took

_MOST_LINE = 64 * 1024
_TAIL_LINES = 20
_TAIL_CHARS = 2000
_MOST_ERROR = 8000
_OF_A_STEP = re.compile(r"#(?P<id>\d+)(?: (?P<rest>.*))?", re.DOTALL)
_NAME = re.compile(r"\[(?:[^\]\s]+ +)?(?P<number>\d+)/(?P<total>\d+)\] (?P<what>.*)", re.DOTALL)
_DONE = re.compile(r"DONE (?P<took_s>\d+\.\d)s")
_PRINTED = re.compile(r"\d+\.\d+ ?(?P<text>.*)", re.DOTALL)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_RULE = re.compile(r"-{6,}")
_CLIPPED = re.compile(r"\[output clipped, log limit [^\]]*\]")


class Progress:
    """Reads what the client prints. `finish` when nothing more comes; then `error` and `tail` say why it failed.

    Args:
        write: takes the log's bytes.
        say: takes a line of our own.
    """

    def __init__(self, write: Callable[[bytes], object], say: Callable[[str], object]) -> None:
        self._write = write
        self._say = say
        self._rest = b""
        self._passing = bytearray()
        self._names: dict[str, re.Match[str]] = {}
        self._printed: dict[str, deque[str]] = {}
        self._failed: str | None = None
        self._last_words: deque[str] = deque(maxlen=_TAIL_LINES)
        self._is_clipped = False

    def feed(self, chunk: bytes) -> None:
        """What was printed, in pieces of any size."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self._line(line + b"\n")
        if len(self._rest) > _MOST_LINE:
            # Nobody's name or verdict is as long as that: it goes on as it is.
            self._passing += self._rest
            self._rest = b""
        self._pass_on()

    def finish(self) -> None:
        """Nothing more comes."""
        if self._rest:
            self._line(self._rest)
        self._rest = b""
        self._pass_on()
        if self._is_clipped:
            self._say(
                "BuildKit has left out some of this build's output, and says where; `builder: classic` keeps all of it,"
                " and so does BuildKit on an engine that is set up for it (operations.md, Whole logs)"
            )

    @property
    def error(self) -> str:
        """BuildKit's last words, in one piece; empty where there were none."""
        return "\n".join(self._last_words).strip()[-_MOST_ERROR:]

    @property
    def tail(self) -> tuple[str, ...]:
        """The last lines that the failed command printed."""
        return tuple(self._printed.get(self._failed or "", ()))

    def _line(self, raw: bytes) -> None:
        text = raw.decode(errors="replace").rstrip("\r\n")
        found = _OF_A_STEP.fullmatch(text)
        if found is None:
            self._own_words(text)
        elif found["rest"] and _DIGEST.fullmatch(found["rest"]):
            return  # a number that the cache knows the step by
        self._passing += raw
        if found and found["rest"]:
            self._of_a_step(found["id"], found["rest"])

    def _pass_on(self) -> None:
        # In pieces as they came: a log that is written line by line costs more than the build that prints it.
        if self._passing:
            self._write(bytes(self._passing))
            self._passing.clear()

    def _own_words(self, text: str) -> None:
        # What stands behind the last rule is the reason; before it the failed step's output is repeated.
        if _RULE.fullmatch(text):
            self._last_words.clear()
        elif text.strip():
            self._last_words.append(text)

    def _of_a_step(self, number: str, rest: str) -> None:
        self._last_words.clear()
        if name := _NAME.fullmatch(rest):
            self._names.setdefault(number, name)
        elif done := _DONE.fullmatch(rest):
            self._took(number, float(done["took_s"]))
        elif rest == "CACHED":
            self._took(number, None)
        elif rest.startswith("ERROR: "):
            self._failed = number
            self._last_words.append(rest.removeprefix("ERROR: "))
        elif number != self._failed and (printed := _PRINTED.fullmatch(rest)):
            self._keep(number, printed["text"])

    def _took(self, number: str, took_s: float | None) -> None:
        if name := self._names.get(number):
            self._pass_on()
            self._say(step_took(name["number"], name["total"], name["what"], took_s))

    def _keep(self, number: str, text: str) -> None:
        self._is_clipped = self._is_clipped or _CLIPPED.search(text) is not None
        self._printed.setdefault(number, deque(maxlen=_TAIL_LINES)).append(text[:_TAIL_CHARS])
