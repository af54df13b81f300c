"""An e-mail address that a stranger wrote in, one that can be written to out, or None."""

from __future__ import annotations

import re

LONGEST = 320

# SES takes seven-bit local parts only: https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_Destination.html
# RFC 5321's dot-string, without the quoted form: nobody's address needs it, and every injection does.
_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*", re.ASCII)
_LONGEST_LOCAL = 64
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_LONGEST_DOMAIN = 253
# What git makes up on a machine without a name, and what no mail leaves a network for.
_NOWHERE = frozenset({"localhost", "local", "localdomain", "internal", "intranet", "lan", "home", "invalid"})
_NOBODY = re.compile(r"(?:do-?not-?|no-?)reply(?:[+.-].*)?", re.ASCII | re.IGNORECASE)


def address(text: str | None) -> str | None:
    """The one address that `text` is, its domain in lower case and punycode; None for anything else.

    None also for what nobody reads: `…@users.noreply.github.com`, `noreply@…`, `root@localhost`, an IP address.
    """
    if not text or len(text) > LONGEST:
        return None
    local, at, domain = text.strip(" ").rpartition("@")
    ascii_domain = _punycode(domain)
    if not at or ascii_domain is None or len(local) > _LONGEST_LOCAL or not _LOCAL.fullmatch(local):
        return None
    whole = f"{local}@{ascii_domain}"
    return None if len(whole) > LONGEST or _NOBODY.fullmatch(local) else whole


def _punycode(domain: str) -> str | None:
    """The domain as DNS spells it, if mail can go there."""
    try:
        encoded = domain.encode("idna")
        # The codec folds some letters into others (ß into ss): that would be somebody else's domain.
        same = encoded.decode("idna").lower() == domain.lower() or encoded.decode("ascii").lower() == domain.lower()
    except UnicodeError:
        return None
    labels = encoded.decode("ascii").lower().split(".")
    return ".".join(labels) if same and _reachable(labels) else None


def _reachable(labels: list[str]) -> bool:
    top = labels[-1]
    return (
        len(labels) > 1
        and all(_LABEL.fullmatch(label) for label in labels)
        and len(".".join(labels)) <= _LONGEST_DOMAIN
        and not top.isdigit()
        and top not in _NOWHERE
        and not any(_NOBODY.fullmatch(label) for label in labels)
    )
