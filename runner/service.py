"""The environment in, a runner that serves out: its parts put together."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from uuid import uuid4

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.edge import Edge, connect
from chalicelib.errors import StepErrored
from chalicelib.settings import Settings
from runner import builders, images, zones
from runner.agent import Agent
from runner.fetching import fetch
from runner.handed import Handed
from runner.helping import Helper
from runner.keeper import Keeper
from runner.notice import SpotNotice
from runner.operators import Operators
from runner.pace import Pace, Real
from runner.pruning import Pruner
from runner.signals import ENDED, HURRY, Signals
from runner.storage import KeptStorage, Limits
from runner.tools import Tools
from runner.workspace import Workspace

log = logging.getLogger("tau.service")

# Stopping a container, one write and one message take so long at most.
_HAND_BACK_S = 60
_LAST_LOOK_S = 5
_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


@dataclass(frozen=True)
class Chosen:
    """What `tau runner` was told.

    Args:
        jobs: how many runs at once.
        drain_s: for how long the runs in hand may go on after a signal to stop, before they are handed back.
        spot: watch for EC2's notice that this instance is about to go.
        limits: how much of the disk it may take.
        keep_versions: how many of Tau's versions of each application stay at Elastic Beanstalk; 0 = all.
    """

    pool: str
    folder: Path
    name: str | None
    jobs: int
    drain_s: float
    spot: bool
    limits: Limits
    keep_versions: int = 0


class JsonLines(logging.Formatter):
    """One line of JSON for each change of state, without any secret that this process was handed; ids are keys."""

    def __init__(self, handed: Handed) -> None:
        super().__init__()
        self._handed = handed

    def format(self, record: logging.LogRecord) -> str:
        extra = {name: value for name, value in vars(record).items() if name not in _PLAIN}
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **extra,
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return self._handed.text(json.dumps(line, default=str))


def serve(environ: Mapping[str, str], chosen: Chosen) -> None:
    """Run until a signal says stop.

    Raises:
        TauError: a setting is missing, the folder cannot be written, or no Docker engine answers.
    """
    handed = Handed()
    log_to_stderr(handed)
    edge = connect(Settings.from_env(environ))
    storage, tools = put_together(environ, chosen, edge, handed)
    pace, runner_id = tools.pace, tools.runner
    zones.say_if_open()
    signals = Signals()
    agent = Agent(tools, chosen.pool, jobs=chosen.jobs, on_drained=lambda: signals.say(ENDED))
    facts = {"host": socket.gethostname(), "pool": chosen.pool, "version": our_version(), "jobs": chosen.jobs}
    facts["since"] = edge.now()
    over = pace.flag()
    helper = Helper(edge, runner_id, lambda: {**facts, "runs": agent.running}, agent.parked, over, pace)
    # It goes on while the agent drains: for half an hour perhaps.
    helping = pace.start(helper.run, "helper")
    keeper = Keeper(storage, agent.over, over, pace)
    pace.start(lambda: signals.ended_by(agent.serve), "agent")
    keeping = pace.start(keeper.run, "keeper")
    pruner = Pruner(edge, chosen.keep_versions, over)
    pruning = pace.start(pruner.run, "pruner")
    if chosen.spot:
        notice = SpotNotice.from_env(environ)
        pace.start(lambda: notice.watch(pace, over, lambda _: signals.say(HURRY)), "spot")
    wait_for_the_end(agent, signals, chosen.drain_s, pace)
    over.set()
    agent.parked.set()
    agent.over.set()
    helping.join(_LAST_LOOK_S)
    keeping.join(_LAST_LOOK_S)
    pruning.join(_LAST_LOOK_S)
    with contextlib.suppress(ClientError, BotoCoreError):
        edge.store.forget_runner(runner_id, edge.now())
    signals.raise_what_ended_it()


def put_together(environ: Mapping[str, str], chosen: Chosen, edge: Edge, handed: Handed) -> tuple[KeptStorage, Tools]:
    """What keeps the disk of this machine, and what a runner has for every run.

    Raises:
        StepErrored: the folder cannot be written, or no Docker engine answers.
    """
    pace = Real(edge.now)
    workspace = Workspace(writable(chosen.folder), handed.listening(edge.secrets.get), environ)
    docker = images.connect()
    builder = builders.builder(docker, environ)
    log.info("builds images", extra={"builder": builder.name, "because": builder.because})
    storage = KeptStorage(chosen.folder, docker, edge, pace, chosen.limits)
    tools = Tools(
        edge,
        workspace,
        docker,
        # Two runners may bear one name: the suffix tells them apart, and the record tells which holds what.
        f"{chosen.name or socket.gethostname()}-{uuid4().hex[:8]}",
        pace,
        operators=Operators.from_env(environ),
        storage=storage,
        builder=builder,
        handed=handed,
        fetch=fetch,
    )
    return storage, tools


def wait_for_the_end(agent: Agent, signals: Signals, drain_s: float, pace: Pace) -> None:
    """The first signal: finish what is in hand, for `drain_s` seconds. The second, or the end of that: hand it back."""
    if signals.wait(None) != ENDED:
        log.info("draining", extra={"running": list(agent.running), "for_s": drain_s})
        first = signals.last
        agent.drain()
        if not agent.busy:
            return
        if first == HURRY or signals.wait(drain_s) != ENDED:
            log.info("handing back", extra={"running": list(agent.running)})
            agent.hand_back()
            until = pace.monotonic() + _HAND_BACK_S
            while pace.monotonic() < until and signals.wait(until - pace.monotonic()) != ENDED:
                log.info("still handing back", extra={"running": list(agent.running)})


def writable(folder: Path) -> Path:
    """The runner's folder, made if it is missing.

    Raises:
        StepErrored: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StepErrored(f"{folder} cannot be made ({error.strerror}): choose another with --folder") from error
    if not os.access(folder, os.W_OK):
        raise StepErrored(f"{folder} cannot be written: give it to the runner's user, or choose another with --folder")
    return folder


def our_version() -> str:
    try:
        return version("tau-ci")
    except PackageNotFoundError:
        return "from source"


def log_to_stderr(handed: Handed) -> None:
    """The journal's reader wants JSON lines; libraries speak only of warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(handed))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("tau").setLevel(logging.INFO)
