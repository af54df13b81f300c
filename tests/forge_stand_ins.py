"""GitHub's and Bitbucket Cloud's REST APIs on loopback, as far as the reconciler asks them, with their bad days."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "a-token-made-for-the-occasion"


def sha(text: str) -> str:
    return hashlib.sha1(text.encode()).hexdigest()


@dataclass
class Repository:
    """What a forge holds of one. `tags`: name -> (what the ref points at, the commit in the end)."""

    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, tuple[str, str]] = field(default_factory=dict)
    pulls: dict[int, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Trouble:
    """What happens instead of an answer.

    `cut`: so many bytes of the answer arrive, then the connection is gone. `gone`: nothing arrives at all.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    cut: int | None = None
    gone: bool = False
    late_s: float = 0


class StandIn:
    """One forge. Every request is noted; `trouble(path)` says what happens to it, or None."""

    page_size = 100

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.trouble: Callable[[str], Trouble | None] = lambda _path: None
        self.etags = True
        self.remaining: int | None = None
        self.reset = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"forge": self}))
        self._server.daemon_threads = True
        self.host = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    @property
    def paths(self):
        return [path for path, _ in self.asked]

    def repository(self, name):
        return self.repositories.setdefault(name, Repository())

    def page(self, items, query):
        """One page of a list, and the number of the next, or None."""
        size = min(int(query.get("per_page", query.get("pagelen", ["30"]))[0]), self.page_size)
        number = int(query.get("page", ["1"])[0])
        more = len(items) > number * size
        return items[(number - 1) * size : number * size], number + 1 if more else None

    def answer(self, path, query):
        """Status, JSON and headers."""
        raise NotImplementedError


class GitHubStandIn(StandIn):
    """`api`: its base address. Organisations are those that own a repository and are not in `people`."""

    def __init__(self):
        super().__init__()
        self.api = self.host
        self.people: set[str] = set()
        self.tags_of_tags: dict[str, str] = {}

    def answer(self, path, query):
        parts = path.strip("/").split("/")
        if parts[0] in {"orgs", "users"} and parts[2:] == ["repos"]:
            return self._repositories(parts, path, query)
        repository = self.repositories.get("/".join(parts[1:3]))
        if parts[0] != "repos" or repository is None:
            return 404, {"message": "Not Found"}, {}
        rest = "/".join(parts[3:])
        if rest.startswith("git/"):
            return self._git(repository, rest.removeprefix("git/"), path, query)
        if rest == "pulls":
            name = "/".join(parts[1:3])
            return self._listed(
                [_github_pull(name, number, *pull) for number, pull in sorted(repository.pulls.items())], path, query
            )
        return 404, {"message": "Not Found"}, {}

    def _repositories(self, parts, path, query):
        owner = parts[1]
        owned = [name for name in sorted(self.repositories) if name.partition("/")[0] == owner]
        if (parts[0] == "orgs") == (owner in self.people):
            return 404, {"message": "Not Found"}, {}
        return self._listed([{"full_name": name} for name in owned], path, query)

    def _git(self, repository, rest, path, query):
        if not repository.branches and not repository.tags:
            return 409, {"message": "Git Repository is empty."}, {}
        refs = {f"heads/{name}": (at, "commit") for name, at in repository.branches.items()}
        refs |= {
            f"tags/{name}": (at, "commit" if at == commit else "tag") for name, (at, commit) in repository.tags.items()
        }
        if rest.startswith("matching-refs/"):
            # As GitHub does it: whatever begins so.
            wanted = rest.removeprefix("matching-refs/")
            items = [
                {"ref": f"refs/{ref}", "object": {"type": kind, "sha": at}}
                for ref, (at, kind) in sorted({**refs, "headstones/x": ("f" * 40, "commit")}.items())
                if ref.startswith(wanted)
            ]
            return self._listed(items, path, query)
        if rest.startswith("ref/"):
            ref = unquote(rest.removeprefix("ref/"))
            return (200, {"ref": f"refs/{ref}"}, {}) if ref in refs else (404, {"message": "Not Found"}, {})
        if rest.startswith("tags/"):
            return self._tag(repository, rest.removeprefix("tags/"))
        if rest.startswith("commits/"):
            commit = rest.removeprefix("commits/")
            author = {"name": "Sam", "email": "sam@2pisoftware.com"}
            return 200, {"sha": commit, "message": f"Change {commit[:7]}\n\nMore.", "author": author}, {}
        return 404, {"message": "Not Found"}, {}

    def _tag(self, repository, at):
        if at in self.tags_of_tags:
            return 200, {"sha": at, "object": {"type": "tag", "sha": self.tags_of_tags[at]}}, {}
        commits = dict(repository.tags.values())
        inner = {inner: commits[outer] for outer, inner in self.tags_of_tags.items() if outer in commits}
        return 200, {"sha": at, "object": {"type": "commit", "sha": {**commits, **inner}[at]}}, {}

    def _listed(self, items, path, query):
        items, following = self.page(items, query)
        kept = "&".join(f"{name}={values[0]}" for name, values in query.items() if name != "page")
        link = f'<{self.api}{path}?{kept}&page={following}>; rel="next", <{self.api}{path}?page=9>; rel="last"'
        return 200, items, {"Link": link} if following else {}


