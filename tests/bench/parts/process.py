"""A process in, what it costs at this moment out."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Seen:
    """A process at one moment: seconds of CPU since its start, memory in MB, threads."""

    cpu_s: float
    rss_mb: float
    pss_mb: float
    threads: int


def look(pid: int) -> Seen:
    """Source: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html and proc_pid_smaps.5.html"""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    rollup = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    mb = {name: int(rollup[name].split()[0]) / 1024 for name in ("Rss", "Pss")}
    return Seen((int(fields[11]) + int(fields[12])) / _TICKS, mb["Rss"], mb["Pss"], int(fields[17]))
