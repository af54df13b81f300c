"""Between somebody and a service: every call is seen, and may be struck, refused, or left without an answer."""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Call:
    """One request as it came; a body in chunks with their sizes."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def operation(self) -> str:
        """What AWS calls it (`UpdateItem`), else its method."""
        headers = {name.lower(): value for name, value in self.headers}
        if "x-amz-target" in headers:
            return headers["x-amz-target"].rpartition(".")[2]
        if "x-www-form-urlencoded" in headers.get("content-type", ""):
            return parse_qs(self.body.decode())["Action"][0]
        return "SendEmail" if b"FromEmailAddress" in self.body else self.method

    @property
    def is_engines(self) -> bool:
        """Whether a Docker engine makes it, for somebody: it goes on when that somebody is gone."""
        return any(name.lower() == "user-agent" and value.startswith("docker/") for name, value in self.headers)


@dataclass(frozen=True)
class Answer:
    """What a call is answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Fault:
    """What happens to calls.

    Args:
        hits: whether a call is meant.
        times: how many calls at most; None = every one.
        after: once the service has answered, and nobody hears it; else before it was asked.
        strike: what is done at that moment.
        answer: what is answered then; None = the connection is cut.
    """

    hits: Callable[[Call], bool]
    times: int | None = 1
    after: bool = False
    strike: Callable[[Call], None] = field(default=lambda _: None)
    answer: Answer | None = None
    struck: list[Call] = field(default_factory=list)

    def takes(self, call: Call) -> bool:
        """Whether it happens to this call; counted then."""
        if (self.times is not None and len(self.struck) >= self.times) or not self.hits(call):
            return False
        self.struck.append(call)
        return True


class Interceptor:
    """An address that passes every call on to `url`.

    Args:
        seen: is shown each call that was answered.
        at: the address of this machine at which it listens.
        tls: it speaks TLS, with this certificate.
    """

    def __init__(
        self,
        url: str,
        seen: Callable[[Call, Answer], None] = lambda _call, _answer: None,
        *,
        at: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._address = urlsplit(url)
        self._is_tls = tls is not None
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._server = _Server((at, 0), type("Bound", (_Handler,), {"interceptor": self}))
        if tls:
            # The handshake is the handler's, in a thread of its own.
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.seen = seen
        self.host = f"{at}:{self._server.server_port}"
        self.url = f"{'https' if tls else 'http'}://{self.host}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @contextmanager
    def armed(self, *faults: Fault):
        """While the block lasts, these faults happen."""
        with self._lock:
            self._faults += faults
        try:
            yield
        finally:
            with self._lock:
                self._faults = [fault for fault in self._faults if fault not in faults]

    def pass_on(self, call: Call) -> Answer:
        """The service's answer to one call.

        Raises:
            ConnectionError: there is none.
        """
        with self._lock:
            fault = next((fault for fault in self._faults if fault.takes(call)), None)
        if fault and not fault.after:
            fault.strike(call)
            if fault.answer or not call.is_engines:
                return _answered(fault)
        answer = self._ask(call)
        self.seen(call, answer)
        if fault and fault.after:
            fault.strike(call)
            return _answered(fault)
        return answer

    def _ask(self, call: Call) -> Answer:
        with closing(http.client.HTTPConnection(self._address.hostname, self._address.port, timeout=60)) as connection:
            connection.putrequest(call.method, call.path, skip_host=True, skip_accept_encoding=True)
            for name, value in call.headers:
                # Whoever waited for a "100 Continue" has had it from us.
                if name.lower() != "expect":
                    connection.putheader(name, value)
            if self._is_tls:
                connection.putheader("X-Forwarded-Proto", "https")
            connection.endheaders(call.body)
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read())


def _answered(fault: Fault) -> Answer:
    if fault.answer is None:
        raise ConnectionError
    return fault.answer


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Who was killed does not say goodbye."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    interceptor: Interceptor

    def _do(self) -> None:
        try:
            answer = self.interceptor.pass_on(
                Call(self.command, self.path, tuple(self.headers.items()), self._body()),
            )
            self.send_response_only(answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in {"transfer-encoding", "connection", "content-length"}:
                    self.send_header(name, value)
            length = answer.headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(answer.body))
            self.send_header("Content-Length", length)
            self.end_headers()
            self.wfile.write(answer.body)
        except (ConnectionError, http.client.HTTPException):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _do  # noqa: N815 - http.server's names

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        raw, size = b"", 1
        while size:
            line = self.rfile.readline()
            size = int(line.split(b";")[0], 16)
            raw += line + (self.rfile.read(size + 2) if size else b"")
        while (trailer := self.rfile.readline()) not in {b"\r\n", b""}:
            raw += trailer
        return raw + b"\r\n"

    def log_message(self, *_: object) -> None:
        """Its callers' own logs say what they asked."""
