"""A version to an environment: through a deployment's record, against `update_environment` and looking by hand.

With a runner up, both take turns at the same Elastic Beanstalk, in real time. With the Lambda alone time is moved: its
minute is tried from every fifth second, and what it does in between is its own code.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from parts.deploying import PATIENCE_S, Deploying, deploying, deployment, environment_name
from parts.table import show, verdict

from chalicelib.lingering import linger
from chalicelib.ticker import tick
from runner.helping import Helper
from runner.pace import Flag, Real
from tests.local.beanstalks import BUCKET, client_at, s3_at
from tests.local.deploying_here import ENVIRONMENT, World

AIM_RUNNER_S, AIM_LAMBDA_S = 7, 70
_ROUNDS = 7
_STEP_S = 4
# As the tools for it do: https://github.com/einaregilsson/beanstalk-deploy
_BY_HAND_EVERY_S = 5
_LINGERING_S, _MINUTE_S = 55, 60


def main() -> None:
    with deploying(_STEP_S, a_runner=False) as there, ticking(there) as nudged:
        there.create_environments(1)
        pairs = [
            (by_hand(there, f"h{number}"), by_tau(there, nudged, f"t{number}", number)) for number in range(_ROUNDS)
        ]
    tell(f"With a runner up, {_ROUNDS} rounds", pairs, AIM_RUNNER_S)
    tell("With the Lambda alone, from every fifth second of its minute", list(alone()), AIM_LAMBDA_S)


@contextmanager
def ticking(there: Deploying) -> Iterator[Flag]:
    """What a runner ticks with; the flag is set by a claim that has just parked its run."""
    pace = Real(there.edge.now)
    nudged, stopping = pace.flag(), pace.flag()
    helper = pace.start(Helper(there.edge, "bench", dict, nudged, stopping, pace).run, "helper")
    try:
        yield nudged
    finally:
        stopping.set()
        nudged.set()
        helper.join()


def by_hand(there: Deploying, label: str) -> float:
    """One call, then a look every few seconds until the label runs."""
    there.create_version(label)
    return seconds_of(lambda: update(there.client, environment_name(0), label, time.sleep))


def update(client: Any, environment: str, label: str, sleep: Callable[[float], None]) -> None:
    client.update_environment(EnvironmentName=environment, VersionLabel=label)
    while not runs(client, environment, label):
        sleep(_BY_HAND_EVERY_S)


def runs(client: Any, environment: str, label: str) -> bool:
    (found,) = client.describe_environments(EnvironmentNames=[environment])["Environments"]
    return bool(found["Status"] == "Ready" and found["VersionLabel"] == label and found["Health"] == "Green")


def by_tau(there: Deploying, nudged: Flag, label: str, number: int) -> float:
    """From the record that `deploy_eb` writes until it says that the version is live."""
    there.create_version(label)
    began = time.monotonic()
    made = deployment(there.edge, number, label, environment=environment_name(0))
    nudged.set()
    while (found := there.edge.store.deployment(made.id)) is None or found.due_at:
        if time.monotonic() - began > PATIENCE_S:
            raise SystemExit(f"{found}")
        time.sleep(0.1)
    return time.monotonic() - began


def seconds_of(do: Callable[[], None]) -> float:
    began = time.monotonic()
    do()
    return time.monotonic() - began


def alone() -> Iterator[tuple[float, float]]:
    """Each time in a world of its own, which begins so many seconds after the schedule came."""
    with tempfile.TemporaryDirectory(prefix="tau-bench-") as folder, s3_at(Path(folder) / "s3") as s3:
        for late_s in range(0, _MINUTE_S, 5):
            world = World(s3, Path(folder))
            with world.beanstalk, client_at(world.address) as client:
                world.begin(client)
                for label in ("v2", "v3"):
                    place = {"S3Bucket": BUCKET, "S3Key": "by-hand.zip"}
                    asked = {"ApplicationName": "crm", "VersionLabel": label, "SourceBundle": place, "Process": True}
                    client.create_application_version(**asked)
                world.time.pass_(_MINUTE_S)
                began = world.pace.monotonic()
                update(client, ENVIRONMENT, "v2", world.time.pass_)
                yield world.pace.monotonic() - began, by_lambda(world, late_s)


def by_lambda(world: World, late_s: float) -> float:
    """The schedule came `late_s` before the record was written, and comes each minute."""
    began = world.pace.monotonic()
    names = {"application": "crm", "environment": ENVIRONMENT}
    made = deployment(world.edge, 1, "v3", **names)
    comes = began + _MINUTE_S - late_s
    while world.edge.store.deployment(made.id).due_at:
        world.time.pass_(max(0.0, comes - world.pace.monotonic()))
        came = world.edge.now()
        tick(world.edge, came, bury=False)
        linger(world.edge, came + timedelta(seconds=_LINGERING_S), world.time.pass_)
        comes += _MINUTE_S
    return world.pace.monotonic() - began


def tell(title: str, pairs: Sequence[tuple[float, float]], aim_s: float) -> None:
    hand, tau = zip(*pairs, strict=True)
    more = [ours - theirs for theirs, ours in pairs]
    ratio = statistics.median(ours / theirs for theirs, ours in pairs)
    show(
        title,
        ("seconds", "median", "longest", "aim", ""),
        [
            ["by hand", *figures(hand), "", ""],
            ["by Tau", *figures(tau), "", ""],
            ["  more", *figures(more), f"{aim_s}", verdict(max(more), aim_s)],
            ["  ratio", f"{ratio:.2f}", "", "", ""],
        ],
    )


def figures(seconds: Sequence[float]) -> tuple[str, str]:
    return f"{statistics.median(seconds):.1f}", f"{max(seconds):.1f}"


if __name__ == "__main__":
    main()
