"""One address for the local cloud: Elastic Beanstalk's requests to ours, all others to the emulator, byte for byte."""

from __future__ import annotations

import contextlib
import select
import socket
import socketserver
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BufferedIOBase
from typing import Protocol

# https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html (the scope in Credential=)
_BEANSTALK_SCOPE = b"/elasticbeanstalk/aws4_request"
# Where faults are ordered (infra/local/eb_admin.py); nobody signs that.
_BEANSTALK_ADMIN = b" /_elasticbeanstalk/"
_CHUNK = 65536
# The emulator closes a connection that was idle for 75 s; one that is younger cannot close under our request.
_IDLE_LIMIT_S = 30.0


class Handler(Protocol):
    """A service mounted in front of the emulator."""

    def handle(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, str], bytes]: ...


@dataclass(frozen=True)
class _Head:
    """A request's or response's lines up to the empty one; header names in lower case."""

    start: bytes
    lines: tuple[bytes, ...]
    fields: Mapping[bytes, bytes]

    def without(self, name: bytes) -> bytes:
        """The bytes as they came, but for one header."""
        kept = [line for line in self.lines if line.partition(b":")[0].strip().lower() != name]
        return b"".join((self.start, *kept, b"\r\n"))

    @property
    def chunked(self) -> bool:
        return b"chunked" in self.fields.get(b"transfer-encoding", b"").lower()

    @property
    def length(self) -> int | None:
        value = self.fields.get(b"content-length")
        return None if value is None else int(value)

    @property
    def closes(self) -> bool:
        return b"close" in self.fields.get(b"connection", b"").lower()


def _read_head(stream: BufferedIOBase) -> _Head | None:
    """The next head, or None where the peer has nothing more to say."""
    start = stream.readline(_CHUNK)
    if not start.strip():
        return None
    lines = []
    while (line := stream.readline(_CHUNK)) not in {b"\r\n", b"\n"}:
        if not line:
            return None
        lines.append(line)
    fields = {}
    for line in lines:
        name, _, value = line.partition(b":")
        fields[name.strip().lower()] = value.strip()
    return _Head(start, tuple(lines), fields)


def _exactly(stream: BufferedIOBase, size: int) -> Iterator[bytes]:
    while size > 0:
        piece = stream.read(min(size, _CHUNK))
        if not piece:
            raise ConnectionError("the peer went away in the middle of a body")
        size -= len(piece)
        yield piece


def _chunks(stream: BufferedIOBase) -> Iterator[tuple[bytes, bytes]]:
    """A chunked body: (the bytes as they came, what they carry)."""
    while True:
        line = stream.readline(_CHUNK)
        size = int(line.partition(b";")[0], 16)
        if size == 0:
            break
        data = b"".join(_exactly(stream, size))
        yield line + data + stream.readline(_CHUNK), data
    while (trailer := stream.readline(_CHUNK)) not in {b"\r\n", b"\n", b""}:
        line += trailer
    yield line + b"\r\n", b""


def _raw_body(head: _Head, stream: BufferedIOBase) -> Iterator[bytes]:
    """A request's body as it came, framing included."""
    if head.chunked:
        yield from (raw for raw, _ in _chunks(stream))
    else:
        yield from _exactly(stream, head.length or 0)


def _raw_answer(head: _Head, stream: BufferedIOBase, *, bodyless: bool) -> Iterator[bytes]:
    """A response's body as it came; where it bears no length it ends with the connection."""
    if bodyless:
        return
    if head.chunked or head.length is not None:
        yield from _raw_body(head, stream)
        return
    while piece := stream.read(_CHUNK):
        yield piece


@dataclass(frozen=True)
class _Upstream:
    sock: socket.socket
    stream: BufferedIOBase
    used_at: float

    def usable(self) -> bool:
        """Whether it is young, and has nothing to say before it was asked (an end, that is)."""
        return time.monotonic() - self.used_at < _IDLE_LIMIT_S and not select.select([self.sock], [], [], 0)[0]

    def close(self) -> None:
        self.stream.close()
        self.sock.close()


