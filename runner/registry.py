"""Manifests of a registry, by HTTP: what lies under a tag, and one tag more for a digest. Layers go by the engine.

Source: https://distribution.github.io/distribution/spec/api/
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import requests.adapters
import requests.utils

from chalicelib.errors import NotNow, StepErrored
from runner.registry_trouble import certificates, trouble

# Manifests are small. Moving a tag asks twice, and has to be over within the half lease that follows the last look at
# the claim (`Stopping.check`): an effect that came later might be another claim's by then.
_TIMEOUT_S = 7
_MANIFESTS = (
    "application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json,"
    " application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"
)
_NOT_NOW = frozenset({requests.codes.request_timeout, requests.codes.too_many_requests})
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
# The engine, too, speaks plain HTTP to this machine alone. https://docs.docker.com/reference/cli/dockerd/#insecure-registries
_LOOPBACK = re.compile(r"(localhost|127\.\d+\.\d+\.\d+)(:\d+)?")


@dataclass(frozen=True)
class Credentials:
    """A user of a registry."""

    user: str
    password: str = field(repr=False)

    def auth_config(self) -> dict[str, str]:
        """As the engine's SDK wants them, for one call."""
        return {"username": self.user, "password": self.password}


def credentials(secret: str, name: str) -> Credentials:
    """`user:password`, as the secret has it.

    Raises:
        StepErrored: it is not of that form.
    """
    user, colon, password = secret.strip().partition(":")
    if not (user and colon and password):
        raise StepErrored(f"the secret {name} must be user:password of a registry")
    return Credentials(user, password)


def reference(host: str, name: str) -> str:
    """The name by which the engine pushes: Docker Hub's is without a host."""
    return name if host == "docker.io" else f"{host}/{name}"


class _Trusting(requests.adapters.HTTPAdapter):
    """Believes certificates of the usual authorities, and of one more, as the engine does."""

    def __init__(self, authority: Path) -> None:
        self._context = ssl.create_default_context(cafile=requests.utils.DEFAULT_CA_BUNDLE_PATH)
        self._context.load_default_certs()
        self._context.load_verify_locations(authority)
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **more: Any) -> None:
        super().init_poolmanager(*arguments, **{**more, "ssl_context": self._context})


class Registry:
    """One repository (an image name) in one registry.

    Raises (each of its questions):
        NotNow: it does not answer, or says that it cannot just now.
        StepErrored: it refuses.
    """

    def __init__(self, host: str, name: str, login: Credentials | None) -> None:
        self._host = host
        self._name = name
        self._login = login
        self._session = requests.Session()
        self._session.trust_env = False
        authority = Path(certificates(host))
        if authority.is_file():
            self._session.mount("https://", _Trusting(authority))
        scheme = "http" if _LOOPBACK.fullmatch(host) else "https"
        self._root = f"{scheme}://{'registry-1.docker.io' if host == 'docker.io' else host}/v2/"
        self._base = f"{self._root}{name}/manifests/"
        self._authorization: Mapping[str, str] = {}

    def let_in(self, secret: str | None) -> None:
        """It answers, and takes our user; no image is asked for.

        Args:
            secret: the name of the secret with our user, for whoever has to correct it.
        """
        answer = self._ask_at("GET", self._root)
        if not answer.ok:
            doing = f"the registry {self._host} does not let us in"
            raise trouble(self._host, doing, f"HTTP {answer.status_code}", secret=secret)

    def digest(self, tag: str) -> str | None:
        """The digest under a tag, or None."""
        answer = self._ask("HEAD", tag)
        if answer.status_code == requests.codes.not_found:
            return None
        self._check(answer, f"look at {tag}")
        return answer.headers.get("Docker-Content-Digest")

    def tag(self, digest: str, tag: str) -> None:
        """Move a tag to a digest: the same bytes under another name, in one request."""
        manifest = self._ask("GET", digest)
        self._check(manifest, f"read {digest}")
        kind = manifest.headers["Content-Type"]
        answer = self._ask("PUT", tag, manifest.content, {"Content-Type": kind})
        self._check(answer, f"move {tag}")

    def _ask(
        self, method: str, what: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> requests.Response:
        return self._ask_at(method, self._base + what, body, headers)

    def _ask_at(
        self, method: str, address: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> requests.Response:
        answer = self._send(method, address, body, headers or {})
        if answer.status_code == requests.codes.unauthorized:
            # The first time, or a token that came of age while layers were pushed.
            fresh = self._authorize(answer.headers.get("WWW-Authenticate", ""))
            if fresh != self._authorization:
                self._authorization = fresh
                answer = self._send(method, address, body, headers or {})
        return answer

    def _send(self, method: str, address: str, body: bytes, headers: Mapping[str, str]) -> requests.Response:
        sent = {"Accept": _MANIFESTS, **headers, **self._authorization}
        try:
            return self._session.request(method, address, data=body or None, headers=sent, timeout=_TIMEOUT_S)
        except requests.exceptions.SSLError as error:
            raise trouble(self._host, f"the registry {self._host} cannot be asked", str(error)) from error
        except requests.RequestException as error:
            raise NotNow(f"the registry {self._host} does not answer: {type(error).__name__}") from error

    def _authorize(self, challenge: str) -> Mapping[str, str]:
        """An answer to the registry's challenge: Basic, or a token from where it says."""
        login = (self._login.user, self._login.password) if self._login else None
        if challenge.lower().startswith("basic"):
            if login is None:
                return {}
            prepared = requests.auth.HTTPBasicAuth(*login)(requests.Request("GET", self._base).prepare())
            return {"Authorization": prepared.headers["Authorization"]}
        fields = dict(_CHALLENGE.findall(challenge))
        if "realm" not in fields:
            return {}
        asked = {"service": fields.get("service", ""), "scope": f"repository:{self._name}:pull,push"}
        try:
            token = self._session.get(fields["realm"], params=asked, auth=login, timeout=_TIMEOUT_S).json()
        except (requests.RequestException, ValueError) as error:
            raise NotNow(f"the registry {self._host} gives no token: {type(error).__name__}") from error
        return {"Authorization": f"Bearer {token.get('token') or token.get('access_token')}"}

    def _check(self, answer: requests.Response, what: str) -> None:
        if answer.status_code in {requests.codes.unauthorized, requests.codes.forbidden}:
            raise StepErrored(f"the registry {self._host} refuses our user to {what} of {self._name}")
        if answer.ok:
            return
        said = f"the registry {self._host} answers {answer.status_code} to {what} of {self._name}"
        if answer.status_code in _NOT_NOW or answer.status_code >= requests.codes.server_error:
            raise NotNow(said, after_s=_pause(answer.headers.get("Retry-After", "")))
        raise StepErrored(said)


def _pause(retry_after: str) -> float:
    """Seconds of a Retry-After header; a date, which registries do not send, counts as none."""
    return float(retry_after) if re.fullmatch(r"\d{1,6}", retry_after.strip()) else 0
