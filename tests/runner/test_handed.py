"""Who reads a secret makes it known: nobody has to think of hiding it."""

import json
import logging

import pytest

from chalicelib.model import StepResult, StepStatus
from runner.handed import Guard, Handed
from runner.service import JsonLines
from tests.installation import NOW, job

STORE = {"token": "s3cret-token", "registry": "tau:correct-horse", "short": "abc", "other": "another-runs"}


@pytest.fixture
def handed():
    return Handed()


@pytest.fixture
def guard(handed):
    return Guard(handed, job(registries={"registry.test": "registry"}))


def result(**facts):
    return StepResult("test", StepStatus.FAILED, NOW, NOW, "says s3cret-token", ("line s3cret-token",), facts)


def test_what_an_action_was_given_is_hidden_in_what_people_read(guard):
    assert guard.secret(STORE.__getitem__, print)("token") == "s3cret-token"
    clean = guard.result(result(tests={"failures": [{"name": "s3cret-token", "message": "is s3cret-token"}]}))
    assert "s3cret" not in json.dumps([clean.reason, clean.lines, clean.facts])
    assert clean.reason == "says ***"


def test_names_by_which_later_steps_find_an_image_stay_as_they_are(guard):
    guard.secret(STORE.__getitem__, print)("token")
    facts = {"image": {"name": "a/s3cret-token", "id": "sha256:1"}, "digests": {"r": "sha256:2"}}
    assert guard.result(result(**facts)).facts == facts


def test_a_password_that_was_read_for_the_runs_repositories_or_registries_is_hidden_too(handed, guard):
    handed.listening(STORE.__getitem__)("registry")
    assert guard.text("denied: correct-horse") == "denied: ***"


def test_a_secret_that_only_another_run_was_given_cannot_be_found_by_guessing(handed, guard):
    Guard(handed, job()).secret(STORE.__getitem__, print)("other")
    assert guard.text("is it another-runs?") == "is it another-runs?"
    assert handed.text("is it another-runs?") == "is it ***?"


def test_a_value_that_was_changed_is_hidden_as_well_as_the_new_one(guard):
    get = guard.secret(STORE.__getitem__, print)
    get("token")
    guard.secret({"token": "a-new-token"}.__getitem__, print)("token")
    assert guard.text("s3cret-token a-new-token") == "*** ***"


def test_one_that_is_too_short_to_be_hidden_is_said_to_be_once(guard):
    said = []
    get = guard.secret(STORE.__getitem__, said.append)
    get("short")
    get("short")
    assert said == ["the secret short is shorter than 6 characters: it is not hidden where it is printed"]


def test_who_printed_what_is_a_fact_of_the_step(guard):
    assert guard.result(result(), {"token", "registry"}).facts == {"printed_secrets": ["registry", "token"]}
    assert guard.result(result()).facts == {}


def test_the_runners_own_journal_holds_no_secret_in_a_message_an_extra_or_a_traceback(handed):
    handed.listening(STORE.__getitem__)("token")
    error = ValueError("bad s3cret-token")
    broke = (ValueError, error, None)
    record = logging.LogRecord("tau", logging.ERROR, "", 1, "broke: %s", ("s3cret-token",), broke)
    record.url = "https://u:s3cret-token@host/"
    line = JsonLines(handed).format(record)
    assert "s3cret" not in line
    assert json.loads(line)["url"] == "https://u:***@host/"
