"""What runs in a step's network, or in a build, reaches neither this machine nor what lies around it."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from chalicelib.errors import StepErrored
from runner import containers, images, zones, zoning
from runner.ending import Limits
from runner.stopping import Stopping
from tests.running import Log

# A link of this machine to a neighbour at such an address as clouds have their metadata at.
NEIGHBOUR, US, NAMESPACE = "169.254.100.2", "169.254.100.1", f"tau-test-{os.getpid()}"


def ip(*words):
    subprocess.run(("ip", *words), check=True, capture_output=True)


@contextlib.contextmanager
def listening():
    """A port at all addresses of this machine, which takes whoever comes."""
    with socket.create_server(("", 0)) as server:
        server.settimeout(0.2)
        over = threading.Event()

        def take():
            while not over.is_set():
                with contextlib.suppress(TimeoutError):
                    server.accept()[0].close()

        thread = threading.Thread(target=take)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            over.set()
            thread.join()


@contextlib.contextmanager
def neighbour():
    """Something that listens one hop away, where this machine passes packets on to."""
    ip("netns", "add", NAMESPACE)
    server = None
    try:
        ip("link", "add", "tautest0", "type", "veth", "peer", "name", "tautest1", "netns", NAMESPACE)
        ip("address", "add", f"{US}/30", "dev", "tautest0")
        ip("link", "set", "tautest0", "up")
        ip("-n", NAMESPACE, "address", "add", f"{NEIGHBOUR}/30", "dev", "tautest1")
        ip("-n", NAMESPACE, "link", "set", "tautest1", "up")
        script = "import socket\ns = socket.create_server(('', 80))\nwhile True: s.accept()[0].close()"
        server = subprocess.Popen(("ip", "netns", "exec", NAMESPACE, sys.executable, "-c", script))
        _until_it_listens()
        yield
    finally:
        if server:
            server.kill()
            server.wait()
        subprocess.run(("ip", "link", "delete", "tautest0"), capture_output=True, check=False)
        ip("netns", "delete", NAMESPACE)


def _until_it_listens():
    for _ in range(50):
        with contextlib.suppress(OSError), socket.create_connection((NEIGHBOUR, 80), timeout=1):
            return
        time.sleep(0.1)
    pytest.fail("the neighbour does not listen")


def _listens_inside(lab, container):
    """Return when what the container runs listens at its port 4000: started is not yet listening."""
    waiting = "for _ in $(seq 100); do nc -w 1 127.0.0.1 4000 </dev/null && exit; sleep 0.1; done; exit 1"
    made = lab.client.api.exec_create(container, ("sh", "-c", waiting))
    lab.client.api.exec_start(made["Id"])
    assert lab.client.api.exec_inspect(made["Id"])["ExitCode"] == 0, "the service does not listen"


@pytest.fixture
def closed(lab):
    """Closes the zones of a step's networks and of the engine's default bridge; they are open again afterwards."""
    bridges = [zones.OURS, lab.client.api.inspect_network("bridge")["Options"]["com.docker.network.bridge.name"]]
    yield lambda: zones.close(bridges)
    zones.open_again(bridges)


def reached(lab, network, *targets):
    """Which of `address port` a container reaches."""
    script = "".join(f"nc -w 5 {target} </dev/null && echo '{target}'; " for target in targets)
    wanted = containers.Wanted(
        image=lab.base,
        command=("sh", "-c", f"{script} true"),
        environment={},
        memory_bytes=64 * 1024**2,
        labels={"tau.system": lab.system},
        name=f"{lab.system}-zones",
    )
    log = Log()
    with containers.created(lab.client, wanted, network) as made:
        containers.watch(lab.client, made, log, Limits(60), Stopping())
    return [line for line in log.text.splitlines() if line in targets]


def gateway(lab, network):
    return lab.client.api.inspect_network(network)["IPAM"]["Config"][0]["Gateway"]


@pytest.mark.engine
def test_a_network_with_a_way_out_leads_not_to_this_machine_nor_to_a_metadata_address(lab, closed):
    with (
        listening() as port,
        neighbour(),
        containers.own_network(lab.client, f"{lab.system}-zones", {"tau.system": lab.system}) as network,
    ):
        everything = [f"{gateway(lab, network)} {port}", f"{US} {port}", f"{NEIGHBOUR} 80"]
        assert reached(lab, network, *everything) == everything, "without the rules all of it is open"
        closed()
        closed()
        assert reached(lab, network, *everything) == []


@pytest.mark.engine
def test_what_a_build_runs_reaches_neither(lab, closed):
    with listening() as port, neighbour():
        everything = [f"{gateway(lab, 'bridge')} {port}", f"{NEIGHBOUR} 80"]
        assert reached(lab, "bridge", *everything) == everything
        closed()
        assert reached(lab, "bridge", *everything) == []


@pytest.mark.engine
def test_services_of_one_network_reach_each_other_through_closed_zones(lab, closed):
    closed()
    with containers.own_network(lab.client, f"{lab.system}-zones", {"tau.system": lab.system}) as network:
        wanted = containers.Wanted(
            image=lab.base,
            command=("httpd", "-f", "-p", "4000"),
            environment={},
            memory_bytes=64 * 1024**2,
            labels={"tau.system": lab.system},
            name=f"{lab.system}-service",
        )
        with containers.created(lab.client, wanted, network) as made:
            containers.start(lab.client, made)
            _listens_inside(lab, made)
            networks = lab.client.api.inspect_container(made)["NetworkSettings"]["Networks"]
            target = f"{next(iter(networks.values()))['IPAddress']} 4000"
            assert reached(lab, network, target) == [target]


@pytest.mark.engine
@pytest.mark.php
def test_the_outside_and_its_names_are_reached_through_closed_zones(lab, closed):
    closed()
    with containers.own_network(lab.client, f"{lab.system}-zones", {"tau.system": lab.system}) as network:
        mirror = '$(nslookup -type=a deb.debian.org 127.0.0.11 | grep -v :53 | grep -o "[0-9.]*$" | tail -1) 80'
        assert reached(lab, network, mirror) == [mirror]


def test_names_are_asked_of_this_machines_servers_and_of_no_others():
    texts = [
        "# x\nnameserver 127.0.0.53\nnameserver 10.0.0.2\noptions edns0\n",
        "nameserver 10.0.0.2\nnameserver ::1\n",
    ]
    assert zones.nameservers(texts) == ["10.0.0.2"]
    rules = zones.chains(["10.0.0.2"]).splitlines()
    names = [number for number, rule in enumerate(rules) if "-d 10.0.0.2 -p udp --dport 53 -j RETURN" in rule]
    refusals = [number for number, rule in enumerate(rules) if rule.endswith("REJECT")]
    assert len(names) == 2
    assert names[0] < refusals[0]


def test_the_metadata_address_and_private_networks_are_refused_and_everything_on_this_machine():
    rules = zones.chains([]).splitlines()
    assert "-A TAU-THROUGH -d 169.254.0.0/16 -j REJECT" in rules
    assert "-A TAU-THROUGH -d 172.16.0.0/12 -j REJECT" in rules
    assert rules[-2] == "-A TAU-HERE -j REJECT"


def test_the_bridges_of_steps_are_those_that_the_rules_name():
    assert containers.bridge_of("tau-01kaq-1-0").startswith(zones.OURS.removesuffix("+"))
    assert len(containers.bridge_of("tau-01kaq-1-0")) <= 15


def test_who_has_no_rights_is_told_so(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(StepErrored, match="run `tau zones` as root"):
        zones.close()


def test_a_runner_says_what_is_open_and_only_then(monkeypatch, caplog, tmp_path):
    monkeypatch.setattr(zones, "MARK", tmp_path / "mark")
    zones.say_if_open()
    assert "run `tau zones` as root" in caplog.text
    caplog.clear()
    (tmp_path / "mark").touch()
    zones.say_if_open()
    assert caplog.text == ""


def test_an_engine_whose_builds_have_ipv6_is_refused_before_a_rule_is_written(monkeypatch):
    bridge = {"EnableIPv6": True, "Options": {"com.docker.network.bridge.name": "docker0"}}
    engine = SimpleNamespace(api=SimpleNamespace(inspect_network=lambda _: bridge))
    monkeypatch.setattr(images, "connect", lambda: engine)
    monkeypatch.setattr(zones, "close", lambda _: pytest.fail("rules were written"))
    refused = CliRunner().invoke(zoning.zones, []).exception
    assert isinstance(refused, StepErrored)
    assert "daemon.json" in str(refused)
