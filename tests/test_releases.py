import pytest

from chalicelib.model import Event, EventKind, Provider
from chalicelib.plan import plan
from chalicelib.releases import Release
from tests.test_plan import COMMIT, config, pipeline


@pytest.mark.parametrize(("tag", "said"), [("v1.2.3", "1.2.3"), ("0.10.0", "0.10.0")])
def test_a_semantic_version_is_a_release_with_or_without_a_v(tag, said):
    assert str(Release.of(tag)) == said


@pytest.mark.parametrize("tag", ["v1.2.3-rc.1", "1.2", "v01.2.3", "1.2.3+build", "latest", "", "1.2.3\n", "\uff11.2.3"])
def test_a_pre_release_and_anything_else_is_none(tag):
    assert Release.of(tag) is None


def test_releases_are_ordered_by_their_numbers():
    assert Release.of("1.10.0") > Release.of("v1.9.9") > Release.of("1.9.0")


def tags_of(name):
    tags = [{"template": f"{{{word}}}", "sink": "image_tag"} for word in ("tag", "major")]
    tags.insert(1, {"template": "{major}.{minor}", "sink": "image_tag"})
    step = {"action": "tag", "settings": {"image": "2pisoftware/cmfive", "to": ["docker.io"], "tags": tags}}
    made = Event(
        "github.com", Provider.GITHUB, "d", EventKind.TAG_CREATED, "2pisoftware/cmfive", f"refs/tags/{name}", name
    )
    planned = plan(
        Event(**{**vars(made), "commit": COMMIT}), config(pipeline(triggers={"tag": {"names": ["*"]}}, steps=[step]))
    )
    (job,), (verdict,) = planned.jobs, planned.verdicts
    return job.steps[0].settings["tags"], verdict.reason


def test_a_release_gets_its_numbers():
    assert tags_of("v1.12.3")[0] == ["v1.12.3", "1.12", "1"]


def test_of_a_pre_release_they_are_left_out_and_the_verdict_says_so():
    tags, reason = tags_of("v2.0.0-rc.1")
    assert tags == ["v2.0.0-rc.1"]
    assert reason == 'tag "v2.0.0-rc.1" matches *; it is no release: {major}.{minor}, {major} are left out'
