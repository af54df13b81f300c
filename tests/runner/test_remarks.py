import os

import pytest

from runner.remarks import remarks

NAME = "github.com/2pisoftware/hello"


def test_of_a_plain_tree_there_is_nothing_to_say(tmp_path):
    (tmp_path / ".gitattributes").write_text("*.txt text\n")
    assert list(remarks(tmp_path, NAME)) == []


def test_submodules_are_said_to_be_empty(tmp_path):
    (tmp_path / ".gitmodules").write_text('[submodule "s"]\n path = s\n')
    (tmp_path / "lib" / "s").mkdir(parents=True)
    said = f"{NAME} has submodules, which are not fetched: lib/s (`submodules` allows them)"
    assert list(remarks(tmp_path, NAME)) == [said]
    assert list(remarks(tmp_path, NAME, submodules=True)) == []


def test_a_repository_that_nothing_names_is_said_to_be_empty_too(tmp_path):
    for name in "fabcdexg":
        (tmp_path / name).mkdir()
    (tmp_path / "x" / "file").write_text("here")
    (said,) = remarks(tmp_path, NAME)
    assert said == (
        f"{NAME} has other repositories in it, which are not fetched: a, b, c, d, e …"
        " (no .gitmodules says where they are from)"
    )


def test_files_in_lfs_are_said_to_be_pointers(tmp_path):
    (tmp_path / ".gitattributes").write_text("*.psd filter=lfs diff=lfs merge=lfs -text\n")
    (line,) = remarks(tmp_path, NAME)
    assert line == f"{NAME} has files in Git LFS, which are not fetched: a pointer lies in the place of each"


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_file_of_the_tree_is_not_read(tmp_path, kind):
    outside = tmp_path / "outside"
    outside.write_text("filter=lfs")
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in (".gitattributes", ".gitmodules"):
        if kind == "link":
            (tree / name).symlink_to(outside)
        if kind == "pipe":
            os.mkfifo(tree / name)
        if kind == "folder":
            (tree / name / "below").mkdir(parents=True)
    (tree / "lib").mkdir()
    (line,) = remarks(tree, NAME)
    assert line.startswith(f"{NAME} has other repositories in it")
