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


@pytest.mark.parametrize("branch", ["features", "Master", "develop2"])
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


def test_the_crm_is_built_again_when_the_image_was_pushed_that_it_stands_on():
    (job,) = answers(image_event("2pisoftware/cmfive"))
    assert (job.pipeline, job.steps[0].settings["image"]) == ("crm-on-cmfive", "2pisoftware/crm")
    assert answers(image_event("2pisoftware/cmfive", "v1.2.0")) == ()
    assert answers(image_event("2pisoftware/crm")) == (), "what stands on that needs no rule"


def test_what_stands_on_the_dev_image_and_on_the_crm_is_built_again_without_a_rule():
    rebuilding = {pipeline.name for pipeline in load().pipelines if pipeline.rebuild}
    assert rebuilding == {"cmfive-dev", "testrunner", "crm", "crm-on-cmfive"}


@pytest.mark.parametrize(("name", "hosts"), [("cmfive", [REGISTRY, "docker.io"]), ("2picrm", [REGISTRY])])
def test_a_tag_on_an_application_tags_its_image_and_builds_one_only_where_there_is_none(name, hosts):
    (job,) = answers(event(f"{GITHUB}/{name}", "v4.2.1", EventKind.TAG_CREATED))
    assert [step.action for step in job.steps] == ["tag", "build", "push"]
    for step in (job.steps[0], job.steps[-1]):
        assert (step.settings["to"], step.settings["tags"]) == (hosts, ["v4.2.1", "4.2", "4"])


def test_a_branch_that_is_worked_on_has_a_dev_image_of_its_own():
    for kind in (EventKind.BRANCH_CREATED, EventKind.PUSH):
        (job,) = answers(event(f"{GITHUB}/cmfive", "feature/x", kind))
        assert (job.pipeline, job.steps[-1].settings["tags"]) == ("cmfive-feature", ["feature-x-2bdd6c29"])


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
        pushed = pipeline.steps[-1].settings
        if "latest" in pushed.get("tags", ()):
            by_image.setdefault(pushed["image"], set()).add(pipeline.lock)
    assert len(by_image) == 4
    assert {image: len(locks) for image, locks in by_image.items()} == dict.fromkeys(by_image, 1)


def test_the_applications_of_which_nobody_knows_what_they_build_only_need_their_marks_taken_away():
    lines = CI_YML.read_text().splitlines()
    start, end = (
        next(i for i, line in enumerate(lines) if line.startswith(text)) for text in ("  # wiki:", "  # --- what")
    )
    freed = "\n".join([*lines[:start], *(line.replace("  # ", "  ", 1) for line in lines[start:end]), *lines[end:]])
    form = compile_source(freed.replace("  #\n", "\n").encode()).form
    assert {"wiki", "webdav", "hosting"} < {pipeline["name"] for pipeline in form["pipelines"]}
