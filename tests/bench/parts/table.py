"""Samples in, medians and one aligned table out."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence


def median_us(function: Callable[[], object], times: int) -> float:
    """Median duration of a call, in microseconds."""
    return statistics.median(timed_us(function) for _ in range(times))


def timed_us(function: Callable[[], object]) -> float:
    started = time.perf_counter_ns()
    function()
    return (time.perf_counter_ns() - started) / 1000


def verdict(ratio: float, aim: float) -> str:
    """`reached` or `missed`: a benchmark reports, it never fails."""
    return "reached" if ratio <= aim else "missed"


def show(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: the first column to the left, numbers to the right."""
    columns = list(zip(head, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    print(f"\n{title}")
    for row in (head, ["-" * width for width in widths], *rows):
        first, *rest = (
            text.ljust(width) if number == 0 else text.rjust(width)
            for number, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  " + "  ".join((first, *rest)).rstrip())
