"""A secret's value in; the bytes by which a log might show it, out."""

from __future__ import annotations

import html
import json
import math
import shlex
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from urllib.parse import quote, quote_plus, urlsplit

SHORTEST = 6
"""Shorter ones stand in half of all words: a log full of stars helps nobody, and tells where they are."""
# What `base64` and PEM files break their lines at. https://www.rfc-editor.org/rfc/rfc7468#section-2
_WRAPPED_AT = (76, 64)
# Beside a token of GitHub that stands as the user. https://github.blog/news-insights/easier-builds-and-deployments-using-git-over-https-and-oauth/
_NO_PASSWORD = "x-oauth-basic"  # noqa: S105 - it says that there is none
# A shorter rest of one says little, and stands in other files too.
_LEAST_OF_A_LINE = 16
# Python's, XML's own, PHP's.
_APOSTROPHES = ("'", "&#x27;", "&apos;", "&#39;", "&#039;")
_ARMOUR = ("-----BEGIN ", "-----END ")


def disguises(value: str) -> frozenset[bytes]:
    """Every form of a secret, and of what is secret in it, that is looked for; none where it is too short.

    Each line of one that has several is a secret of its own; so is the password of `user:password`, and of an address.
    """
    found: set[bytes] = set()
    for part in _parts(value):
        found.update(_forms(part))
    if len(value.splitlines()) > 1:
        found.update(_as_a_whole(value))
    return frozenset(form for form in found if len(form) >= SHORTEST)


def too_short(value: str) -> bool:
    """Whether a secret cannot be hidden."""
    return not disguises(value)


def _parts(value: str) -> set[str]:
    lines = {line.strip() for line in value.splitlines()}
    passwords = {password for line in lines for password in _passwords(line)}
    return {part for part in lines | passwords if len(part) >= SHORTEST and not part.startswith(_ARMOUR)}


def _passwords(line: str) -> Iterator[str]:
    user, _, password = line.partition(":")
    if user and " " not in user:
        yield user if password == _NO_PASSWORD else password
    try:
        yield urlsplit(line).password or ""
    except ValueError:
        # Not an address after all, such as `[` and no end of it.
        return


def _forms(part: str) -> Iterator[bytes]:
    raw = part.encode("utf-8", "surrogateescape")
    yield raw
    yield from _base64(raw)
    yield from (raw.hex().encode(), raw.hex().upper().encode())
    yield from _in_addresses(raw)
    yield from _in_texts(part)


def _as_a_whole(value: str) -> Iterator[bytes]:
    raw = value.encode("utf-8", "surrogateescape")
    yield from _base64(raw)
    yield from (raw.hex().encode(), raw.hex().upper().encode())
    # A file ends in a line's end, which the store has cut off.
    encoded = b64encode(raw + b"\n")
    for width in _WRAPPED_AT:
        lines = (encoded[at : at + width] for at in range(0, len(encoded), width))
        yield from (line for line in lines if len(line) >= _LEAST_OF_A_LINE)


def _base64(raw: bytes) -> Iterator[bytes]:
    """The characters that only this decides, wherever it begins in what is encoded."""
    for before in range(3):
        first, end = math.ceil(before * 8 / 6), (before + len(raw)) * 8 // 6
        for encode in (b64encode, urlsafe_b64encode):
            yield encode(bytes(before) + raw)[first:end]


def _in_addresses(raw: bytes) -> Iterator[bytes]:
    for quoted in (quote(raw, safe=""), quote(raw), quote_plus(raw)):
        yield quoted.encode()
        yield _lower_escapes(quoted).encode()


def _lower_escapes(quoted: str) -> str:
    head, *rest = quoted.split("%")
    return "%".join((head, *(text[:2].lower() + text[2:] for text in rest)))


def _in_texts(part: str) -> Iterator[bytes]:
    """As JSON (PHP's escapes the slash too), a shell's trace, XML and Python's repr have it."""
    for ascii_only in (True, False):
        escaped = json.dumps(part, ensure_ascii=ascii_only)[1:-1]
        yield from (_bytes(escaped), _bytes(escaped.replace("/", "\\/")))
    quoted = shlex.quote(part)
    yield _bytes(quoted[1:-1] if quoted != part else part)
    yield _bytes(part.replace("'", "'\\''"))
    yield _bytes("".join(f"\\{one}" if shlex.quote(one) != one else one for one in part))
    in_text = html.escape(part, quote=False)
    for double in ('"', "&quot;"):
        for single in _APOSTROPHES:
            yield _bytes(in_text.replace('"', double).replace("'", single))
    yield _bytes(repr(part)[1:-1])


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
