"""The network of an engine of ours: it takes no address that this machine uses, and is its own."""

import json
import os
import subprocess
import sys
import tempfile
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from infra.local import bridge
from infra.local.cloud import ROOT
from infra.local.processes import find_tool

TABLE = """Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	0102A8C0	0003	0	0	0	00000000	0	0	0
eth0	0002A8C0	00000000	0001	0	0	0	00FFFFFF	0	0	0
docker0	000011AC	00000000	0001	0	0	0	0000FFFF	0	0	0
"""

can_start = pytest.mark.skipif(
    os.geteuid() != 0 or not all(find_tool(name) for name in ("dockerd", "iptables", "ip")),
    reason="left out: only root can start an engine of its own, and dockerd, iptables and ip must be installed.",
)


def test_the_kernels_table_is_read_without_the_default_route():
    assert bridge.routes(TABLE) == [IPv4Network("192.168.2.0/24"), IPv4Network("172.17.0.0/16")]


def test_a_network_that_is_used_is_never_taken():
    left = IPv4Network("10.64.0.0/12")
    used = list(bridge.ROOM.address_exclude(left))
    assert all(bridge.free_network(used).subnet_of(left) for _ in range(3))


def test_where_every_network_is_used_there_is_none():
    assert bridge.free_network([IPv4Network("0.0.0.0/1")]) is None


@can_start
def test_an_engine_of_ours_has_a_bridge_of_its_own_and_takes_it_away():
    # In a network of its own, so that no other engine's bridges and rules are in its reach.
    folder = Path(tempfile.mkdtemp(prefix="tau-")) / "engine"
    argv = ("unshare", "--net", "--", sys.executable, "-c", STORY, str(folder))
    said = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    story = json.loads(said)
    (made,) = story["bridges"]
    assert made.startswith("br-")
    assert f"inet {story['gateway']}/24" in story["addresses"]
    assert story["afterwards"] == []
    folder.parent.rmdir()


STORY = """
import json, socket, subprocess, sys
from pathlib import Path
from infra.local.engine import start_engine

def bridges():
    return [name for _, name in socket.if_nameindex() if name != "lo"]

with start_engine(Path(sys.argv[1])) as ours:
    made = bridges()
    gateway = ours.client().networks.get("bridge").attrs["IPAM"]["Config"][0]["Gateway"]
    addresses = subprocess.run(("ip", "-4", "addr", "show", made[0]), capture_output=True, text=True, check=True).stdout
print(json.dumps({"bridges": made, "gateway": gateway, "addresses": addresses, "afterwards": bridges()}))
"""
