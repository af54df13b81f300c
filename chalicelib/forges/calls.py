"""A path in, a forge's answer out: with its token, within its limits, and never to anybody else."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from chalicelib.errors import BadConfig, TauError

if TYPE_CHECKING:
    # Lambda's own urllib3 is an older one, which has no such name.
    from urllib3 import BaseHTTPResponse

MOST_BYTES = 8 * 1024 * 1024
"""Of one answer. A hundred refs are 40 KB."""
MOST_PAGES = 500
# Where a limit is told without a time; GitHub asks for at least a minute.
# https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api#exceeding-the-rate-limit
_PAUSE = timedelta(minutes=5)
_LONGEST_PAUSE = timedelta(hours=6)
_TOKEN = re.compile(r"[\x21-\x7e]+")
_NEXT = re.compile(r'<([^<>]*)>\s*;[^<]*?\brel="?next\b')
_PORTS = {"https": 443, "http": 80}
_PIECE_BYTES = 64 * 1024
_MOST_SILENCES = 3
# A lost connection is tried once more. Whatever the forge answers is an answer, also that it has moved.
_ONCE_MORE = urllib3.Retry(total=1, redirect=False, status=0, backoff_factor=0.2, respect_retry_after_header=False)
_OK, _UNCHANGED = 200, 304
_MOVED, _BAD, _UNAUTHORIZED, _FORBIDDEN, _ABSENT, _TOO_MANY, _UNWELL = 300, 400, 401, 403, 404, 429, 500


class NotCompared(TauError):
    """A forge did not say what it was asked; the next look asks again.

    Args:
        status: of its answer; 0 where there was none.
    """

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason)
        self.status = status


class LeftAlone(NotCompared):
    """The forge must not, or need not, be asked anything more for now.

    Args:
        until: when it may be asked again, where it said so.
    """

    def __init__(self, reason: str, until: datetime | None = None) -> None:
        super().__init__(reason)
        self.until = until


@dataclass(frozen=True)
class Answer:
    """What came back; `body` is None where nothing has changed since the `etag` that was sent."""

    body: bytes | None
    etag: str | None = None
    link: str = ""

    @property
    def next(self) -> str | None:
        """The address of the next page, as a Link header says it.

        Source: https://www.rfc-editor.org/rfc/rfc8288
        """
        found = _NEXT.search(self.link)
        return found[1] if found else None


class Calls:
    """GET requests to the API of one forge.

    Args:
        api: its base address, without a slash at its end.
        now: the time of day; a limit is told as a time.
        headers: what this API wants with each request.
        timeout_s: for connecting, and for each piece of an answer.
    """

    def __init__(
        self,
        forge: str,
        api: str,
        token: str,
        now: Callable[[], datetime],
        *,
        headers: Mapping[str, str] = MappingProxyType({}),
        timeout_s: float = 20,
    ) -> None:
        self.forge = forge
        self._base = urlsplit(api)
        self._now = now
        # Not compressed: what is read is then as long as what was sent.
        own = {"Authorization": _authorization(forge, token), "User-Agent": "tau", "Accept-Encoding": "identity"}
        self._headers = {**headers, **own}
        self._limit: LeftAlone | None = None
        self._silences = 0
        timeout = urllib3.Timeout(connect=min(5, timeout_s), read=timeout_s)
        self._pool = urllib3.PoolManager(timeout=timeout, cert_reqs="CERT_REQUIRED").connection_from_url(api)

    def get(self, path: str, *, etag: str | None = None) -> Answer:
        """What lies at a path below the base address.

        Raises:
            LeftAlone: nothing else can be asked either: the token is refused, the limit is reached, or nobody answers.
            NotCompared: everything else that is no answer, in a sentence.
        """
        if self._limit is not None:
            raise self._limit
        try:
            answer = self._answer(path, etag)
        except NotCompared as error:
            self._count(error)
            raise
        self._silences = 0
        return answer

    def pages(self, path: str, next_of: Callable[[Answer], str | None], *, etag: str | None = None) -> Iterator[Answer]:
        """The answer at a path and those that follow; the first alone may be unchanged.

        Args:
            next_of: the address of the next page, or None.

        Raises:
            LeftAlone, NotCompared: as of `get`.
        """
        following: str | None = path
        for _ in range(MOST_PAGES):
            if following is None:
                return
            answer = self.get(following, etag=etag)
            yield answer
            etag, address = None, next_of(answer) if answer.body is not None else None
            following = None if address is None else self._own(address)
        raise NotCompared(f"{self.forge} answers {path} with more than {MOST_PAGES} pages")

    def _own(self, address: str) -> str:
        """The path below the base of an address that is this forge's own. A stranger must not get our token."""
        try:
            parts = urlsplit(address)
            same = _origin(parts) == _origin(self._base)
        except ValueError:
            same = False
        if not same or not parts.path.startswith(f"{self._base.path}/") or re.search(r"[^\x21-\x7e]", address):
            raise NotCompared(f"{self.forge} names a next page that is not its own: it is not followed")
        return parts.path.removeprefix(self._base.path) + (f"?{parts.query}" if parts.query else "")

    def _answer(self, path: str, etag: str | None) -> Answer:
        status, told, body = self._ask(path, etag)
        self._heed(status, told, body)
        if status == _UNCHANGED and etag:
            return Answer(None, etag)
        if status != _OK:
            raise NotCompared(_said(self.forge, status, path.partition("?")[0]), status)
        return Answer(body, told.get("ETag"), told.get("Link", ""))

    def _ask(self, path: str, etag: str | None) -> tuple[int, Mapping[str, str], bytes]:
        headers = {**self._headers, **({"If-None-Match": etag} if etag else {})}
        try:
            # The pool knows one host: whatever the path says, the token goes to the address of ci.yml.
            answer = self._pool.urlopen(
                "GET",
                f"{self._base.path}{path}",
                headers=headers,
                retries=_ONCE_MORE,
                redirect=False,
                preload_content=False,
            )
            return answer.status, answer.headers, self._read(answer)
        except (HTTPError, OSError) as error:
            raise NotCompared(f"{self.forge} did not answer: {_reason(error)}") from error

    def _read(self, answer: BaseHTTPResponse) -> bytes:
        body = bytearray()
        while piece := answer.read(_PIECE_BYTES):
            body += piece
            if len(body) > MOST_BYTES:
                answer.close()
                raise NotCompared(f"{self.forge} answers with more than {MOST_BYTES} bytes: nothing of it is read")
        answer.release_conn()
        return bytes(body)

    def _heed(self, status: int, told: Mapping[str, str], body: bytes) -> None:
        """Leave the forge alone where it wants that, from now on or from the next request on.

        Source: https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api and
        https://support.atlassian.com/bitbucket-cloud/docs/api-request-limits/
        """
        spent = told.get("X-RateLimit-Remaining") == "0"
        refused = spent or "Retry-After" in told or b"rate limit" in body.lower()
        if status == _TOO_MANY or (status == _FORBIDDEN and refused):
            self._limit = self._until(told, "has had enough requests")
            raise self._limit
        if status == _UNAUTHORIZED:
            raise LeftAlone(f"{self.forge} refuses the token (401): put a new one in its place")
        if spent:
            self._limit = self._until(told, "allows no more requests")

    def _until(self, told: Mapping[str, str], what: str) -> LeftAlone:
        now = self._now()
        until = _when(told, now)
        until = min(max(until, now), now + _LONGEST_PAUSE)
        return LeftAlone(f"{self.forge} {what}: it is left alone until {until:%H:%M} UTC", until)

    def _count(self, error: NotCompared) -> None:
        """Go on no longer where nobody has answered several times in a row."""
        silent = error.status == 0 or error.status >= _UNWELL
        self._silences = self._silences + 1 if silent else 0
        if self._silences >= _MOST_SILENCES and not isinstance(error, LeftAlone):
            self._limit = LeftAlone(f"{error}; after {_MOST_SILENCES} such in a row nothing else is asked")
            raise self._limit from error


