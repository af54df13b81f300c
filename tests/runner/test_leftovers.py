import os

import pytest

from chalicelib.errors import BadRecord, NotThere, StepErrored
from chalicelib.model import RunState
from runner import leftovers
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


def test_a_volume_of_a_dead_claim_goes_and_one_of_anybody_else_stays(docker):
    docker.add_volume("dead", tau_system=SYSTEM, tau_kind="volume", tau_run="01A", tau_epoch="1")
    docker.add_volume("theirs", tau_system="another", tau_kind="volume", tau_run="01A", tau_epoch="1")
    docker.add_volume("database")
    assert leftovers.reap(docker, SYSTEM, runs()) == 1
    assert list(docker.volume_list) == ["theirs", "database"]


# --- folders --------------------------------------------------------------------------------------

RUN = "01KAQ000000000000000000001"


def folder(tmp_path, name, *files):
    made = tmp_path / name
    made.mkdir()
    for file in files:
        (made / file).parent.mkdir(parents=True, exist_ok=True)
        (made / file).write_text("x")
    return made


def test_folders_of_dead_claims_go_and_one_in_hand_stays_with_whatever_else_lies_there(tmp_path):
    for name in (f"{RUN}-1", f"{RUN}-2", "tmpindex", "notes"):
        folder(tmp_path, name, "tree/Dockerfile")
    assert leftovers.reap_folders(tmp_path, runs(**{RUN: running(2)})) == 1
    assert sorted(one.name for one in tmp_path.iterdir()) == [f"{RUN}-2", "notes", "tmpindex"]


def test_the_folder_of_a_run_that_nobody_knows_is_not_ours_to_judge(tmp_path):
    folder(tmp_path, f"{RUN}-1")
    assert leftovers.reap_folders(tmp_path, runs(**{RUN: BadRecord("of version 2")})) == 0
    assert leftovers.reap_folders(tmp_path, runs()) == 0


def test_where_no_run_was_ever_worked_on_there_is_nothing_to_reap(tmp_path):
    assert leftovers.reap_folders(tmp_path / "none", runs()) == 0


def as_nobody(work):
    """Whether it does so as a user without rights: root is stopped by no mode."""
    child = os.fork()
    if child == 0:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        os._exit(0 if work() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_tree_that_a_build_has_closed_to_writing_goes_too(tmp_path):
    made = folder(tmp_path, "module", "deep/er/file")
    for path in (made / "deep" / "er" / "file", made / "deep" / "er", made / "deep", made):
        path.chmod(0o555)
        if os.geteuid() == 0:
            os.chown(path, 65534, 65534)
    tmp_path.chmod(0o777)
    _open_ways(tmp_path)
    assert as_nobody(lambda: leftovers.remove_tree(made))
    assert not made.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file that is root's")
def test_what_belongs_to_root_stays_and_keeps_no_other_folder_from_going(tmp_path):
    roots = folder(tmp_path, f"{RUN}-1", "cache/roots")
    (roots / "cache").chmod(0o755)
    ours = folder(tmp_path, f"{RUN}-2", "file")
    for path in (ours, ours / "file", roots):
        os.chown(path, 65534, 65534)
    tmp_path.chmod(0o777)
    _open_ways(tmp_path)
    assert as_nobody(lambda: leftovers.reap_folders(tmp_path, runs(**{RUN: running(3)})) == 1)
    assert [one.name for one in tmp_path.iterdir()] == [f"{RUN}-1"]


def _open_ways(path):
    """Let anybody walk down to a folder of pytest's."""
    for above in path.parents:
        if above.stat().st_uid == os.geteuid() and "pytest" in str(above):
            above.chmod(0o755)


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
