"""Bytes and secrets in, the same bytes without the secrets out, as a stream and in one pass."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping

from ahocorasick_rs import BytesAhoCorasick, Implementation

from runner.disguises import disguises

HIDDEN = b"***"
# Every disguise is longer: where one begins is found by its first bytes.
_HEAD = 4
# The fastest automaton takes some hundred bytes for each byte of a pattern.
_MOST_FAST = 20_000

Span = tuple[int, int]


class Matcher:
    """Finds every disguise of some secrets in one pass.

    Args:
        secrets: name -> its values, old ones too.
    """

    def __init__(self, secrets: Mapping[str, Iterable[str]]) -> None:
        named = {form: name for name in sorted(secrets) for value in secrets[name] for form in disguises(value)}
        self._forms = sorted(named)
        self._names = [named[form] for form in self._forms]
        self._longest = max(map(len, self._forms), default=0)
        fast = sum(map(len, self._forms)) <= _MOST_FAST
        kind = Implementation.DFA if fast else Implementation.ContiguousNFA
        self._whole = BytesAhoCorasick(self._forms, implementation=kind)
        self._heads = BytesAhoCorasick(sorted({form[:_HEAD] for form in self._forms}))

    def __bool__(self) -> bool:
        return bool(self._forms)

    def find(self, text: bytes) -> list[tuple[str, Span]]:
        """The secrets that stand in it, and where; those that overlap too."""
        return [
            (self._names[number], (start, end))
            for number, start, end in self._whole.find_matches_as_indexes(text, overlapping=True)
        ]

    def open_from(self, text: bytes) -> int:
        """Where at its end what may still become a secret begins; its length, where nothing does."""
        first = max(0, len(text) - self._longest + 1)
        starts = [first + start for _, start, _ in self._heads.find_matches_as_indexes(text[first:], overlapping=True)]
        starts += range(max(first, len(text) - _HEAD + 1), len(text))
        return next((start for start in sorted(starts) if self._goes_on(text[start:])), len(text))

    def _goes_on(self, end: bytes) -> bool:
        """Whether some disguise begins so, and is longer."""
        at = bisect_left(self._forms, end)
        at += at < len(self._forms) and self._forms[at] == end
        return at < len(self._forms) and self._forms[at].startswith(end)


class Redactor:
    """A stream in which secrets do not stand out, also where one comes in pieces.

    Args:
        matcher: what is looked for; asked for each piece, since a run comes to know more.
        found: is told the name of each secret that stood in it.
    """

    def __init__(self, matcher: Callable[[], Matcher], found: Callable[[str], object] = bool) -> None:
        self._matcher = matcher
        self._found = found
        self._kept = b""
        # How many of the kept bytes belong to a secret for which the stars have gone out already.
        self._covered = 0

    @property
    def kept(self) -> bytes:
        """The end that may still become a secret; it is none."""
        return self._kept[self._covered :]

    def feed(self, chunk: bytes) -> bytes:
        """What can go out; what may be the beginning of a secret waits for its rest."""
        return self._pass(self._kept + chunk if self._kept else chunk, last=False)

    def end(self) -> bytes:
        """Nothing more comes: what has waited."""
        return self._pass(self._kept, last=True)

    def whole(self, text: bytes) -> bytes:
        """A text beside the stream, complete in itself."""
        matcher = self._matcher()
        return self._starred(text, self._spans(matcher, text, len(text)), len(text)) if matcher else text

    def _pass(self, text: bytes, *, last: bool) -> bytes:
        matcher = self._matcher()
        until = len(text) if last or not matcher else matcher.open_from(text)
        spans = self._spans(matcher, text, until) if matcher else []
        if self._covered:
            spans = list(_merged([(0, self._covered), *spans]))
        passed = self._starred(text, spans, until, begun=bool(self._covered))
        self._kept = text[until:]
        self._covered = max(0, spans[-1][1] - until) if spans else 0
        return passed

    def _spans(self, matcher: Matcher, text: bytes, until: int) -> list[Span]:
        found = [(name, span) for name, span in matcher.find(text) if span[0] < until]
        for name in {name for name, _ in found}:
            self._found(name)
        return list(_merged(sorted(span for _, span in found)))

    @staticmethod
    def _starred(text: bytes, spans: list[Span], until: int, *, begun: bool = False) -> bytes:
        if not spans:
            return text[:until]
        passed, at = [], 0
        for start, end in spans:
            if start >= until:
                break
            passed.append(text[at:start])
            if not (begun and start == 0):
                passed.append(HIDDEN)
            at = end
        passed.append(text[at:until])
        return b"".join(passed)


def _merged(spans: Iterable[Span]) -> Iterator[Span]:
    """Those that overlap as one; `spans` are in order."""
    held: Span | None = None
    for start, end in spans:
        if held is None:
            held = start, end
        elif start < held[1]:
            held = held[0], max(held[1], end)
        else:
            yield held
            held = start, end
    if held:
        yield held
