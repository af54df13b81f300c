"""What a ci.yml of 200 pipelines costs: a push planned against it, its ci.json loaded, itself checked and compiled."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from parts import ROOT
from parts.pushes import body as push_body
from parts.table import show, verdict

from chalicelib import providers
from chalicelib.config import load
from chalicelib.model import Delivery, Provider
from chalicelib.plan import plan
from runner.compiler import compile_source, render

PIPELINES = 200
AIM_PLAN_MS, AIM_LOAD_MS, AIM_COMMAND_S = 2, 10, 0.5
_TIMES, _COMMANDS = 200, 7
_HEAD = """\
version: 1
operators: [ops@2pisoftware.com]
forges:
  github.com: {provider: github, clone: "ssh://git@github.com/{repository}.git", key: github, webhook: [hook-1]}
registries:
  docker.io: {credentials: dockerhub}
pipelines:
"""
_PIPELINE = """\
  app{number}:
    repository: github.com/2pisoftware/{name}
    trigger: {{push: {{names: [develop, "release/*"], except: ["release/old-*"], paths: ["system/**"]}}, tag: ["v*"]}}
    steps:
      - build: {{image: 2pisoftware/app{number}, from: {{repository: github.com/2pisoftware/base, into: app}}}}
      - test: {{command: [/opt/testrunner/run], results: /results/*.xml, timeout: 30m}}
      - push: {{to: [docker.io], tags: [latest, "{{commit7}}"]}}
    notify: {{to: [pusher], on: always}}
"""


def main() -> None:
    source = ci_yml()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "ci.yml").write_bytes(source)
        (folder / "ci.json").write_text(render(compile_source(source).form))
        config = load(folder)
        body = push_body().encode()
        headers = {"x-github-event": ("push",), "x-github-delivery": ("d",)}
        (event,) = providers.read(Delivery("github.com", Provider.GITHUB, headers, body))
        made = plan(event, config)
        assert (len(made.verdicts), len(made.jobs)) == (PIPELINES, 1)
        planned = cpu_ms(lambda: plan(event, config), _TIMES)
        loaded = cpu_ms(lambda: load(folder), _TIMES // 4)
        rows = [
            ["plan a push of 10 KB", f"{planned:.2f} ms", f"{AIM_PLAN_MS} ms", verdict(planned, AIM_PLAN_MS)],
            ["load ci.json", f"{loaded:.2f} ms", f"{AIM_LOAD_MS} ms", verdict(loaded, AIM_LOAD_MS)],
        ]
        for command in ("check", "compile"):
            cpu_s = statistics.median(cpu_of(command, folder / "ci.yml") for _ in range(_COMMANDS))
            rows.append([f"tau {command}", f"{cpu_s:.2f} s", f"{AIM_COMMAND_S} s", verdict(cpu_s, AIM_COMMAND_S)])
    show(f"A ci.yml of {PIPELINES} pipelines ({len(source) / 1000:.0f} KB)", ("what", "CPU, median", "aim", ""), rows)


def ci_yml() -> bytes:
    """Every fourth pipeline is of a pattern of repositories; one in the middle is the push's."""
    names = [f"app{number}" if number % 4 else f"{{client}}_{number}" for number in range(PIPELINES)]
    names[PIPELINES // 2] = "cmfive"
    text = _HEAD + "".join(_PIPELINE.format(number=number, name=name) for number, name in enumerate(names))
    return text.encode()


def cpu_ms(function: Callable[[], object], times: int) -> float:
    """Median CPU time of a call, in milliseconds."""
    return statistics.median(_cpu_ms(function) for _ in range(times))


def _cpu_ms(function: Callable[[], object]) -> float:
    started = time.process_time_ns()
    function()
    return (time.process_time_ns() - started) / 1_000_000


def cpu_of(command: str, path: Path) -> float:
    """The CPU time of a `tau` command in a fresh interpreter, in seconds; other people's load is not counted."""
    before = os.times()
    argv = (sys.executable, "-m", "runner", command, "--config", str(path))
    subprocess.run(argv, cwd=ROOT, check=True, capture_output=True)
    after = os.times()
    return after.children_user - before.children_user + after.children_system - before.children_system


if __name__ == "__main__":
    main()