def _authorization(forge: str, token: str) -> str:
    """A token alone, or `user:token` as for a clone.

    Source: https://docs.github.com/rest/authentication/authenticating-to-the-rest-api and
    https://developer.atlassian.com/cloud/bitbucket/rest/intro/#authentication
    """
    if not _TOKEN.fullmatch(token):
        raise BadConfig(f"the token of {forge} holds blanks or other characters that no token has: put it again")
    if ":" in token:
        return f"Basic {base64.b64encode(token.encode()).decode()}"
    return f"Bearer {token}"


def _when(told: Mapping[str, str], now: datetime) -> datetime:
    """When the forge may be asked again: seconds or a date in Retry-After, else the limit's own time."""
    after, reset = told.get("Retry-After", ""), told.get("X-RateLimit-Reset", "")
    if after.isdecimal():
        return now + timedelta(seconds=min(int(after), _LONGEST_PAUSE.total_seconds()))
    try:
        if after:
            return parsedate_to_datetime(after).astimezone(UTC)
        if told.get("X-RateLimit-Remaining") == "0":
            return datetime.fromtimestamp(int(reset), UTC)
    except (ValueError, OverflowError, OSError):
        pass  # a header that nobody can read says as much as none
    return now + _PAUSE


def _said(forge: str, status: int, path: str) -> str:
    """What a status means, for whoever has to do something about it."""
    if status == _FORBIDDEN:
        return f"{forge}: the token may not read {path} (403)"
    if status == _ABSENT:
        return f"{forge} has nothing at {path}, or hides it from the token (404)"
    if _MOVED <= status < _BAD and status != _UNCHANGED:
        return f"{forge} says that {path} has moved ({status}): correct its name in ci.yml"
    return f"{forge} is unwell: {status} for {path}" if status >= _UNWELL else f"{forge} answers {status} for {path}"


def _reason(error: Exception) -> str:
    """The innermost cause: urllib3 wraps what happened in how often it was tried."""
    inner = getattr(error, "reason", None) or error
    return f"{type(inner).__name__}: {str(inner).rpartition('>: ')[2] or inner}"[:200]


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)
