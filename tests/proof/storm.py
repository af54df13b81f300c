"""`python -m tests.proof.storm -n 500`: so many webhooks at once, while runners are killed all the time.

Deliveries come over HTTP to the local cloud, some twice, some forged, nearly in order. Four runners with two runs each
do the work; every few seconds one of them is killed with -9, and started again a second later.
"""

import argparse
import contextlib
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import click
from botocore.exceptions import ClientError

from infra.local.engine import ensure_engine
from infra.local.installation import Answered, Installation
from tests.proof import traffic
from tests.proof.chance import SEED, chance
from tests.proof.services import Services
from tests.proof.traffic import Letter, every_branch_of_every_application
from tests.proof.verdict import Verdict, is_over, runs_of
from tests.proof.watched import Watched

SYSTEM = "tau-storm"
LEASE_S = 3
_RUNNERS, _SENDERS = 4, 4
_LOOK_S = 1
_HURRY_AFTER_S = 5
# A runner that falls silent is looked for after five minutes; whatever lies still for longer is lost.
_LOST_AFTER_S, _LOST_AFTER_HURRYING_S = 400, 60
# A forge, or whoever reads its delivery log, sends again what was answered with 5xx.
_TRIES = 5


class Coast(Watched):
    """Where the storm comes ashore: several applications and clients instead of one of each."""

    def _start(self):
        super()._start()
        # Nobody looks at the runners' own calls here.
        self.endpoint = None
        traffic.create(self)

    def ci_yml(self):
        return every_branch_of_every_application(
            Installation.ci_yml(self).replace(self.registry.host, self.registry_calls.host)
        )


@dataclass
class Storm:
    """What is sent, what it was answered, and who was killed when.

    Args:
        kill_every_s: on average; 0 = nobody is killed.
        hurried: what lies still for a few seconds is due at once: nobody waits for the minutes of a lost message.
    """

    world: Coast
    letters: list[Letter]
    kill_every_s: float
    hurried: bool
    answers: list[tuple[Letter, Answered]] = field(default_factory=list)
    kills: list[datetime] = field(default_factory=list)
    resent: int = 0
    intake_s: float = 0
    seconds: float = 0

    def blow(self) -> None:
        """Until every run is at its end, and nothing is on its way any more."""
        services = Services.of(self.world, _RUNNERS, chance("whom to kill"))
        self.kills = services.kills
        self._warm()
        try:
            began_s = time.monotonic()
            with ThreadPoolExecutor(1) as beside:
                sending = beside.submit(self._send)
                services.tend_until(sending.done, self.kill_every_s, _LOOK_S)
                sending.result()
            waiting = Waiting(self.world, self._promised(), hurried=self.hurried)
            services.tend_until(waiting.is_over, self.kill_every_s, _LOOK_S)
            self.seconds = time.monotonic() - began_s
            self._calm(services)
        finally:
            services.stop()

    def _calm(self, services: Services) -> None:
        """Until the last copies of messages are deleted; a while, at most."""
        until_s = time.monotonic() + _LOST_AFTER_HURRYING_S
        services.tend_until(lambda: self.world.messages() == 0 or time.monotonic() > until_s, 0, _LOOK_S)

    def _warm(self) -> None:
        """As many functions as there are senders, as where webhooks come all day."""
        with ThreadPoolExecutor(_SENDERS) as pool:
            list(pool.map(lambda _: self.world.request("GET", "/health"), range(_SENDERS)))

    def _send(self) -> None:
        began_s = time.monotonic()
        with ThreadPoolExecutor(_SENDERS) as pool:
            self.answers = list(zip(self.letters, pool.map(self._deliver, self.letters), strict=True))
        self.intake_s = time.monotonic() - began_s

    def _deliver(self, letter: Letter) -> Answered:
        answered = self.world.deliver(letter.webhook)
        for _ in range(_TRIES):
            if answered.status < 500:
                break
            self.resent += 1
            time.sleep(1)
            answered = self.world.deliver(letter.webhook)
        return answered

    def _promised(self) -> set[str]:
        return {run for _, answered in self.answers for run in runs_of(answered)}


class Waiting:
    """For the runs that are not over yet, as long as anything moves."""

    def __init__(self, world, runs, *, hurried):
        self._world, self._hurried = world, hurried
        self._open = dict.fromkeys(runs)
        self._moved_at_s = self._hurried_at_s = time.monotonic()

    def is_over(self):
        runs = [self._world.run(run) for run in self._open]
        # Not its state: a run may be woken again and again, and find its lock held by one that is lost.
        seen = {run.id: (run.epoch, len(run.results)) for run in runs if not is_over(run)}
        now_s = time.monotonic()
        if seen != self._open:
            self._open, self._moved_at_s = seen, now_s
        if self._hurried and now_s - max(self._moved_at_s, self._hurried_at_s) > _HURRY_AFTER_S:
            self._hurry()
        lost_after_s = _LOST_AFTER_HURRYING_S if self._hurried else _LOST_AFTER_S
        return not self._open or now_s - self._moved_at_s > lost_after_s

    def _hurry(self):
        for run in self._open:
            # It may come to its end this very moment.
            with contextlib.suppress(ClientError):
                self._world.make_due(run)
        self._world.cloud.tick()
        self._hurried_at_s = time.monotonic()


def blown(world: Coast, number: int, kill_every_s: float, *, hurried: bool) -> Verdict:
    """A storm of so many deliveries, and what came of it."""
    storm = Storm(world, traffic.letters(world, number, chance("traffic")), kill_every_s, hurried)
    storm.blow()
    return Verdict(storm)


def main() -> int:
    arguments = argparse.ArgumentParser(prog="python -m tests.proof.storm", description=__doc__)
    arguments.add_argument("-n", type=int, default=500, help="how many deliveries")
    arguments.add_argument("--kill-every", type=float, default=4, metavar="SECONDS", help="0: nobody is killed")
    arguments.add_argument("--hurried", action="store_true", help="do not wait for what is due in minutes")
    arguments.add_argument("--folder", type=Path, help="for every log; a temporary one where it is not given")
    chosen = arguments.parse_args()
    folder = chosen.folder or Path(tempfile.mkdtemp(prefix="tau-storm-"))
    with ensure_engine() as engine, Coast(engine, folder, SYSTEM, lease_s=LEASE_S) as world:
        verdict = blown(world, chosen.n, chosen.kill_every, hurried=chosen.hurried)
        say(verdict)
    return 1 if verdict.broken else 0


def say(verdict: Verdict) -> None:
    """The figures, and whatever broke."""
    click.echo(f"storm with TAU_SEED={SEED}")
    for name, figure in verdict.figures().items():
        click.echo(f"  {name:<36} {figure}")
    for what in verdict.broken:
        click.echo(f"  BROKEN {what}", err=True)


if __name__ == "__main__":
    sys.exit(main())
