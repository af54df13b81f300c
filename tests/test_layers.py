"""Who may import whom (docs/architecture.md), read from the syntax tree of every file that ships."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# chalicelib's pure modules and packages: they get time, ids and clients as arguments, and touch nothing outside.
PURE = (
    *("model", "errors", "wire", "config", "plan", "matching", "answering", "pinning", "schedules", "starts", "when"),
    *("fit", "globs", "graph", "releases"),
    *("beanstalk", "creating", "environment", "rollback", "verifying", "wishes", "providers", "reports"),
)
# Where boto3 is: the edge to AWS.
EDGE = ("edge", "lives", "store", "records", "queue", "mail", "secrets", "objects", "deployer", "seeing")
OUTSIDE = (
    *("boto3", "botocore", "mypy_boto3", "docker", "subprocess", "os", "time", "random", "uuid", "ulid", "secrets"),
    *("socket", "http", "requests", "urllib.request", "asyncio", "threading"),
)
CLOCKS = {"now", "utcnow", "today", "time", "monotonic"}
AWS = ("boto3", "botocore")
# Whoever calls the edge may have to answer an error of AWS.
HARMLESS = ("botocore.exceptions",)
SUBPROCESS = {"runner.shell", "runner.workspace"}
# What begins, holds and ends runs, and the process around it.
ABOVE_ACTIONS = ("agent", "claim", "helping", "holding", "run", "service", "signals", "slots", "step", "tools")
# Settings.from_env gets the environment from those who start a process: the Lambda and the command.
ENVIRONMENT = {"app", "runner.cli"}


def test_the_code_keeps_to_its_layers():
    assert violations(ROOT) == []


PLANTED = {
    "chalicelib/store.py": ("from runner import run", "chalicelib never imports runner"),
    "chalicelib/queue.py": ("import app", "chalicelib never imports app"),
    "chalicelib/mail.py": ("def f():\n    import docker", "chalicelib never imports docker"),
    "chalicelib/objects.py": ("from subprocess import run", "chalicelib never imports subprocess"),
    "chalicelib/secrets.py": ("import infra.local.cloud", "chalicelib never imports infra"),
    "chalicelib/plan.py": ("from chalicelib.store import Store", "pure, imports chalicelib.store"),
    "chalicelib/fit.py": ("import boto3", "pure, imports boto3"),
    "chalicelib/wire.py": ("import os", "pure, imports os"),
    "chalicelib/config.py": ("import time", "pure, imports time"),
    "chalicelib/beanstalk.py": ("from datetime import datetime\nx = datetime.now()", "pure, asks the clock"),
    "chalicelib/providers/github.py": (
        "import importlib\nimportlib.import_module('botocore')",
        "pure, imports botocore",
    ),
    "chalicelib/reports/email.py": ("from ..store import Store", "pure, imports chalicelib.store"),
    "chalicelib/reports/mails/deep.py": ("from chalicelib import queue", "pure, imports chalicelib.queue"),
    "chalicelib/intake.py": ("from botocore.config import Config", "boto3 lives at the edge"),
    "chalicelib/ticker.py": ("import os\nx = os.environ['A']", "the environment is read in settings"),
    "runner/agent.py": ("import app", "runner never imports app"),
    "runner/service.py": ("from chalice import Chalice", "runner never imports chalice"),
    "runner/images.py": ("import subprocess", "subprocess lives in"),
    "runner/run.py": ("import boto3", "boto3 lives at the edge"),
    "runner/workspace.py": ("from os import environ", "the environment is read in settings"),
    "runner/holding.py": ("from runner.cli import main", "nobody imports runner.cli"),
    "runner/actions/push.py": ("from runner.actions import build", "one action never imports another"),
    "runner/actions/test.py": ("from .build import run", "one action never imports another"),
    "runner/actions/tag.py": ("from runner import agent", "an action never imports runner.agent"),
    "runner/actions/build.py": ("import runner.run", "an action never imports runner.run"),
    "runner/actions/script.py": ("from runner.claim import Claim", "an action never imports runner.claim"),
    "app.py": ("from runner.cli import main", "app never imports runner"),
}


@pytest.mark.parametrize("path", PLANTED)
def test_a_planted_violation_is_found(path, tmp_path):
    code, complaint = PLANTED[path]
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text(f"{code}\n")
    found = violations(tmp_path)
    assert [text for text in found if text.startswith(f"{path}:") and complaint in text], found


def test_what_is_allowed_is_not_complained_about(tmp_path):
    for path, code in {
        "app.py": "import os\nfrom chalice import Chalice\nfrom chalicelib import store\nprint(os.environ)",
        "chalicelib/plan.py": "import re\nfrom datetime import datetime\nfrom chalicelib import fit",
        "chalicelib/store.py": "import boto3\nfrom chalicelib import wire",
        "chalicelib/intake.py": "from botocore.exceptions import ClientError\nfrom chalicelib import store, plan",
        "runner/shell.py": "import subprocess\nimport os\nos.killpg(1, 2)",
        "runner/actions/build.py": "import docker\nfrom runner import images\ncontext.now()",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(f"{code}\n")
    assert violations(tmp_path) == []


def violations(root: Path) -> list[str]:
    """Every break of the rules as `file:line: what`, sorted."""
    paths = [root / "app.py", *(root / "chalicelib").rglob("*.py"), *(root / "runner").rglob("*.py")]
    return sorted(
        f"{path.relative_to(root)}:{line}: {complaint}"
        for path in paths
        if path.exists()
        for line, complaint in _broken(_module(path, root), ast.parse(path.read_text()))
    )


def _broken(module: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    for line, imported in _imports(module, tree):
        for complaint in _complaints(module, imported):
            yield line, complaint
    for node in ast.walk(tree):
        if _is_pure(module) and isinstance(node, ast.Call) and _asks_clock(node.func):
            yield node.lineno, "pure, asks the clock: take the time as an argument"
        if module not in ENVIRONMENT and _reads_environment(node):
            yield node.lineno, "the environment is read in settings, from what app or runner.cli hand over"


def _complaints(module: str, imported: str) -> Iterator[str]:
    package, top = module.split(".", maxsplit=1)[0], imported.split(".", maxsplit=1)[0]
    never = {
        "chalicelib": ("runner", "app", "infra", "tests", "docker", "subprocess"),
        "runner": ("app", "chalice", "infra", "tests"),
        "app": ("runner", "infra", "tests", "docker", "subprocess"),
    }
    if top in never[package]:
        yield f"{package} never imports {top}"
    if _is_pure(module) and (_under(imported, OUTSIDE) or (top == "chalicelib" and not _may_be_pure(imported))):
        yield f"pure, imports {imported}"
    elif _under(imported, AWS) and not _under(imported, HARMLESS) and not _in_chalicelib(module, EDGE):
        yield f"boto3 lives at the edge ({', '.join(EDGE)}), not here: {imported}"
    if package == "runner":
        yield from _runner_complaints(module, imported)


def _runner_complaints(module: str, imported: str) -> Iterator[str]:
    if _under(imported, ("subprocess",)) and module not in SUBPROCESS:
        yield f"subprocess lives in {', '.join(sorted(SUBPROCESS))}"
    if _under(imported, ("runner.cli",)) and module != "runner.__main__":
        yield "nobody imports runner.cli, but runner.__main__"
    if module.startswith("runner.actions.") and module != "runner.actions.__init__":
        if _under(imported, ("runner.actions",)) and not _under(imported, (module,)):
            yield f"one action never imports another: {imported}"
        for above in ABOVE_ACTIONS:
            if _under(imported, (f"runner.{above}",)):
                yield f"an action never imports runner.{above}"


def _imports(module: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every module that a file may load, wherever it says so, with the line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = _start(module, node)
            # What is imported from a package may be a module of it, or a name: the longer one says which.
            yield from ((node.lineno, f"{start}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and _name(node.func) in {"import_module", "__import__"}:
            given = node.args[0] if node.args else None
            if isinstance(given, ast.Constant):
                yield node.lineno, str(given.value)


def _start(module: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    above = module.split(".")[: -node.level]
    return ".".join([*above, *([node.module] if node.module else [])])


def _module(path: Path, root: Path) -> str:
    return ".".join(path.relative_to(root).with_suffix("").parts)


def _under(imported: str, names: tuple[str, ...]) -> bool:
    return any(imported == name or imported.startswith((f"{name}.", f"{name}_")) for name in names)


def _in_chalicelib(module: str, names: tuple[str, ...]) -> bool:
    return _under(module, tuple(f"chalicelib.{name}" for name in names))


def _is_pure(module: str) -> bool:
    return _in_chalicelib(module, PURE)


def _may_be_pure(imported: str) -> bool:
    return imported == "chalicelib" or _is_pure(imported)


def _asks_clock(function: ast.expr) -> bool:
    return (
        isinstance(function, ast.Attribute)
        and function.attr in CLOCKS
        and _name(function.value) in {"datetime", "date", "time"}
    )


def _reads_environment(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.module == "os" and any(alias.name in {"environ", "getenv"} for alias in node.names)
    return isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"} and _name(node.value) == "os"


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
