import pytest

from chalicelib.errors import BadRecord, NotThere, StepErrored
from chalicelib.model import RunState
from runner import images, leftovers
from tests.installation import run
from tests.running import Engine

SYSTEM = "tau-test"


@pytest.fixture
def docker():
    return Engine()


def runs(**by_id):
    """A way to find these runs and no others; an error stands for itself."""

    def find(run_id):
        found = by_id.get(run_id, NotThere(run_id))
        if isinstance(found, Exception):
            raise found
        return found

    return find


def running(epoch=1):
    return run(1, state=RunState.RUNNING, epoch=epoch)


def add(docker, name, kind="step", system=SYSTEM, **labels):
    wanted = {"tau_system": system, "tau_kind": kind, **labels}
    (docker.add_network if kind == "network" else docker.add_container)(name, **wanted)


@pytest.mark.parametrize(
    ("found", "dead"),
    [
        (running(1), False),
        (running(2), True),
        (run(1, state=RunState.WAITING, epoch=1), True),
        (run(1, state=RunState.QUEUED, epoch=1), True),
        (run(1, state=RunState.PASSED, epoch=1), True),
        (None, True),
    ],
    ids=["held", "taken over", "parked", "woken", "ended", "unknown"],
)
def test_a_claim_is_dead_unless_its_run_is_running_in_its_epoch(found, dead):
    assert leftovers.is_dead({"tau.run": "01A", "tau.epoch": "1"}, found) is dead


def test_what_dead_claims_left_goes_and_what_a_living_one_needs_stays(docker):
    add(docker, "dead", tau_run="01A", tau_epoch="1")
    add(docker, "alive", tau_run="01A", tau_epoch="2")
    add(docker, "service", kind="service", tau_run="01A", tau_epoch="1")
    add(docker, "net", kind="network", tau_run="01A", tau_epoch="1")
    assert leftovers.reap(docker, SYSTEM, runs(**{"01A": running(2)})) == 3
    assert sorted(docker.removed) == ["dead", "net", "service"]
    assert list(docker.container_list) == ["alive"]


def test_a_network_goes_after_the_containers_that_are_on_it(docker):
    add(docker, "net", kind="network", tau_run="01A", tau_epoch="1")
    add(docker, "dead", tau_run="01A", tau_epoch="1")
    leftovers.reap(docker, SYSTEM, runs())
    assert docker.removed == ["dead", "net"]


def test_nothing_of_another_system_and_nothing_without_our_labels_is_touched(docker):
    add(docker, "theirs", system="another", tau_run="01A", tau_epoch="1")
    add(docker, "site", kind="site", tau_run="01A", tau_epoch="1")
    docker.add_container("postgres")
    docker.add_container("no run", tau_system=SYSTEM, tau_kind="step")
    assert leftovers.reap(docker, SYSTEM, runs()) == 0
    assert docker.removed == []


def test_what_a_newer_runner_holds_is_not_ours_to_judge(docker):
    add(docker, "newer", tau_run="01A", tau_epoch="1")
    assert leftovers.reap(docker, SYSTEM, runs(**{"01A": BadRecord("of version 2")})) == 0


def test_one_that_the_engine_does_not_let_go_keeps_no_other(docker):
    for name in ("held", "free"):
        add(docker, name, tau_run="01A", tau_epoch="1")
    docker.held = {"held"}
    assert leftovers.reap(docker, SYSTEM, runs()) == 1
    assert docker.removed == ["free"]


def test_what_somebody_else_removed_meanwhile_is_no_failure(docker):
    add(docker, "dead", tau_run="01A", tau_epoch="1")

    def find(_):
        docker.container_list.clear()
        raise NotThere("01A")

    assert leftovers.reap(docker, SYSTEM, find) == 0


def test_an_engine_that_does_not_answer_is_named(docker):
    docker.gone = True
    with pytest.raises(StepErrored, match="the Docker engine does not answer"):
        leftovers.reap(docker, SYSTEM, runs())


# --- images ---------------------------------------------------------------------------------------

LOCK = "cmfive-dev/github.com/2pisoftware/cmfive/refs/heads/caf\u00e9's $(id) #1"


def add_image(docker, image_id, run_id, *tags, lock=LOCK, system=SYSTEM):
    labels = {"tau_system": system, "tau_lock": images.label_value(lock), "tau_run": run_id}
    docker.add_image(image_id, *tags, **labels)


def test_the_newest_image_of_a_branch_stays_and_older_ones_go_whatever_the_branch_is_called(docker):
    add_image(docker, "sha256:1", "01A", "hello:r-01a")
    add_image(docker, "sha256:2", "01B", "hello:r-01b")
    leftovers.forget_older_images(docker, SYSTEM, LOCK, "01B")
    assert list(docker.image_list) == ["sha256:2"]


def test_images_of_other_branches_and_other_systems_stay(docker):
    add_image(docker, "sha256:1", "01A", "hello:r-01a", lock="another")
    add_image(docker, "sha256:2", "01A", "hello:r-01a2", system="another")
    docker.add_image("sha256:3", "postgres:16")
    leftovers.forget_older_images(docker, SYSTEM, LOCK, "01B")
    assert len(docker.image_list) == 3


def test_an_image_without_a_name_goes_by_its_id(docker):
    add_image(docker, "sha256:1", "01A")
    leftovers.forget_older_images(docker, SYSTEM, LOCK, "01B")
    assert docker.image_list == {}


def test_an_image_in_use_stays_until_the_next_time(docker):
    add_image(docker, "sha256:1", "01A", "hello:r-01a")
    add_image(docker, "sha256:2", "01A", "hello:r-01a2")
    docker.held = {"sha256:1"}
    leftovers.forget_older_images(docker, SYSTEM, LOCK, "01B")
    assert list(docker.image_list) == ["sha256:1"]


# --- the real engine ------------------------------------------------------------------------------


@pytest.mark.engine
def test_the_real_engine_lets_go_of_a_running_container_and_its_network(lab):
    api, system = lab.client.api, f"{lab.system}-leftovers"
    labels = {"tau.system": system, "tau.run": "01A", "tau.epoch": "1"}
    network = api.create_network(system, labels={**labels, "tau.kind": "network"})["Id"]
    host = api.create_host_config(network_mode=network)
    api.start(api.create_container(lab.base, ["sleep", "60"], labels={**labels, "tau.kind": "step"}, host_config=host))
    assert leftovers.reap(lab.client, system, runs(**{"01A": running(1)})) == 0
    assert leftovers.reap(lab.client, system, runs(**{"01A": running(2)})) == 2
    ours = {"label": f"tau.system={system}"}
    assert (api.containers(all=True, filters=ours), api.networks(filters=ours)) == ([], [])
