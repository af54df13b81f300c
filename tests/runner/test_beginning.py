"""`tau init`: what it writes can be used as it stands."""

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from chalicelib.config import load
from chalicelib.errors import BadConfig
from chalicelib.model import EventKind, Provider, StepStatus
from chalicelib.plan import plan
from runner import actions
from runner.cli import main
from runner.compiler import compile_source
from runner.context import Image
from runner.drafts import Deployment, base_of, deployment
from tests.installation import event
from tests.running import context

ANSWERS = {
    "--forge": "github.com",
    "--repository": "acme/Shop",
    "--image": "acme/shop",
    "--registry": "registry.acme.com:5000",
    "--tell": "dev@acme.com",
}
ROOT = Path(__file__).parents[2]
SYSTEM = f"tau-test-runner-{os.getpid()}"
BASE = f"{SYSTEM}/crm"


@pytest.fixture
def tau(tmp_path, monkeypatch):
    """The command, in an empty folder and without a terminal."""
    monkeypatch.chdir(tmp_path)
    return lambda *words, **options: CliRunner().invoke(main, ["init", *words], **options)


def options(**changes):
    said = {**ANSWERS, **{f"--{name}": value for name, value in changes.items()}}
    return [word for option, value in said.items() if value is not None for word in (option, value)]


# --- a first ci.yml -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [{}, {"forge": "bitbucket.org", "registry": "docker.io"}, {"repository": "a/-.x"}, {"repository": "a/1"}],
)
def test_five_answers_make_a_ci_yml_without_a_complaint(tau, tmp_path, changes):
    if changes.get("repository") == "a/-.x":
        assert tau(*options(**changes)).exit_code == 1
        return
    done = tau(*options(**changes))
    assert (done.exit_code, done.output) == (0, "wrote ci.yml. Next: tau check --config ci.yml\n")
    compiled = compile_source((tmp_path / "ci.yml").read_bytes())
    (pipeline,) = compiled.form["pipelines"]
    assert [step["action"] for step in pipeline["steps"]] == ["build", "push"]
    assert pipeline["notify"] == {"to": ["pusher", "dev@acme.com"], "on": "change"}
    assert compiled.warnings == ()


@pytest.mark.parametrize(
    ("option", "wrong", "said"),
    [
        ("forge", "gitlab.com", "--forge: expected github.com or bitbucket.org, got 'gitlab.com'"),
        ("repository", "shop", "--repository: expected owner/name, got 'shop'"),
        ("repository", "../../etc", "--repository: expected owner/name"),
        ("image", "Acme/Shop:latest", "--image: "),
        ("registry", "https://registry.acme.com", "--registry: "),
        ("tell", "somebody", '--tell: expected an email address, got "somebody"'),
        ("tell", "a@acme.com]\nforges: {}", "--tell: expected an email address"),
    ],
)
def test_an_answer_that_cannot_be_used_is_named_and_nothing_is_written(tau, tmp_path, option, wrong, said):
    done = tau(*options(**{option: wrong}))
    assert done.exit_code == 1
    assert done.output.startswith(f"tau: {said}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", [option.removeprefix("--") for option in ANSWERS])
def test_without_a_terminal_what_is_missing_is_named(tau, tmp_path, option):
    done = tau(*options(**{option: None}))
    assert done.exit_code == 1
    assert done.output.startswith(f"tau: --{option} is missing, and there is no terminal to ask at")
    assert list(tmp_path.iterdir()) == []


