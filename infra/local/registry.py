"""Users and a folder in, a real image registry on loopback out: distribution's own server as a child process."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self

from infra.local import processes
from infra.local.processes import Child

STARTING_S = 20
MANIFESTS = (
    "application/vnd.docker.distribution.manifest.v2+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.oci.image.index.v1+json"
)


class Registry:
    """A registry that asks for a password and lets manifests be deleted.

    Args:
        folder: its images, users, configuration and log lie there.
        users: passwords by user name; the first one is who the helpers here ask as.
    """

    def __init__(self, folder: Path, users: Mapping[str, str]) -> None:
        self.folder = folder
        self.users = dict(users)
        self.port = processes.free_port()
        self._child: Child | None = None

    @property
    def host(self) -> str:
        """As in an image's name: `127.0.0.1:40123`. Docker speaks plain HTTP to a registry on loopback."""
        return f"127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / "registry.log"

    def start(self) -> None:
        """Start it, on the same port as before, and wait until it asks for a password.

        Raises:
            NotStarted: it is not installed, or did not come up.
        """
        server = processes.need_tool("docker-registry", "docker-registry")
        htpasswd = processes.need_tool("htpasswd", "apache2-utils")
        self.folder.mkdir(parents=True, exist_ok=True)
        users = self.folder / "htpasswd"
        users.touch(mode=0o600)
        users.write_text("".join(_hashed(htpasswd, user, password) for user, password in self.users.items()))
        config = self.folder / "registry.yml"
        config.write_text(json.dumps(_config(self.host, self.folder / "images", users), indent=2))
        self._child = processes.start("docker-registry", (server, "serve", str(config)), self.log)
        processes.wait_until(self._asks_for_password, self._child, STARTING_S)

    def stop(self) -> None:
        """Stop it; its images stay in the folder for another start()."""
        if self._child is not None:
            self._child.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def manifest_digest(self, name: str, tag: str) -> str | None:
        """The digest that `name:tag` has here, or None where there is no such image."""
        status, headers, _ = self._ask("HEAD", f"/v2/{name}/manifests/{tag}", {"accept": MANIFESTS})
        return headers["docker-content-digest"] if status == 200 else None

    def tags(self, name: str) -> tuple[str, ...]:
        """The tags of one image, sorted; empty where there is none."""
        status, _, body = self._ask("GET", f"/v2/{name}/tags/list")
        found: list[str] | None = json.loads(body)["tags"] if status == 200 else None
        return tuple(sorted(found or ()))

    def _asks_for_password(self) -> bool:
        try:
            return self._ask("GET", "/v2/", {"authorization": ""})[0] == 401
        except OSError:
            return False

    def _ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers with lower-case names, and body."""
        user, password = next(iter(self.users.items()))
        known = {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            connection.request(method, path, headers=known | dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def _hashed(htpasswd: str, user: str, password: str) -> str:
    """One line of the users' file. bcrypt: the registry knows no other hash; by stdin: argv is read by everybody."""
    return processes.output((htpasswd, "-niB", user), stdin=password).strip() + "\n"


def _config(address: str, images: Path, users: Path) -> Mapping[str, object]:
    """The registry's configuration; JSON is YAML too.

    Source: https://distribution.github.io/distribution/about/configuration/
    """
    return {
        "version": 0.1,
        "log": {"level": "info", "fields": {"service": "registry"}},
        "storage": {
            "filesystem": {"rootdirectory": str(images)},
            "delete": {"enabled": True},
            "maintenance": {"uploadpurging": {"enabled": False}},
        },
        # Without a secret of its own it makes one up and warns about it.
        "http": {"addr": address, "secret": "one server needs no shared secret"},
        "auth": {"htpasswd": {"realm": "Tau's local registry", "path": str(users)}},
    }
