"""`tau reconcile`: what it says of each repository, and when it fails."""

import json

import pytest
from click.testing import CliRunner

from chalicelib.model import EventKind, Pull
from chalicelib.reconciler import Looked
from runner.cli import main
from runner.reconciling import line
from tests.forge_stand_ins import GitHubStandIn, Trouble, sha
from tests.hooks import REPOSITORY
from tests.installation import SETTINGS, event, installation
from tests.reconciler.world import World, put_secrets


@pytest.fixture
def github(monkeypatch):
    for name, value in {"TAU_STAGE": "test", "TAU_BUCKET": SETTINGS.bucket, "TAU_SENDER": SETTINGS.sender}.items():
        monkeypatch.setenv(name, value)
    with installation(monkeypatch) as edge, GitHubStandIn() as forge:
        put_secrets(edge)
        yield World(edge, forge)


@pytest.fixture
def tau(github, tmp_path):
    (tmp_path / "ci.json").write_text(json.dumps(github.form))
    return lambda *words: CliRunner().invoke(main, ("reconcile", "--config", str(tmp_path / "ci.yml"), *words))


def test_each_repository_is_a_line_of_what_was_compared_and_found(github, tau):
    github.push("develop")
    said = tau()
    assert (said.exit_code, said.stderr) == (0, "")
    name = f"github.com/{REPOSITORY}"
    assert said.stdout == f"{name:<44}  {'1 branch':<42}  first look: 1 taken as they stand\n"
    github.push("develop")
    at = github.repository.branches["develop"][:7]
    assert tau("--dry-run").stdout.endswith(f"  branch develop ({at}): would start 1 run\n")
    assert tau().stdout.endswith(f"  branch develop ({at}): started 1 run\n")
    assert tau("--forge", "github.com", "--repository", REPOSITORY).stdout.endswith("  nothing new\n")
    (run,) = github.edge.store.runs_of_commit(github.repository.branches["develop"], 9)
    assert github.edge.store.config(run.job.config) == json.dumps(github.form).encode()


def test_what_could_not_be_compared_is_an_exit_code_of_its_own(github, tau):
    github.forge.trouble = lambda _: Trouble(500)
    said = tau()
    assert said.exit_code == 1
    assert "github.com is unwell: 500" in said.stdout


@pytest.mark.usefixtures("github")
def test_a_forge_that_ci_yml_does_not_have_is_one_line(tau):
    said = tau("--forge", "nowhere")
    assert (said.exit_code, said.stdout) == (1, "")
    assert said.stderr == "tau: ci.yml has no forge nowhere; it has github.com\n"


def test_a_line_names_everything_that_happened():
    events = (
        event(ref="refs/tags/v1", name="v1", kind=EventKind.TAG_CREATED),
        event(after=None, kind=EventKind.BRANCH_DELETED),
        event(ref=None, name=None, after=None, kind=EventKind.PULL_REQUEST, pull=Pull(7, sha("x"))),
    )
    counts = {"branch": 2, "tag": 1, "pull request": 3}
    looked = Looked("github.com", REPOSITORY, counts, 0, events, 2, "the rest could not be had", failed=True)
    name = f"github.com/{REPOSITORY}"
    assert line(looked) == (
        f"{name:<44}  {'2 branches, 1 tag, 3 pull requests':<42}  "
        f"tag v1 (2222222), branch develop is gone, pull request 7 ({sha('x')[:7]}): started 2 runs;"
        " the rest could not be had"
    )
    assert line(Looked("github.com", reason="no token")).split() == ["github.com", "no", "token"]


def test_nothing_that_a_forge_says_moves_the_cursor():
    looked = Looked("github.com", REPOSITORY, {}, 0, (event(name="x\x1b[2Jy"),), 1)
    assert "\x1b" not in line(looked)
