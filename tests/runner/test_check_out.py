"""Which commits a build checks out, of the repository that its run is of and of another one."""

from dataclasses import replace

import pytest

from runner.actions import build
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
    assert build.check_out(settings, held, tmp_path / "tree") == {repository: expected or TIP}
    assert asked == [(repository, ref or "HEAD", expected)]


def test_what_a_checkout_leaves_out_of_a_repository_is_said_in_the_log(tmp_path):
    trees = {
        APP: lambda tree: (tree / ".gitmodules").write_text('[submodule "s"]\n'),
        OTHER: lambda tree: (tree / ".gitattributes").write_text("*.psd filter=lfs\n"),
    }
    held = context(None, tmp_path, job=replace(job(), event=event(commit=A)), trees=trees)
    settings = build.Settings.model_validate(
        {"image": "2pisoftware/cmfive", "from": {"repository": OTHER, "into": "app"}}
    )
    commits = build.check_out(settings, held, tmp_path / "tree")
    assert commits == {OTHER: TIP, APP: A}
    said = [line for line in held.log.ours if "not fetched" in line]
    assert [line.partition(" has ")[0] for line in said] == [OTHER, APP]
