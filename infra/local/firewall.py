"""Two outputs of iptables-save in, the commands that take back what an engine of ours added in between out."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator

# An engine's own, and what a runner has it make or hangs into it: its networks and its zones.
DOCKERS = re.compile(r"\b(DOCKER|docker0|br-[0-9a-f]{12}|tau-[0-9a-f]{11}|TAU-[A-Z]+)\b")


def read() -> str:
    """The rules of now; empty where they cannot be read."""
    try:
        return subprocess.run(("iptables-save",), capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""


def undo(before: str, after: str) -> list[tuple[str, ...]]:
    """What brings `after` back to `before`, as far as Docker made the difference.

    Nothing where Docker's chains were there before: another engine has been here, and its rules stay as they are.
    """
    if DOCKERS.search(before):
        return []
    was = set(_lines(before))
    new = [line for line in _lines(after) if line not in was]
    rules = [(table, rule) for table, rule in new if rule.startswith("-A") and DOCKERS.search(rule)]
    chains = [(table, rule[1:].split()[0]) for table, rule in new if rule.startswith((":DOCKER", ":TAU-"))]
    opened = ("filter", ":FORWARD DROP") in new and ("filter", ":FORWARD DROP") not in was
    return [
        *[("iptables", "-w", "-t", table, "-D", *shlex.split(rule)[1:]) for table, rule in rules],
        *[("iptables", "-w", "-t", table, "-F", chain) for table, chain in chains],
        *[("iptables", "-w", "-t", table, "-X", chain) for table, chain in chains],
        *([("iptables", "-w", "-P", "FORWARD", "ACCEPT")] if opened else []),
    ]


def _lines(saved: str) -> Iterator[tuple[str, str]]:
    """Every rule and chain with its table; the counters of packets are left out."""
    table = ""
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith((":", "-A")):
            yield table, re.sub(r" \[\d+:\d+\]$", "", line)
