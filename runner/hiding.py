"""A log and secrets in; a log in which they do not stand out."""

from __future__ import annotations

from collections.abc import Iterable

from runner.context import Log

HIDDEN = b"***"
# Shorter ones stand in half of all words; a log full of stars helps nobody, and tells where they are.
_SHORTEST = 4


class Hiding:
    """Passes everything on but the secrets, also where one comes in two pieces. `finish` lets go of the last piece."""

    def __init__(self, log: Log, values: Iterable[str]) -> None:
        lines = {line.strip() for value in values for line in value.splitlines()}
        # The longest first: one secret may be a part of another.
        self._secrets = sorted((line.encode() for line in lines if len(line) >= _SHORTEST), key=len, reverse=True)
        self._log = log
        self._kept = b""

    def line(self, text: str) -> None:
        """A line of our own."""
        self._log.line(self._hidden(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape"))

    def write(self, chunk: bytes) -> None:
        """Whatever was printed; what may be the beginning of a secret waits for its rest."""
        text = self._hidden(self._kept + chunk)
        kept = next((size for size in range(self._most(text), 0, -1) if self._begins(text[-size:])), 0)
        self._kept = text[len(text) - kept :]
        self._pass_on(text[: len(text) - kept])

    def finish(self) -> None:
        """Nothing more comes."""
        kept, self._kept = self._kept, b""
        self._pass_on(kept)

    def tail(self, most: int = 20) -> tuple[str, ...]:
        """The last lines, without the piece that waits."""
        return self._log.tail(most)

    def _pass_on(self, text: bytes) -> None:
        if text:
            self._log.write(text)

    def _hidden(self, text: bytes) -> bytes:
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return text

    def _most(self, text: bytes) -> int:
        return min(len(text), max((len(secret) - 1 for secret in self._secrets), default=0))

    def _begins(self, end: bytes) -> bool:
        return any(secret.startswith(end) for secret in self._secrets)
