"""This machine's routes in, a bridge for an engine of ours out, with addresses that nothing here uses.

docker0 is not shared: containers of an engine that was killed go on, with addresses that the next engine on docker0
would hand out a second time. What is sent to such an address reaches one of the two, now and then the wrong one.
"""

from __future__ import annotations

import random
import secrets
import subprocess
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from infra.local.processes import find_tool

ROUTES = Path("/proc/net/route")
# Docker's own networks come from 172.17.0.0/12 and 192.168.0.0/16.
ROOM = IPv4Network("10.0.0.0/8")
_PREFIX = 24
_TRIES = 1000


def make() -> str | None:
    """A new bridge's name; None where this machine cannot have one, and the engine makes its docker0."""
    ip, network = find_tool("ip"), free_network(routes(ROUTES.read_text()))
    if ip is None or network is None:
        return None
    # As Docker names its own, so that whoever looks for those finds it.
    name = f"br-{secrets.token_hex(6)}"
    for argv in (
        (ip, "link", "add", "name", name, "type", "bridge"),
        (ip, "address", "add", f"{network[1]}/{_PREFIX}", "dev", name),
        (ip, "link", "set", name, "up"),
    ):
        if subprocess.run(argv, capture_output=True, check=False).returncode:
            subprocess.run((ip, "link", "delete", name), capture_output=True, check=False)
            return None
    return name


def routes(table: str) -> list[IPv4Network]:
    """The networks of /proc/net/route, without the default route.

    Source: https://man7.org/linux/man-pages/man5/proc_pid_net.5.html; the numbers are in the byte order of x86 and ARM.
    """
    rows = [line.split() for line in table.splitlines()[1:]]
    found = [(_address(row[1]), _address(row[7])) for row in rows if len(row) > 7]
    return [IPv4Network((str(to), str(mask)), strict=False) for to, mask in found if int(mask)]


def _address(text: str) -> IPv4Address:
    return IPv4Address(int(text, 16).to_bytes(4, "little"))


def free_network(used: Iterable[IPv4Network]) -> IPv4Network | None:
    """One at random: two engines that start at the same moment see the same routes."""
    used = list(used)
    for _ in range(_TRIES):
        start = int(ROOM.network_address) + (random.getrandbits(_PREFIX - ROOM.prefixlen) << (32 - _PREFIX))
        network = IPv4Network((start, _PREFIX))
        if not any(network.overlaps(other) for other in used):
            return network
    return None
