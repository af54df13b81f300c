import os
import threading
from dataclasses import replace

import pytest

from chalicelib.errors import NothingToDo, StepFailed
from chalicelib.model import Source
from runner.actions import build
from runner.stopping import Stopped, Stopping
from tests.installation import job
from tests.runner import trees_to_build
from tests.runner.trees_to_build import APP, dockerfile, nothing_runs, tree
from tests.running import Journal, context, stopping_soon, within

DEPLOY = "bitbucket.org/2pisoftware/cmfive-dev_deploy"
IMAGE = f"tau-test-runner-{os.getpid()}/built"
TAG = f"{IMAGE}:r-01kaq000000000000000000001"


def settings(**changes):
    return trees_to_build.settings(IMAGE, **changes)


# --- an engine that does not answer ------------------------------------------------------------------


@pytest.mark.engine
def test_an_engine_that_never_answers_a_build_keeps_nobody_who_asks(lab, tmp_path):
    """Nothing can be cut before its first word; when that comes after all, nobody wants it any more."""
    engine, stopping = Slow(lab.client), Stopping()
    held = context(engine, tmp_path, trees={APP: tree(Dockerfile=dockerfile(lab, "RUN sleep 602"))}, stopping=stopping)
    with within(10), stopping_soon(stopping), pytest.raises(Stopped):
        build.run(settings(), held)
    engine.goes_on.set()
    assert engine.answered.wait(10)
    assert nothing_runs("sleep 602")


class Slow:
    """The engine, which begins a build as soon as it is told to go on."""

    def __init__(self, client):
        self.api = self
        self._client = client
        self.goes_on, self.answered = threading.Event(), threading.Event()

    def __getattr__(self, name):
        return getattr(self._client.api, name)

    def build(self, **options):
        self.goes_on.wait(20)
        try:
            return self._client.api.build(**options)
        finally:
            self.answered.set()


# --- two repositories -----------------------------------------------------------------------------

FROM = {"from": {"repository": DEPLOY, "into": "app"}}


def two(lab):
    return {
        DEPLOY: tree(Dockerfile=dockerfile(lab, "COPY app/page /page", "RUN cat /page")),
        APP: tree(page="of the application"),
    }


def with_deploy():
    held = job()
    other = Source("bitbucket.org", "2pisoftware/cmfive-dev_deploy", "ssh://…")
    return replace(held, sources={**held.sources, other.name: other})


@pytest.mark.engine
def test_another_repositorys_dockerfile_builds_the_triggering_tree(lab, tmp_path):
    checkouts = []
    held = context(lab.client, tmp_path, system=lab.system, trees=two(lab), job=with_deploy(), checkouts=checkouts)
    result = build.run(settings(**FROM), held)
    assert "of the application" in held.log.text
    assert result.facts["commits"] == {DEPLOY: "d" * 40, APP: "2" * 40}
    assert checkouts == [(DEPLOY, "HEAD", None), (APP, "refs/heads/develop", "2" * 40)]
    assert lab.labels(TAG)["org.opencontainers.image.revision"] == "2" * 40


def test_the_other_repositorys_commit_is_the_same_in_a_later_claim(tmp_path):
    journal, checkouts = Journal(), []
    trees = {DEPLOY: tree(), APP: tree()}
    for number in range(2):
        held = context(
            None, tmp_path / str(number), trees=trees, job=with_deploy(), journal=journal, checkouts=checkouts
        )
        with pytest.raises(StepFailed, match="there is no Dockerfile"):
            build.run(settings(**FROM), held)
    assert [commit for name, _, commit in checkouts if name == DEPLOY] == [None, "d" * 40]


def test_only_another_repositorys_tree_is_built_where_into_is_not_said(tmp_path):
    checkouts = []
    held = context(None, tmp_path, trees={DEPLOY: tree()}, job=with_deploy(), checkouts=checkouts)
    with pytest.raises(StepFailed, match="there is no Dockerfile"):
        build.run(settings(**{"from": {"repository": DEPLOY}}), held)
    assert [name for name, _, _ in checkouts] == [DEPLOY]


