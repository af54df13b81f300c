"""Repositories in a folder in, a git host on loopback out, as forges are one: smart HTTP by git's own http-backend."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

from infra.local import processes
from infra.local.gitcgi import Handler

MAIN = "develop"


@dataclass(frozen=True)
class Person:
    """Somebody who commits: `login` is the name at the forge."""

    name: str
    email: str
    login: str

    def __str__(self) -> str:
        return f"{self.name} <{self.email}>"


SAM = Person("Sam Taylor", "sam@2pisoftware.com", "sam")


@dataclass(frozen=True)
class Commit:
    """One commit, as a forge tells of it. `parent` is None for a first one."""

    sha: str
    tree: str
    parent: str | None
    author: Person
    at: datetime
    message: str
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    modified: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tag:
    """A tag: `after` is what the ref points at, the tag object of an annotated one; `commit` what to check out."""

    name: str
    after: str
    commit: str


class GitHost:
    """Serves `folder/<forge>/<owner>/<name>.git` for reading; commits are made through the file system.

    Args:
        folder: where the repositories lie; made where it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._git = processes.need_tool("git", "git")
        self._server: ThreadingHTTPServer | None = None
        self._port = 0

    def start(self) -> None:
        """Serve, on the same port as before."""
        self.folder.mkdir(parents=True, exist_ok=True)
        handler = type("Bound", (Handler,), {"folder": self.folder, "git": self._git, "environ": _environ()})
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), handler)
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.05,), name="githost", daemon=True).start()

    def stop(self) -> None:
        """Answer nobody any more; the repositories stay."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def clone_template(self, forge: str) -> str:
        """What a forge's `clone` says in ci.yml, with `{repository}` left open."""
        return f"http://127.0.0.1:{self._port}/{forge}/{{repository}}.git"

    def url(self, forge: str, repository: str) -> str:
        return self.clone_template(forge).format(repository=repository)

    def path(self, forge: str, repository: str) -> Path:
        """The bare repository itself, also for a `git push` of your own."""
        return self.folder / forge / f"{repository}.git"

    def create(self, forge: str, repository: str, files: Mapping[str, str], *, branch: str = MAIN) -> str:
        """A new repository with one commit of these files; returns its sha."""
        path = self.path(forge, repository)
        path.mkdir(parents=True)
        self.git(path, "init", "--quiet", "--bare", "--template=", f"--initial-branch={branch}")
        # What GitHub and Bitbucket allow: a commit by its sha, and a clone without the files of the past.
        self.git(path, "config", "uploadpack.allowAnySHA1InWant", "true")
        self.git(path, "config", "uploadpack.allowFilter", "true")
        return self.commit(forge, repository, branch, files, "First commit")

    def commit(
        self,
        forge: str,
        repository: str,
        branch: str,
        files: Mapping[str, str | None],
        message: str,
        author: Person = SAM,
    ) -> str:
        """A commit on top of the branch, or of the main branch where it is new; returns its sha.

        Args:
            files: text by path; None removes the file, `#!` makes it executable. All others stay.
        """
        path = self.path(forge, repository)
        parent = self._resolve(path, f"refs/heads/{branch}") or self._resolve(path, "HEAD")
        head = f"{author} {int(time.time())} +0000"
        said = message.encode()
        stream = f"commit refs/heads/{branch}\nauthor {head}\ncommitter {head}\ndata {len(said)}\n".encode()
        stream += said + b"\n" + (f"from {parent}\n".encode() if parent else b"")
        stream += b"".join(_change(name, text) for name, text in files.items())
        self.git(path, "fast-import", "--quiet", "--date-format=raw", stdin=stream)
        return self.git(path, "rev-parse", "--verify", f"refs/heads/{branch}")

    def tag(
        self, forge: str, repository: str, name: str, *, branch: str = MAIN, annotated: bool = False, by: Person = SAM
    ) -> Tag:
        """Tag the newest commit of the branch; an existing tag is moved."""
        path = self.path(forge, repository)
        commit = self.git(path, "rev-parse", "--verify", f"refs/heads/{branch}")
        how = ("--annotate", f"--message=Release {name}") if annotated else ("--no-sign",)
        environ = {"GIT_COMMITTER_NAME": by.name, "GIT_COMMITTER_EMAIL": by.email}
        self.git(path, "tag", "--force", *how, name, commit, environ=environ)
        return Tag(name, self.git(path, "rev-parse", "--verify", f"refs/tags/{name}"), commit)

    def describe(self, forge: str, repository: str, sha: str, login: str | None = None) -> Commit:
        """What a forge would tell of a commit in a webhook.

        Args:
            login: the author's name at the forge; None = what stands before the @ of the address.
        """
        path = self.path(forge, repository)
        fields = self.git(path, "show", "--no-patch", "--format=%T%n%P%n%an%n%ae%n%at%n%B", sha).split("\n", 5)
        tree, parents, name, email, at, message = fields
        changes = self.git(path, "show", "--format=", "--no-renames", "--name-status", sha).splitlines()
        by_kind = {kind: tuple(c.split("\t", 1)[1] for c in changes if c.startswith(kind)) for kind in "ADM"}
        return Commit(
            sha=sha,
            tree=tree,
            parent=parents.split(" ", maxsplit=1)[0] or None,
            author=Person(name, email, login or email.split("@", maxsplit=1)[0]),
            at=datetime.fromtimestamp(int(at), UTC),
            message=message.strip(),
            added=by_kind["A"],
            removed=by_kind["D"],
            modified=by_kind["M"],
        )

    def git(self, path: Path, *arguments: str, stdin: bytes = b"", environ: Mapping[str, str] | None = None) -> str:
        """The output of a git command in a repository of this host, untouched by the user's own settings."""
        env = _environ() | dict(environ or {})
        return processes.output((self._git, f"--git-dir={path}", *arguments), stdin=stdin, env=env).strip()

    def _resolve(self, path: Path, ref: str) -> str | None:
        return self.git(path, "for-each-ref", "--format=%(objectname)", self._full(path, ref)) or None

    def _full(self, path: Path, ref: str) -> str:
        return self.git(path, "symbolic-ref", "HEAD") if ref == "HEAD" else ref


def _change(path: str, text: str | None) -> bytes:
    if text is None:
        return f"D {path}\n".encode()
    mode = "100755" if text.startswith("#!") else "100644"
    content = text.encode()
    return f"M {mode} inline {path}\ndata {len(content)}\n".encode() + content + b"\n"


def _environ() -> dict[str, str]:
    """What git runs with: the user's own settings, hooks and signing keys play no part here."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": os.devnull,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_COMMITTER_NAME": "Tau",
        "GIT_COMMITTER_EMAIL": "tau@2pisoftware.com",
        "LC_ALL": "C.UTF-8",
    }
