import gc
import re
import threading
import time
import warnings

import pytest
from docker.errors import APIError

from chalicelib.errors import StepErrored, StepFailed
from runner import containers
from runner.containers import Wanted
from runner.ending import Limits
from runner.stopping import Stopped, Stopping, Why
from tests.running import Engine, Log, stopping_soon, within

pytestmark = pytest.mark.engine


@pytest.fixture
def wanted(lab, request):
    def make(*command, **changes):
        fields = {
            "image": lab.base,
            "command": command,
            "environment": {},
            "memory_bytes": 64 * 1024**2,
            "labels": {"tau.system": lab.system, "tau.run": "01A", "tau.epoch": "1"},
            "name": f"{lab.system}-{abs(hash(request.node.name))}",
        }
        return Wanted(**{**fields, **changes})

    return make


class Stubborn:
    """The engine, which refuses the first `stops` stops and `kills` kills, and knows what was attached."""

    def __init__(self, client, *, stops=0, kills=0):
        self.api = self
        self._client = client
        self._refusals = {"stop": stops, "kill": kills}
        self.asked = []
        self.attached = []

    def __getattr__(self, name):
        return getattr(self._client.api, name)

    def attach(self, *args, **options):
        self.attached.append(self._client.api.attach(*args, **options))
        return self.attached[-1]

    def stop(self, *args, **options):
        return self._answer("stop", *args, **options)

    def kill(self, *args, **options):
        return self._answer("kill", *args, **options)

    def _answer(self, verb, *args, **options):
        self.asked.append(verb)
        self._refusals[verb] -= 1
        if self._refusals[verb] >= 0:
            raise APIError(f"{verb} is refused")
        return getattr(self._client.api, verb)(*args, **options)


def watched(lab, engine, wanted, stopping=None, **limits):
    """How a container ended in this engine."""
    with containers.created(lab.client, wanted, "none") as container:
        return containers.watch(engine, container, Log(), Limits(**limits), stopping or Stopping())


def ran(lab, wanted, timeout_s=20):
    """How a container ended, what it printed, and what the engine knew of it."""
    log = Log()
    with containers.created(lab.client, wanted, "none") as container:
        known = lab.client.api.inspect_container(container)
        ended = containers.watch(lab.client, container, log, Limits(timeout_s), Stopping())
    return ended, log.text, known


def test_a_command_runs_to_its_end_and_all_that_it_printed_is_there(lab, wanted):
    ended, text, _ = ran(
        lab, wanted("sh", "-c", "echo out; echo err >&2; i=0; while [ $i -lt 500 ]; do echo $i; i=$((i+1)); done")
    )
    assert (ended.code, ended.out_of_memory, ended.timed_out_s) == (0, False, None)
    lines = text.splitlines()
    assert [line for line in lines if line.isdigit()] == [str(number) for number in range(500)]
    assert sorted(line for line in lines if not line.isdigit()) == ["err", "out"]


def test_the_exit_code_is_the_commands(lab, wanted):
    assert ran(lab, wanted("sh", "-c", "exit 3"))[0].code == 3


def test_a_command_that_is_not_in_the_image_exits_with_127(lab, wanted):
    ended, text, _ = ran(lab, wanted("/opt/testrunner/run"))
    assert ended.code == 127
    assert "/opt/testrunner/run" in text


def test_a_command_that_takes_too_long_is_stopped(lab, wanted):
    began = time.monotonic()
    ended, text, _ = ran(lab, wanted("sh", "-c", "echo begun; sleep 60"), timeout_s=1)
    assert ended.timed_out_s == 1
    assert time.monotonic() - began < 8
    assert text == "begun\n"


@pytest.mark.parametrize(("stops", "asked"), [(1, ["stop", "stop"]), (9, ["stop", "stop", "kill"])])
def test_a_stop_that_is_refused_is_tried_again_and_then_it_is_killed(lab, wanted, stops, asked):
    engine = Stubborn(lab.client, stops=stops)
    ended = watched(lab, engine, wanted("sleep", "60"), timeout_s=0.5)
    assert (ended.timed_out_s, engine.asked) == (0.5, asked)


@pytest.mark.parametrize("script", ["sleep 60", "exec >&- 2>&-; sleep 60"], ids=["reading", "waiting"])
def test_a_container_that_cannot_be_stopped_is_not_waited_for(lab, wanted, script):
    engine = Stubborn(lab.client, stops=99, kills=99)
    began = time.monotonic()
    with pytest.raises(StepErrored, match=r"the container could not be stopped: .* is refused"):
        watched(lab, engine, wanted("sh", "-c", script), timeout_s=0.5, stopping_s=3)
    assert 3 < time.monotonic() - began < 9
    assert engine.attached[0]._response.raw.closed
    assert (lab.containers(), engine.asked[:3]) == ([], ["stop", "stop", "kill"])


