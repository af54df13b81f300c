"""What goes from an engine, what stays, and what other people have there."""

import threading
from dataclasses import replace

import pytest

from chalicelib.errors import StepErrored
from infra.local.traces import snapshot
from runner import images
from runner.cleaning import Cleaned, Cleaner
from runner.inventory import inventory
from runner.locking import BuildLock
from runner.pace import Real
from runner.retention import Known, Policy
from runner.stopping import Stopping
from tests.installation import NOW
from tests.pacing import PATIENCE_S

SYSTEM = "tau-test"
LOCK = "cmfive-dev/github.com/2pisoftware/cmfive/refs/heads/caf\u00e9's $(id) #1"
LINE = Known(line="cmfive-dev develop")


class Records:
    """What is known of runs; of most only that they are over."""

    def __init__(self):
        self.waiting = {}
        self.asked = []

    def __call__(self, run):
        self.asked.append(run)
        return Known(waits=self.waiting[run]) if run in self.waiting else LINE


@pytest.fixture
def records():
    return Records()


@pytest.fixture
def cleaner(docker, records, tmp_path):
    return Cleaner(
        docker,
        SYSTEM,
        records,
        BuildLock(tmp_path / "lock", Real()),
        Policy(1),
        Real(),
        patience_s=0.2,
        patience_when_short_s=0.3,
    )


def add(docker, number, *names, lock=LOCK, system=SYSTEM, **how):
    labels = {"tau_system": system, "tau_lock": images.label_value(lock), "tau_run": f"01{number}"}
    tags = names or (f"hello:r-01{number}",)
    docker.add_image(f"sha256:{number}", *tags, created=number, size=1000 + number, **how, **labels)


def test_the_newest_image_of_a_branch_stays_and_older_ones_go_whatever_the_branch_is_called(docker, cleaner):
    add(docker, 1)
    add(docker, 2)
    assert cleaner.clean(LOCK) == Cleaned(1, 1001)
    assert list(docker.image_list) == ["sha256:2"]


def test_of_one_branch_other_branches_are_not_cleaned(docker, cleaner):
    for number in (1, 2):
        add(docker, number, lock="another")
    assert cleaner.clean(LOCK) == Cleaned()
    assert cleaner.clean() == Cleaned(1, 1001)


def test_nothing_of_another_system_and_nothing_without_our_labels_is_touched(docker, cleaner):
    for number in (1, 2):
        add(docker, number, system="another")
    docker.add_image("sha256:db", "postgres:16")
    docker.add_image("sha256:base", "base:latest", tau_system=SYSTEM, tau_kind="image")
    docker.image_list["sha256:db"]["Labels"] = None
    assert cleaner.make_room(lambda: False) == Cleaned()
    assert len(docker.image_list) == 4


def test_what_a_layer_has_below_it_is_not_counted_as_its_own(docker, cleaner):
    docker.add_image("sha256:php", "php:8", size=900)
    docker.add_image("sha256:layer", parent="sha256:php", size=950)
    add(docker, 1, parent="sha256:layer")
    add(docker, 2)
    assert cleaner.clean() == Cleaned(1, 101)


def test_a_run_that_is_woken_while_images_go_keeps_its_own(docker, cleaner, records):
    for number in (1, 2, 3):
        add(docker, number)
    remove = docker.remove_image

    def woken_meanwhile(name):
        records.waiting["012"] = "run 012 is queued"
        remove(name)

    docker.remove_image = woken_meanwhile
    cleaner.clean()
    assert list(docker.image_list) == ["sha256:2", "sha256:3"]


def test_an_image_in_use_stays_until_the_next_time(docker, cleaner):
    for number in (1, 2, 3):
        add(docker, number)
    docker.held = {"sha256:1"}
    assert cleaner.clean() == Cleaned(1, 1002)
    docker.held = set()
    assert cleaner.clean() == Cleaned(1, 1001)


def test_where_the_disk_is_short_only_so_much_goes_as_is_needed_least_recently_used_first(docker, cleaner):
    for number in (1, 2, 3):
        add(docker, number, lock=f"branch {number}")
    records = {"011": Known(line="a"), "012": Known(line="b"), "013": Known(line="c")}
    cleaner._known = records.__getitem__
    assert cleaner.clean() == Cleaned()
    assert cleaner.make_room(lambda: "sha256:2" not in docker.image_list) == Cleaned(2, 2003)
    assert list(docker.image_list) == ["sha256:3"]


def test_a_name_that_a_push_left_behind_goes_and_the_image_stays(docker, cleaner, records):
    add(docker, 1, "hello:r-011", "registry.example.com:5000/hello:r-011")
    records.waiting["011"] = "run 011 is running"
    cleaner.clean()
    assert len(docker.image_list["sha256:1"]["RepoTags"]) == 2
    records.waiting.clear()
    cleaner.clean()
    assert docker.image_list["sha256:1"]["RepoTags"] == ["hello:r-011"]


def test_an_engine_that_does_not_answer_is_named(docker, cleaner):
    docker.gone = True
    with pytest.raises(StepErrored, match="the Docker engine does not answer"):
        cleaner.clean()


def test_what_builds_left_beside_their_images_goes_where_the_disk_is_short(docker, cleaner):
    docker.add_image("sha256:base", "php:8", size=900)
    for layer in ("sha256:one", "sha256:two"):
        docker.add_image(layer, parent="sha256:base", size=950, tau_system=SYSTEM, tau_kind="layer")
    docker.add_image("sha256:theirs", parent="sha256:base", size=950, tau_system="another", tau_kind="layer")
    add(docker, 1, parent="sha256:one")
    assert [one.image.id for one in cleaner.verdicts() if one.image.is_layer] == ["sha256:two"]
    assert cleaner.make_room(lambda: "sha256:two" not in docker.image_list).count == 1
    assert sorted(docker.image_list) == ["sha256:1", "sha256:base", "sha256:one", "sha256:theirs"]


