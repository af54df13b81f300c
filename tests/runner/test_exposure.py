from base64 import b64encode
from dataclasses import replace

import pytest

from chalicelib.errors import MissingSecret, StepFailed
from chalicelib.model import Step
from runner.exposure import check, exposed
from tests.installation import job
from tests.running import context

VALUE = "hunter2-and-some-more"
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("described", "where"),
    [
        ({"Env": ["PATH=/bin", f"API={VALUE}"]}, "Env[1]"),
        ({"Labels": {"a.b": f"x{VALUE}y"}}, "Labels.a.b"),
        ([{"CreatedBy": f"|1 T={VALUE} /bin/sh -c make"}], "[0].CreatedBy"),
        ({"Cmd": ["curl", f"https://u:{VALUE}@x"]}, "Cmd[1]"),
        *(
            ({"Env": [b64encode(b"abc"[:before] + VALUE.encode() + b"xyz"[:after]).decode()]}, "Env[0]")
            for before in range(3)
            for after in range(3)
        ),
    ],
)
def test_a_secret_is_found_wherever_and_however_it_is_written(described, where):
    assert next(exposed(described, {"api": VALUE})) == ("api", where)


def test_a_secret_in_an_address_is_found():
    assert list(exposed(["https://u:p%40ss%2Fword%21@x"], {"api": "p@ss/word!"})) == [("api", "[0]")]


def test_what_is_short_or_the_frame_of_a_key_is_none():
    described = {"Env": ["A=tau", "-----BEGIN OPENSSH PRIVATE KEY-----", "hunter2"]}
    assert list(exposed(described, {"short": "tau", "key": KEY, "seven": "hunter2"})) == []
    assert list(exposed({"Env": ["b3BlbnNzaC1rZXktdjEAAAAA"]}, {"key": KEY})) == [("key", "Env[0]")]


class Engine:
    """An image with this configuration and history."""

    def __init__(self, env=(), created_by=""):
        self.api = self
        self._config = {"Env": list(env)}
        self._history = [{"CreatedBy": created_by, "Comment": ""}]

    def inspect_image(self, _):
        return {"Config": self._config}

    def history(self, _):
        return self._history


def given(engine, tmp_path, **secrets):
    steps = (Step("build", {"secrets": {"npm": "npm-token"}}), Step("script", {"secrets": {"A": "absent"}}))
    held = replace(job(), steps=steps, registries={"a:5000": "registry", "b:5000": None})

    def secret(name):
        if name not in secrets:
            raise MissingSecret(name)
        return secrets[name]

    return context(engine, tmp_path, job=held, secret=secret)


@pytest.mark.parametrize(
    "engine",
    [Engine(env=[f"NPM={VALUE}"]), Engine(created_by=f"RUN |1 NPM={VALUE} /bin/sh -c npm install")],
    ids=["environment", "history"],
)
def test_an_image_with_a_secret_of_the_run_is_refused_by_the_secrets_name_and_not_its_value(engine, tmp_path):
    held = given(engine, tmp_path, **{"npm-token": VALUE, "registry": "tau:a password"})
    with pytest.raises(StepFailed, match="holds the secret npm-token where everybody") as said:
        check("sha256:1", held)
    assert VALUE not in f"{said.value} {held.log.ours}"


def test_a_registrys_password_alone_is_one_too(tmp_path):
    with pytest.raises(StepFailed, match="holds the secret registry"):
        check("sha256:1", given(Engine(env=["P=a long password"]), tmp_path, registry="tau:a long password"))


def test_an_image_without_one_is_pushed_also_where_another_steps_secret_is_missing(tmp_path):
    check("sha256:1", given(Engine(env=["PATH=/bin"]), tmp_path, registry="tau:a long password"))