IGNORES = "trap '' TERM; echo begun; sleep 600"


@pytest.mark.parametrize("why", [Why.ASKED, Why.LOST])
@pytest.mark.parametrize("script", [IGNORES, f"exec >&- 2>&-; {IGNORES}"], ids=["reading", "waiting"])
def test_whoever_asks_to_stop_does_not_wait_for_a_suite_that_does_not_listen(lab, wanted, script, why):
    stopping, engine = Stopping(), Stubborn(lab.client)
    with within(10), stopping_soon(stopping, why), pytest.raises(Stopped) as stopped:
        watched(lab, engine, wanted("sh", "-c", script), stopping, timeout_s=600)
    assert stopped.value.why is why
    assert engine.asked[0] == "kill"
    assert engine.attached[0]._response.raw.closed
    assert lab.containers() == []


def test_what_has_a_grace_is_asked_before_it_is_killed(lab, wanted):
    script, log, stopping = "trap 'echo bye; exit 0' TERM; echo begun; sleep 600 & wait", Log(), Stopping()
    with (
        containers.created(lab.client, wanted("sh", "-c", script), "none") as container,
        within(10),
        stopping_soon(stopping),
        pytest.raises(Stopped),
    ):
        containers.watch(lab.client, container, log, Limits(600, asked_grace_s=2), stopping)
    assert log.text == "begun\nbye\n"


def test_a_container_that_is_being_stopped_for_its_time_is_killed_for_whoever_asks(lab, wanted):
    stopping = Stopping()
    with within(8), stopping_soon(stopping, Why.LOST), pytest.raises(Stopped):
        watched(lab, lab.client, wanted("sh", "-c", IGNORES), stopping, timeout_s=0.2)


def test_an_engine_that_stops_nothing_keeps_nobody_who_asks(lab, wanted):
    stopping, engine = Stopping(), Stubborn(lab.client, stops=99, kills=99)
    with within(10), stopping_soon(stopping), pytest.raises(Stopped):
        watched(lab, engine, wanted("sh", "-c", "exec >&- 2>&-; sleep 600"), stopping, timeout_s=600, asked_s=1)
    assert lab.containers() == []


def test_nothing_starts_for_a_claim_that_is_to_stop(lab, wanted):
    stopping, engine = Stopping(), Stubborn(lab.client)
    stopping.ask(Why.HANDED_BACK)
    engine.start = lambda container: pytest.fail(f"started {container}")
    with pytest.raises(Stopped):
        watched(lab, engine, wanted("sleep", "600"), stopping, timeout_s=600)
    assert lab.containers() == []


def test_an_engine_that_hangs_is_not_waited_for_when_a_container_goes(lab, wanted, caplog):
    class Hanging(Stubborn):
        def remove_container(self, container, **options):
            lab.client.api.remove_container(container, **options)
            time.sleep(1)

    with containers.created(Hanging(lab.client), wanted("true"), "none", tidy_s=0.2):
        began = time.monotonic()
    assert time.monotonic() - began < 0.9, "no verdict hangs on it"
    assert "something is left in the engine" in caplog.text


def late(call, let_go):
    """The same call, which is answered when it is let go: by then only what is to be made can still be made."""

    def called(*args, **options):
        let_go.wait(30)
        if call.__name__ != "create_container":
            raise APIError("no such container")
        return call(*args, **options)

    return called


def nothing_is_left(lab):
    """What the engine made late is gone soon."""
    for _ in range(100):
        if not lab.containers():
            return
        time.sleep(0.1)
    pytest.fail(f"left in the engine: {lab.containers()}")


@pytest.mark.parametrize("what", ["create_container", "attach", "start"])
def test_an_engine_that_hangs_before_a_container_runs_keeps_nobody_who_asks_to_stop(lab, wanted, what):
    engine, let_go, stopping = Stubborn(lab.client), threading.Event(), Stopping()
    setattr(engine, what, late(getattr(engine, what), let_go))
    threading.Timer(0.5, lambda: stopping.ask(Why.ASKED)).start()
    began = time.monotonic()
    with (
        pytest.raises(Stopped),
        containers.created(engine, wanted("true"), "none", stopping=stopping) as container,
    ):
        containers.watch(engine, container, Log(), Limits(60), stopping)
    assert time.monotonic() - began < 15
    let_go.set()
    nothing_is_left(lab)


