import pytest
from botocore.exceptions import ClientError

from chalicelib.errors import MissingSecret
from chalicelib.secrets import KEPT_S, Secrets
from tests.installation import installation

PREFIX = "/tau/test/secrets/"


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def ssm(monkeypatch):
    with installation(monkeypatch) as edge:
        yield edge.client("ssm")


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def secrets(ssm, clock):
    return Secrets(ssm, PREFIX, clock)


def put(ssm, name, value):
    ssm.put_parameter(Name=PREFIX + name, Value=value, Type="SecureString", Overwrite=True)


def test_a_secret_is_read_decrypted(ssm, secrets):
    put(ssm, "registry", "user:pass word")
    assert secrets.get("registry") == "user:pass word"


def test_a_new_value_is_seen_after_a_minute_and_not_before(ssm, secrets, clock):
    put(ssm, "registry", "old")
    secrets.get("registry")
    put(ssm, "registry", "new")
    clock.now += KEPT_S - 1
    assert secrets.get("registry") == "old"
    clock.now += 1
    assert secrets.get("registry") == "new"


def test_a_secret_is_kept_even_right_after_the_machine_started(ssm):
    clock = Clock()
    clock.now = 0.0
    secrets = Secrets(ssm, PREFIX, clock)
    put(ssm, "registry", "old")
    secrets.get("registry")
    put(ssm, "registry", "new")
    assert secrets.get("registry") == "old"


def test_a_missing_secret_says_which_parameter_to_set_and_is_found_once_it_is(ssm, secrets):
    with pytest.raises(MissingSecret, match=f"registry cannot be read.*{PREFIX}registry"):
        secrets.get("registry")
    put(ssm, "registry", "user:password")
    assert secrets.get("registry") == "user:password"


def test_an_empty_secret_is_a_missing_one(ssm, secrets):
    put(ssm, "registry", " \n")
    with pytest.raises(MissingSecret, match=f"registry is empty.*{PREFIX}registry"):
        secrets.get("registry")


class Refusing:
    """SSM that answers with one error."""

    def __init__(self, code):
        self._code = code

    def get_parameter(self, **_):
        raise ClientError({"Error": {"Code": self._code, "Message": "no"}}, "GetParameter")


def test_a_secret_that_we_may_not_read_is_a_missing_one():
    with pytest.raises(MissingSecret, match="AccessDeniedException"):
        Secrets(Refusing("AccessDeniedException"), PREFIX).get("registry")


def test_a_store_that_is_busy_is_not_taken_for_a_missing_secret():
    with pytest.raises(ClientError, match="ThrottlingException"):
        Secrets(Refusing("ThrottlingException"), PREFIX).get("registry")
