"""What tests share: a real engine, registry, git host and local cloud, started once and stopped at the end."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from infra.local.engine import Engine, NoEngine, ensure_engine
from infra.local.githost import GitHost
from infra.local.processes import NotStarted
from infra.local.registry import Registry
from tests.debian import FIXTURE, Debian

REQUIRED = os.environ.get("TAU_REQUIRE_ENGINE") == "1"
LEFT_OUT = "left out: "
GROWING = pytest.StashKey[Debian]()
USERS = {"tau": "a password made for the occasion"}


@pytest.fixture(scope="session")
def running_engine() -> Iterator[Engine]:
    """The engine that runs, else one of ours; child processes find it too. Every test marked `engine` has it."""
    try:
        engine = ensure_engine()
    except NoEngine as error:
        _leave_out(str(error))
    with engine, pytest.MonkeyPatch.context() as patch:
        for name, value in engine.environ.items():
            patch.setenv(name, value)
        yield engine


@pytest.fixture(scope="session")
def engine(running_engine: Engine) -> Engine:
    return running_engine


@pytest.fixture(scope="session")
def docker_client(engine: Engine) -> docker.DockerClient:
    return engine.client()


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry that asks for a password; `registry.users` holds the one user."""
    registry = Registry(tmp_path_factory.mktemp("registry"), USERS)
    try:
        registry.start()
    except NotStarted as error:
        _leave_out(str(error))
    yield registry
    registry.stop()


@pytest.fixture(scope="session")
def githost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitHost]:
    """A git host without repositories: each test makes its own, under a name of its own."""
    with GitHost(tmp_path_factory.mktemp("githost")) as host:
        yield host


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """The local cloud with infra/stack.yml applied; without the app, which a test deploys where it is the point."""
    from infra.local.cloud import LocalCloud

    with LocalCloud(tmp_path_factory.mktemp("cloud")) as cloud:
        yield cloud


@pytest.fixture
def ses() -> object:
    """A mail service that remembers what it took."""
    from tests.mailing import Ses

    return Ses()


@pytest.fixture
def mailing_edge(monkeypatch: pytest.MonkeyPatch, ses: object) -> Iterator[object]:
    """An installation at emulated services, its mail at `ses`."""
    from tests.installation import installation
    from tests.mailing import mailing

    with installation(monkeypatch) as made:
        yield mailing(made, ses)


@pytest.fixture(scope="session")
def debian(request: pytest.FixtureRequest) -> Debian:
    """A minimal Debian, which grows from the start of the session on."""
    growing = request.config.stash.get(GROWING, None)
    if growing is None:
        _leave_out("Only root can make a Debian of its packages.")
    return growing


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin at once what takes long, where a test will want it."""
    wanted = any(FIXTURE in getattr(item, "fixturenames", []) for item in session.items)
    if wanted and os.geteuid() == 0 and not session.config.option.collectonly:
        session.config.stash[GROWING] = Debian()


def pytest_sessionfinish(session: pytest.Session) -> None:
    growing = session.config.stash.get(GROWING, None)
    if growing is not None:
        growing.stop()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Which tests need what, and in which order they come.

    A test that asks for an engine or the cloud by a fixture bears the marker too, and the other way round. Those that
    wait for a Debian are the last.
    """
    items.sort(key=lambda item: FIXTURE in getattr(item, "fixturenames", []))
    for item in items:
        names: list[str] = getattr(item, "fixturenames", [])
        if "cloud" in names:
            item.add_marker("cloud")
        if {"engine", "docker_client"} & set(names):
            item.add_marker("engine")
        if item.get_closest_marker("engine"):
            # First: a test that cannot run is left out before anything else is set up for it.
            names.insert(0, "running_engine")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name what was left out, in one line for each reason."""
    files: dict[str, Counter[str]] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        if LEFT_OUT in reason:
            where = Path(report.nodeid.split("::", maxsplit=1)[0]).as_posix()
            files.setdefault(reason.split(LEFT_OUT, maxsplit=1)[1], Counter())[where] += 1
    for reason, tests in files.items():
        named = ", ".join(f"{path} ({count})" for path, count in sorted(tests.items()))
        terminalreporter.write_line(f"LEFT OUT, {tests.total()} tests: {reason} They are: {named}", yellow=True)


def _leave_out(reason: str) -> None:
    """Skip the tests that need it; with TAU_REQUIRE_ENGINE=1 they fail instead."""
    if REQUIRED:
        pytest.fail(f"TAU_REQUIRE_ENGINE=1, and: {reason}", pytrace=False)
    pytest.skip(LEFT_OUT + reason)
