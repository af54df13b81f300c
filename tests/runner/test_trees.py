"""The repository's tree, as it is sent to the engine."""

import io
import os
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import docker
import pytest

from chalicelib.model import EventKind
from runner import trees
from tests.installation import event, job
from tests.running import context


class Sent(BaseHTTPRequestHandler):
    """An engine's address that keeps what is put there."""

    def do_PUT(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.sent.append((self.path, body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Nobody reads it."""


@pytest.fixture
def engine():
    """The real client, speaking to what remembers."""
    server = HTTPServer(("127.0.0.1", 0), Sent)
    server.sent = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    client = docker.APIClient(f"http://127.0.0.1:{server.server_port}", version="1.41")
    yield SimpleNamespace(api=client, sent=server.sent)
    client.close()
    server.shutdown()
    thread.join()
    server.server_close()


def fill(folder):
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "announce").write_text("#!/bin/sh\n")
    (folder / "bin" / "announce").chmod(0o755)
    (folder / "large").write_bytes(os.urandom(9 * 1024**2))
    (folder / "link").symlink_to("/etc/shadow")


def test_the_tree_is_sent_whole_as_roots_with_its_modes_and_its_links_unread(engine, tmp_path):
    (tmp_path / "tree").mkdir()
    fill(tmp_path / "tree")
    trees.lay(tmp_path / "tree", "c1", context(engine, tmp_path))
    ((path, body),) = engine.sent
    assert path == "/v1.41/containers/c1/archive?path=%2F"
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        entries = {entry.name: entry for entry in tar.getmembers()}
        assert sorted(entries) == [
            "tau/tree",
            *(f"tau/tree/{name}" for name in ("bin", "bin/announce", "large", "link")),
        ]
        assert {(entry.uid, entry.gid, entry.uname) for entry in entries.values()} == {(0, 0, "root")}
        assert entries["tau/tree/bin/announce"].mode & 0o777 == 0o755
        assert (entries["tau/tree/link"].issym(), entries["tau/tree/link"].linkname) == (True, "/etc/shadow")
        assert tar.extractfile("tau/tree/large").read() == (tmp_path / "tree" / "large").read_bytes()
    assert not [path for path in tmp_path.iterdir() if path.name != "tree"], "nothing is left beside it"


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ({}, ("refs/heads/develop", "2" * 40)),
        ({"kind": EventKind.MANUAL, "ref": None, "name": None, "commit": None}, ("HEAD", None)),
    ],
)
def test_it_is_the_events_commit_or_what_stands_on_the_default_branch(tmp_path, said, asked):
    checkouts, planned = [], job(event=event(**said))
    held = context(None, tmp_path, job=planned, trees={planned.source.name: fill}, checkouts=checkouts)
    folder = trees.check_out(planned.source, held)
    assert (folder / "bin" / "announce").exists()
    assert checkouts == [(planned.source.name, *asked)]
