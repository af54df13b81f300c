"""A second engine that is frozen, and stopped, in the middle of builds: no Dockerfile is to blame for that."""

import gc
import os
import signal
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from chalicelib.errors import StepErrored, StepFailed
from infra.local.base import base_image
from infra.local.engine import start_engine
from runner import builders
from runner.actions import build
from runner.classic import Classic
from tests.runner.trees_to_build import APP, end_processes, settings, tree
from tests.running import context, within

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.parametrize("kind", ["classic", "BuildKit"]),
    # The SDK leaves its end of a socket open at which nobody answers.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

BASE = "tau-test-faults/base:latest"
# Nobody else sleeps for as long.
ENDLESS = f"sleep 7{os.getpid():07}"


class Second:
    """An engine beside the first, which can be sent a signal."""

    def __init__(self):
        self._folder = Path(tempfile.mkdtemp(prefix="tau-2-"))
        self.engine = start_engine(self._folder, apart=True)
        self.client = self.engine.client()
        base_image(self.client, BASE, "tau-test-faults")

    def send(self, number):
        os.kill(int((self._folder / "docker.pid").read_text()), number)

    def ask(self, kind):
        """How this engine builds; asked while it answers."""
        found = builders.builder(self.client, {**os.environ, **self.engine.environ})
        if found.name != "BuildKit":
            pytest.skip(f"left out: no BuildKit here, {found.because}.")
        self._builder = Classic() if kind == "classic" else found

    def build(self, folder, command, **changes):
        trees = {APP: tree(Dockerfile=f"FROM {BASE}\nRUN : {time.monotonic_ns()}; {command}\n")}
        held = context(self.client, folder, trees=trees, builder=self._builder, **changes)
        folder.mkdir()
        return build.run(settings("tau-test-faults/made"), held)

    @contextmanager
    def soon(self, number, after_s=2.0):
        """It gets the signal a moment after the block has begun."""
        timer = threading.Timer(after_s, self.send, (number,))
        timer.start()
        try:
            yield
        finally:
            timer.join()


@pytest.fixture
def second(running_engine):  # noqa: ARG001 - where none can be started, this one cannot either
    made = Second()
    yield made
    made.engine.stop()
    # What BuildKit has started goes on without its engine.
    end_processes(ENDLESS)
    gc.collect()


def test_an_engine_that_hangs_ends_the_step_at_its_deadline_and_one_that_stops_is_ours(second, kind, tmp_path):
    second.ask(kind)
    until = time.monotonic() + 4
    with within(10), second.soon(signal.SIGSTOP), pytest.raises(StepFailed, match="the build took longer than"):
        second.build(tmp_path / "1", "sleep 606", remaining_s=lambda: until - time.monotonic())
    second.send(signal.SIGCONT)
    with within(25), second.soon(signal.SIGTERM), pytest.raises(StepErrored):
        second.build(tmp_path / "2", f"echo begun; {ENDLESS}")
    with within(10), pytest.raises(StepErrored, match="Docker"):
        second.build(tmp_path / "3", "true")
