"""JUnit XML out of a container in; counts, failures and the slowest tests out."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import PurePosixPath
from typing import Any
from xml.etree import ElementTree as ET

from chalicelib.globs import matches
from chalicelib.model import Json

MOST_BYTES = 16 * 1024 * 1024
# What goes into the record stays small: one item of 400 KB holds all steps of a run. The log has everything.
_MOST_FAILURES = 50
MOST_NAME = 300
_MOST_MESSAGE = 1000
_MOST_FACTS_BYTES = 64 * 1024
_MOST_SLOW = 5
# Quicker ones are slow for nobody.
_SLOW_S = 1.0


@dataclass(frozen=True)
class Tests:
    """What a suite says of itself.

    Args:
        failures: (name, message), errors among them.
        passing: the names of those that passed, as far as a record holds a name.
        slowest: (name, seconds), the slowest first; none where all are quick.
    """

    passed: int
    failed: int
    skipped: int
    failures: tuple[tuple[str, str], ...]
    passing: frozenset[str] = frozenset()
    slowest: tuple[tuple[str, float], ...] = ()

    @property
    def ran(self) -> int:
        return self.passed + self.failed

    def facts(self) -> Mapping[str, Json]:
        """As the mail and the record have it: the counts, and as many failures as fit."""
        failures: list[Json] = []
        left_bytes = _MOST_FACTS_BYTES
        for name, message in self.failures[:_MOST_FAILURES]:
            failure: Json = {"name": name[:MOST_NAME], "message": message[:_MOST_MESSAGE]}
            # Escaped JSON: no other form of it is longer.
            left_bytes -= len(json.dumps(failure))
            if left_bytes < 0:
                break
            failures.append(failure)
        slowest: list[Json] = [{"name": name[:MOST_NAME], "seconds": seconds} for name, seconds in self.slowest]
        return {
            "passed": self.passed,
            "failed": self.failed,
            "skipped": self.skipped,
            "failures": failures,
            **({"slowest": slowest} if slowest else {}),
        }


def folder_of(pattern: str) -> str:
    """The deepest folder of a glob that has no wildcard: `/results/*.xml` lies in `/results`."""
    parts = PurePosixPath(pattern).parts
    fixed = [part for index, part in enumerate(parts) if not any("*" in p or "?" in p for p in parts[: index + 1])]
    return str(PurePosixPath(*fixed[:-1] if len(fixed) == len(parts) else fixed))


def files(archive: bytes, pattern: str) -> Iterator[tuple[str, bytes]]:
    """The regular files of `folder_of(pattern)`'s archive that the pattern names, links passed over.

    Raises:
        ValueError: together they are larger than MOST_BYTES.
    """
    left_bytes = MOST_BYTES
    above = PurePosixPath(folder_of(pattern)).parent
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            path = str(above / member.name)
            content = tar.extractfile(member) if member.isreg() and matches(pattern, path) else None
            if content:
                left_bytes -= member.size
                if left_bytes < 0:
                    raise ValueError(f"results larger than {MOST_BYTES // 1024**2} MB: {pattern}")
                yield path, content.read()


def read(documents: Iterable[tuple[str, bytes]]) -> Tests:
    """Every test case of every document.

    Raises:
        ValueError: a document is no JUnit XML; names it.
    """
    # Its import costs more than most other steps of a run.
    import junitparser  # noqa: PLC0415

    passing: list[str] = []
    skipped = 0
    failures: list[tuple[str, str]] = []
    times: list[tuple[str, float]] = []
    for path, content in documents:
        document = _document(path, content)
        shown = 0
        for case in document.cases:
            name = ".".join(part for part in (case.classname, case.name) if part)
            times.append((name, _seconds(case)))
            wrong = [part for part in case.result if isinstance(part, junitparser.Failure | junitparser.Error)]
            shown += len(wrong)
            if wrong:
                failures.append((name, (wrong[0].message or wrong[0].text or "").strip()))
            elif any(isinstance(part, junitparser.Skipped) for part in case.result):
                skipped += 1
            else:
                passing.append(name[:MOST_NAME])
        if document.counted > shown:
            # What breaks before a suite's first test is no test's: such as a setUpBeforeClass.
            counts = f"it counts {document.counted} errors and failures, of which its test cases show {shown}"
            failures.append((document.name, counts))
    slowest = sorted((one for one in times if one[1] >= _SLOW_S), key=lambda one: -one[1])[:_MOST_SLOW]
    return Tests(len(passing), len(failures), skipped, tuple(failures), frozenset(passing), tuple(slowest))


def _seconds(case: Any) -> float:
    """How long a test took; 0 where it does not say so in a number."""
    try:
        seconds = float(case.time or 0)
    except ValueError:
        return 0.0
    return round(seconds, 3) if isfinite(seconds) else 0.0


@dataclass(frozen=True)
class _Document:
    """What one document says: its test cases, and how many errors and failures it counts itself."""

    name: str
    cases: list[Any]
    counted: int


def _document(path: str, content: bytes) -> _Document:
    import junitparser  # noqa: PLC0415 - as above

    try:
        root = junitparser.JUnitXml.fromstring(content)
        suites = list(root)
        # In this order: what has no number is counted by the parser, which then overwrites those below it.
        counted = max(sum(map(_counted, suites)), _counted(root))
        bare: list[Any] = list(root.iterchildren(junitparser.TestCase))  # type: ignore[no-untyped-call]
        cases = [*bare, *(case for suite in suites for case in suite)]
    # ValueError, LookupError: its encoding is unknown, or none that the parser reads. RecursionError: suites in suites.
    except (junitparser.JUnitXmlError, ET.ParseError, ValueError, LookupError, RecursionError) as error:
        raise ValueError(f"{path} is no JUnit XML: {error}") from error
    name = next((suite.name for suite in suites if suite.name), path)
    return _Document(name, cases, counted)


def _counted(suite: Any) -> int:
    """The errors and failures that a suite says it has; 0 where it does not say so in numbers."""
    try:
        return int(suite.errors or 0) + int(suite.failures or 0)
    except ValueError:
        return 0
