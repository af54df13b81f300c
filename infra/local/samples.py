"""The demo's two repositories as files, and the webhooks that GitHub and Bitbucket would send about them."""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from chalicelib.model import Json
from infra.local.githost import SAM, Commit, Person, Tag

FOLDER = Path(__file__).parent / "samples"
BASE_IMAGE = "tau-demo/base:latest"
"""What the samples' Dockerfiles build on; infra.local.base makes it."""

HELLO_FORGE, HELLO = "github.com", "2pisoftware/hello"
CLIENT_FORGE, CLIENT = "bitbucket.org", "2pisoftware/client_deploy"
NO_COMMIT = "0" * 40


@dataclass(frozen=True)
class Webhook:
    """A request as a forge sends it, signed: POST `body` with `headers`, byte for byte."""

    headers: Mapping[str, str]
    body: bytes


def hello() -> dict[str, str]:
    """The application: a page, its Dockerfile, its test suite. All its tests pass."""
    return _files("hello")


def broken_hello() -> dict[str, str]:
    """The change that breaks one of the application's tests."""
    page = _files("hello")["site/index.html"]
    return {"site/index.html": page.replace("Hello, world", "Hello, wrold")}


def client(version: str) -> dict[str, str]:
    """The deployment repository of one version; its page says which."""
    return {path: text.replace("@VERSION@", version) for path, text in _files("client_deploy").items()}


def broken_client(version: str) -> dict[str, str]:
    """A version of it whose server is not in its image: its tests pass, and it does not start."""
    dockerfile = client(version)["Dockerfile"]
    return {**client(version), "Dockerfile": dockerfile.replace('CMD ["httpd"', 'CMD ["httpd-2"')}


def github_push(
    repository: str,
    commits: Sequence[Commit],
    secret: str,
    *,
    ref: str = "refs/heads/develop",
    before: str | None = None,
    pusher: Person = SAM,
    delivery_id: str | None = None,
) -> Webhook:
    """GitHub's `push`: what it sends when commits reach a branch.

    Args:
        commits: oldest first, as GitHost.describe tells them; the last one is the new head.
        before: where the branch stood; None = it is new.

    Source: https://docs.github.com/webhooks/webhook-events-and-payloads#push
    """
    told = [_github_commit(repository, commit) for commit in commits]
    start, end = before or NO_COMMIT, commits[-1].sha
    payload = {
        "ref": ref,
        "before": start,
        "after": end,
        "created": before is None,
        "deleted": False,
        "forced": False,
        "base_ref": None,
        "compare": f"https://github.com/{repository}/compare/{start[:12]}...{end[:12]}",
        "commits": told,
        "head_commit": told[-1],
        "repository": _github_repository(repository),
        "pusher": {"name": pusher.login, "email": pusher.email},
        "sender": {"login": pusher.login, "id": _number(pusher.login), "type": "User", "site_admin": False},
    }
    body = json.dumps(payload, separators=(",", ":")).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/0f1a2b3",
        "X-GitHub-Event": "push",
        "X-GitHub-Delivery": delivery_id or str(uuid.uuid4()),
        "X-GitHub-Hook-ID": "314159265",
        "X-GitHub-Hook-Installation-Target-Type": "repository",
        "X-GitHub-Hook-Installation-Target-ID": str(_number(repository)),
        "X-Hub-Signature": signature(secret, body, "sha1"),
        "X-Hub-Signature-256": signature(secret, body),
    }
    return Webhook(headers, body)


