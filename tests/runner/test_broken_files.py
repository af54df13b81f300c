"""Files that are refused, each beside every complaint that people get to see of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from chalicelib.errors import BadConfig
from runner.cli import main
from runner.compiler import compile_source

FILES = sorted((Path(__file__).parent / "broken").glob("*.yml"))


def said(path):
    """What `tau check` says of a file; warnings first."""
    try:
        return "".join(f"warning: {line}\n" for line in compile_source(path.read_bytes(), path.name).warnings)
    except BadConfig as error:
        return f"{error}\n"


def test_there_are_files_and_none_without_its_complaints():
    assert len(FILES) > 10
    assert {path.stem for path in FILES} == {path.stem for path in FILES[0].parent.glob("*.txt")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_complaint_of_a_broken_file_is_the_one_that_was_agreed_on(path):
    assert said(path) == path.with_suffix(".txt").read_text()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_secret_that_was_written_into_the_file_is_not_repeated(path):
    for value in ("hunter2", "AKIA", "ghp_", "ATBB", "4f1c2d9e", "wJalr"):
        assert value not in said(path)


@pytest.mark.parametrize("name", ["misspelled-keys", "image-circle"])
def test_tau_check_prints_them_all_with_the_files_place_first_and_exits_with_1(name, monkeypatch):
    path = next(path for path in FILES if path.stem == name)
    monkeypatch.chdir(path.parents[1])
    result = CliRunner().invoke(main, ["check", "--config", str(path)])
    assert result.exit_code == 1
    text = path.with_suffix(".txt").read_text()
    assert result.output == re.sub("^(?=.)", f"{path.parent.name}/", text, flags=re.MULTILINE)


def test_tau_check_lets_a_file_pass_of_which_it_only_warns():
    path = next(path for path in FILES if path.stem == "untested-deployment")
    result = CliRunner().invoke(main, ["check", "--config", str(path)])
    assert result.exit_code == 0
    assert "goes live untested" in result.output
    assert "Traceback" not in result.output
