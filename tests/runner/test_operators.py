import os

import pytest

from chalicelib.errors import StepErrored
from runner.operators import FOLDER, Operators, script


@pytest.fixture
def operators(tmp_path):
    """A folder of ours; we stand for root."""
    folder = tmp_path / "scripts"
    folder.mkdir(mode=0o755)
    (folder / "deploy").write_text("#!/bin/sh\n")
    (folder / "deploy").chmod(0o755)
    return Operators(folder, frozenset({0, os.getuid()}))


def test_a_script_that_only_root_could_have_written_is_run(operators):
    assert script(operators, "deploy") == operators.folder / "deploy"


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777])
@pytest.mark.parametrize("part", ["file", "folder", "above"])
def test_one_that_others_may_write_or_replace_is_not(operators, part, mode):
    path = {"file": operators.folder / "deploy", "folder": operators.folder, "above": operators.folder.parent}[part]
    path.chmod(mode)
    with pytest.raises(StepErrored, match=f"{path} could have been written by others than root.*chmod 755 {path}"):
        script(operators, "deploy")


def test_one_that_is_not_roots_is_not(operators):
    stranger = Operators(operators.folder, frozenset({4711}))
    with pytest.raises(StepErrored, match="could have been written by others than root"):
        script(stranger, "deploy")


def test_a_link_is_no_script_wherever_it_leads(operators):
    (operators.folder / "link").symlink_to("/bin/true")
    with pytest.raises(StepErrored, match=r"could have been written|is no plain file"):
        script(operators, "link")


def test_a_folder_is_no_script(operators):
    (operators.folder / "sub").mkdir(mode=0o755)
    with pytest.raises(StepErrored, match="is no plain file"):
        script(operators, "sub")


@pytest.mark.parametrize("name", ["../deploy", "/bin/sh", "sub/deploy", "", ".", ".."])
def test_a_name_leads_nowhere_else(operators, name):
    with pytest.raises(StepErrored, match="is no name of a file"):
        script(operators, name)


def test_one_that_is_not_there_says_where_it_should_be(operators):
    with pytest.raises(StepErrored, match=f"{operators.folder}/nothing cannot be run here: No such file"):
        script(operators, "nothing")


def test_one_that_cannot_be_executed_says_what_to_do(operators):
    (operators.folder / "deploy").chmod(0o644)
    with pytest.raises(StepErrored, match="cannot be executed: chmod 755"):
        script(operators, "deploy")


def test_the_folder_is_a_setting_of_the_runner():
    assert Operators.from_env({}).folder == FOLDER
    assert str(Operators.from_env({"TAU_SCRIPTS": "/srv/scripts"}).folder) == "/srv/scripts"
    assert Operators.from_env({}).owners == {0}
