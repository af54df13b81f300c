"""A container that prints 54 MB: its log in the bucket, without 10 secrets, against `docker run` into a pipe.

Both take turns, with the same image, limits and no log driver. Then 1 GB, of which no more is kept than the
beginning and the end, with an eye on the memory.
"""

from __future__ import annotations

import os
import random
import resource
import statistics
import string
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
from parts.table import show, verdict

from chalicelib.objects import Objects
from infra.local.base import base_image
from infra.local.emulator import Emulator
from infra.local.engine import Engine, ensure_engine
from runner import containers, runlog
from runner.containers import Wanted
from runner.ending import Limits
from runner.handed import Handed
from runner.runlog import StepLog, step_prefix
from runner.stopping import Stopping

AIM_TIME = 1 / 0.9
AIM_CPU_S_PER_MB = 0.01
AIM_MEMORY_MB = 20
ROUNDS = 7
_MB = 1_000_000
_LINE = "2026-11-27 04:12:09 INFO building module 0042 of the application: everything seems to be quite alright"[:99]
_LINES = 540_000
_FLOOD_LINES = 10_000_000
_SYSTEM = "tau-bench-log"


@dataclass(frozen=True)
class Way:
    """One container's whole output, one way."""

    seconds: float
    cpu_s: float
    bytes: int


class Bench:
    """An engine, a bucket, and what a runner was handed."""

    def __init__(self, engine: Engine, emulator: Emulator) -> None:
        self.engine = engine
        self.docker = engine.client()
        self.image = base_image(self.docker, f"{_SYSTEM}/base:1", _SYSTEM)
        # Not by the local cloud's front, which would run in this process.
        address = f"http://127.0.0.1:{emulator.port}"
        s3 = boto3.Session("test", "test", region_name="ap-southeast-2").client("s3", endpoint_url=address)
        s3.create_bucket(Bucket=_SYSTEM, CreateBucketConfiguration={"LocationConstraint": "ap-southeast-2"})
        self.objects = Objects(s3, _SYSTEM)
        self.number = 0
        self.handed = Handed()
        for name, value in secrets().items():
            self.handed.listening({name: value}.__getitem__)(name)

    def ours(self, lines: int) -> Way:
        self.number += 1
        run = f"01BENCH{self.number:019}"
        log = StepLog(self.objects, step_prefix(run, 1, 0), lambda: datetime.now(UTC), matcher=self.handed.matcher)
        began, cpu = time.monotonic(), spent(resource.RUSAGE_SELF)
        wanted = Wanted(self.image, command(lines), {}, 64 * 1024**2, {"tau.system": _SYSTEM}, run.lower())
        with containers.created(self.docker, wanted, "none") as made:
            containers.watch(self.docker, made, log, Limits(600), Stopping())
        seconds = time.monotonic() - began
        log.close()
        cpu = spent(resource.RUSAGE_SELF) - cpu
        return Way(seconds, cpu, sum(len(piece) for _, piece in runlog.read(self.objects, run)))

    def cli(self, lines: int) -> Way:
        argv = ("docker", "run", "--rm", "--init", "--network", "none", "--log-driver", "none", self.image)
        began, cpu = time.monotonic(), spent(resource.RUSAGE_CHILDREN)
        with subprocess.Popen(
            (*argv, *command(lines)), stdout=subprocess.PIPE, env={**os.environ, **self.engine.environ}
        ) as child:
            assert child.stdout
            read = sum(len(chunk) for chunk in iter(lambda: child.stdout.read1(1 << 20), b""))
        return Way(time.monotonic() - began, spent(resource.RUSAGE_CHILDREN) - cpu, read)


def command(lines: int) -> tuple[str, ...]:
    return ("sh", "-c", f"yes '{_LINE}' | head -n {lines}")


def secrets() -> dict[str, str]:
    """Ten as they are: eight tokens and passwords, a login, and a key of 2,600 bytes."""
    dice = random.Random(5)
    letters = string.ascii_letters + string.digits + "+/$'&"

    def some(length: int) -> str:
        return "".join(dice.choices(letters, k=length))

    key = "\n".join(("-----BEGIN OPENSSH PRIVATE KEY-----", *(some(70) for _ in range(36)), "-----END"))
    return {**{f"token-{number}": some(16 + 4 * number) for number in range(8)}, "login": f"ci:{some(24)}", "key": key}


def spent(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


@contextmanager
def watched_memory(most: list[float]) -> Iterator[None]:
    """`most` gets the resident memory's peak above what it was, in MB."""
    over = threading.Event()
    before = rss_mb()

    def watch() -> None:
        while not over.wait(0.05):
            most.append(rss_mb() - before)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield
    finally:
        over.set()
        watching.join()


def rss_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / _MB


def main() -> None:
    with (
        ensure_engine() as engine,
        tempfile.TemporaryDirectory(prefix="tau-bench-") as folder,
        ExitStack() as stack,
    ):
        emulator = Emulator(Path(folder), "http://127.0.0.1:1")
        stack.callback(emulator.stop)
        emulator.wait()
        measure(Bench(engine, emulator))


def measure(bench: Bench) -> None:
    bench.ours(_LINES), bench.cli(_LINES)
    tell([(bench.ours(_LINES), bench.cli(_LINES)) for _ in range(ROUNDS)])
    most: list[float] = []
    with watched_memory(most):
        flood = bench.ours(_FLOOD_LINES)
    tell_flood(flood, most)
    bench.docker.images.remove(bench.image, force=True)


def tell(rounds: list[tuple[Way, Way]]) -> None:
    expected = _LINES * (len(_LINE) + 1)
    ratio = statistics.median(ours.seconds / cli.seconds for ours, cli in rounds)
    per_mb = statistics.median(ours.cpu_s for ours, _ in rounds) / expected * _MB
    lost = max(expected - way.bytes for pair in rounds for way in pair)

    def row(name: str, ways: list[Way], *more: str) -> list[str]:
        seconds, cpu = (statistics.median(getattr(way, field) for way in ways) for field in ("seconds", "cpu_s"))
        return [name, f"{seconds:.2f} s", f"{expected / _MB / seconds:.1f} MB/s", f"{cpu / expected * _MB:.4f}", *more]

    rows: list[Any] = [
        row("ours, to the bucket", [ours for ours, _ in rounds], f"{ratio:.2f}", verdict(ratio, AIM_TIME)),
        row("docker run, to a pipe", [cli for _, cli in rounds], "", ""),
    ]
    show(f"{expected / _MB:.0f} MB of log, medians of {len(rounds)}", ("", "", "", "CPU s/MB", "ratio", "≤ 1.11"), rows)
    print(f"  CPU of ours: {per_mb:.4f} s for each MB, ≤ {AIM_CPU_S_PER_MB}: {verdict(per_mb, AIM_CPU_S_PER_MB)}")
    print(f"  lost: {lost} bytes: {verdict(lost, 0)}")


def tell_flood(flood: Way, most: list[float]) -> None:
    printed = _FLOOD_LINES * (len(_LINE) + 1) / _MB
    print(
        f"  {printed:.0f} MB: {printed / flood.seconds:.1f} MB/s, {flood.cpu_s / printed:.4f} s of CPU for each MB,"
        f" {flood.bytes / _MB:.1f} MB kept, memory + {max(most):.1f} MB: {verdict(max(most), AIM_MEMORY_MB)}"
    )


if __name__ == "__main__":
    main()
