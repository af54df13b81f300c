"""The git host: real git fetches from it as from a forge; and the webhooks that go with its commits."""

import hashlib
import hmac
import json
import subprocess

import pytest

from infra.local import samples
from infra.local.githost import GitHost, Person

GITHUB, BITBUCKET = "github.com", "bitbucket.org"
SECRET = "a secret of this year"
KIM = Person("Kim Ölsen", "kim@2pisoftware.com", "kim")


def git(*arguments, ok=True):
    done = subprocess.run(("git", *map(str, arguments)), capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == ok, done.stderr
    return done.stdout.strip() if ok else done.stderr


@pytest.fixture
def repository(githost, request):
    name = f"2pisoftware/{request.node.name}"
    githost.create(GITHUB, name, {"README.md": "one\n", "bin/run": "#!/bin/sh\necho ran\n"})
    return name


def test_a_clone_holds_what_was_committed(githost, repository, tmp_path):
    sha = githost.commit(GITHUB, repository, "develop", {"README.md": "two\n"}, "Say two")
    git("clone", "--quiet", githost.url(GITHUB, repository), tmp_path / "clone")
    assert git("-C", tmp_path / "clone", "rev-parse", "HEAD") == sha
    assert (tmp_path / "clone" / "README.md").read_text() == "two\n"
    assert subprocess.run((tmp_path / "clone/bin/run",), capture_output=True, check=True).stdout == b"ran\n"


def test_one_commit_can_be_fetched_by_its_sha_without_its_past(githost, repository, tmp_path):
    first = githost.git(githost.path(GITHUB, repository), "rev-parse", "develop")
    githost.commit(GITHUB, repository, "develop", {"README.md": "two\n"}, "Say two")
    git("init", "--quiet", tmp_path / "work")
    git(
        "-C",
        tmp_path / "work",
        "fetch",
        "--quiet",
        "--depth=1",
        "--filter=blob:none",
        githost.url(GITHUB, repository),
        first,
    )
    assert git("-C", tmp_path / "work", "rev-parse", "FETCH_HEAD") == first


def test_many_refs_are_asked_for_in_one_large_request(githost, repository, tmp_path):
    git("clone", "--quiet", githost.url(GITHUB, repository), tmp_path / "clone")
    sha = githost.commit(GITHUB, repository, "develop", {"README.md": "two\n"}, "Say two")
    # A buffer of one kilobyte makes git send the question in chunks.
    git("-C", tmp_path / "clone", "-c", "http.postBuffer=1024", "-c", "protocol.version=0", "fetch", "--quiet")
    assert git("-C", tmp_path / "clone", "rev-parse", "origin/develop") == sha


def test_it_is_for_reading_alone(githost, repository, tmp_path):
    git("clone", "--quiet", githost.url(GITHUB, repository), tmp_path / "clone")
    assert "403" in git("-C", tmp_path / "clone", "push", "origin", "HEAD:refs/heads/x", ok=False)
    git("-C", tmp_path / "clone", "push", "--quiet", githost.path(GITHUB, repository), "HEAD:refs/heads/x")
    assert "refs/heads/x" in git("ls-remote", githost.url(GITHUB, repository))


@pytest.mark.parametrize("name", ["2pisoftware/nowhere", "../../etc/passwd", "2pisoftware/%2e%2e/%2e%2e/secret"])
def test_a_repository_that_does_not_exist_is_not_found(githost, name):
    complaint = git("ls-remote", githost.url(GITHUB, name), ok=False)
    assert "not found" in complaint or "403" in complaint


def test_a_file_is_removed_by_none_and_the_others_stay(githost, repository, tmp_path):
    sha = githost.commit(GITHUB, repository, "develop", {"README.md": None, "new.txt": "x"}, "Tidy", KIM)
    told = githost.describe(GITHUB, repository, sha)
    assert (told.added, told.removed, told.modified) == (("new.txt",), ("README.md",), ())
    assert (told.author, told.message) == (KIM, "Tidy")
    git("clone", "--quiet", githost.url(GITHUB, repository), tmp_path / "clone")
    assert sorted(path.name for path in (tmp_path / "clone").iterdir()) == [".git", "bin", "new.txt"]


def test_a_new_branch_grows_from_the_main_one(githost, repository):
    sha = githost.commit(GITHUB, repository, "feature/x", {"new.txt": "x"}, "A feature")
    main = githost.git(githost.path(GITHUB, repository), "rev-parse", "develop")
    assert githost.describe(GITHUB, repository, sha).parent == main


def test_an_annotated_tag_is_an_object_of_its_own(githost, repository):
    plain = githost.tag(GITHUB, repository, "v1.0.0")
    annotated = githost.tag(GITHUB, repository, "v1.1.0", annotated=True)
    assert plain.after == plain.commit == annotated.commit
    assert annotated.after != annotated.commit
    assert f"{annotated.after}\trefs/tags/v1.1.0" in git("ls-remote", githost.url(GITHUB, repository))


def test_it_comes_back_at_the_same_address(tmp_path):
    host = GitHost(tmp_path)
    with host:
        host.create(GITHUB, "a/b", {"x": "y"})
        address = host.url(GITHUB, "a/b")
    assert "onnect" in git("ls-remote", address, ok=False)
    with host:
        assert host.url(GITHUB, "a/b") == address
        assert "refs/heads/develop" in git("ls-remote", address)


def test_a_push_to_github_is_told_and_signed(githost, repository):
    before = githost.git(githost.path(GITHUB, repository), "rev-parse", "develop")
    sha = githost.commit(GITHUB, repository, "develop", {"README.md": "two\n"}, "Say two", KIM)
    commit = githost.describe(GITHUB, repository, sha)
    webhook = samples.github_push(repository, [commit], SECRET, before=before, pusher=KIM)
    told = json.loads(webhook.body)
    assert (told["before"], told["after"], told["created"]) == (before, sha, False)
    assert told["pusher"] == {"name": "kim", "email": "kim@2pisoftware.com"}
    assert told["commits"][0]["modified"] == ["README.md"]
    wanted = hmac.new(SECRET.encode(), webhook.body, hashlib.sha256).hexdigest()
    assert webhook.headers["X-Hub-Signature-256"] == f"sha256={wanted}"


def test_a_tag_at_bitbucket_is_told_without_the_pushers_address(githost, repository):
    githost.create(BITBUCKET, repository, samples.client("v1.2.0"))
    tag = githost.tag(BITBUCKET, repository, "v1.2.0")
    commit = githost.describe(BITBUCKET, repository, tag.commit)
    webhook = samples.bitbucket_tag(repository, tag, commit, SECRET, actor=KIM)
    told = json.loads(webhook.body)
    new = told["push"]["changes"][0]["new"]
    assert (new["type"], new["name"], new["target"]["hash"]) == ("tag", "v1.2.0", tag.commit)
    assert told["actor"]["nickname"] == "kim"
    assert "kim@" not in webhook.body.decode()
    wanted = hmac.new(SECRET.encode(), webhook.body, hashlib.sha256).hexdigest()
    assert webhook.headers["X-Hub-Signature"] == f"sha256={wanted}"


def test_our_own_readers_understand_these_webhooks(githost, repository):
    from chalicelib import providers
    from chalicelib.model import Delivery, EventKind, Provider

    githost.create(BITBUCKET, repository, samples.client("v1.2.0"))
    tag = githost.tag(BITBUCKET, repository, "v1.2.0")
    told = githost.describe(BITBUCKET, repository, tag.commit)
    webhook = samples.bitbucket_tag(repository, tag, told, SECRET)
    headers = {name.lower(): (value,) for name, value in webhook.headers.items()}
    delivery = Delivery(BITBUCKET, Provider.BITBUCKET_CLOUD, headers, webhook.body)
    providers.verify(delivery, [b"the secret of last year", SECRET.encode()])
    (event,) = providers.read(delivery)
    assert (event.kind, event.name, event.commit) == (EventKind.TAG_CREATED, "v1.2.0", tag.commit)
    assert event.commit_author_emails == () or event.head_commit_author_email == "sam@2pisoftware.com"


def test_the_samples_suite_passes_as_it_is_and_fails_when_its_page_is_broken(tmp_path):
    for name, files, code in (("sound", {}, 0), ("broken", samples.broken_hello(), 1)):
        for path, text in (samples.hello() | files).items():
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_text(text)
        done = _suite(tmp_path / name)
        assert done.returncode == code, done.stdout
        report = (tmp_path / name / "results" / "hello.xml").read_text()
        assert f'tests="3" failures="{code}"' in report
        assert ("wanted 'Hello, world', got 'Hello, wrold'" in report) == bool(code)


def _suite(folder):
    """The suite as the image runs it, but here: busybox's own shell and commands, in a network of its own."""
    from infra.local.base import static_busybox

    busybox = str(static_busybox())
    (folder / "bin").mkdir()
    for command in ("sh", "httpd", "wget", "sed", "mkdir", "cat"):
        (folder / "bin" / command).symlink_to(busybox)
    alone = ("unshare", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", 'ip link set lo up; exec "$@"', "sh")
    return subprocess.run(
        (*alone, busybox, "sh", folder / "tests/run"),
        env={
            "PATH": f"{folder}/bin:/usr/sbin:/sbin:/usr/bin:/bin",
            "SITE": str(folder / "site"),
            "RESULTS": str(folder / "results"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
