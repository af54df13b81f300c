"""Trees that would do harm on an instance, or to who packs them: each is refused, or packed as what it is."""

import io
import os
import tarfile
import zipfile

import pytest

from chalicelib.errors import StepFailed
from chalicelib.graph import Base
from runner.bundle import making
from runner.bundle import tree as trees
from runner.bundle.making import Source, build
from tests.bundling import GOOD, OURS, archived, committed, git, names, opened, tarred

FILES = {"Dockerrun.aws.json": GOOD, "Dockerfile": "FROM scratch\n"}
HERE = Source(())


@pytest.mark.parametrize("wanted", [OURS, HERE], ids=["image", "source"])
@pytest.mark.parametrize(
    "name", ["../outside", "/etc/cron.d/evil", ".ebextensions/../../x", ".ebextensions//x", ".ebextensions/./x"]
)
def test_a_name_that_leads_out_is_refused(wanted, name):
    # Where only three names go in, others need not be looked at.
    if wanted is OURS and not name.startswith(".eb"):
        assert names(build(tarred([*FILES.items(), (name, "x")]), wanted)) == ["Dockerrun.aws.json"]
        return
    with pytest.raises(StepFailed, match="is a path that leads out of the bundle"):
        build(tarred([*FILES.items(), (name, "x")]), wanted)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (".git/config", r"\.git/config is in git's own folder"),
        ("vendor/lib/.GIT/hooks/post-checkout", "is in git's own folder"),
        (".env", r"^\.env is a file of secrets: set them in the environment's configuration"),
        ("app/.env", r"app/\.env is a file of secrets"),
        (".aws/credentials", r"\.aws/credentials is in a folder of AWS's keys"),
    ],
)
def test_a_folder_of_gits_and_files_of_secrets_are_refused(name, sentence):
    with pytest.raises(StepFailed, match=sentence):
        build(tarred({**FILES, name: "x"}), HERE)
    with pytest.raises(StepFailed, match=r"is (in )?(a|git)"):
        build(tarred({**FILES, f".platform/{name}": "x"}), OURS)
    assert names(build(tarred({**FILES, name: "x"}), OURS)) == ["Dockerrun.aws.json"]


def test_a_file_of_secrets_that_ebignore_names_stays_at_home():
    made = build(tarred({**FILES, ".env": "x", ".ebignore": ".env"}), HERE, ignored=lambda _: frozenset({".env"}))
    assert names(made) == [".ebignore", "Dockerfile", "Dockerrun.aws.json"]
    assert ".env.example" in names(build(tarred({**FILES, ".env.example": "x"}), HERE))


@pytest.mark.parametrize(
    "links",
    [
        {"app/secret": "/etc/shadow"},
        {"app/secret": "../../outside"},
        {"app/secret": "deep/../../../outside"},
        {"a": "b", "b": "c", "c": "../out"},
        {"a": "b", "b": "a"},
        # Read as text, `up/../x` lies in the bundle; the system goes up twice from where the link leads.
        {"one/two/up": "../..", "l": "one/two/up/../x"},
    ],
)
def test_a_link_that_leads_out_is_refused_however_it_gets_there(tmp_path, links):
    with pytest.raises(StepFailed, match=r"is a symbolic link to .*, which leads out of the bundle"):
        build(archived(tmp_path, FILES, links=links), HERE)


def test_links_within_are_packed_as_links_and_never_followed(tmp_path):
    links = {"current": "releases/1", "releases/1/shared": "../../shared/", "later": "made/by/the/build"}
    files = {**FILES, "releases/1/index": "x", "shared/file": "y"}
    with opened(build(archived(tmp_path, files, links=links), HERE)) as made:
        modes = {info.filename: info.external_attr >> 16 for info in made.infolist()}
        assert [made.read(name) for name in links] == [b"releases/1", b"../../shared/", b"made/by/the/build"]
    assert [modes[name] for name in links] == [0o120777] * 3


def test_a_tree_of_1970_is_a_bundle(tmp_path):
    committed(tmp_path, FILES)
    git(tmp_path, "commit", "--quiet", "--amend", "--no-edit", "--date=@0 +0000", GIT_COMMITTER_DATE="@0 +0000")
    archive = git(tmp_path, "archive", "--format=tar", "HEAD")
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        assert {member.mtime for member in tar} == {0}
    with opened(build(archive, HERE)) as made:
        assert {info.date_time for info in made.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_as_many_files_as_a_zip_can_count_are_taken_and_no_more():
    tree = trees.Tree(tarred({}))
    tree.entries = {f"f/{number}": trees.Entry(f"f/{number}", trees.FILE, 0) for number in range(65_535)}
    assert list(trees.complaints(tree, dangling=True)) == []
    tree.entries["one-more"] = trees.Entry("one-more", trees.FILE, 0)
    (complaint,) = trees.complaints(tree, dangling=True)
    assert complaint.startswith("65,536 files are too many, a zip file counts 65,535")


def test_a_bundle_that_has_one_byte_too_many_is_refused_and_the_largest_files_are_named():
    files = {"Dockerfile": "FROM scratch\n", "large.bin": os.urandom(2 * 1024**2), "small": "x"}
    body = build(tarred(files), HERE).body
    sentence = r"more than 2 MB, .*: name what .* in \.ebignore; the largest are large\.bin \(2 MB\)"
    with pytest.raises(StepFailed, match=sentence):
        build(tarred(files), HERE, most_bytes=len(body) - 1)
    assert build(tarred(files), HERE, most_bytes=len(body)).body == body
    assert making.MOST_BYTES == 512 * 1024 * 1024


def test_a_file_that_unpacks_to_more_than_an_instance_holds_is_refused(monkeypatch):
    monkeypatch.setattr(trees, "MOST_UNPACKED", 1024**2)
    with pytest.raises(StepFailed, match="unpacked, the bundle would have"):
        build(tarred({**FILES, "zeros": b"\0" * (1024**2 + 1)}), HERE)


def test_a_zip_file_in_the_tree_is_a_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("zeros", b"\0" * 10_000_000)
    data = (tmp_path / "bomb.zip").read_bytes()
    with opened(build(tarred({**FILES, "bomb.zip": data}), HERE)) as made:
        assert made.read("bomb.zip") == data


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ([("a", "1"), ("a", "2")], "'a' stands in the tree twice"),
        ([("a", "1"), ("a/b", "2")], "^a is a file and a folder at once"),
        ([("a\nb", "1")], r"'a\\nb' cannot stand in a bundle"),
        ([("a\u202eb", "1")], r"'a\\u202eb' cannot stand in a bundle"),
    ],
)
def test_what_two_programs_would_unpack_in_two_ways_is_refused(files, sentence):
    with pytest.raises(StepFailed, match=sentence):
        build(tarred([*FILES.items(), *files]), HERE)


def test_everything_is_said_at_once_and_no_more_than_anybody_reads():
    many = {f"app/{number}/.env": "x" for number in range(30)}
    with pytest.raises(StepFailed, match=r"\(and 21 more complaints\)$") as caught:
        build(tarred({**FILES, "Dockerrun.aws.json": "{}", **many}), Source((Base("docker.io", "a", "b", "c"),)))
    assert caught.value.lines[0].startswith("Dockerrun.aws.json: AWSEBDockerrunVersion is missing")
    assert caught.value.lines[-1] == "and 10 more files of these kinds"
