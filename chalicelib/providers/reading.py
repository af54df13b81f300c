"""Untrusted bytes in, checked fields out: what every provider's reader leans on.

One rule for all fields: null is the same as absent, an absent field is None, a value of another type than the forge
promises is a BadDelivery. `need_*` is for what nothing can be built without.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from itertools import accumulate
from typing import NoReturn, TypeVar

from chalicelib.errors import BadDelivery
from chalicelib.model import Delivery, EventKind, Pull

T = TypeVar("T", str, int, bool, list[object], dict[str, object])

HEADS = "refs/heads/"
TAGS = "refs/tags/"
PULLS = "pull/"
"""How the name begins under which a pull request's head is remembered: `pull/42`."""

# What goes into a record has a size: a DynamoDB item holds 400 KB, and a push may list thousands of authors.
LONGEST_REF_BYTES = 1000
LONGEST_EMAIL = 254  # https://www.rfc-editor.org/rfc/rfc5321#section-4.5.3.1.3
LONGEST_NAME = 200
LONGEST_MESSAGE = 500
MOST_EMAILS = 500
EMAILS_BYTES = 32 * 1024
MOST_FILES = 500
FILES_BYTES = 16 * 1024

DELIVERY_ID = re.compile(r"[A-Za-z0-9{}-]{1,100}")
EVENT_NAME = re.compile(r"[A-Za-z0-9_:.-]{1,100}")
REPOSITORY = re.compile(r"[A-Za-z0-9._-]{1,100}/[A-Za-z0-9._-]{1,100}")
REPOSITORY_ID = re.compile(r"[A-Za-z0-9{}-]{1,100}")

# A pull request's; whatever is larger was not counted up to.
MOST_PULLS = 10**9

# SHA-1 or SHA-256. https://git-scm.com/docs/hash-function-transition
OBJECT_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")

# The rules of https://git-scm.com/docs/git-check-ref-format in their order: a component that begins with a dot or ends
# with ".lock"; two dots; control characters, blank and ~ ^ : ? * [ \; a slash at an end or doubled; a dot at the end;
# "@{". (That there is a slash, and that it is not "@" alone, follows from the prefixes that are asked for.)
NOT_A_REF = re.compile(r"(?:\A|/)\.|\.lock(?:/|\Z)|\.\.|[\x00-\x20\x7f~^:?*\[\\]|\A/|//|/\Z|\.\Z|@\{")

CONTROL = re.compile(r"[\x00-\x1f\x7f]")
HALF_OF_A_PAIR = re.compile(r"\\u[dD][89a-fA-F]")


class Fields:
    """One object of a payload, with its place for complaints."""

    __slots__ = ("_at", "_values")

    def __init__(self, values: dict[str, object], at: str) -> None:
        self._values = values
        self._at = at

    def text(self, name: str) -> str | None:
        """A text with something in it."""
        return self._typed(name, str, "text") or None

    def number(self, name: str) -> int | None:
        return self._typed(name, int, "a whole number")

    def flag(self, name: str) -> bool:
        return self._typed(name, bool, "true or false") or False

    def child(self, name: str) -> Fields | None:
        values = self._typed(name, dict, "an object")
        return None if values is None else Fields(values, f"{self._at}.{name}")

    def part(self, name: str) -> Fields:
        """The object, or one without fields where there is none."""
        return self.child(name) or Fields({}, f"{self._at}.{name}")

    def children(self, name: str) -> list[Fields]:
        """The list's objects; empty where there is no list."""
        values = self._typed(name, list, "a list") or []
        return [self._item(name, index, value) for index, value in enumerate(values)]

    def texts(self, name: str) -> list[str]:
        """The list's texts; empty where there is no list."""
        values = self._typed(name, list, "a list") or []
        for index, value in enumerate(values):
            if type(value) is not str:
                raise BadDelivery(f"{self._at}.{name}[{index}] is not text")
        return [value for value in values if type(value) is str]

    def need_text(self, name: str) -> str:
        return self.text(name) or self._missing(name)

    def need_child(self, name: str) -> Fields:
        return self.child(name) or self._missing(name)

    def need_children(self, name: str) -> list[Fields]:
        return self._missing(name) if self._values.get(name) is None else self.children(name)

    def need_object_id(self, name: str) -> str | None:
        """A full sha; None for the all-zero one, which stands for "no commit on this side"."""
        value = self.need_text(name)
        if not OBJECT_ID.fullmatch(value):
            raise BadDelivery(f"{self._at}.{name} is no full sha")
        return value if value.strip("0") else None

    def _typed(self, name: str, kind: type[T], words: str) -> T | None:
        value = self._values.get(name)
        # Not isinstance: true is an int to Python, and no number to anybody else.
        if value is None or type(value) is kind:
            return value
        raise BadDelivery(f"{self._at}.{name} is not {words}")

    def _item(self, name: str, index: int, value: object) -> Fields:
        if type(value) is not dict:
            raise BadDelivery(f"{self._at}.{name}[{index}] is not an object")
        return Fields(value, f"{self._at}.{name}[{index}]")

    def _missing(self, name: str) -> NoReturn:
        raise BadDelivery(f"{self._at}.{name} is missing")


def parse(body: bytes, at: str) -> Fields:
    """The object that a body holds, read so that nobody else can read it differently.

    Raises:
        BadDelivery: no UTF-8, no JSON, no object; repeated keys, NaN or Infinity, half a surrogate pair, an absurdly
            long number, or nesting beyond reason.
    """
    values = _values(body, at)
    if type(values) is not dict:
        raise BadDelivery(f"{at}: the body is no JSON object")
    return Fields(values, at)