@pytest.mark.parametrize("what", ["create_container", "attach", "start"])
def test_an_engine_that_hangs_before_a_container_runs_is_an_error_soon(lab, wanted, what, monkeypatch):
    engine, let_go = Stubborn(lab.client), threading.Event()
    setattr(engine, what, late(getattr(engine, what), let_go))
    monkeypatch.setattr(containers, "_PATIENCE_S", 1)
    with (
        pytest.raises(StepErrored, match="does not answer"),
        containers.created(engine, wanted("true"), "none") as container,
    ):
        containers.watch(engine, container, Log(), Limits(60), Stopping())
    let_go.set()
    nothing_is_left(lab)


def test_a_command_that_prints_nothing_more_has_not_ended(lab, wanted):
    assert ran(lab, wanted("sh", "-c", "exec >&- 2>&-; sleep 1; exit 4"))[0].code == 4


@pytest.mark.parametrize(
    ("line", "reason"),
    [("USER nope", "unable to find user nope"), ("WORKDIR /bin/busybox", "not a directory")],
)
def test_an_image_that_cannot_be_started_is_the_codes_fault(lab, wanted, line, reason):
    name = lab.name("unstartable")
    container = lab.client.api.create_container(lab.base, labels={"tau.system": lab.system})["Id"]
    lab.client.api.commit(container, repository=name, changes=line)
    lab.client.api.remove_container(container)
    engine = Stubborn(lab.client)
    with pytest.raises(StepFailed, match=reason):
        watched(lab, engine, wanted("true", image=name), timeout_s=5)
    assert all(output._response.raw.closed for output in engine.attached)
    assert lab.containers() == []


@pytest.mark.parametrize(
    ("sentence", "fault"),
    [
        ('exec: "/run": executable file not found in $PATH', StepFailed),
        ("mkdir /var/lib/docker: no space left on device", StepErrored),
        ("error setting rlimit type 7: operation not permitted", StepErrored),
    ],
)
def test_a_start_that_is_refused_closes_what_was_attached_and_says_whose_fault_it_is(lab, wanted, sentence, fault):
    class Refusing(Stubborn):
        def start(self, container):
            raise APIError(container, explanation=f"OCI runtime create failed: {sentence}: unknown")

    engine = Refusing(lab.client)
    with pytest.raises(fault, match=re.escape(sentence)):
        watched(lab, engine, wanted("true"), timeout_s=5)
    assert engine.attached[0]._response.raw.closed


def test_more_memory_than_is_allowed_is_seen_as_such(lab, wanted):
    eats = wanted("sh", "-c", "x=x; while true; do x=$x$x; done", memory_bytes=32 * 1024**2)
    ended, _, _ = ran(lab, eats)
    assert ended.out_of_memory
    assert ended.code != 0


def test_a_container_has_no_privileges_no_socket_and_limits(lab, wanted):
    _, _, known = ran(lab, wanted("true"))
    host = known["HostConfig"]
    assert (host["Privileged"], host["Binds"] or []) == (False, [])
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert host["Memory"] == host["MemorySwap"] == 64 * 1024**2
    assert host["PidsLimit"] == 4096
    assert host["CapDrop"] == ["ALL"]
    assert host["CpuShares"] == 512
    assert host["NanoCpus"] == 0
    assert {one["Name"]: (one["Soft"], one["Hard"]) for one in host["Ulimits"]} == {
        "nofile": (16384, 16384),
        "fsize": (10 * 1024**3, 10 * 1024**3),
    }
    assert known["Mounts"] == []
    assert known["Config"]["Labels"]["tau.kind"] == "step"


def test_a_fork_bomb_ends_at_its_limit_and_not_at_the_machines(lab, wanted):
    script = "i=0; while [ $i -lt 60 ]; do sleep 5 & i=$((i+1)); done; echo all"
    ended, text, known = ran(lab, wanted("sh", "-c", script, processes=20))
    assert known["HostConfig"]["PidsLimit"] == 20
    assert (ended.code != 0, "all" in text) == (True, False)
    assert "can't fork" in text


def test_a_file_that_would_fill_the_disk_is_not_begun(lab, wanted):
    ended, text, _ = ran(lab, wanted("sh", "-c", "fallocate -l 1099511627776 /big; ls -l /big; exit 3"))
    assert ended.code == 3
    assert "ile size limit exceeded" in text


def test_many_files_that_fill_the_disk_are_stopped_with_their_reason(lab, wanted):
    script = "i=0; while true; do dd if=/dev/zero of=/f$i bs=1M count=8 2>/dev/null; i=$((i+1)); sleep 0.2; done"
    with within(20):
        ended = watched(lab, lab.client, wanted("sh", "-c", script), timeout_s=60, disk_bytes=20 * 1024**2, look_s=0.5)
    assert (ended.filled, ended.timed_out_s) == (True, None)


def test_processors_are_given_where_they_are_asked_for(lab, wanted):
    _, _, known = ran(lab, wanted("true", processors=1))
    assert known["HostConfig"]["NanoCpus"] == 10**9


