"""`tau bundle` as somebody calls it, in a working copy with real git."""

import io
import json
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from runner.cli import main
from tests.bundling import GOOD, IMAGE, committed, git

FILES = {"Dockerrun.aws.json": GOOD, "Dockerfile": "FROM scratch\n", ".ebextensions/a.config": "a", "app/x": "y"}


@pytest.fixture
def copy(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    committed(tmp_path / "crm_deploy", FILES)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "crm_deploy"


def bundle(*arguments):
    return CliRunner().invoke(main, ["bundle", *map(str, arguments)])


def test_the_file_is_made_here_and_its_name_is_what_is_printed(copy, tmp_path):
    done = bundle(copy, "--image", IMAGE)
    assert (done.exit_code, done.stderr) == (0, "")
    path = tmp_path / "elsewhere" / done.stdout.strip()
    assert (path.name.startswith("crm_deploy-"), path.suffix) == (True, ".zip")
    with zipfile.ZipFile(path) as made:
        assert made.namelist() == [".ebextensions/a.config", "Dockerrun.aws.json"]
        assert json.loads(made.read("Dockerrun.aws.json"))["Image"]["Name"] == IMAGE
    before = path.read_bytes()
    assert bundle(copy, "--image", IMAGE).stdout == done.stdout
    assert path.read_bytes() == before


def test_within_the_copy_it_is_made_beside_it_so_that_the_next_one_is_the_same(copy, monkeypatch):
    monkeypatch.chdir(copy / ".ebextensions")
    first, second = bundle(copy, "--source").stdout, bundle(copy, "--source").stdout
    assert first == second
    assert Path(first.strip()).parent == copy.parent


def test_what_is_not_committed_is_in_and_what_is_ignored_is_not(copy, tmp_path):
    (copy / ".gitignore").write_text("*.log\n")
    (copy / ".ebignore").write_text("app/\n")
    (copy / "debug.log").write_text("x")
    (copy / "new").write_text("x")
    status = git(copy, "status", "--porcelain")
    done = bundle(copy, "--source", "--output", tmp_path / "b.zip")
    assert (done.exit_code, done.stdout) == (0, f"{tmp_path / 'b.zip'}\n")
    with zipfile.ZipFile(tmp_path / "b.zip") as made:
        names = made.namelist()
    assert names == [
        ".ebextensions/a.config",
        ".ebignore",
        ".gitignore",
        "Dockerfile",
        "Dockerrun.aws.json",
        "new",
    ]
    assert git(copy, "status", "--porcelain") == status


def test_everything_that_is_wrong_is_one_line_each_and_nothing_is_written(copy, tmp_path):
    (copy / "Dockerrun.aws.json").write_text('{"Ports": []}')
    (copy / ".ebextensions" / "link").symlink_to("/etc/passwd")
    done = bundle(copy, "--image", IMAGE)
    assert done.exit_code == 1
    assert [line.partition(": ")[2].split(":")[0].split(" is")[0] for line in done.stderr.splitlines()] == [
        "Dockerrun.aws.json",
        "Dockerrun.aws.json",
        ".ebextensions/link",
    ]
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_an_image_of_which_nobody_says_which_it_is_is_refused(copy):
    done = bundle(copy)
    assert done.exit_code == 1
    assert "Image.Name: <IMAGE> stands for an image that nobody named: --image NAME@sha256:… fills it in" in done.stderr


def test_what_is_not_pinned_is_a_remark(copy):
    (copy / "Dockerfile").write_text("FROM scratch\nCOPY --from=composer:2 /a /a\n")
    done = bundle(copy, "--source")
    assert done.exit_code == 0
    assert done.stderr.startswith("remark: Dockerfile, line 2: composer:2 is not pinned")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--image", "2pisoftware/crm:latest"), "--image 2pisoftware/crm:latest: expected an image by its digest"),
        (("--image", IMAGE, "--source"), "--source builds the image, and --image names one: leave one of them out"),
        (("--source", "--output", "no/such/folder"), "no/such/folder cannot be written: No such file or directory"),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused(copy, arguments, sentence):
    done = bundle(copy, *arguments)
    assert done.exit_code == 1
    assert done.stderr.startswith(f"tau: {sentence}")


def test_a_folder_that_is_no_working_copy_is_named(copy, tmp_path):
    done = bundle(tmp_path / "elsewhere")
    assert (done.exit_code, copy.exists()) == (1, True)
    assert "elsewhere is no working copy of git" in done.stderr


@pytest.fixture
def bases(docker_client, registry):
    """An image that a registry has, and one that none has."""
    pushed, own = f"{registry.host}/2pisoftware/ground:1", "2pisoftware/never-pushed:1"
    for name in (pushed, own):
        text = f'FROM scratch\nLABEL of="{name}"\nCMD ["none"]\n'.encode()
        docker_client.images.build(fileobj=io.BytesIO(text), tag=name, rm=True)
    ((user, password),) = registry.users.items()
    docker_client.images.push(pushed, auth_config={"username": user, "password": password})
    yield pushed, own
    for name in (pushed, own):
        docker_client.images.remove(name, force=True)


@pytest.mark.engine
def test_a_dockerfile_is_pinned_to_what_this_engine_has(copy, tmp_path, bases, registry):
    pushed, own = bases
    (copy / "Dockerfile").write_text(f"FROM {pushed}\n")
    done = bundle(copy, "--source", "--output", tmp_path / "b.zip")
    assert (done.exit_code, done.stderr) == (0, "")
    with zipfile.ZipFile(tmp_path / "b.zip") as made:
        dockerfile = made.read("Dockerfile").decode()
    digest = registry.manifest_digest("2pisoftware/ground", "1")
    assert dockerfile == f"FROM {registry.host}/2pisoftware/ground@{digest}\n"
    for image, sentence in (
        (own, f"Dockerfile, line 1: FROM {own} was made on this machine, and no registry has it"),
        ("2pisoftware/nobody-has:1", "this engine has no 2pisoftware/nobody-has:1, whose digest is wanted"),
    ):
        (copy / "Dockerfile").write_text(f"FROM {image}\n")
        done = bundle(copy, "--source")
        assert (done.exit_code, done.stderr.startswith(f"tau: {sentence}")) == (1, True)
