"""The environment in, a runner that serves out: its parts put together."""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from uuid import uuid4

from chalicelib.edge import connect
from chalicelib.errors import StepErrored
from chalicelib.settings import Settings
from runner import images
from runner.agent import Agent
from runner.helping import Helper
from runner.run import Tools
from runner.workspace import Workspace

_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class JsonLines(logging.Formatter):
    """One line of JSON for each change of state; ids are keys."""

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
        return json.dumps(line, default=str)


def serve(environ: Mapping[str, str], *, pool: str, folder: Path, name: str | None) -> None:
    """Run until SIGTERM.

    Raises:
        TauError: a setting is missing, the folder cannot be written, or no Docker engine answers.
    """
    log_to_stderr()
    settings = Settings.from_env(environ)
    edge = connect(settings)
    # Two runners may bear one name: the suffix tells them apart, and the record tells which holds what.
    runner_id = f"{name or socket.gethostname()}-{uuid4().hex[:8]}"
    workspace = Workspace(writable(folder), edge.secrets.get, environ)
    tools = Tools(edge, workspace, images.connect(), runner_id, lambda: datetime.now(UTC))
    agent = Agent(tools, pool)
    facts = {"host": socket.gethostname(), "pool": pool, "version": our_version()}
    helper = Helper(edge, runner_id, facts, agent.parked, agent.stopping, tools.now)
    helper.start()
    agent.serve()


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


def log_to_stderr() -> None:
    """The journal's reader wants JSON lines; libraries speak only of warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("tau").setLevel(logging.INFO)
