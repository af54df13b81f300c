"""Runners as systemd keeps them, and somebody who kills them."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from infra.local.processes import Child
from tests.whole.world import World, wait_for

JOBS = 2
_RESTART_S = 1
_LOOK_S = 0.05


@dataclass
class Service:
    """One runner: its name and its folder stay, its process does not."""

    world: World
    name: str
    child: Child = field(init=False)
    _starts_at_s: float = 0

    @property
    def folder(self) -> Path:
        """Its mirrors and what it works on."""
        return self.world.folder / f"{self.name}-service"

    def start(self) -> None:
        self.child = self.world.start_runner(self.name, "--folder", str(self.folder), "--jobs", str(JOBS))

    def kill(self) -> None:
        os.kill(self.child.pid, signal.SIGKILL)
        self.child.process.wait()
        self._starts_at_s = time.monotonic() + _RESTART_S

    def tend(self) -> None:
        """Start it again when it is down, and was so for long enough."""
        if not self.child.running and time.monotonic() >= self._starts_at_s:
            self.start()


@dataclass
class Services:
    """Some of them; whoever tends them starts them, and the kernel ends them with that thread."""

    services: list[Service]
    random: Random
    kills: list[datetime] = field(default_factory=list)

    @classmethod
    def of(cls, world: World, number: int, random: Random) -> "Services":
        """So many, each ready."""
        made = cls([Service(world, f"storm-{number}") for number in range(number)], random)
        for service in made.services:
            service.start()
        made._wait_until_ready()
        return made

    def tend_until(self, is_over: Callable[[], bool], kill_every_s: float, look_every_s: float) -> None:
        """Kill one every so often (0 = none) and start it again, until it is over."""
        next_look_s = next_kill_s = time.monotonic() + look_every_s
        while True:
            now_s = time.monotonic()
            for service in self.services:
                service.tend()
            if kill_every_s and now_s >= next_kill_s:
                self._kill_one()
                next_kill_s = now_s + kill_every_s * self.random.uniform(0.5, 1.5)
            if now_s >= next_look_s:
                if is_over():
                    return
                next_look_s = time.monotonic() + look_every_s
            time.sleep(_LOOK_S)

    def stop(self) -> None:
        for service in self.services:
            service.child.stop(60)

    def _kill_one(self) -> None:
        living = [service for service in self.services if service.child.running]
        if living:
            self.random.choice(living).kill()
            self.kills.append(datetime.now(UTC))

    def _wait_until_ready(self) -> None:
        for service in self.services:
            log = service.child.log
            wait_for(lambda log=log: '"ready"' in log.read_text(), f"{log} to be ready", 60)
