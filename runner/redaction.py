"""Bytes and secrets in, the same bytes without the secrets out, as a stream and in one pass."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from ahocorasick_rs import BytesAhoCorasick, Implementation

from runner.disguises import disguises

HIDDEN = b"***"
# The automaton knows of each disguise no more than its beginning: hundreds of them fit into the processor's cache, and
# what follows is compared where one was found.
_HEAD = 8

Span = tuple[int, int]


@dataclass(frozen=True)
class Seen:
    """What was found in a text: whose secrets and where, and where at its end one may still begin (else its length)."""

    secrets: tuple[tuple[str, Span], ...]
    open_from: int


class Matcher:
    """Finds every disguise of some secrets in one pass.

    Args:
        secrets: name -> its values, old ones too.
    """

    def __init__(self, secrets: Mapping[str, Iterable[str]]) -> None:
        self._names = {form: name for name in sorted(secrets) for value in secrets[name] for form in disguises(value)}
        self._forms = sorted(self._names)
        by_head = {head: tuple(forms) for head, forms in groupby(self._forms, key=lambda form: form[:_HEAD])}
        self._begun = list(by_head.values())
        self._heads = BytesAhoCorasick(list(by_head), implementation=Implementation.DFA)

    def __bool__(self) -> bool:
        return bool(self._forms)

    def look(self, text: bytes) -> Seen:
        """The secrets that stand in it, those that overlap too."""
        found, open_from = [], len(text)
        for number, start, _ in self._heads.find_matches_as_indexes(text, overlapping=True):
            for form in self._begun[number]:
                end = start + len(form)
                if text.startswith(form, start):
                    found.append((self._names[form], (start, end)))
                elif end > len(text) and form.startswith(text[start:]):
                    open_from = min(open_from, start)
        short = (start for start in range(max(0, len(text) - _HEAD + 1), len(text)) if self._goes_on(text[start:]))
        return Seen(tuple(found), min(open_from, next(short, len(text))))

    def _goes_on(self, end: bytes) -> bool:
        """Whether some disguise begins so, and is longer."""
        at = bisect_left(self._forms, end)
        at += at < len(self._forms) and self._forms[at] == end
        return at < len(self._forms) and self._forms[at].startswith(end)


NOTHING_SECRET = Matcher({})


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
        return self._starred(text, self._spans(matcher.look(text), len(text)), len(text)) if matcher else text

    def _pass(self, text: bytes, *, last: bool) -> bytes:
        matcher = self._matcher()
        seen = matcher.look(text) if matcher else Seen((), len(text))
        until = len(text) if last else seen.open_from
        spans = self._spans(seen, until)
        if self._covered:
            spans = list(_merged([(0, self._covered), *spans]))
        passed = self._starred(text, spans, until, begun=bool(self._covered))
        self._kept = text[until:]
        self._covered = max(0, spans[-1][1] - until) if spans else 0
        return passed

    def _spans(self, seen: Seen, until: int) -> list[Span]:
        """Where secrets begin before `until`; whose they are is told."""
        found = [(name, span) for name, span in seen.secrets if span[0] < until]
        # In the order in which they stand there.
        for name in dict.fromkeys(name for name, _ in sorted(found, key=lambda one: one[1])):
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
