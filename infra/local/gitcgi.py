"""An HTTP request in, `git http-backend` asked by CGI, its answer out. For reading alone."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar

# https://git-scm.com/docs/http-protocol: what a client that clones or fetches asks for, and nothing else.
READING = re.compile(r"/(?:[\w.-]+/)+[\w.-]+\.git/(?:HEAD|info/refs|git-upload-pack|objects/[\w/.-]+)")


class Handler(BaseHTTPRequestHandler):
    """One request. `folder`, `git` and `environ` are bound by the host that serves it."""

    folder: ClassVar[Path]
    git: ClassVar[str]
    environ: ClassVar[Mapping[str, str]]

    def do_GET(self) -> None:  # http.server calls it by this name
        self._serve()

    do_POST = do_GET  # noqa: N815  # the same

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is http.server's
        """Say nothing: the client says what went wrong."""

    def _serve(self) -> None:
        path, _, query = self.path.partition("?")
        if ".." in path or not READING.fullmatch(path) or "git-receive-pack" in query:
            self.send_error(HTTPStatus.FORBIDDEN, "This host is for reading; push through the file system")
            return
        body = self._body()
        with subprocess.Popen(
            (self.git, "http-backend"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**self.environ, **self._cgi(path, query, len(body))},
        ) as backend:
            # The backend reads the whole question before it answers, so the pipes cannot block each other.
            try:
                _give(backend, body)
                self._answer(backend)
            except (BrokenPipeError, ConnectionResetError):
                backend.kill()  # the client went away in the middle
        self.close_connection = True

    def _cgi(self, path: str, query: str, length: int) -> dict[str, str]:
        """The question as CGI puts it.

        Source: https://www.rfc-editor.org/rfc/rfc3875#section-4.1
        """
        return {
            "GIT_PROJECT_ROOT": str(self.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(length),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "REMOTE_ADDR": "127.0.0.1",
        }

    def _body(self) -> bytes:
        """The body; git sends it in chunks when it is large."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, backend: subprocess.Popen[bytes]) -> None:
        if backend.stdout is None:
            return
        headers = []
        while line := backend.stdout.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers.append((name, value.strip()))
        status = next((value for name, value in headers if name == "Status"), "200 OK" if headers else "500 No answer")
        code, _, words = status.partition(" ")
        self.send_response(int(code), words)
        for name, value in headers:
            if name != "Status":
                self.send_header(name, value)
        self.end_headers()
        shutil.copyfileobj(backend.stdout, self.wfile)


def _give(backend: subprocess.Popen[bytes], body: bytes) -> None:
    if backend.stdin is not None:
        backend.stdin.write(body)
        backend.stdin.close()