def test_root_in_a_container_can_become_another_user_as_servers_do(lab, wanted):
    script = (
        "set -e; mkdir /data /www; echo served > /www/page; chown nobody /data; chmod 700 /data; echo x > /data/root;"
        " su nobody -s /bin/sh -c 'id -un; echo y > /data/own; exec sleep 30' & sleep 1; rm /data/own; kill $!;"
        " httpd -p 127.0.0.1:80 -h /www -u nobody; wget -q -O - http://127.0.0.1/page"
    )
    ended, text, _ = ran(lab, wanted("sh", "-c", script))
    assert (ended.code, text.splitlines()) == (0, ["nobody", "served"])


@pytest.mark.parametrize(
    "script",
    [
        "mknod /tmp/null c 1 3",
        "chroot / true",
        "ping -c 1 127.0.0.1",
        "mount -t tmpfs none /tmp",
        "unshare -m true",
        "nsenter -t 1 -n true",
        "hostname other",
        "swapoff -a /dev/sda; swapoff /etc/passwd",
        "mount -o remount,rw /proc/sys",
    ],
)
def test_root_in_a_container_makes_no_devices_no_roots_no_mounts_and_no_raw_sockets(lab, wanted, script):
    ended, text, _ = ran(lab, wanted("sh", "-c", script))
    assert ended.code != 0
    assert "ermi" in text


def test_nothing_of_our_environment_reaches_a_container(lab, wanted, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    _, text, _ = ran(lab, wanted("env", environment={"TAU_COMMIT": "2" * 40}))
    assert f"TAU_COMMIT={'2' * 40}" in text.splitlines()
    assert "s3cret" not in text
    assert {line.partition("=")[0] for line in text.splitlines()} <= {"PATH", "HOSTNAME", "TAU_COMMIT", "HOME"}


def test_a_network_is_labelled_without_ipv6_and_gone_afterwards(lab):
    with containers.own_network(lab.client, f"{lab.system}-a", {"tau.system": lab.system}) as network:
        made = lab.client.api.inspect_network(network)
        assert made["Labels"]["tau.kind"] == "network"
        assert (made["EnableIPv6"], made["Options"]["com.docker.network.enable_ipv6"]) == (False, "false")
        assert [n["Name"] for n in lab.networks()] == [f"{lab.system}-a"]
    assert lab.networks() == []


def test_nothing_is_left_whatever_happened(lab, wanted):
    def work():
        one = wanted("sleep", "60")
        with (
            containers.own_network(lab.client, one.name, one.labels) as network,
            containers.created(lab.client, one, network) as container,
        ):
            lab.client.api.start(container)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert (lab.containers(), lab.networks()) == ([], [])


def test_a_log_that_breaks_leaves_nothing_running(lab, wanted):
    class Broken(Log):
        def write(self, chunk):
            raise ZeroDivisionError(chunk)

    def work():
        one = wanted("sh", "-c", "echo x; sleep 60")
        with containers.created(lab.client, one, "none") as container:
            containers.watch(lab.client, container, Broken(), Limits(20), Stopping())

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        with pytest.raises(ZeroDivisionError):
            work()
        gc.collect()
    assert (lab.containers(), lab.networks()) == ([], [])


def test_an_image_that_is_not_there_is_our_fault(lab, wanted):
    with pytest.raises(StepErrored, match="the Docker engine refused: No such image"):
        ran(lab, wanted("true", image=f"sha256:{'0' * 64}"))
    assert lab.networks() == []


def test_files_of_a_container_that_has_ended_can_be_read(lab, wanted):
    one = wanted("sh", "-c", "mkdir /results; echo x > /results/a.xml")
    with containers.created(lab.client, one, "none") as container:
        containers.watch(lab.client, container, Log(), Limits(20), Stopping())
        assert containers.archive(lab.client, container, "/results")
        assert containers.archive(lab.client, container, "/nowhere") is None


def test_more_files_than_anybody_reads_are_refused(lab, wanted):
    one = wanted("sh", "-c", "mkdir /results; dd if=/dev/zero of=/results/a bs=1M count=70")
    with containers.created(lab.client, one, "none") as container:
        containers.watch(lab.client, container, Log(), Limits(20), Stopping())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            with pytest.raises(StepFailed, match="/results is larger than 67 MB"):
                containers.archive(lab.client, container, "/results")
            gc.collect()


def test_an_engine_that_does_not_answer_is_named():
    gone = Engine()
    gone.gone = True
    gone.create_network = lambda *_, **__: gone._answer()
    with pytest.raises(StepErrored, match="does not answer"), containers.own_network(gone, "x", {}):
        pass