def test_at_a_terminal_what_no_option_says_is_asked_until_it_can_be_used(tmp_path):
    """The terminal is a real one: `script` makes it."""
    typed = "gitlab.com\ngithub.com\nacme/shop\n\n\nnobody\ndev@acme.com\n"
    command = f"{ROOT}/.venv/bin/tau init"
    if not Path(f"{ROOT}/.venv/bin/tau").exists():
        command = "tau init"
    done = subprocess.run(
        ("script", "-qec", command, "/dev/null"),
        input=typed,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "expected github.com or bitbucket.org" in done.stdout
    assert 'image: "acme/shop"' in (tmp_path / "ci.yml").read_text()


def test_a_file_that_is_there_is_left_as_it_is(tau, tmp_path):
    (tmp_path / "ci.yml").write_text("mine")
    done = tau(*options())
    assert (done.exit_code, (tmp_path / "ci.yml").read_text()) == (1, "mine")
    assert done.output.startswith("tau: ci.yml: there already, and left as it is")


# --- a deployment repository ----------------------------------------------------------------------

FILES = [".dockerignore", ".gitattributes", "Dockerfile", "Dockerrun.aws.json", "README.md", "config.php", "smoke"]


def test_a_deployment_repository_has_all_that_a_tag_needs(tau, tmp_path):
    done = tau("deployment", "acme_shop", "--from", "2pisoftware/crm")
    folder = tmp_path / "acme_shop_deploy"
    assert (done.exit_code, sorted(path.name for path in folder.iterdir())) == (0, FILES)
    assert "FROM code.2pisoftware.com:5000/2pisoftware/crm:latest\n" in (folder / "Dockerfile").read_text()
    assert json.loads((folder / "Dockerrun.aws.json").read_text())["AWSEBDockerrunVersion"] == "1"
    assert "acme-shop-production" in (folder / "README.md").read_text()
    assert os.access(folder / "smoke", os.X_OK)
    assert not os.access(folder / "config.php", os.X_OK)


@pytest.mark.parametrize("words", [["acme_deploy"], ["acme", "--folder", "acme_deploy"]])
def test_its_name_may_be_said_with_its_end_and_its_folder_apart(tau, tmp_path, words):
    assert tau("deployment", *words, "--from", "2pisoftware/crm").exit_code == 0
    assert "# acme: " in (tmp_path / "acme_deploy" / "Dockerfile").read_text()


def test_one_file_that_is_there_keeps_all_from_being_written(tau, tmp_path):
    (tmp_path / "acme_deploy").mkdir()
    (tmp_path / "acme_deploy" / "Dockerfile").write_text("mine")
    done = tau("deployment", "acme", "--from", "2pisoftware/crm")
    assert done.exit_code == 1
    assert done.output.startswith("tau: acme_deploy/Dockerfile: there already, and left as it is")
    assert [path.read_text() for path in (tmp_path / "acme_deploy").iterdir()] == ["mine"]


WANTED = Deployment("acme", "2pisoftware/crm", "code.2pisoftware.com:5000", "/var/www/html", "")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"client": "Acme Shop"}, "names no client"),
        ({"client": "../x"}, "names no client"),
        ({"client": "a" * 30}, "is too long"),
        ({"base": "2pisoftware/crm\nRUN evil"}, "is no image"),
        ({"base": "-x"}, "is no image"),
        ({"app": "html"}, "is no folder of an image"),
        ({"app": "/a b"}, "is no folder of an image"),
        ({"start": "x'; rm -rf /; '"}, "holds a quote"),
    ],
)
def test_what_cannot_become_a_repository_is_refused_in_words(changes, said):
    with pytest.raises(BadConfig, match=said):
        deployment(replace(WANTED, **changes))


@pytest.mark.parametrize(
    ("image", "registry", "full"),
    [
        ("2pisoftware/crm", "r:5000", "r:5000/2pisoftware/crm:latest"),
        ("2pisoftware/crm:v1", "r:5000", "r:5000/2pisoftware/crm:v1"),
        ("ghcr.io/a/b", "r:5000", "ghcr.io/a/b:latest"),
        ("localhost:5000/a", "r:5000", "localhost:5000/a:latest"),
        ("2pisoftware/cmfive", "docker.io", "2pisoftware/cmfive:latest"),
        (f"a/b@sha256:{'a' * 64}", "docker.io", f"a/b@sha256:{'a' * 64}"),
    ],
)
def test_a_base_has_its_registry_and_its_tag(image, registry, full):
    assert base_of(image, registry) == full


