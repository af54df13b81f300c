"""What an environment consists of outside the records: its address, its container, its instance's own log."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from infra.local.eb_background import Work
from infra.local.eb_container import Running
from infra.local.eb_proxy import Address

_MOST_LINES = 1000


class EngineLog:
    """`/var/log/eb-engine.log` of one instance, as Elastic Beanstalk's agent writes it."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._lines: deque[str] = deque(maxlen=_MOST_LINES)
        self._lock = threading.Lock()

    def write(self, level: str, text: str) -> None:
        with self._lock:
            self._lines.extend(f"{self._clock():%Y/%m/%d %H:%M:%S.%f} [{level}] {text}".splitlines())

    def text(self, most: int = _MOST_LINES) -> str:
        """The last lines."""
        with self._lock:
            return "\n".join(list(self._lines)[-most:])


@dataclass
class Host:
    """Of one environment, from its launch until it is terminated.

    Args:
        work: the operation under way, or the last one.
        ill: its health was ordered: what its container answers does not count.
    """

    address: Address
    engine: EngineLog
    running: Running | None = None
    work: Work | None = None
    ill: bool = False


class Hosts:
    """The environments' hosts, by the environments' ids."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._hosts: dict[str, Host] = {}

    def open(self, environment_id: str) -> Host:
        host = self._hosts[environment_id] = Host(Address(), EngineLog(self._clock))
        return host

    def __getitem__(self, environment_id: str) -> Host:
        return self._hosts[environment_id]

    def get(self, environment_id: str) -> Host | None:
        return self._hosts.get(environment_id)

    def pop(self, environment_id: str) -> Host:
        return self._hosts.pop(environment_id)

    def swap(self, one: str, other: str) -> None:
        """Exchange two addresses; each leads to its new environment's container from now on."""
        pair = self._hosts[one], self._hosts[other]
        pair[0].address, pair[1].address = pair[1].address, pair[0].address
        for host in pair:
            host.address.switch(host.running.port if host.running else None)

    def close(self) -> None:
        """Close every address. The containers are cleaned by whoever made them."""
        hosts: Iterable[Host] = list(self._hosts.values())
        for host in hosts:
            host.address.close()
        self._hosts.clear()