class BitbucketStandIn(StandIn):
    """`api`: its base address, which has a path as the real one has."""

    def __init__(self):
        super().__init__()
        self.api = f"{self.host}/2.0"

    def answer(self, path, query):
        parts = path.removeprefix("/2.0").strip("/").split("/")
        if parts[0] != "repositories":
            return 404, {"type": "error"}, {}
        if len(parts) == 2:
            owned = [name for name in sorted(self.repositories) if name.partition("/")[0] == parts[1]]
            return self._listed([{"full_name": name} for name in owned], path, query)
        name = "/".join(parts[1:3])
        repository, rest = self.repositories.get(name), "/".join(parts[3:])
        if repository is None:
            return 404, {"type": "error"}, {}
        if rest == "pullrequests":
            pulls = [_bitbucket_pull(name, number, *pull) for number, pull in sorted(repository.pulls.items())]
            return self._listed(pulls, path, query)
        refs = [_bitbucket_ref("branch", branch, at) for branch, at in sorted(repository.branches.items())]
        tags = [_bitbucket_ref("tag", tag, commit) for tag, (_, commit) in sorted(repository.tags.items())]
        items = {"refs": refs + tags, "refs/branches": refs, "refs/tags": tags}[rest]
        if "q" in query:
            wanted = query["q"][0].removeprefix('name = "').removesuffix('"').replace('\\"', '"')
            items = [item for item in items if item["name"] == wanted]
        return self._listed(items, path, query)

    def _listed(self, items, path, query):
        items, following = self.page(items, query)
        kept = "&".join(f"{name}={values[0]}" for name, values in query.items() if name != "page")
        more = {"next": f"{self.host}{path}?{kept}&page={following}"} if following else {}
        return 200, {"values": items, "pagelen": 100, **more}, {}


def _github_pull(repository, number, head, head_repository):
    ids = {"repo": {"id": int(sha(head_repository)[:8], 16), "full_name": head_repository}}
    own = {"repo": {"id": int(sha(repository)[:8], 16), "full_name": repository}}
    return {"number": number, "state": "open", "head": {"sha": head, **ids}, "base": {"sha": "0" * 40, **own}}


def _bitbucket_pull(repository, number, head, head_repository):
    return {
        "id": number,
        "state": "OPEN",
        "source": {"commit": {"hash": head[:12]}, "repository": {"full_name": head_repository}},
        "destination": {"repository": {"full_name": repository}},
    }


def _bitbucket_ref(kind, name, at):
    target = {"type": "commit", "hash": at, "message": "A change\n", "author": {"raw": "Sam <sam@2pisoftware.com>"}}
    return {"type": kind, "name": name, "target": target}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    forge: StandIn

    def do_GET(self):
        forge = self.forge
        forge.asked.append((self.path, dict(self.headers)))
        trouble = forge.trouble(self.path) or Trouble()
        time.sleep(trouble.late_s)
        if trouble.gone:
            self.close_connection = True
            return None
        if trouble.status != 200 or trouble.body is not None:
            return self._send(trouble.status, trouble.body or b"{}", trouble.headers)
        if TOKEN not in self.headers.get("Authorization", "") and not self._is_basic():
            return self._send(401, b'{"message": "Bad credentials"}', {})
        if forge.remaining == 0:
            return self._send(403, b'{"message": "API rate limit exceeded"}', self._limits())
        parts = urlsplit(self.path)
        status, told, headers = forge.answer(parts.path, parse_qs(parts.query))
        body = json.dumps(told).encode()
        etag = f'W/"{hashlib.sha256(body).hexdigest()}"'
        if forge.etags and status == 200 and self.headers.get("If-None-Match") == etag:
            return self._send(304, b"", {"ETag": etag, **self._limits()})
        if forge.remaining is not None:
            forge.remaining -= 1
        headers = {**headers, **({"ETag": etag} if forge.etags else {}), **trouble.headers, **self._limits()}
        return self._send(status, body, headers, trouble.cut)

    def _is_basic(self):
        return self.headers.get("Authorization", "").startswith("Basic ")

    def _limits(self):
        if self.forge.remaining is None:
            return {}
        return {"X-RateLimit-Remaining": str(self.forge.remaining), "X-RateLimit-Reset": str(self.forge.reset)}

    def _send(self, status, body, headers, cut=None):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 304:
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # who asked has gone
            self.wfile.write(b"" if status == 304 else body[:cut])
        self.close_connection = self.close_connection or cut is not None

    def log_message(self, *_):
        pass
