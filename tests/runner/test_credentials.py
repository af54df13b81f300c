import os
import stat
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from chalicelib.errors import MissingSecret, StepErrored
from chalicelib.model import Source
from runner.credentials import opened, sweep

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nnot a real one\n-----END OPENSSH PRIVATE KEY-----"
SOURCE = Source("github.com", "2pisoftware/hello", "https://github.com/2pisoftware/hello.git", "github")


def asked(environment, question):
    answer = subprocess.run(
        (environment["GIT_ASKPASS"], question), env=dict(environment), capture_output=True, text=True, check=True
    )
    return answer.stdout


def test_a_public_repository_needs_nothing():
    with opened(Source("f", "o/n", "https://f/o/n", None), {}.__getitem__) as environment:
        assert environment == {}


def test_a_key_is_a_file_for_us_alone_and_gone_afterwards():
    with opened(SOURCE, lambda name: {"github": KEY}[name]) as environment:
        path = Path(environment["GIT_SSH_COMMAND"].split(" -i ")[1].split()[0])
        assert path.read_text() == KEY + "\n"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.parent.exists()


def test_ssh_is_given_no_way_to_ask_to_trust_or_to_use_another_key():
    with opened(SOURCE, lambda _: KEY) as environment:
        command = environment["GIT_SSH_COMMAND"]
    for option in ("BatchMode=yes", "StrictHostKeyChecking=yes", "IdentitiesOnly=yes", "-F /dev/null"):
        assert option in command


def test_a_token_is_answered_to_gits_questions_and_lies_in_no_file():
    with opened(SOURCE, lambda _: "x-token-auth:s3cret:with $(id) `id` \"'") as environment:
        assert asked(environment, "Username for 'https://github.com': ") == "x-token-auth"
        assert asked(environment, "Password for 'https://x-token-auth@github.com': ") == "s3cret:with $(id) `id` \"'"
        path = Path(environment["GIT_ASKPASS"])
        assert "s3cret" not in path.read_text()
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert not path.parent.exists()


def test_what_was_opened_is_gone_after_a_failure_too():
    paths = []

    def use():
        with opened(SOURCE, lambda _: KEY) as environment:
            paths.append(Path(environment["GIT_SSH_COMMAND"].split(" -i ")[1].split()[0]))
            assert paths[0].exists()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        use()
    assert not paths[0].exists()


def test_keys_that_a_killed_runner_left_in_memory_are_swept_and_those_in_use_are_not():
    with opened(SOURCE, lambda _: KEY) as used, opened(SOURCE, lambda _: KEY) as left:
        used_folder, left_folder = (
            Path(environment["GIT_SSH_COMMAND"].split(" -i ")[1].split()[0]).parent for environment in (used, left)
        )
        os.utime(left_folder, (time.time() - 3700,) * 2)
        os.utime(used_folder, (time.time() - 3500,) * 2)
        sweep()
        assert not left_folder.exists()
        assert (used_folder / "key").read_text() == KEY + "\n"


def test_a_folder_in_memory_that_is_not_ours_is_never_swept():
    with opened(SOURCE, lambda _: KEY) as environment:
        memory = Path(environment["GIT_SSH_COMMAND"].split(" -i ")[1].split()[0]).parents[1]
    other = Path(tempfile.mkdtemp(dir=memory, prefix="other-"))
    try:
        os.utime(other, (0, 0))
        sweep()
        assert other.exists()
    finally:
        other.rmdir()


def test_a_secret_that_is_neither_is_named_and_not_shown():
    with pytest.raises(StepErrored, match="the secret github is neither") as caught, opened(SOURCE, lambda _: "s3cret"):
        pass
    assert "s3cret" not in str(caught.value)


def test_a_secret_that_is_missing_stays_a_missing_secret():
    def missing(name):
        raise MissingSecret(name)

    with pytest.raises(MissingSecret, match="github"), opened(SOURCE, missing):
        pass
