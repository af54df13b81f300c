"""As `parts.watched`, with what a run does before its container written down too: fetch, tree, build."""

from __future__ import annotations

import sys
from pathlib import Path

from botocore.client import BaseClient
from docker import APIClient

from parts.watched import watch
from runner.buildkit import BuildKit
from runner.classic import Classic
from runner.cli import main
from runner.workspace import Workspace

FETCH, TREE, BUILD, CREATE, ENGINE = "fetch", "tree", "build", "create", "engine"
_ASKED = ("create_network", "images", "inspect_image", "inspect_network", "pull", "tag")
_WATCHED: tuple[tuple[type, str, str], ...] = (
    (Workspace, "_fetch", FETCH),
    (Workspace, "_lay", TREE),
    (BuildKit, "build", BUILD),
    (Classic, "build", BUILD),
    (APIClient, "create_container", CREATE),
    *((APIClient, method, ENGINE) for method in _ASKED),
)

if __name__ == "__main__":
    lines = Path(sys.argv.pop(1)).open("w", buffering=1)  # noqa: SIM115 - open as long as the runner lives
    watch(BaseClient, "_make_api_call", lambda operation, *_: operation, lines)
    for owner, method, name in _WATCHED:
        watch(owner, method, lambda *_, name=name: name, lines)
    main()
