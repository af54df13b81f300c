"""An environment's address: one port on loopback that stays, in front of containers that come and go."""

from __future__ import annotations

import http.client
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Of the connection, not of the message. https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1
HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "content-length"}
)
TIMEOUT_S = 60


class Server(ThreadingHTTPServer):
    """An HTTP server on loopback, in a thread of its own, that does not print what its clients do."""

    request_queue_size = 128
    daemon_threads = True

    def __init__(self, handler: type[BaseHTTPRequestHandler], port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), handler)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), name="local-eb-http", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), OSError):  # a client that went away is its own affair
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # typeshed's private alias

    def close(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()


class Address:
    """Forwards every request to the port that it was last switched to; 502 while there is none."""

    def __init__(self) -> None:
        self._state = threading.Condition()
        self._target: int | None = None
        self._under_way: dict[int, int] = {}
        address = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            timeout = TIMEOUT_S

            def __getattr__(self, name: str) -> object:
                if name.startswith("do_"):  # every method is forwarded
                    return lambda: address._forward(self)
                raise AttributeError(name)

            def log_message(self, *_: object) -> None:
                """A proxy on loopback keeps no access log."""

        self._server = Server(Handler)
        self.port = self._server.port

    def switch(self, target: int | None, patience_s: float = 5) -> None:
        """Send new requests to another port, and wait until the old one has answered those it has."""
        with self._state:
            old, self._target = self._target, target
            deadline = time.monotonic() + patience_s
            while old != target and old in self._under_way and (left := deadline - time.monotonic()) > 0:
                self._state.wait(left)

    def close(self) -> None:
        self._server.close()

    def _forward(self, request: BaseHTTPRequestHandler) -> None:
        sent = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        target = self._enter()
        try:
            status, headers, body = _ask(target, request, sent) if target else _bad_gateway("no version is running")
        except (OSError, http.client.HTTPException) as error:
            status, headers, body = _bad_gateway(f"the container does not answer: {error!r}")
        finally:
            self._leave(target)
        request.send_response(status)
        for name, value in headers:
            if name.lower() not in HOP_BY_HOP | {"date", "server"}:
                request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)

    def _enter(self) -> int | None:
        with self._state:
            if self._target:
                self._under_way[self._target] = self._under_way.get(self._target, 0) + 1
            return self._target

    def _leave(self, target: int | None) -> None:
        if target is None:
            return
        with self._state:
            self._under_way[target] -= 1
            if not self._under_way[target]:
                del self._under_way[target]
            self._state.notify_all()


def _ask(port: int, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.putrequest(request.command, request.path, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers.items():
            if name.lower() not in HOP_BY_HOP:
                connection.putheader(name, value)
        connection.putheader("X-Forwarded-For", request.client_address[0])
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body or None)
        answer = connection.getresponse()
        return answer.status, answer.getheaders(), answer.read()
    finally:
        connection.close()


def _bad_gateway(reason: str) -> tuple[int, list[tuple[str, str]], bytes]:
    return 502, [("Content-Type", "text/plain; charset=utf-8")], f"502 Bad Gateway: {reason}\n".encode()
