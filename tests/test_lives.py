"""What is live where: as Tau left it, and as it is."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from botocore.exceptions import EndpointConnectionError

from chalicelib.lives import lives, standing
from chalicelib.model import DeploymentState, Live
from tests.deploying import World, deployment
from tests.installation import NOW, installation, later

LEFT = Live("ap-southeast-2", "crm", "crm-production", "v2", "01RUN.3", NOW, health="Green", tag="v2.0.0", by="Sam")
READY = {"ApplicationName": "crm", "EnvironmentName": "crm-production", "Status": "Ready", "VersionLabel": "v2"}


@pytest.mark.parametrize(
    ("now", "health", "drift"),
    [
        ({**READY, "Health": "Green"}, "Green", None),
        ({**READY, "Health": "Green", "HealthStatus": "Warning"}, "Warning", None),
        ({**READY, "VersionLabel": "v9", "Health": "Red"}, "Red", "changed outside Tau: runs v9"),
        ({**READY, "VersionLabel": None, "Health": "Grey"}, "Grey", "changed outside Tau: runs no version"),
        ({**READY, "VersionLabel": "v3", "Status": "Updating"}, "Updating", None),
        (None, None, "there is no such environment any more"),
    ],
)
def test_an_environment_is_compared_with_what_was_left_there(now, health, drift):
    found = standing(LEFT, now)
    assert (found.health, found.drift) == (health, drift)


def test_what_was_deployed_and_stayed_though_it_is_not_well_was_not_changed_outside(monkeypatch):
    with installation(monkeypatch) as edge:
        good, bad = deployment("01A"), deployment("01B", label="v3", intended_at=later(60), created_at=later(60))
        for made in (good, bad):
            edge.store.create_deployment(made)
        assert edge.store.move_deployment(good, replace(good, state=DeploymentState.LIVE), live=LEFT)
        assert edge.store.move_deployment(bad, replace(bad, state=DeploymentState.FAILED))
        runs = {**READY, "EnvironmentName": LEFT.environment, "VersionLabel": "v3", "Health": "Red"}
        client = SimpleNamespace(describe_environments=lambda **_: {"Environments": [runs]})
        (found,) = lives(replace(edge, client=lambda *_: client))
    assert found.drift == "runs v3, which was deployed and stayed although it is not well: run 01B"


def test_each_region_is_asked_once_for_all_of_its_environments(monkeypatch):
    asked = []

    class Client:
        def __init__(self, region):
            self.region = region

        def describe_environments(self, **question):
            asked.append((self.region, question["EnvironmentNames"]))
            if self.region == "us-east-1":
                raise EndpointConnectionError(endpoint_url="https://elasticbeanstalk")
            return {"Environments": [{**READY, "EnvironmentName": name} for name in question["EnvironmentNames"]]}

    with installation(monkeypatch) as edge:
        for number, (region, name) in enumerate(
            [("ap-southeast-2", "crm-production"), ("ap-southeast-2", "crm-test"), ("us-east-1", "far")]
        ):
            made = deployment(f"01RUN{number}", region=region, environment=name)
            edge.store.create_deployment(made)
            left = replace(LEFT, region=region, environment=name)
            assert edge.store.move_deployment(made, replace(made, state=DeploymentState.LIVE), live=left)
        found = lives(replace(edge, client=lambda _service, region: Client(region)))
    assert asked == [("ap-southeast-2", ["crm-production", "crm-test"]), ("us-east-1", ["far"])]
    assert [one.drift for one in found] == [None, None, None]
    assert "elasticbeanstalk" in found[2].unseen


def test_what_is_live_is_written_with_the_deployments_end_and_only_by_who_moves_it(monkeypatch):
    with installation(monkeypatch) as edge:
        made = deployment()
        edge.store.create_deployment(made)
        live = replace(made, state=DeploymentState.LIVE)
        assert edge.store.live(LEFT.region, LEFT.environment) is None
        assert edge.store.move_deployment(made, live, live=LEFT)
        assert not edge.store.move_deployment(made, live, live=replace(LEFT, label="v9"))
        assert edge.store.live(LEFT.region, LEFT.environment) == LEFT
        again = deployment("01SUN")
        edge.store.create_deployment(again)
        newer = replace(LEFT, label="v3", since=later(60), tag=None, good_label="v2")
        assert edge.store.move_deployment(again, replace(again, state=DeploymentState.LIVE), live=newer)
        assert edge.store.all_live() == [newer]


def test_the_way_back_leads_to_what_was_live_last_as_the_records_know_it():
    world = World()
    assert world.to_the_end().state is DeploymentState.LIVE
    (left,) = world.store.lives.values()
    assert (left.label, left.health, left.good_label) == ("v2", "Green", None)
    world.beanstalk.fate = "Red"
    world.beanstalk.add_version("v3")
    world.add(deployment("01SUN", label="v3"))
    # Somebody deployed v1 by hand in between, and it is ill.
    world.beanstalk.environments["crm-production"].label = "v1"
    world.beanstalk.well = {"v2"}
    record = world.to_the_end("01SUN.3")
    assert (record.state, record.back_to) == (DeploymentState.ROLLED_BACK, "v2")
    assert world.beanstalk.updates == ["v2", "v3", "v2"]
    assert world.store.lives["ap-southeast-2", "crm-production"] == left


def test_the_version_that_comes_after_a_good_one_remembers_it():
    world = World()
    world.to_the_end()
    world.beanstalk.add_version("v3")
    world.add(deployment("01SUN", label="v3"))
    world.to_the_end("01SUN.3")
    (left,) = world.store.lives.values()
    assert (left.label, left.good_label) == ("v3", "v2")