def smoke(folder, **changes):
    """The smoke test with the settings in a folder of ours."""
    files = deployment(replace(WANTED, app=str(folder), **changes))
    (folder / "config.php").write_text(files["config.php"])
    (folder / "smoke").write_text(files["smoke"])
    return lambda: subprocess.run(("sh", folder / "smoke"), capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def app(tmp_path_factory):
    return tmp_path_factory.mktemp("app")


def test_the_smoke_test_passes_as_it_stands(app):
    done = smoke(app)()
    assert (done.returncode, "FAIL" in done.stdout) == (0, False), done.stdout


def test_the_smoke_test_fails_without_settings_and_for_a_setting_that_is_written_in(app):
    run = smoke(app)
    text = (app / "config.php").read_text()
    (app / "config.php").write_text(text.replace("getenv('RDS_PASSWORD')", "'s3cret'"))
    done = run()
    assert (done.returncode, "FAIL  RDS_PASSWORD comes from the environment" in done.stdout) == (1, True)
    (app / "config.php").unlink()
    assert "FAIL  the settings are where the application looks" in run().stdout


def planned_for(client):
    """What ci.yml's `deployments` does with a tag."""
    tagged = event(
        forge="bitbucket.org",
        provider=Provider.BITBUCKET_CLOUD,
        kind=EventKind.TAG_CREATED,
        repository=f"2pisoftware/{client}_deploy",
        ref="refs/tags/v1.0.0",
        name="v1.0.0",
    )
    (job,) = plan(tagged, load()).jobs
    # The stand-in for the base is in this engine: no registry is asked for a newer one.
    return replace(job, registries={})


@pytest.fixture
def stand_in(lab, tmp_path_factory):
    """An application's image: a web server and a page."""
    folder = tmp_path_factory.mktemp("base")
    (folder / "index.html").write_text("the application")
    (folder / "Dockerfile").write_text(
        f"FROM {lab.base}\nCOPY index.html /www/\nCMD httpd -f -p 80 -h /www\n"
        f"LABEL tau.system={lab.system} tau.kind=image\n"
    )
    lab.client.images.build(path=str(folder), tag=f"{BASE}:latest", rm=True)
    return BASE


@pytest.mark.engine
@pytest.mark.parametrize("start", ["", "httpd -p 80 -h /www", "true"])
def test_it_passes_the_pipeline_of_deployments_as_it_stands(tau, lab, tmp_path, stand_in, start):
    said = ("--registry", "docker.io", "--app", "/www", "--start", start)
    assert tau("deployment", f"t{os.getpid()}", "--from", stand_in, *said).exit_code == 0
    folder = tmp_path / f"t{os.getpid()}_deploy"
    if start == "true":
        # Nobody comes up, so nobody needs the half minute that is waited for.
        patient = (folder / "smoke").read_text()
        (folder / "smoke").write_text(patient.replace("left=30", "left=3"))
        assert (folder / "smoke").read_text() != patient
    job = planned_for(f"t{os.getpid()}")
    build, test = (step for step in job.steps if step.action in {"build", "test"})
    image = lab.name("client")

    def tree(into):
        for path in folder.iterdir():
            (into / path.name).write_bytes(path.read_bytes())
            (into / path.name).chmod(path.stat().st_mode)

    held = context(lab.client, tmp_path / "run", system=lab.system, job=job, trees={job.source.name: tree})
    (tmp_path / "run").mkdir()
    built = actions.find("build").run(
        actions.find("build").Settings.model_validate({**build.settings, "image": image}), held
    )
    made = replace(held, images={image: Image(image, built.facts["image"]["id"])})
    settings = actions.find("test").Settings.model_validate({**test.settings, "image": image})
    if start == "true":
        # A server that does not come up is a page that does not answer.
        with pytest.raises(Exception, match="the test command exited with 1"):
            actions.find("test").run(settings, made)
        assert "FAIL  the page answers" in made.log.text
    else:
        assert actions.find("test").run(settings, made).status is StepStatus.PASSED
        assert ("ok    the page answers" in made.log.text) == bool(start)


def test_a_place_where_nothing_can_be_written_is_named():
    said = ("--forge", "github.com", "--repository", "a/b", "--image", "a/b", "--registry", "docker.io")
    done = CliRunner().invoke(main, ["init", *said, "--tell", "a@b.com", "--output", "/nonexistent/ci.yml"])
    assert (done.exit_code, done.stderr) == (
        1,
        "tau: /nonexistent/ci.yml cannot be written: No such file or directory\n",
    )