# --- what is refused before the engine hears of it ------------------------------------------------


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret"
    path.write_text("FROM s3cret\n")
    return path


@pytest.mark.parametrize("where", ["../secret", "../../secret", "absolute", "link", "folder/secret"])
def test_a_dockerfile_outside_the_tree_is_refused_and_not_read(tmp_path, secret, where):
    files = {"link": secret, "folder": tmp_path, "page": "x"}
    given = settings(dockerfile=str(secret) if where == "absolute" else where)
    held = context(None, tmp_path / "run", trees={APP: tree(**files)})
    with pytest.raises(StepFailed, match="leads out of the repository") as said:
        build.run(given, held)
    assert "s3cret" not in str(said.value)


@pytest.mark.parametrize("where", ["..", "../..", "/", "folder"])
def test_a_context_outside_the_tree_is_refused(tmp_path, where):
    held = context(None, tmp_path / "run", trees={APP: tree(folder=tmp_path, Dockerfile="FROM scratch")})
    with pytest.raises(StepFailed, match="leads out of the repository"):
        build.run(settings(context=where), held)


@pytest.mark.parametrize("where", ["..", "../../x", "/x", "link"])
def test_the_triggering_tree_lies_nowhere_but_inside_the_other(tmp_path, where):
    checkouts = []
    held = context(
        None,
        tmp_path / "run",
        trees={DEPLOY: tree(link=tmp_path), APP: tree(page="x")},
        job=with_deploy(),
        checkouts=checkouts,
    )
    with pytest.raises(StepFailed, match="leads out of the repository"):
        build.run(settings(**{"from": {"repository": DEPLOY, "into": where}}), held)
    assert [name for name, _, _ in checkouts] == [DEPLOY]


def test_an_ignore_file_that_leads_out_is_refused_and_not_read(tmp_path):
    """The SDK would read it to its end, and /dev/zero has none."""
    files = {"Dockerfile": "FROM scratch\n", ".dockerignore": type(tmp_path)("/dev/zero")}
    with pytest.raises(StepFailed, match="leads out of the repository"):
        build.run(settings(), context(None, tmp_path, trees={APP: tree(**files)}))


@pytest.mark.parametrize("files", [{"page": "x"}, {"Dockerfile__page": "x"}], ids=["none", "a folder"])
def test_a_tree_without_a_dockerfile_is_the_codes_fault(tmp_path, files):
    with pytest.raises(StepFailed, match=r"there is no Dockerfile in \.: build needs one"):
        build.run(settings(), context(None, tmp_path, trees={APP: tree(**files)}))


WANTED = {"only_with": ["Dockerfile", "Dockerrun.aws.json"]}


@pytest.mark.parametrize("files", [{}, {"Dockerfile": "FROM scratch"}, {"Dockerrun.aws.json": "{}"}])
def test_a_tree_without_what_there_is_to_do_something_with_is_skipped(tmp_path, files):
    with pytest.raises(NothingToDo, match=f"there is nothing to do for {APP}: it has no Docker"):
        build.run(settings(**WANTED), context(None, tmp_path, trees={APP: tree(**files)}))


@pytest.mark.parametrize("slip", ["Dockrrun.aws.json", "dockerrun.aws.json", "Dockerrun.aws"])
def test_a_tree_whose_file_is_nearly_called_so_is_not_passed_over_in_silence(tmp_path, slip):
    files = {"Dockerfile": "FROM scratch", slip: "{}"}
    with pytest.raises(StepFailed, match=f"did you mean Dockerrun.aws.json by {slip}"):
        build.run(settings(**WANTED), context(None, tmp_path, trees={APP: tree(**files)}))


def test_a_dockerfile_that_is_no_text_is_the_codes_fault(tmp_path):
    files = {"Dockerfile": "FROM scratch\n# caf\u00e9\n".encode("latin-1")}
    with pytest.raises(StepFailed, match="not UTF-8"):
        build.run(settings(), context(None, tmp_path, trees={APP: tree(**files)}))
