"""`python -m tests.proof.healthy -n 200`: so many runs, while runners are killed and runs are cancelled all the time.

Beside them lies what other people have in the engine. At the end nothing of Tau's is left but what the policy keeps,
and of other people's everything.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import click

from chalicelib import cancelling
from infra.local import samples
from infra.local.engine import ensure_engine
from infra.local.installation import Installation
from infra.local.traces import snapshot
from runner.inventory import inventory, known_by
from runner.retention import Policy, judge
from tests.proof.chance import SEED, chance
from tests.proof.services import Services
from tests.proof.storm import Waiting
from tests.proof.traffic import every_branch_of_every_application
from tests.whole.world import World, slow, wait_for

SYSTEM = "tau-healthy"
LEASE_S = 3
KEEP = 1
_RUNNERS, _SENDERS = 2, 2
_TO_A_BRANCH = 4
_CANCELLED, _BROKEN = 0.15, 0.15
_LOOK_S = 0.5
_CALM_S = 60
_APPS = ("2pisoftware/hello", "2pisoftware/tool")
_MOST_UNDER_WAY = 6
_SLACK_BYTES = 100_000


class Yard(World):
    """An installation with two applications of which every branch is built."""

    def ci_yml(self):
        return every_branch_of_every_application(Installation.ci_yml(self))


class Strangers:
    """What other people have in the same engine, some of it as like ours as can be."""

    def __init__(self, world):
        self._api = api = world.docker.api
        self._mark = f"strangers-{world.system}"
        foreign = {"tau.system": "another-installation", "tau.run": "01A", "tau.kind": "step", "tau.epoch": "1"}
        api.import_image_from_data(_nothing(), repository=self._mark, tag="base", changes=["LABEL theirs=yes"])
        api.tag(f"{self._mark}:base", self._mark, "r-01a")
        self.containers = [
            api.create_container(world.base, ["sleep", "600"], labels=labels, name=f"{self._mark}-{number}")["Id"]
            for number, labels in enumerate(({"tau.system": "another-installation"}, foreign, {}))
        ]
        api.start(self.containers[2])
        self.networks = [
            api.create_network(f"{self._mark}-{number}", labels=labels)["Id"]
            for number, labels in enumerate(({}, foreign))
        ]
        self.volumes = [
            api.create_volume(f"{self._mark}-{number}", labels=labels)["Name"]
            for number, labels in enumerate(({}, foreign))
        ]
        self.tags = {f"{self._mark}:base", f"{self._mark}:r-01a"}

    def missing(self, now):
        """What is not there any more."""
        wanted = ("containers", "networks", "volumes", "tags")
        return sorted(f"{kind} {one}" for kind in wanted for one in set(getattr(self, kind)) - getattr(now, kind))

    def leave(self):
        for container in self.containers:
            self._api.remove_container(container, force=True, v=True)
        for network in self.networks:
            self._api.remove_network(network)
        for volume in self.volumes:
            self._api.remove_volume(volume)
        for tag in sorted(self.tags):
            self._api.remove_image(tag)


def _nothing() -> bytes:
    """The tar of an empty folder."""
    return b"\0" * 10240


@dataclass
class Days:
    """The life of a machine, in short.

    Args:
        number: how many runs.
        kill_every_s: on average.
    """

    world: Yard
    number: int
    kill_every_s: float
    sent: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    kills: list[datetime] = field(default_factory=list)
    before_bytes: int = 0
    seconds: float = 0
    folders: list[Path] = field(default_factory=list)

    def pass_(self) -> None:
        """Until every run is at its end, and what was left is put in order."""
        world, began_s = self.world, time.monotonic()
        self.before_bytes = _layers(world)
        services = Services.of(world, _RUNNERS, chance("whom to kill"))
        self.kills = services.kills
        try:
            with ThreadPoolExecutor(1) as beside:
                sending = beside.submit(self._send)
                services.tend_until(sending.done, self.kill_every_s, _LOOK_S)
                sending.result()
            services.tend_until(Waiting(world, self.sent, hurried=True).is_over, self.kill_every_s, _LOOK_S)
            self._calm(services)
        finally:
            services.stop()
        # Whoever ends last has nobody to clean up after it: the next start does.
        for service in services.services:
            world.tau("gc", "--folder", str(service.folder), "--keep-images", str(KEEP))
        self.folders = [service.folder for service in services.services]
        self.seconds = time.monotonic() - began_s

    def _calm(self, services: Services) -> None:
        until_s = time.monotonic() + _CALM_S
        services.tend_until(lambda: self.world.messages() == 0 or time.monotonic() > until_s, 0, _LOOK_S)

    def _send(self) -> None:
        random = chance("what is pushed")
        branches = [(_APPS[index % 2], f"b{index}") for index in range(max(1, self.number // _TO_A_BRANCH))]
        for _ in range(self.number):
            app, branch = random.choice(branches)
            files = slow(random.uniform(0, 0.5)) | {"note": f"{random.random()}"}
            if random.random() < _BROKEN:
                files["Dockerfile"] = f"FROM {samples.BASE_IMAGE}\nRUN echo {random.random()} >/left\nRUN exit 1\n"
            else:
                files["Dockerfile"] = samples.hello()["Dockerfile"]
            run = self.world.push(branch, files, repository=app).run
            self.sent.append(run)
            if random.random() < _CANCELLED:
                time.sleep(random.uniform(0, 2))
                cancelling.cancel(run, "somebody", self.world.edge, self.world.edge.now())
                self.asked.append(run)
            wait_for(lambda: self._under_way() < _MOST_UNDER_WAY, "some runs to end", 120)

    def _under_way(self) -> int:
        return sum(not self.world.run(run).ended for run in self.sent[-4 * _MOST_UNDER_WAY :])


class Verdict:
    """The machine at the end."""

    def __init__(self, days: Days, strangers: Strangers) -> None:
        self._days, self._world = days, days.world
        self._now = snapshot(days.world.docker)
        self._strangers = strangers
        self.runs = [self._world.run(run) for run in days.sent]
        there = inventory(self._world.docker, self._world.system, known_by(self._world.edge), self._world.edge.now())
        verdicts = judge(there, Policy(KEEP))
        self._images = [one for one in verdicts if not one.image.is_layer]
        self._layers = [one for one in verdicts if one.image.is_layer]
        self._loose = _loose(self._world) - {one.image.id for one in self._layers}
        self.after_bytes = _layers(self._world)
        self.broken = list(self._all())
        """Whatever is left that should not be, or gone that should be there."""

    def _all(self) -> Iterator[str]:
        yield from (
            *(f"run {run.id} is {run.state}" for run in self.runs if not run.ended),
            *self._of_engine(),
            *self._of_folders(),
            *(f"somebody else's is gone: {one}" for one in self._strangers.missing(self._now)),
        )

    def _of_engine(self) -> Iterator[str]:
        world = self._world
        ours = {"label": [f"tau.system={world.system}", "tau.run"]}
        api = world.docker.api
        yield from (f"a container is left: {one['Names']}" for one in api.containers(all=True, filters=ours))
        yield from (f"a network is left: {one['Name']}" for one in api.networks(filters=ours))
        yield from (f"a volume is left: {one['Name']}" for one in api.volumes(filters=ours)["Volumes"] or ())
        lines = Counter(world.run(one.image.run).job.lock for one in self._images)
        yield from (f"{count} images are left of {lock}" for lock, count in lines.items() if count > KEEP)
        for one in self._images:
            if len(one.image.names) != 1 or one.image.others:
                yield f"an image has odd names: {one.image}"
        kept = sum(one.image.own_bytes for one in (*self._images, *self._layers))
        if self.after_bytes > self._days.before_bytes + kept + _SLACK_BYTES:
            before = self._days.before_bytes
            yield f"the engine has {self.after_bytes} bytes of layers; {before} before, {kept} are kept"
        yield from (f"the policy does not know of an image that bears our label: {one[:19]}" for one in self._loose)

    def _of_folders(self) -> Iterator[str]:
        for folder in self._days.folders:
            yield from (f"{one} is left" for one in (folder / "runs").iterdir())
            # Whoever fetches a repository the next time removes what has become of no mirror.
            mirrors = {one.stem for one in (folder / "mirrors").glob("*.git")}
            yield from (
                f"{one} is left" for one in (folder / "mirrors").glob("new-*") if one.name.split("-")[1] in mirrors
            )

    def figures(self) -> Mapping[str, object]:
        return {
            "runs": ", ".join(
                f"{count} {state}" for state, count in Counter(str(run.state) for run in self.runs).items()
            ),
            "runners killed": len(self._days.kills),
            "runs asked to stop": len(self._days.asked),
            "claims": sum(run.epoch for run in self.runs),
            "claims taken over": sum(run.attempts for run in self.runs),
            "images kept": len(self._images),
            "layers kept for the next builds": len(self._layers),
            "layers before and after, kB": f"{self._days.before_bytes // 1000}, {self.after_bytes // 1000}",
            "seconds": f"{self._days.seconds:.0f}",
        }


def _layers(world) -> int:
    """How many bytes of layers an engine has, each counted once."""
    return world.docker.api.df()["LayersSize"]


def _loose(world) -> set[str]:
    """The nameless images that bear our label and on which nothing stands: a build left them, or broke off there."""
    there = world.docker.api.images(all=True)
    below = {image["ParentId"] for image in there}
    return {
        image["Id"]
        for image in there
        if (image["Labels"] or {}).get("tau.system") == world.system
        and image["Id"] not in below
        and not [tag for tag in image["RepoTags"] or () if tag != "<none>:<none>"]
    }


def passed(world: Yard, number: int, kill_every_s: float) -> Verdict:
    """The days of so many runs, and what became of the machine."""
    strangers = Strangers(world)
    try:
        days = Days(world, number, kill_every_s)
        days.pass_()
        return Verdict(days, strangers)
    finally:
        strangers.leave()


def say(verdict: Verdict) -> None:
    """The figures, and whatever is not as it should be."""
    click.echo(f"healthy with TAU_SEED={SEED}")
    for name, figure in verdict.figures().items():
        click.echo(f"  {name:<36} {figure}")
    for what in verdict.broken:
        click.echo(f"  BROKEN {what}", err=True)


def main() -> int:
    arguments = argparse.ArgumentParser(prog="python -m tests.proof.healthy", description=__doc__)
    arguments.add_argument("-n", type=int, default=200, help="how many runs")
    arguments.add_argument("--kill-every", type=float, default=4, metavar="SECONDS", help="0: nobody is killed")
    arguments.add_argument("--folder", type=Path, help="for every log; a temporary one where it is not given")
    chosen = arguments.parse_args()
    folder = chosen.folder or Path(tempfile.mkdtemp(prefix="tau-healthy-"))
    with ensure_engine() as engine, Yard(engine, folder, SYSTEM, lease_s=LEASE_S) as world:
        verdict = passed(world, chosen.n, chosen.kill_every)
        say(verdict)
    return 1 if verdict.broken else 0


if __name__ == "__main__":
    sys.exit(main())
