"""Between a runner and its cloud: counts the runner's calls, and strikes right before or right after one of them."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qs, urlsplit

_CLAIM = "TransactWriteItems"


@dataclass(frozen=True)
class Aim:
    """The call, counted from the claim on, at which to strike.

    Args:
        after: when it has been answered, and nobody hears it; else before anybody got it.
        only: count the calls of this name alone.
    """

    number: int
    after: bool
    strike: Callable[[], None]
    only: str | None = None


class Interceptor:
    """An address that passes every call on to `url`.

    `calls` are the names of the calls since the claim (`UpdateItem`, `PUT`, …), oldest first; what was struck is last.
    """

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url)
        self._lock = threading.Lock()
        self._aim: Aim | None = None
        self.calls: list[str] = []
        self.struck: str | None = None
        self._server = _Server(("127.0.0.1", 0), type("Bound", (_Handler,), {"interceptor": self}))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def arm(self, aim: Aim | None) -> None:
        """Count from the next claim on, and strike once."""
        with self._lock:
            self._aim, self.calls, self.struck = aim, [], None

    def pass_on(
        self, method: str, path: str, headers: list[tuple[str, str]], body: bytes
    ) -> tuple[int, Mapping, bytes]:
        """The cloud's answer to one call.

        Raises:
            ConnectionError: struck; there is nobody to answer.
        """
        aim, name = self._count(method, dict(headers), body)
        if aim and not aim.after:
            self._strike(aim, f"before {name}")
        answer = self._ask(method, path, headers, body)
        if aim:
            self._strike(aim, f"after {name}")
        return answer

    def _count(self, method: str, headers: Mapping[str, str], body: bytes) -> tuple[Aim | None, str]:
        name = _name(method, {key.lower(): value for key, value in headers.items()}, body)
        with self._lock:
            if not self.calls and name != _CLAIM:
                return None, name
            self.calls.append(name)
            aim = self._aim
            if aim is None or aim.only not in {None, name}:
                return None, name
            counted = self.calls.count(name) if aim.only else len(self.calls)
            return (aim if counted == aim.number else None), name

    def _strike(self, aim: Aim, where: str) -> None:
        self.struck = where
        aim.strike()
        raise ConnectionError(where)

    def _ask(self, method: str, path: str, headers: list[tuple[str, str]], body: bytes) -> tuple[int, Mapping, bytes]:
        with closing(http.client.HTTPConnection(self._address.hostname, self._address.port, timeout=60)) as connection:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers:
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Who was killed does not say goodbye."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    interceptor: Interceptor

    def _do(self) -> None:
        try:
            status, headers, body = self.interceptor.pass_on(
                self.command, self.path, list(self.headers.items()), self._body()
            )
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in {"transfer-encoding", "connection", "content-length"}:
                    self.send_header(name, value)
            length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
            self.send_header("Content-Length", length)
            self.end_headers()
            self.wfile.write(body)
        except ConnectionError:
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _do  # noqa: N815 - http.server's names

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        raw = b""
        while True:
            line = self.rfile.readline()
            size = int(line.split(b";")[0], 16)
            raw += line + self.rfile.read(size + 2)
            if size == 0:
                return raw

    def log_message(self, *_: object) -> None:
        """The runner's own log says what it asked."""


def _name(method: str, headers: Mapping[str, str], body: bytes) -> str:
    """What a call is called: by its target, its Action, or its method."""
    if "x-amz-target" in headers:
        return headers["x-amz-target"].rpartition(".")[2]
    if "x-www-form-urlencoded" in headers.get("content-type", ""):
        return parse_qs(body.decode())["Action"][0]
    return "SendEmail" if b"FromEmailAddress" in body else method
