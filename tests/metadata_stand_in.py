"""An instance's metadata service that a test makes say what it wants: IMDSv2, as far as a spot notice needs it."""

import json
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

END = datetime(2026, 11, 23, 12, 2, tzinfo=UTC)
NOTICE = {"action": "terminate", "time": "2026-11-23T12:02:00Z"}
ACTION = "/latest/meta-data/spot/instance-action"
NOTHING = (404, b"")


class _Handler(BaseHTTPRequestHandler):
    """IMDSv2: nothing without a token that is good."""

    def do_PUT(self):
        metadata = self.server.metadata
        assert self.path == f"{metadata.under}/latest/api/token"
        assert 1 <= int(self.headers["X-aws-ec2-metadata-token-ttl-seconds"]) <= 21600
        if metadata.no_tokens:
            self._say(403, b"")
            return
        metadata.tokens.append(f"token-{len(metadata.tokens)}")
        self._say(200, metadata.tokens[-1].encode())

    def do_GET(self):
        metadata = self.server.metadata
        if self.path != f"{metadata.under}{ACTION}" or not metadata.is_good(self.headers["X-aws-ec2-metadata-token"]):
            self._say(401, b"")
            return
        metadata.asked += 1
        self._say(*metadata.answers[min(metadata.asked, len(metadata.answers)) - 1])

    def _say(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Metadata:
    """What the service answers, the last one for ever; how often it was asked with a good token."""

    def __init__(self, server):
        self.url = f"http://127.0.0.1:{server.server_port}"
        self.under = ""
        self.answers = [NOTHING]
        self.asked = 0
        self.tokens = []
        self.no_tokens = False
        self.spoilt = 0

    def say(self, *answers):
        self.answers = [(200, json.dumps(one).encode()) if isinstance(one, dict) else one for one in answers]

    def spoil_tokens(self):
        """Those that were given out are good no more."""
        self.spoilt = len(self.tokens)

    def is_good(self, token):
        return token in self.tokens[self.spoilt :]


@contextmanager
def metadata_service():
    """One on loopback, while the block lasts."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.metadata = Metadata(server)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server.metadata
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