def test_a_container_that_a_build_lost_with_its_engine_goes_but_not_while_a_build_goes_on(docker, cleaner, tmp_path):
    docker.add_container("lost", state="exited", tau_system=SYSTEM, tau_kind="layer")
    docker.add_container("at work", tau_system=SYSTEM, tau_kind="layer")
    docker.add_container("theirs", state="exited", tau_system="another", tau_kind="layer")
    docker.add_container("site", state="exited", tau_system=SYSTEM, tau_kind="site")
    with BuildLock(tmp_path / "lock", Real()).building(Stopping()):
        cleaner.clean()
    assert docker.removed == []
    cleaner.clean()
    assert docker.removed == ["lost"]


# --- builds and cleaners --------------------------------------------------------------------------


def test_nothing_goes_while_a_build_goes_on_unless_the_disk_is_short(docker, cleaner, tmp_path):
    for number in (1, 2):
        add(docker, number)
    another_runners = BuildLock(tmp_path / "lock", Real())
    with another_runners.building(Stopping()):
        assert cleaner.clean() == Cleaned()
        assert cleaner.make_room(lambda: True) == Cleaned(1, 1001)


def test_builds_go_on_beside_each_other_and_wait_while_something_goes(tmp_path):
    lock = BuildLock(tmp_path / "lock", Real())
    began = threading.Event()

    def build():
        with lock.building(Stopping()):
            began.set()

    with lock.building(Stopping()), lock.building(Stopping()), lock.alone(0) as alone:
        assert not alone
    with lock.alone(0) as alone:
        assert alone
        building = threading.Thread(target=build)
        building.start()
        assert not began.wait(0.3)
    assert began.wait(PATIENCE_S)
    building.join()


# --- the real engine ------------------------------------------------------------------------------


def built(lab, text, tag=None, **labels):
    """An image of a Dockerfile, by the classic builder; its id."""
    import io

    said = " ".join(f'"tau.{name}"="{value}"' for name, value in labels.items())
    text = f"FROM {lab.base}\n{text}\n" + (f"LABEL {said}\n" if said else "")
    stream = lab.client.api.build(fileobj=io.BytesIO(text.encode()), tag=tag, rm=True, forcerm=True, decode=True)
    return [message["aux"]["ID"] for message in stream if "aux" in message][-1]


@pytest.mark.engine
def test_in_a_real_engine_others_keep_every_image_container_network_and_volume(lab, tmp_path):
    system, api = f"{lab.system}-cleaning", lab.client.api

    def ours(run, text="RUN echo a >/a", **labels):
        named = {"system": system, "kind": "image", "run": run, "lock": "l", **labels}
        return built(lab, text, f"{lab.name('cleaned')}:r-{run.lower()}", **named)

    first, second, third = (ours(f"01{name}", f"RUN echo {name} >/a") for name in "ABC")
    others = [
        built(lab, "RUN echo theirs >/b", f"{lab.name('theirs')}:1"),
        built(lab, "RUN echo unnamed >/b"),
        built(lab, "RUN echo x >/x", f"{lab.name('another')}:r-01a", system="another", run="01A", kind="image"),
    ]
    on_ours = lab.client.images.get(third)
    on_ours.tag(lab.name("sams"), "own")
    network, volume = api.create_network(lab.name("net").replace("/", "-")), api.create_volume()
    container = api.create_container(second, ["true"])["Id"]
    before, parents = snapshot(lab.client), {one["Id"]: one["ParentId"] for one in api.images(all=True)}
    try:
        cleaner = Cleaner(lab.client, system, lambda _: LINE, BuildLock(tmp_path / "lock", Real()), Policy(1), Real())
        reasons = {one.image.id: one.reason for one in cleaner.verdicts()}
        assert reasons[second].startswith("the container ")
        assert reasons[third].startswith("it is also called ")
        assert cleaner.make_room(lambda: False).count == 1
        after = snapshot(lab.client)
        assert first not in after.images
        assert {second, third, *others} <= after.images
        assert before.tags - after.tags == {f"{lab.name('cleaned')}:r-01a"}
        assert (after.containers, after.networks, after.volumes) == (
            before.containers,
            before.networks,
            before.volumes,
        )
        assert before.images - after.images <= {first, *_layers_below(first, parents)}
    finally:
        api.remove_container(container)
        api.remove_network(network["Id"])
        api.remove_volume(volume["Name"])


def _layers_below(image, parents):
    while image := parents.get(image):
        yield image


@pytest.mark.engine
def test_a_real_engine_tells_what_an_image_has_for_itself_and_what_it_stands_on(lab):
    system = f"{lab.system}-inventory"
    labels = {"system": system, "kind": "image", "lock": "l"}
    below = built(
        lab, "RUN dd if=/dev/zero of=/a bs=1000 count=3000", f"{lab.name('below')}:r-01a", run="01A", **labels
    )
    above = built(
        replace(lab, base=below),
        "RUN dd if=/dev/zero of=/b bs=1000 count=500",
        f"{lab.name('above')}:r-01b",
        run="01B",
        **labels,
    )
    found = {one.id: one for one in inventory(lab.client, system, lambda _: LINE, NOW).images}
    assert set(found) == {below, above}
    assert found[below].own_bytes == pytest.approx(3_000_000, rel=0.01)
    assert found[above].own_bytes == pytest.approx(500_000, rel=0.05)
    assert found[above].layers[: len(found[below].layers)] == found[below].layers
    assert found[above].used_at.year > 2000
