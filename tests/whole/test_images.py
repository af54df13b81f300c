"""Images that stand on one another: a push of the lowest builds them all again, level by level; a tag builds none."""

import json
from datetime import UTC, datetime

import pytest

from chalicelib.model import RunState
from infra.local import samples
from tests.whole.world import GITHUB, wait_for

pytestmark = [pytest.mark.engine, pytest.mark.cloud, pytest.mark.slow]

BASE, CRM, CLIENT = "2pisoftware/base", "2pisoftware/crm", "2pisoftware/client-i"


def dockerfile(on, text):
    return {"Dockerfile": f"FROM {on}\nLABEL text={text}\n"}


@pytest.fixture(scope="module")
def pushed(installation):
    """Base, crm on it, the client on crm: each pushed once; the runs by image."""
    installation.runners(1)
    installation.cloud.tick()
    host = installation.registry.host
    found = {}
    for image, repository, on in (
        (BASE, BASE, samples.BASE_IMAGE),
        (CRM, f"{CRM}_image", f"{host}/{BASE}:latest"),
        (CLIENT, f"{CLIENT}_image", f"{host}/{CRM}:latest"),
    ):
        installation.create(GITHUB, repository, {"README": image})
        sent = installation.push("master", dockerfile(on, "one"), repository=repository)
        assert installation.wait_for_end(sent.run).state is RunState.PASSED
        found[image] = sent
    return found


def listed(installation):
    said = installation.tau("images", "--json")
    assert said.returncode == 0, said.stderr
    return {f"{one['name']}:{one['tag']}": one for one in json.loads(said.stdout)}


def runs_of(installation, image):
    """The rebuilds of an image, oldest first."""
    day = datetime.now(UTC).date().isoformat()
    runs = installation.edge.store.runs_of_day(day, 500)
    repository = f"{image}_image"
    found = [run for run in runs if run.job.event.image and run.job.event.repository == repository]
    return sorted(found, key=lambda run: run.id)


def test_what_each_image_stands_on_is_known(installation, pushed):
    images = listed(installation)
    (base,) = images[f"{CRM}:latest"]["bases"]
    assert (base["name"], base["tag"]) == (BASE, "latest")
    assert base["digest"] == installation.digest("latest", BASE)
    assert images[f"{CLIENT}:latest"]["bases"][0]["digest"] == installation.digest("latest", CRM)
    assert images[f"{CRM}:latest"]["run"] == pushed[CRM].run
    assert [one["stale"] for one in images.values() if one["name"] in {CRM, CLIENT}] == [[]] * 4


@pytest.mark.usefixtures("pushed")
def test_a_push_of_the_lowest_builds_the_others_again_level_by_level(installation):
    before = {image: installation.digest("latest", image) for image in (BASE, CRM, CLIENT)}
    installation.runners(1)
    sent = installation.push("master", dockerfile(samples.BASE_IMAGE, "two"), repository=BASE)
    installation.wait_for_end(sent.run)
    wait_for(
        lambda: [run.ended for run in runs_of(installation, CLIENT)] == [True], "the client to be built again", 120
    )
    assert [run.state for image in (CRM, CLIENT) for run in runs_of(installation, image)] == [RunState.PASSED] * 2
    images = listed(installation)
    for image, on in ((CRM, BASE), (CLIENT, CRM)):
        assert installation.digest("latest", image) != before[image]
        assert images[f"{image}:latest"]["bases"][0]["digest"] == installation.digest("latest", on)
    assert installation.tau("images", "--stale").stdout == "No image is stale.\n"


def test_a_tag_gives_the_image_of_its_commit_the_same_digest_and_builds_nothing(installation, pushed):
    installation.runners(1)
    tag = installation.githost.tag(GITHUB, f"{CRM}_image", "v1.2.0", branch="master")
    commit = installation.githost.describe(GITHUB, f"{CRM}_image", tag.commit)
    webhook = samples.github_push(
        f"{CRM}_image", [commit], installation.hook_secret, ref="refs/tags/v1.2.0", before=None
    )
    run = installation.wait_for_end(installation.announced(webhook).run)
    assert (run.state, list(run.results)) == (RunState.PASSED, ["0"])
    assert tag.commit == pushed[CRM].commit
    known = installation.digest("latest", CRM)
    assert [installation.digest(name, CRM) for name in ("v1.2.0", "1.2")] == [known, known]
