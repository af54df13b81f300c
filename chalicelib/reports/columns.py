"""Words in, lines of at most 72 columns out: the filters of the plain text templates."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping

WIDTH = 72
"""What survives being quoted once on an old screen."""
BAR = "  | "
"""Stands before every line that is not ours, so that nothing printed by a build looks like our verdict."""


def wrap(text: str, indent: str = "", hanging: str | None = None) -> str:
    """`text` in lines of at most 72 columns; only a word that is longer than a line (an address) sticks out."""
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent if hanging is None else hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )


def rows(table: Iterable[Mapping[str, str]], indent: str = "  ") -> str:
    """Names and values as two aligned columns."""
    listed = list(table)
    width = _width(row["name"] for row in listed) + 2
    hanging = " " * (len(indent) + width)
    return "\n".join(
        wrap(f"{row['lead']}  {row['value']}".strip(), f"{indent}{row['name']:<{width}}", hanging) for row in listed
    )


def steps(table: Iterable[Mapping[str, str]]) -> str:
    """One line for each step: sign, action, word, time; the reason below where there is one."""
    listed = list(table)
    action, status, took = (_width(step[name] for step in listed) for name in ("action", "status", "took"))
    lines: list[str] = []
    for step in listed:
        line = f"  {step['sign']} {step['action']:<{action}}  {step['status']:<{status}}  {step['took']:>{took}}"
        lines += [line.rstrip(), *([wrap(step["reason"], "    ")] if step["reason"] else [])]
    return "\n".join(lines)


def quoted(lines: Iterable[str], bar: str = BAR) -> str:
    """Somebody else's lines behind a bar, their spaces kept: an indentation means something."""
    cutter = textwrap.TextWrapper(
        WIDTH - len(bar), drop_whitespace=False, replace_whitespace=False, break_on_hyphens=False
    )
    return "\n".join(f"{bar}{piece}".rstrip() for line in lines for piece in cutter.wrap(line) or [""])


def _width(texts: Iterable[str]) -> int:
    return max((len(text) for text in texts), default=0)
