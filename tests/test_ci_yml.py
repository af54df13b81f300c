"""2PiSoftware's own ci.yml, as its handbook describes it: what happens, and which pipelines answer."""

from pathlib import Path

import pytest

from chalicelib.config import load
from chalicelib.model import Event, EventKind, Provider, PushedImage
from chalicelib.plan import plan
from runner.compiler import compile_source

CI_YML = Path(__file__).parents[1] / "chalicelib" / "ci.yml"
FORGES = {"github.com": Provider.GITHUB, "bitbucket.org": Provider.BITBUCKET_CLOUD}
REGISTRY = "code.2pisoftware.com:5000"


def event(repository, name, kind=EventKind.PUSH):
    forge, _, full_name = repository.partition("/")
    place = "tags" if kind is EventKind.TAG_CREATED else "heads"
    return Event(
        forge,
        FORGES[forge],
        "d",
        kind,
        full_name,
        ref=f"refs/{place}/{name}",
        name=name,
        commit="2" * 40,
        after="2" * 40,
    )


def image_event(name, tag="latest"):
    pushed = PushedImage(REGISTRY, name, tag, f"sha256:{'a' * 64}", "01KAQ000000000000000000001")
    return Event("tau", Provider.TAU, "d", EventKind.IMAGE, None, name=f"{name}:{tag}", image=pushed)


def answers(said):
    return plan(said, load()).jobs


GITHUB, BITBUCKET = "github.com/2pisoftware", "bitbucket.org/2pisoftware"
PUSHES = [
    (f"{GITHUB}/cmfive", "master", "cmfive"),
    (f"{GITHUB}/cmfive", "develop", "cmfive-dev"),
    (f"{GITHUB}/cmfive", "development", "cmfive-dev"),
    (f"{GITHUB}/2picrm", "master", "crm"),
    (f"{GITHUB}/2picrm", "develop", "crm-dev"),
    (f"{GITHUB}/2picrm", "development", "crm-dev"),
    (f"{GITHUB}/testrunner", "master", "testrunner"),
]
BASES = ["cmfive", "cmfive-dev", "2picrm", "2picrm-dev", "webhooks", "registry"]


@pytest.mark.parametrize(("repository", "branch", "pipeline"), PUSHES)
def test_a_push_is_answered_by_one_pipeline(repository, branch, pipeline):
    assert [job.pipeline for job in answers(event(repository, branch))] == [pipeline]


@pytest.mark.parametrize("branch", ["feature/x", "Master", "develop2"])
def test_a_push_to_any_other_branch_starts_nothing(branch):
    assert answers(event(f"{GITHUB}/cmfive", branch)) == ()


@pytest.mark.parametrize("repository", [f"{GITHUB}/unheard-of", "github.com/stranger/cmfive", f"{BITBUCKET}/cmfive"])
def test_only_repositories_that_it_names_are_answered(repository):
    assert answers(event(repository, "master")) == ()


@pytest.mark.parametrize(
    ("repository", "branch", "image", "hosts"),
    [
        (f"{GITHUB}/cmfive", "master", "2pisoftware/cmfive", [REGISTRY, "docker.io"]),
        (f"{GITHUB}/cmfive", "develop", "2pisoftware/cmfive-dev", [REGISTRY, "docker.io"]),
        (f"{GITHUB}/2picrm", "master", "2pisoftware/crm", [REGISTRY]),
        (f"{GITHUB}/2picrm", "develop", "2pisoftware/crm-dev", [REGISTRY]),
        (f"{GITHUB}/testrunner", "master", "2pisoftware/cmfive-dev", [REGISTRY, "docker.io"]),
    ],
)
def test_each_makes_its_image_and_keeps_its_registries_up_to_date(repository, branch, image, hosts):
    (job,) = answers(event(repository, branch))
    assert job.steps[0].settings["image"] == image
    assert (job.steps[-1].settings["to"], job.steps[-1].settings["tags"][0]) == (hosts, "latest")


@pytest.mark.parametrize(("repository", "branch", "_pipeline"), [push for push in PUSHES if push[1] != "master"])
def test_a_dev_image_is_tested_before_it_is_pushed_and_its_pusher_hears_of_it_every_time(repository, branch, _pipeline):
    (job,) = answers(event(repository, branch))
    assert [step.action for step in job.steps] == ["build", "test", "push"]
    assert (job.notify.to, job.notify.on) == (("pusher",), "always")


@pytest.mark.parametrize(
    ("image", "pipeline", "made"),
    [
        ("2pisoftware/cmfive", "crm-on-cmfive", "2pisoftware/crm"),
        ("2pisoftware/cmfive-dev", "crm-dev-on-cmfive-dev", "2pisoftware/crm-dev"),
    ],
)
def test_what_stands_on_an_image_is_built_again_when_that_was_pushed(image, pipeline, made):
    (job,) = answers(image_event(image))
    assert (job.pipeline, job.steps[0].settings["image"]) == (pipeline, made)
    assert answers(image_event(image, "v1.2.0")) == ()
    assert answers(image_event(made)) == (), "and nothing stands on that"


def test_a_tag_on_a_clients_repository_is_built_tested_pushed_and_deployed():
    (job,) = answers(event(f"{BITBUCKET}/crm_2pisoftware_deploy", "v1.2.0", EventKind.TAG_CREATED))
    assert [step.action for step in job.steps] == ["build", "test", "push", "deploy_eb"]
    assert job.steps[0].settings["image"] == "2pisoftware/crm_2pisoftware"
    assert job.steps[3].settings["environment"] == "crm-2pisoftware-production"
    assert job.steps[0].settings["only_with"] == ["Dockerfile", "Dockerrun.aws.json"]


@pytest.mark.parametrize("name", BASES)
def test_a_tag_on_a_repository_of_base_images_or_services_deploys_nothing(name):
    said = event(f"{BITBUCKET}/{name}_deploy", "v1.2.0", EventKind.TAG_CREATED)
    assert answers(said) == ()
    reasons = {verdict.pipeline: verdict.reason for verdict in plan(said, load()).verdicts}
    assert reasons["deployments"] == f"repository {BITBUCKET}/{name}_deploy is excepted"


def test_pipelines_that_move_the_same_tag_go_one_after_the_other():
    by_image = {}
    for pipeline in load().pipelines:
        if pipeline.name != "deployments":
            by_image.setdefault(pipeline.steps[0].settings["image"], set()).add(pipeline.lock)
    assert {image: len(locks) for image, locks in by_image.items()} == dict.fromkeys(by_image, 1)


def test_the_applications_of_which_nobody_knows_what_they_build_only_need_their_marks_taken_away():
    lines = CI_YML.read_text().splitlines()
    start, end = (
        next(i for i, line in enumerate(lines) if line.startswith(text)) for text in ("  # wiki:", "  # --- what")
    )
    freed = "\n".join([*lines[:start], *(line.replace("  # ", "  ", 1) for line in lines[start:end]), *lines[end:]])
    form = compile_source(freed.replace("  #\n", "\n").encode()).form
    assert {"wiki", "webdav", "hosting"} < {pipeline["name"] for pipeline in form["pipelines"]}
