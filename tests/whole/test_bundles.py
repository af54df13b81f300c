"""Bundles of the other kinds: a site that Elastic Beanstalk builds itself, and one of several services."""

import io
import json
import zipfile

import pytest

from chalicelib.model import RunState
from infra.local import samples
from tests.whole.world import GITHUB

pytestmark = [pytest.mark.engine, pytest.mark.cloud]

GROUND, SITE = "2pisoftware/ground", "2pisoftware/built_site"


@pytest.fixture(scope="module")
def live(installation):
    """The run that brought the site there, and what its base's `latest` was then."""
    installation.runners(1)
    installation.create_environment("built")
    for repository in (f"{GROUND}_image", SITE):
        installation.create(GITHUB, repository, {"README": repository})
    ground = installation.push("master", {"Dockerfile": f"FROM {samples.BASE_IMAGE}\n"}, repository=f"{GROUND}_image")
    assert installation.wait_for_end(ground.run).state is RunState.PASSED
    on = f"{installation.registry.host}/{GROUND}:latest"
    files = {path: text.replace(samples.BASE_IMAGE, on) for path, text in samples.client("v1.0.0").items()}
    sent = installation.push("master", {**files, "notes/x": "", ".ebignore": "notes/\n"}, repository=SITE)
    return installation.wait_for_end(sent.run), installation.digest("latest", GROUND)


def test_it_is_built_there_on_exactly_what_was_tested_and_was_never_pushed(installation, live):
    run, digest = live
    assert (run.state, run.reason) == (RunState.PASSED, None)
    assert "This is version v1.0.0." in installation.page("built")
    assert installation.digest(f"r-{run.id.lower()}", "2pisoftware/built") is None
    said = run.results["2"].facts["deployment"]
    assert said["built_from"] == f"{installation.registry.host}/{GROUND}:latest@{digest}"
    body = installation.edge.objects.get(f"bundles/built/{said['label']}.zip")
    with zipfile.ZipFile(io.BytesIO(body)) as bundle:
        assert (
            bundle.read("Dockerfile").decode().splitlines()[1] == f"FROM {installation.registry.host}/{GROUND}@{digest}"
        )
        assert bundle.namelist() == sorted({*samples.client("v1.0.0"), "README", ".ebignore"})
        assert "Image" not in json.loads(bundle.read("Dockerrun.aws.json"))


def test_the_mail_and_tau_live_say_who_built_it(installation, live):
    run, digest = live
    said = f"built by Elastic Beanstalk from {installation.registry.host}/{GROUND}:latest ({digest[:19]})"
    (mail,) = installation.mails(run.id)
    assert said in " ".join(mail.text.split())
    assert said in installation.tau("live").stdout


def test_the_services_of_a_compose_file_run_the_tested_image_of_a_registry_with_a_password(installation):
    installation.runners(1)
    installation.create_environment("composed")
    compose = """
services:
  web:
    image: 2pisoftware/composed:<TAG>
    ports: ["80:80"]
    env_file: .env
    volumes: ["./extra:/www/extra"]
"""
    files = {"docker-compose.yml": compose, "Dockerrun.aws.json": '{"AWSEBDockerrunVersion": 3}', "extra/a": "b"}
    run = installation.wait_for_end(installation.release("composed", "v1.0.0", files).run)
    assert run.state is RunState.PASSED
    assert "This is version v1.0.0." in installation.page("composed")
    said = run.results["3"].facts["deployment"]
    assert (said["built_from"], said["image"].partition("@")[2]) == (
        None,
        installation.digest("v1.0.0", "2pisoftware/composed"),
    )
    with zipfile.ZipFile(io.BytesIO(installation.edge.objects.get(f"bundles/composed/{said['label']}.zip"))) as bundle:
        assert bundle.namelist() == ["Dockerrun.aws.json", "docker-compose.yml", "extra/a"]
        assert f'image: "{said["image"]}"' in bundle.read("docker-compose.yml").decode()
        assert json.loads(bundle.read("Dockerrun.aws.json"))["Authentication"]["bucket"]
