import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from chalicelib.errors import StepErrored
from runner import registry as manifests
from runner.registry import Credentials, Registry, credentials, reference

NAME = f"tau-test-runner-{os.getpid()}/manifests"


# --- the real one ---------------------------------------------------------------------------------


@pytest.fixture
def login(registry):
    (pair,) = registry.users.items()
    return Credentials(*pair)


@pytest.fixture(scope="module")
def pushed(registry, lab):
    """The digest of an image under `first`, pushed by the engine itself."""
    api = lab.client.api
    api.tag(lab.base, f"{registry.host}/{NAME}", "first")
    (user, password), *_ = registry.users.items()
    said = list(
        api.push(
            f"{registry.host}/{NAME}",
            tag="first",
            stream=True,
            decode=True,
            auth_config={"username": user, "password": password},
        )
    )
    api.remove_image(f"{registry.host}/{NAME}:first", noprune=True)
    (digest,) = (message["aux"]["Digest"] for message in said if "aux" in message)
    return digest


@pytest.mark.engine
def test_the_digest_under_a_tag_is_the_one_that_was_pushed(registry, login, pushed):
    assert Registry(registry.host, NAME, login).digest("first") == pushed


@pytest.mark.engine
def test_a_tag_that_is_not_there_and_an_image_that_is_not_there_have_no_digest(registry, login, pushed):  # noqa: ARG001 - something must be there
    assert Registry(registry.host, NAME, login).digest("never") is None
    assert Registry(registry.host, "tau-test-runner/never", login).digest("first") is None


@pytest.mark.engine
def test_a_tag_is_moved_to_a_digest_and_the_digest_stays_the_same(registry, login, pushed):
    repository = Registry(registry.host, NAME, login)
    for _ in range(2):
        repository.tag(pushed, "second")
        assert registry.manifest_digest(NAME, "second") == pushed


@pytest.mark.engine
def test_a_digest_that_is_not_there_is_moved_to_nothing(registry, login):
    missing = f"sha256:{'0' * 64}"
    with pytest.raises(StepErrored, match=f"answers 404 to read {missing} of {NAME}"):
        Registry(registry.host, NAME, login).tag(missing, "x")


@pytest.mark.engine
@pytest.mark.parametrize("wrong", [Credentials("tau", "wrong"), Credentials("nobody", "x"), None])
def test_a_wrong_user_is_refused_by_the_registrys_name_and_without_the_password(registry, wrong):
    with pytest.raises(StepErrored, match=f"the registry {registry.host} refuses our user") as said:
        Registry(registry.host, NAME, wrong).digest("first")
    assert "wrong" not in str(said.value)


def test_a_registry_that_does_not_answer_is_named():
    with pytest.raises(StepErrored, match=r"the registry 127\.0\.0\.1:1 does not answer: ConnectionError"):
        Registry("127.0.0.1:1", NAME, None).digest("first")


def test_only_this_machine_is_spoken_to_without_tls():
    assert Registry("127.0.0.1:5000", "a", None)._base == "http://127.0.0.1:5000/v2/a/manifests/"
    assert Registry("localhost:5000", "a", None)._base.startswith("http://")
    for host in ("code.2pisoftware.com:5000", "127.0.0.1.example.com", "localhost.example.com:5000", "172.17.0.1:5000"):
        assert Registry(host, "a", None)._base == f"https://{host}/v2/a/manifests/"


def test_docker_hub_has_an_address_of_its_own():
    assert Registry("docker.io", "2pisoftware/cmfive", None)._base.startswith("https://registry-1.docker.io/v2/")
    assert reference("docker.io", "2pisoftware/cmfive") == "2pisoftware/cmfive"
    assert reference("code.2pisoftware.com:5000", "a/b") == "code.2pisoftware.com:5000/a/b"


# --- registries that give tokens ------------------------------------------------------------------


class TokenRegistry(ThreadingHTTPServer):
    """A registry as Docker Hub is one: it asks for a token, which is good for `uses` requests.

    Source: https://distribution.github.io/distribution/spec/auth/token/
    """

    def __init__(self, uses=100):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.uses = uses
        self.given, self.left, self.asked = 0, 0, []

    @property
    def host(self):
        return f"127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.path.startswith("/token"):
            self.server.asked.append((self.path, self.headers.get("Authorization")))
            self.server.given += 1
            self.server.left = self.server.uses
            return self._say(200, json.dumps({"token": f"token-{self.server.given}"}).encode())
        if self.headers.get("Authorization") != f"Bearer token-{self.server.given}" or not self.server.left:
            realm = f'Bearer realm="http://{self.server.host}/token",service="registry"'
            return self._say(401, b"", {"WWW-Authenticate": realm})
        self.server.left -= 1
        return self._say(200, b"{}", {"Docker-Content-Digest": "sha256:1", "Content-Type": "application/json"})

    do_HEAD = do_GET  # noqa: N815 - http.server calls it by this name

    def do_PUT(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def _say(self, status, body, headers=None):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@pytest.fixture
def token_registry():
    servers = []

    def start(**changes):
        server = TokenRegistry(**changes)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_token_is_asked_for_once_with_our_user_and_for_this_image_alone(token_registry):
    server = token_registry()
    repository = Registry(server.host, "2pisoftware/cmfive", Credentials("user", "s3cret"))
    assert repository.digest("a") == "sha256:1"
    repository.tag("sha256:1", "b")
    ((path, authorization),) = server.asked
    assert "scope=repository%3A2pisoftware%2Fcmfive%3Apull%2Cpush" in path
    assert "service=registry" in path
    assert authorization.startswith("Basic ")
    assert "s3cret" not in path


def test_a_token_that_came_of_age_is_asked_for_again(token_registry):
    """Docker Hub's are good for five minutes, and a push may take longer."""
    server = token_registry(uses=1)
    repository = Registry(server.host, "a", Credentials("user", "s3cret"))
    assert [repository.digest("x") for _ in range(3)] == ["sha256:1"] * 3
    assert server.given == 3


def test_a_token_that_opens_nothing_is_asked_for_once(token_registry):
    server = token_registry(uses=0)
    with pytest.raises(StepErrored, match="refuses our user"):
        Registry(server.host, "a", Credentials("user", "s3cret")).digest("x")
    assert server.given == 1


# --- secrets --------------------------------------------------------------------------------------


def test_a_secret_is_a_user_and_a_password_which_may_hold_colons():
    assert credentials("user:pass:word\n", "registry") == Credentials("user", "pass:word")
    assert credentials("user:p", "registry").auth_config() == {"username": "user", "password": "p"}


@pytest.mark.parametrize("secret", ["", "s3cret", ":s3cret", "s3cret:"])
def test_a_secret_of_another_form_is_named_and_not_shown(secret):
    with pytest.raises(StepErrored, match="the secret registry must be user:password") as said:
        manifests.credentials(secret, "registry")
    assert "s3cret" not in str(said.value)


def test_a_user_is_shown_without_the_password():
    assert "s3cret" not in repr(Credentials("user", "s3cret"))
