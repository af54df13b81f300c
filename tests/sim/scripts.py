"""The `script` action: the real one says whether a command may begin; the command is a container in virtual time."""

import contextlib
from collections import Counter
from functools import partial
from types import SimpleNamespace

from docker.errors import NotFound

from chalicelib.errors import StepErrored, StepFailed
from chalicelib.model import RunState, StepResult, StepStatus
from runner import images
from runner.actions import script
from tests.sim.errors import Broken
from tests.sim.scheduler import Process

_LONGEST_S = 30


class Commands:
    """Every command that ever began: it goes on until it is over or its container is removed, whoever started it lives.

    `begun` and `done` count them by (run, step), `runners` says who prepared the last one.
    """

    def __init__(self, world):
        self._world = world
        self.begun, self.done, self.runners = Counter(), Counter(), {}

    def start(self, engine, name, place, over):
        """What an engine does: a container that runs already is left as it is."""
        container = engine.container_list.get(name)
        if container is None:
            raise NotFound(name)
        if not container.get("began"):
            container["began"] = True
            self.begun[place] += 1
            work = partial(self._work, engine, name, container, place, over)
            self._world.scheduler.start(Process("container"), work, self._world.random() * _LONGEST_S)

    def _work(self, engine, name, container, place, over):
        if engine.container_list.get(name) is container:
            self.done[place] += 1
        over.set()


class Script:
    """As `Tools.action` finds it.

    Args:
        refuses: of a commit, whether its script exits with 1.
    """

    NEEDS_IMAGE = script.NEEDS_IMAGE

    def __init__(self, engine, world, settings, refuses):
        self._engine, self._world, self._refuses = engine, world, refuses
        self.Settings = settings

    def run(self, settings, context):
        started_at = context.now()
        if settings.retry == "safe":
            with self._ready(context) as enact:
                enact(context.stopping)
        else:
            script.once(settings, context, partial(self._ready, context))
        return StepResult("script", StepStatus.PASSED, started_at, context.now())

    @contextlib.contextmanager
    def _ready(self, context):
        api = self._engine.api
        name = f"tau-{context.run.lower()}-{context.epoch}-{context.index}"
        self._world.commands.runners[context.run, context.index] = context.labels["tau.runner"]
        with images.answering():
            api.create_container(name, {**context.labels, "tau.kind": "step"})
        try:
            yield partial(self._enact, context, name)
        finally:
            with images.answering(), contextlib.suppress(NotFound):
                api.remove_container(name, force=True, v=True)

    def _enact(self, context, name, stopping):
        over, place = self._world.scheduler_flag(), (context.run, context.index)
        with images.answering():
            stopping.check()
            self._engine.api.start(partial(self._world.commands.start, self._engine, name, place, over))
        with stopping.telling(over.set):
            over.wait()
        stopping.check()
        if name not in self._engine.container_list:
            raise StepErrored("the script was killed from outside")
        if self._refuses(context.job.event.commit):
            raise StepFailed("the script exited with 1")


def check_scripts(world, runs):
    """A script is begun once unless it may run again, and who passed has run it to its end."""
    for run in runs.values():
        for index, step in enumerate(run.job.steps):
            if step.action == "script":
                _check(world, run, (run.id, index), step.settings["retry"])


def _check(world, run, place, retry):
    commands = world.commands
    if commands.begun[place] > 1 and retry == "never":
        raise Broken(f"the script of {run.id} was begun {commands.begun[place]} times")
    if run.state is RunState.PASSED and not commands.done[place]:
        raise Broken(f"{run.id} passed, and its script did not come to its end")
    if run.state is RunState.ERRORED and "needs attention" in (run.reason or ""):
        befallen = {process for _, _, process, _ in world.faults.happened} | world.died
        if commands.runners[place] not in befallen:
            raise Broken(f"{run.id} needs attention, though nothing befell its runner: {run.reason}")


def read_once(action):
    """The settings of a real action, read once for each text, not once for each run."""
    known = {}

    def model_validate(settings):
        key = repr(settings)
        if key not in known:
            known[key] = action.Settings.model_validate(settings)
        return known[key]

    return SimpleNamespace(model_validate=model_validate)
