"""Which commits a build checks out, of the repository that its run is of and of another one."""

from dataclasses import replace

import pytest

from chalicelib.model import Source
from runner.actions import build
from runner.submodules import Module, Submodules
from tests.installation import event, job
from tests.running import context

APP, OTHER = "github.com/2pisoftware/cmfive", "bitbucket.org/2pisoftware/cmfive_deploy"
A, TIP = "a" * 40, "d" * 40


@pytest.mark.parametrize(
    ("repository", "ref", "expected"), [(APP, None, A), (APP, "refs/heads/x", None), (OTHER, None, None)]
)
def test_a_run_builds_the_commit_that_it_is_of_also_where_its_build_names_its_repository(
    tmp_path, repository, ref, expected
):
    asked = []
    held = context(
        None,
        tmp_path,
        job=replace(job(), event=event(ref=None, name=None, commit=A)),
        trees={APP: lambda _: None, OTHER: lambda _: None},
        checkouts=asked,
    )
    from_ = {"repository": repository, **({"ref": ref} if ref else {})}
    settings = build.Settings.model_validate({"image": "2pisoftware/cmfive", "from": from_})
    assert build.check_out(settings, held, tmp_path / "tree") == ({repository: expected or TIP}, ())
    assert asked == [(repository, ref or "HEAD", expected)]


def test_what_a_checkout_leaves_out_of_a_repository_is_said_in_the_log(tmp_path):

    def with_a_submodule(tree):
        (tree / ".gitmodules").write_text('[submodule "s"]\n')
        (tree / "s").mkdir()

    trees = {
        APP: with_a_submodule,
        OTHER: lambda tree: (tree / ".gitattributes").write_text("*.psd filter=lfs\n"),
    }
    held = context(None, tmp_path, job=replace(job(), event=event(commit=A)), trees=trees)
    settings = build.Settings.model_validate(
        {"image": "2pisoftware/cmfive", "from": {"repository": OTHER, "into": "app"}}
    )
    commits, _ = build.check_out(settings, held, tmp_path / "tree")
    assert commits == {OTHER: TIP, APP: A}
    said = [line for line in held.log.ours if "not fetched" in line]
    assert [line.partition(" has ")[0] for line in said] == [OTHER, APP]


def test_submodules_are_asked_for_once_a_tree_lies_there_and_named_in_log_and_facts(tmp_path):
    lib = Source("github.com", "2pisoftware/lib", "https://github.com/2pisoftware/lib")
    asked = []

    def submodules(name, commit, into):
        asked.append((name, commit, into.name))
        assert (into / ".gitmodules").exists()
        return Submodules((Module("app" if name == OTHER else "lib", lib, TIP),), ("old",))

    trees = dict.fromkeys((APP, OTHER), lambda tree: (tree / ".gitmodules").write_text('[submodule "s"]\n'))
    held = context(None, tmp_path, job=replace(job(), event=event(commit=A)), trees=trees, submodules=submodules)
    settings = build.Settings.model_validate(
        {"image": "2pisoftware/cmfive", "from": {"repository": OTHER, "into": "app"}}
    )
    _, found = build.check_out(settings, held, tmp_path / "tree")
    assert asked == [(OTHER, TIP, "tree"), (APP, A, "app")]
    # The pushed commit lies in the place of the other one.
    assert found == ({"of": APP, "path": "lib", "repository": "github.com/2pisoftware/lib", "commit": TIP},)
    assert held.log.ours[4:] == [
        f"submodule lib of {APP}: github.com/2pisoftware/lib at ddddddd",
        f"submodule old of {APP} is not fetched, its folder is empty: .gitmodules says no address for it",
    ]