def bitbucket_tag(
    repository: str, tag: Tag, commit: Commit, secret: str, *, actor: Person = SAM, delivery_id: str | None = None
) -> Webhook:
    """Bitbucket Cloud's `repo:push` for a new tag. It says who pushed, but never with an address.

    Args:
        commit: what the tag names, as GitHost.describe tells it.

    Source: https://support.atlassian.com/bitbucket-cloud/docs/event-payloads/#Push
    """
    api = f"https://api.bitbucket.org/2.0/repositories/{repository}"
    new = {
        "type": "tag",
        "name": tag.name,
        "target": _bitbucket_commit(repository, commit),
        "message": None if tag.after == tag.commit else f"Release {tag.name}\n",
        "date": None,
        "tagger": None,
        "links": {"self": {"href": f"{api}/refs/tags/{quote(tag.name)}"}},
    }
    change = {
        "old": None,
        "new": new,
        "created": True,
        "closed": False,
        "forced": False,
        "truncated": False,
        "links": {"commits": {"href": f"{api}/commits?include={commit.sha}"}},
    }
    payload = {
        "push": {"changes": [change]},
        "repository": _bitbucket_repository(repository),
        "actor": _bitbucket_user(actor),
    }
    body = json.dumps(payload, separators=(",", ":")).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "Bitbucket-Webhooks/2.0",
        "X-Event-Key": "repo:push",
        "X-Hook-UUID": _uuid(f"hook of {repository}"),
        "X-Request-UUID": delivery_id or str(uuid.uuid4()),
        "X-Attempt-Number": "1",
        "X-Hub-Signature": signature(secret, body),
    }
    return Webhook(headers, body)


def signature(secret: str, body: bytes, algorithm: str = "sha256") -> str:
    """A signature as both forges write it: `sha256=<hex>`."""
    return f"{algorithm}={hmac.new(secret.encode(), body, getattr(hashlib, algorithm)).hexdigest()}"


def _files(name: str) -> dict[str, str]:
    folder = FOLDER / name
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text() for path in paths}


def _github_commit(repository: str, commit: Commit) -> Mapping[str, Json]:
    who = {"name": commit.author.name, "email": commit.author.email, "username": commit.author.login}
    return {
        "id": commit.sha,
        "tree_id": commit.tree,
        "distinct": True,
        "message": commit.message,
        "timestamp": commit.at.isoformat(),
        "url": f"https://github.com/{repository}/commit/{commit.sha}",
        "author": who,
        "committer": who,
        "added": list(commit.added),
        "removed": list(commit.removed),
        "modified": list(commit.modified),
    }


def _github_repository(repository: str) -> Mapping[str, Json]:
    owner, _, name = repository.partition("/")
    return {
        "id": _number(repository),
        "name": name,
        "full_name": repository,
        "private": False,
        "owner": {"name": owner, "login": owner, "id": _number(owner), "type": "Organization"},
        "html_url": f"https://github.com/{repository}",
        "fork": False,
        "clone_url": f"https://github.com/{repository}.git",
        "ssh_url": f"git@github.com:{repository}.git",
        "default_branch": "develop",
        "master_branch": "develop",
    }


def _bitbucket_commit(repository: str, commit: Commit) -> Mapping[str, Json]:
    api = f"https://api.bitbucket.org/2.0/repositories/{repository}/commit"
    return {
        "type": "commit",
        "hash": commit.sha,
        "date": commit.at.isoformat(),
        "message": f"{commit.message}\n",
        "author": {"type": "author", "raw": str(commit.author), "user": _bitbucket_user(commit.author)},
        "parents": [{"type": "commit", "hash": commit.parent}] if commit.parent else [],
        "links": {"self": {"href": f"{api}/{commit.sha}"}},
    }


def _bitbucket_repository(repository: str) -> Mapping[str, Json]:
    owner, _, name = repository.partition("/")
    return {
        "type": "repository",
        "scm": "git",
        "name": name,
        "full_name": repository,
        "uuid": _uuid(repository),
        "is_private": True,
        "website": "",
        "owner": {"type": "team", "username": owner, "display_name": owner, "uuid": _uuid(owner)},
        "links": {"html": {"href": f"https://bitbucket.org/{repository}"}},
    }


def _bitbucket_user(person: Person) -> Mapping[str, Json]:
    return {
        "type": "user",
        "display_name": person.name,
        "nickname": person.login,
        "account_id": f"557058:{_uuid(person.login).strip('{}')}",
        "uuid": _uuid(person.login),
    }


def _number(name: str) -> int:
    """A forge's number for somebody or something: always the same one for the same name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")


def _uuid(name: str) -> str:
    return f"{{{uuid.uuid5(uuid.NAMESPACE_URL, name)}}}"
