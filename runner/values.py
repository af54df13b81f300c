"""A ci.yml's texts in; those that look like a secret's value out. What is found is never repeated."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator

from runner.yaml_places import Path, Tree

_KNOWN = (
    ("an AWS access key", re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")),
    ("a token of GitHub", re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})")),
    ("a token of Bitbucket", re.compile(r"\b(?:ATBB|ATCTT3x|ATATT3x)[A-Za-z0-9_=-]{20,}")),
    ("a token of GitLab", re.compile(r"\bglpat-[A-Za-z0-9_-]{20,}")),
    ("a token of npm", re.compile(r"\bnpm_[A-Za-z0-9]{30,}")),
    ("a token of Docker Hub", re.compile(r"\bdckr_pat_[A-Za-z0-9_-]{20,}")),
    ("a signed token", re.compile(r"\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}")),
    ("a token of Slack", re.compile(r"\bxox[abeprs]-[A-Za-z0-9-]{10,}")),
    ("a private key", re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY")),
    ("an address with a password in it", re.compile(r"[a-z][a-z0-9+.-]{0,30}://[^/\s:@]*:[^/\s@{}]+@")),
)
# A digest is no secret, nor is a commit.
_PUBLIC = re.compile(r"sha256:[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HEX = re.compile(r"[0-9A-Fa-f]{32,}")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{32,}={0,2}")
# Bits of a character: words and paths have less, what was drawn at random has more.
_RANDOM = 4.2
# Where a commit may stand.
_OF_COMMITS = frozenset({"ref", "commit"})


def found(tree: Tree, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Where something stands that should be in the secret store, and what it looks like."""
    if isinstance(tree, str):
        what = looks_like(tree, commit=bool(path) and path[-1] in _OF_COMMITS)
        if what:
            yield path, what
        return
    parts = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, part in parts:
        yield from found(part, (*path, key))


def looks_like(text: str, *, commit: bool = False) -> str | None:
    """What a text's secret looks like; None where it holds none."""
    for what, pattern in _KNOWN:
        if pattern.search(text):
            return what
    for word in re.split(r"[\s,;:=@\"']+", _PUBLIC.sub("", text)):
        if _HEX.fullmatch(word) and not (commit and _COMMIT.fullmatch(word)) and len(set(word.lower())) > 1:
            return "a key in hexadecimal digits"
        if _BASE64.fullmatch(word) and _is_random(word):
            return "a key in base64"
    return None


def _is_random(word: str) -> bool:
    kinds = (str.islower, str.isupper, str.isdigit)
    return all(any(kind(one) for one in word) for kind in kinds) and _bits(word) > _RANDOM


def _bits(word: str) -> float:
    shares = [count / len(word) for count in Counter(word).values()]
    return -sum(share * math.log2(share) for share in shares)