def parse_list(body: bytes, at: str) -> list[Fields]:
    """The objects of the list that a body holds, read like `parse`.

    Raises:
        BadDelivery: like `parse`; or it holds no list of objects.
    """
    return Fields({"list": _values(body, at)}, at).need_children("list")


def _values(body: bytes, at: str) -> object:
    try:
        text = body.decode("utf-8")
        values: object = STRICT.decode(text)
        if HALF_OF_A_PAIR.search(text):
            # Rare (emoji written as escapes): whole pairs encode, halves do not.
            json.dumps(values, ensure_ascii=False).encode("utf-8")
    # UnicodeError and JSONDecodeError are ValueErrors.
    except (ValueError, RecursionError) as error:
        raise BadDelivery(f"{at}: the body is no clean JSON ({type(error).__name__})") from error
    return values


def _each_key_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key is repeated")
    return values


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


STRICT = json.JSONDecoder(object_pairs_hook=_each_key_once, parse_constant=_no_constant)


def need_header(delivery: Delivery, name: str, shape: re.Pattern[str]) -> str:
    """The value of a header that was sent exactly once and has the shape.

    Raises:
        BadDelivery: it is missing, doubled, or holds what a forge does not send.
    """
    value = delivery.header(name)
    if value is None:
        raise BadDelivery(f"the header {name} is missing, or was sent more than once")
    if not shape.fullmatch(value):
        raise BadDelivery(f"the header {name} holds what no forge sends")
    return value


def checked_repository(name: str, *, personal: bool = False) -> str:
    """`owner/name` as the forge spells it; `~owner/name` too, where the forge has such."""
    bare = name.removeprefix("~") if personal else name
    owner_and_name = bare.split("/")
    if not REPOSITORY.fullmatch(bare) or ".." in name or name.endswith(".git") or "." in owner_and_name:
        raise BadDelivery("the repository's name is not of the form owner/name")
    return name


def checked_repository_id(text: str | None) -> str | None:
    """The forge's immutable id."""
    if text is not None and not REPOSITORY_ID.fullmatch(text):
        raise BadDelivery("the repository's id holds what no forge sends")
    return text


def numbered(number: int | None, head: str | None, branch: str | None, target: str | None) -> Pull | None:
    """A pull request; None where the payload does not say which."""
    if number is not None and not 0 < number < MOST_PULLS:
        raise BadDelivery("the pull request's number is none that a forge counts")
    for name in (branch, target):
        if name is not None:
            checked_ref(HEADS + name)
    return Pull(number, head, branch, target) if number is not None else None


def branch_of(ref: str | None) -> str | None:
    """The name in a `refs/heads/…`; None for anything else."""
    return ref.removeprefix(HEADS) if ref and ref.startswith(HEADS) else None


def checked_ref(ref: str) -> str:
    """A full ref (`refs/…`) that git would take, short enough for a record."""
    if not is_storable(ref):
        raise BadDelivery("the ref's name is not one that git allows, or too long")
    return ref


def is_storable(ref: str) -> bool:
    """Whether a record can have the name of a ref that git would take."""
    return is_ref(ref) and len(ref.encode("utf-8")) <= LONGEST_REF_BYTES


def is_ref(ref: str) -> bool:
    """Whether `git check-ref-format` would say yes."""
    return "/" in ref and not NOT_A_REF.search(ref)


def name_of(ref: str) -> str | None:
    """The branch or tag; None for a ref that is neither (notes, pull requests)."""
    for prefix in (HEADS, TAGS):
        if ref.startswith(prefix):
            return ref.removeprefix(prefix)
    return None


def kind_of(ref: str, before: str | None, after: str | None) -> EventKind:
    """What happened to a branch or tag that was at `before` and is at `after`."""
    if ref.startswith(TAGS):
        return EventKind.TAG_DELETED if after is None else EventKind.TAG_CREATED
    if after is None:
        return EventKind.BRANCH_DELETED
    return EventKind.BRANCH_CREATED if before is None else EventKind.PUSH


def email_or_none(text: str | None) -> str | None:
    """An address as git recorded it; None for what no mail could ever be sent to."""
    address = (text or "").strip()
    if not address or len(address) > LONGEST_EMAIL or CONTROL.search(address):
        return None
    return address


def each_email_once(emails: Iterable[str | None]) -> tuple[str, ...]:
    """The addresses in their order, without repetition; the first of them, as many as a record has room for."""
    once = tuple(dict.fromkeys(email for email in emails if email))[:MOST_EMAILS]
    # Records are ASCII: a character beyond it takes up to twelve bytes there.
    ends = accumulate(len(json.dumps(email)) for email in once)
    return tuple(email for email, end in zip(once, ends, strict=True) if end <= EMAILS_BYTES)


def each_file_once(files: Iterable[str]) -> tuple[str, ...] | None:
    """The files in their order, without repetition; None where they are more than a record has room for."""
    once = tuple(dict.fromkeys(files))
    return once if len(once) <= MOST_FILES and len(json.dumps(once)) <= FILES_BYTES else None


def shortened(text: str | None, longest: int = LONGEST_NAME) -> str | None:
    """At most `longest` characters of it."""
    return text[:longest] if text else None
