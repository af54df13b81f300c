"""`tau run --run`: a run of an installation once more, of its commits and on its bases, whatever both became since."""

import subprocess
from dataclasses import replace

import pytest
from click.testing import CliRunner

from chalicelib import wire
from chalicelib.graph import Base
from chalicelib.model import RunState, Source, Step, StepResult, StepStatus
from chalicelib.records.run_items import new_run
from runner.cli import main
from tests.installation import NOW, event, installation, job, run
from tests.runner.laptop.developer import of_laptops

BRANCH = "refs/heads/develop"
SETTINGS = {"TAU_STAGE": "test", "TAU_BUCKET": "tau-test", "TAU_SENDER": "tau@2pisoftware.com"}


class Installation:
    """Records of runs, and a forge whose repository a test commits to."""

    def __init__(self, edge, folder):
        self.edge, self.forge, self._folder = edge, folder / "forge", folder
        self.forge.mkdir()
        self.git("init", "--quiet", "-b", "develop")

    def git(self, *words):
        who = ("-c", "user.name=Sam", "-c", "user.email=sam@2pisoftware.com")
        argv = ("git", *who, "-C", self.forge, *words)
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, **files):
        for name, text in files.items():
            (self.forge / name).write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", "Work")
        return self.git("rev-parse", "HEAD")

    def ran(self, commit, *steps, registry="registry.example.com:5000", **changes):
        """A run as the records have it."""
        source = Source("github.com", "2pisoftware/cmfive", self.forge.as_uri(), key="forge-key")
        made = job(*steps, source=source, sources={source.name: source}, registries={registry: "registry-login"})
        made = run(1, job=replace(made, event=event(commit=commit, after=commit)))
        self.edge.store.table.write(new_run(made))
        held = self.edge.store.claim(self.edge.store.run(made.id), "r1", NOW)
        self.edge.store.end(held, **changes, tell={}, now=NOW)
        return made.id

    def tau(self, *words, **environ):
        environment = {**SETTINGS, "HOME": str(self._folder), **environ}
        return CliRunner().invoke(main, ("run", *words, "--folder", str(self._folder / "cache")), env=environment)


@pytest.fixture
def there(monkeypatch, tmp_path):
    with installation(monkeypatch) as edge:
        yield Installation(edge, tmp_path)


def result(action, status=StepStatus.PASSED, reason=None, **facts):
    return StepResult(action, status, NOW, NOW, reason, facts=facts)


def test_a_run_that_is_not_there_is_said_to_be_none(there):
    said = there.tau("--run", "01none")
    assert (said.exit_code, said.stdout) == (2, "")
    assert said.stderr.startswith("tau: there is no run 01NONE: `tau runs` lists the latest")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "name the pipeline to run; or a run to repeat"),
        (("hello", "--run", "01X"), "name the pipeline to run; or a run to repeat"),
        (("--run", "01X", "--path", ".", "--from", "x"), "leave out --path, --from"),
    ],
)
def test_what_does_not_go_with_it_is_said(there, words, complaint):
    said = there.tau(*words)
    assert (said.exit_code, complaint in said.stderr) == (2, True), said.stderr


@pytest.fixture
def bases(lab, registry):
    """Makes what lies under the base's tag in the registry another one; its name, and the digest that it has now."""
    name, ((user, password),) = f"{registry.host}/2pisoftware/repeated", registry.users.items()
    login = {"username": user, "password": password}

    def moved(year):
        container = lab.client.api.create_container(lab.base, ["sh", "-c", f"echo {year} > /year"])["Id"]
        lab.client.api.start(container)
        lab.client.api.wait(container)
        lab.client.api.commit(container, repository=name, tag="1", changes=[f"LABEL tau.system={lab.system}"])
        lab.client.api.remove_container(container)
        lab.client.api.push(name, "1", auth_config=login)
        (digest,) = lab.client.images.get(f"{name}:1").attrs["RepoDigests"]
        lab.client.api.remove_image(f"{name}:1", force=True)
        return f"{name}:1", digest.partition("@")[2]

    yield moved
    for image in lab.client.images.list():
        if any(one.startswith((name, lab.name("again"))) for one in (*image.tags, *image.attrs["RepoDigests"])):
            lab.client.api.remove_image(image.id, force=True)


@pytest.mark.engine
def test_it_builds_the_same_commit_on_the_same_base_and_says_whether_the_verdict_is_the_same(
    there, lab, registry, bases
):
    base, then = bases("1999")
    image = lab.name("again")
    commit = there.commit(Dockerfile=f"FROM {base}\nCOPY page /page\n", page="the first\n")
    there.commit(page="the second\n")
    there.git("checkout", "--quiet", "-b", "elsewhere")
    there.git("branch", "-D", "develop")
    assert bases("2026")[1] != then
    stood = wire.to_json(Base(registry.host, "2pisoftware/repeated", "1", then))
    build = Step("build", {"image": image})
    test = Step(
        "test", {"image": image, "command": ["sh", "-c", "cat /year /page; grep 2026 /year"], "results": "none"}
    )
    push = Step("push", {"image": image, "to": [registry.host], "tags": ["latest"]})
    known = result("build", image={"name": image, "id": "sha256:01"}, bases=[stood], commits={})
    failed = result("test", StepStatus.FAILED, "the test command exited with 1")
    run_id = there.ran(
        *(commit, build, test, push),
        registry=registry.host,
        state=RunState.FAILED,
        reason=failed.reason,
        results={0: known, 1: failed},
    )

    ((user, password),) = registry.users.items()
    said = there.tau("--run", run_id.lower(), TAU_SECRET_REGISTRY_LOGIN=f"{user}:{password}")

    assert said.exit_code == 1, said.output
    lines = said.stdout.splitlines()
    of = f"{commit[:7]}, as {BRANCH}; run {run_id} once more"
    assert lines[0].endswith(f"{of}, which failed ({failed.reason}) on the code server")
    assert lines[1] == f"[tau] left out: push ({registry.host}); --with push does it"
    assert "1999" in lines
    assert "the first" in lines
    assert lines[-1] == "[tau] the same verdict as on the code server: failed in test"
    assert of_laptops(lab) == []