class _Connection(socketserver.StreamRequestHandler):
    """One client's connection, for as many requests as it sends."""

    disable_nagle_algorithm = True
    server: _Server

    def handle(self) -> None:
        with self.server.tracked(self.request):
            try:
                while (head := _read_head(self.rfile)) and self._answer(head):
                    pass
            except (OSError, ValueError):
                return  # a peer that went away, or speaks no HTTP: nobody is left to be told

    def _answer(self, head: _Head) -> bool:
        """Answer one request; False when the connection ends with it."""
        if head.fields.get(b"expect", b"").lower() == b"100-continue":
            # boto3 waits a second for this before it sends a body to S3.
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        beanstalk = self.server.front.elastic_beanstalk
        if beanstalk is not None and (
            _BEANSTALK_SCOPE in head.fields.get(b"authorization", b"") or _BEANSTALK_ADMIN in head.start
        ):
            return self._mounted(beanstalk, head)
        return self._forward(head)

    def _mounted(self, handler: Handler, head: _Head) -> bool:
        if head.chunked:
            body = b"".join(data for _, data in _chunks(self.rfile))
        else:
            body = b"".join(_exactly(self.rfile, head.length or 0))
        method, path, _ = head.start.decode("latin-1").split(" ", 2)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.fields.items()}
        status, answer_headers, answer = handler.handle(method, path, headers, body)
        lines = [f"HTTP/1.1 {status} -", *(f"{name}: {value}" for name, value in answer_headers.items())]
        if "content-length" not in {name.lower() for name in answer_headers}:
            lines.append(f"Content-Length: {len(answer)}")
        self.wfile.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (b"" if method == "HEAD" else answer))
        return not head.closes

    def _forward(self, head: _Head) -> bool:
        upstream = self.server.front.take()
        if upstream is None:
            reason = b"the local cloud's emulator does not answer\n"
            self.wfile.write(
                b"HTTP/1.1 502 -\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(reason) + reason
            )
            return False
        try:
            reusable = self._relay(head, upstream)
        except BaseException:
            upstream.close()
            raise
        if reusable:
            self.server.front.give_back(upstream)
        else:
            upstream.close()
        return reusable and not head.closes

    def _relay(self, head: _Head, upstream: _Upstream) -> bool:
        pieces = _raw_body(head, self.rfile)
        upstream.sock.sendall(head.without(b"expect") + next(pieces, b""))
        for piece in pieces:
            upstream.sock.sendall(piece)
        while True:
            answer = _read_head(upstream.stream)
            if answer is None:
                raise ConnectionError("the emulator went away before it answered")
            status = int(answer.start.split(b" ", 2)[1])
            if status >= 200:
                break
        bodyless = head.start.startswith(b"HEAD ") or status in {204, 304}
        body = _raw_answer(answer, upstream.stream, bodyless=bodyless)
        self.wfile.write(answer.without(b"") + next(body, b""))
        for piece in body:
            self.wfile.write(piece)
        return not answer.closes and (bodyless or answer.chunked or answer.length is not None)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, front: Front, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Connection)
        self.front = front
        self._open: dict[threading.Thread, socket.socket] = {}

    def tracked(self, sock: socket.socket) -> _Tracked:
        return _Tracked(self._open, sock)

    def close_connections(self) -> None:
        """End every connection and wait until its thread is gone."""
        for thread, sock in list(self._open.items()):
            with contextlib.suppress(OSError):  # its client was faster
                sock.shutdown(socket.SHUT_RDWR)
            thread.join(timeout=5)


@dataclass(frozen=True)
class _Tracked:
    """While it is entered, the server knows this thread's connection."""

    open: dict[threading.Thread, socket.socket]
    sock: socket.socket

    def __enter__(self) -> None:
        self.open[threading.current_thread()] = self.sock

    def __exit__(self, *_: object) -> None:
        self.open.pop(threading.current_thread(), None)


class Front:
    """Listens on loopback. Set `emulator_port` when the emulator is up; `elastic_beanstalk` whenever it is ready."""

    def __init__(self, port: int = 0, elastic_beanstalk: Handler | None = None) -> None:
        self.elastic_beanstalk = elastic_beanstalk
        self.emulator_port: int | None = None
        self._idle: deque[_Upstream] = deque()
        self._server = _Server(self, port)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="local-cloud-front", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def take(self) -> _Upstream | None:
        """A connection to the emulator, or None where there is none to be had."""
        while self._idle:
            upstream = self._idle.pop()
            if upstream.usable():
                return upstream
            upstream.close()
        if self.emulator_port is None:
            return None
        try:
            sock = socket.create_connection(("127.0.0.1", self.emulator_port), timeout=10)
        except OSError:
            return None
        sock.settimeout(None)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return _Upstream(sock, sock.makefile("rb"), time.monotonic())

    def give_back(self, upstream: _Upstream) -> None:
        self._idle.append(_Upstream(upstream.sock, upstream.stream, time.monotonic()))

    def stop(self) -> None:
        """Stop listening; end what is open. The emulator should be gone by now: its answers are not waited for."""
        self._server.shutdown()
        self._thread.join()
        self._server.close_connections()
        self._server.server_close()
        while self._idle:
            self._idle.pop().close()
