"""The bridges on which strangers' code runs in; rules of the firewall that keep it from this machine out.

What runs there may use the servers of names that this machine uses, and whatever is outside; not this machine, nor the
metadata address of a cloud, nor its private networks. Rules name bridges by their beginning, so they are written once.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path

from chalicelib.errors import StepErrored
from runner import shell
from runner.containers import BRIDGES
from runner.stopping import Stopping

log = logging.getLogger("tau.zones")

OURS = f"{BRIDGES}+"
"""Every network that a step has to itself, as iptables writes a beginning."""
MARK = Path("/run/tau-zones")
"""There once the rules are: who has no rights on the firewall cannot look at it either. A restart takes both away."""
# A resolver on this machine hands out its own address; what it asks itself stands elsewhere.
# https://www.freedesktop.org/software/systemd/man/latest/systemd-resolved.service.html#/etc/resolv.conf
_RESOLVERS = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
# https://www.rfc-editor.org/rfc/rfc1918, rfc6598 (shared by providers), rfc3927 (where clouds have their metadata)
_PRIVATE = ("10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")
OPEN = (
    "containers with `network: internet`, and builds, can reach this machine and its metadata address:"
    " run `tau zones` as root (on a code server: systemctl enable --now tau-zones)"
)
"""What is to be said where the rules are missing."""
_THROUGH, _HERE = "TAU-THROUGH", "TAU-HERE"
# Docker never touches what is in the first, and asks it before its own. https://docs.docker.com/engine/network/firewall-iptables/
_FROM = {_THROUGH: "DOCKER-USER", _HERE: "INPUT"}
_PLACES = "/usr/sbin:/sbin:/usr/bin:/bin"
_TIMEOUT_S = 20


@dataclass(frozen=True)
class Jump:
    """What sends a bridge's packets through a chain of ours."""

    chain: str
    bridge: str

    def command(self, verb: str) -> tuple[str, ...]:
        return ("iptables", "-w", verb, _FROM[self.chain], "-i", self.bridge, "-j", self.chain)


def chains(nameservers: Sequence[str]) -> str:
    """Our two chains, for `iptables-restore --noflush`: it replaces them in one go."""
    names = [f"-d {one} -p {way} --dport 53 -j RETURN" for one in nameservers for way in ("udp", "tcp")]
    answers = "-m conntrack --ctstate ESTABLISHED,RELATED -j RETURN"
    # Between two bridges nothing goes in any case; on one of them the packets of its own containers pass by here.
    through = [answers, *names, f"-o {OURS} -j RETURN", *(f"-d {one} -j REJECT" for one in _PRIVATE)]
    here = [answers, *names, "-j REJECT"]
    rules = [f"-A {_THROUGH} {rule}" for rule in through] + [f"-A {_HERE} {rule}" for rule in here]
    return "\n".join(["*filter", f":{_THROUGH} - [0:0]", f":{_HERE} - [0:0]", *rules, "COMMIT", ""])


def jumps(bridges: Sequence[str]) -> Iterator[Jump]:
    return (Jump(chain, bridge) for bridge in bridges for chain in _FROM)


def nameservers(texts: Sequence[str]) -> list[str]:
    """The IPv4 addresses of resolv.conf files that containers may get to see, each once."""
    words = (line.split() for text in texts for line in text.splitlines())
    found = (line[1] for line in words if len(line) > 1 and line[0] == "nameserver")
    return list(dict.fromkeys(one for one in found if _is_elsewhere(one)))


def _is_elsewhere(text: str) -> bool:
    try:
        return not IPv4Address(text).is_loopback
    except AddressValueError:
        return False


# --- on this machine --------------------------------------------------------------------------------


def close(bridges: Sequence[str] = (OURS,)) -> None:
    """Write the rules, whatever of them is there already.

    Args:
        bridges: whose containers they are for.

    Raises:
        StepErrored: they cannot be written here.
    """
    _need_root()
    if not _does(("iptables", "-w", "-S", "DOCKER-USER")):
        raise StepErrored("the firewall has no chain DOCKER-USER: the Docker engine is elsewhere, or leaves it alone")
    texts = [path.read_text() for path in _RESOLVERS if path.exists()]
    _iptables(("iptables-restore", "-w", "--noflush"), chains(nameservers(texts)))
    for jump in jumps(bridges):
        if not _does(jump.command("-C")):
            _iptables(jump.command("-I"))
    try:
        MARK.touch()
    except OSError as error:
        raise StepErrored(f"{MARK} cannot be written: {error.strerror}") from error


def open_again(bridges: Sequence[str] = (OURS,)) -> None:
    """Take the rules away, as far as they are there.

    Raises:
        StepErrored: only root may.
    """
    _need_root()
    MARK.unlink(missing_ok=True)
    for jump in jumps(bridges):
        _does(jump.command("-D"))
    for chain in _FROM:
        _does(("iptables", "-w", "-F", chain))
        _does(("iptables", "-w", "-X", chain))


def say_if_open() -> None:
    """A line of the log where nobody has written the rules; the runner itself never writes any."""
    if not MARK.exists():
        log.warning(OPEN)


def stand(bridges: Sequence[str] = (OURS,)) -> bool:
    """Whether the rules are where `close` wrote them; only root may look."""
    return all(_does(jump.command("-C")) for jump in jumps(bridges))


def _need_root() -> None:
    if os.geteuid() != 0:
        raise StepErrored("only root may write rules of the firewall: run `tau zones` as root")


def _iptables(argv: Sequence[str], text: str = "") -> None:
    done = _run(argv, text)
    if not done.ok:
        raise StepErrored(f"{argv[0]} refused a rule of the firewall: {done.complaint}")


def _does(argv: Sequence[str]) -> bool:
    return _run(argv).ok


def _run(argv: Sequence[str], text: str = "") -> shell.Output:
    program = shutil.which(argv[0], path=_PLACES)
    if program is None:
        raise StepErrored(f"{argv[0]} is not installed (Debian: iptables)")
    return shell.run(
        (program, *argv[1:]), env={"PATH": _PLACES}, timeout_s=_TIMEOUT_S, stopping=Stopping(), stdin=text.encode()
    )
