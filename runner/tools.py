"""What a runner has for every run: the edge, the engine, its folders, and the doors that tests and laptops exchange."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import ModuleType
from typing import Any

from chalicelib.edge import Edge
from chalicelib.graph import Base
from runner import actions
from runner.building import Builder
from runner.classic import Classic
from runner.handed import Handed
from runner.operators import Operators
from runner.pace import Pace, Real
from runner.registry import Credentials, Registry
from runner.runlog import StepLog
from runner.storage import Storage
from runner.workspace import Workspace


@dataclass(frozen=True)
class Tools:
    """What a runner has for every run.

    Args:
        docker: the engine's client.
        runner: this runner's id, for labels.
        action: a word of ci.yml -> what enacts it.
        registry: manifests of a registry; see `Context`.
        open_log: `open_log(objects, prefix, now, matcher, live=live)` -> the log of one step under one claim.
        operators: whose scripts this machine runs itself.
        storage: who keeps its disk.
        handed: every secret that this process was handed.
        builder: how images are built here.
        bases: see `Context`; a run that repeats no other has none.
        fetch: see `Aws`.
    """

    edge: Edge
    workspace: Workspace
    docker: Any
    runner: str
    pace: Pace = field(default_factory=Real)
    action: Callable[[str], ModuleType] = actions.find
    registry: Callable[[str, str, Credentials | None], Registry] = Registry
    open_log: Callable[..., StepLog] = StepLog
    operators: Operators = field(default_factory=Operators)
    storage: Storage = field(default_factory=Storage)
    handed: Handed = field(default_factory=Handed)
    builder: Builder = field(default_factory=Classic)
    bases: Mapping[str, tuple[Base, ...]] = field(default_factory=dict)
    fetch: Callable[[str], bytes] | None = None

    def now(self) -> datetime:
        return self.pace.now()
