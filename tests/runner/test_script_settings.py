"""What ci.yml may say of a `script`, compiled with the real actions."""

import pytest

from chalicelib.errors import BadConfig
from runner.compiler import compile_source

HEAD = """\
version: 1
operators: [ops@2pisoftware.com]
forges:
  github.com: {provider: github, clone: "ssh://git@github.com/{repository}.git", key: github, webhook: [hook-1]}
registries: {}
pipelines:
  cmfive:
    repository: github.com/2pisoftware/cmfive
    trigger: {push: [master]}
    steps:
"""
BUILD = "build: {image: 2pisoftware/cmfive}"


def compiled(*steps):
    return compile_source((HEAD + "".join(f"      - {step}\n" for step in steps)).encode())


def settings(*steps):
    """The normal form of the last step, which nothing is said against."""
    done = compiled(*steps)
    assert done.warnings == ()
    return done.form["pipelines"][0]["steps"][-1]["settings"]


def complaint(*steps):
    with pytest.raises(BadConfig) as refused:
        compiled(*steps)
    (line,) = str(refused.value).splitlines()
    return line


def test_a_script_is_run_once_in_the_image_that_was_built_while_all_goes_well():
    said = settings(BUILD, "script: {run: [./ci/announce]}")
    assert said["image"] == "2pisoftware/cmfive"
    assert (said["on"], said["retry"], said["when"], said["network"]) == ("container", "never", "success", "internet")


@pytest.mark.parametrize(
    "image",
    ["docker.io/library/alpine:3.20", "alpine:3.20", f"a/b@sha256:{'a' * 64}", "code.2pisoftware.com:5000/t/tools"],
)
def test_it_may_run_in_any_image(image):
    assert settings(f'script: {{run: [x], image: "{image}"}}')["image"] == image


def test_in_a_container_it_needs_one():
    assert complaint("script: {run: [x]}").endswith('"image" is required: this pipeline builds none')


def test_on_the_runner_it_needs_none_and_knows_of_the_one_that_was_built():
    assert "image" not in settings("script: {run: [announce], on: runner}")
    assert settings(BUILD, "script: {run: [announce], on: runner}")["image"] == "2pisoftware/cmfive"


@pytest.mark.parametrize("image", ["Alpine", "-x", "a b", "https://docker.io/alpine", "a:b:c", "{branch}:x"])
def test_what_is_no_image_is_refused(image):
    assert "image" in complaint(f'script: {{run: [x], image: "{image}"}}')


@pytest.mark.parametrize("path", ["/bin/sh", "../sh", "ci/announce", "-x", ""])
def test_on_the_runner_a_path_is_refused(path):
    said = complaint(f'script: {{run: ["{path}"], on: runner}}')
    assert f'"{path}": on the runner, `run` begins with the name of an operators\' script' in said


def test_the_old_word_is_answered_with_the_new_one():
    with pytest.raises(BadConfig) as refused:
        compiled(BUILD, "script: {command: [x]}")
    assert "command: unknown key" in str(refused.value)


@pytest.mark.parametrize("step", ["script: {run: [x], %s}", "test: {command: [x], %s}"])
@pytest.mark.parametrize("key", ["environment", "secrets"])
@pytest.mark.parametrize("name", ["TAU_COMMIT", "1X", "A-B", "A=B"])
def test_a_variable_is_a_variable_and_none_of_taus_own(step, key, name):
    assert name in complaint(BUILD, step % f'{key}: {{"{name}": x}}')


def test_a_secret_is_named_and_never_written():
    assert settings(BUILD, "script: {run: [x], secrets: {TOKEN: chat}}")["secrets"] == {"TOKEN": "chat"}
    assert "the name of a secret" in complaint(BUILD, 'script: {run: [x], secrets: {TOKEN: "a value!"}}')


def test_when_is_one_of_three_words():
    assert settings(BUILD, "script: {run: [x], when: failure}")["when"] == "failure"
    assert "when" in complaint(BUILD, "script: {run: [x], when: never}")
