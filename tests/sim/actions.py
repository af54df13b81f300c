"""Steps of ci.yml as a simulated code server does them: building takes virtual time; pushing and deploying are real."""

from types import SimpleNamespace

import pydantic

from chalicelib.errors import StepErrored, StepFailed
from chalicelib.model import StepResult, StepStatus
from runner.actions import deploy_eb, push, script
from tests.sim.edges.engine import digest_of
from tests.sim.scheduler import Killed
from tests.sim.scripts import Script, read_once


class Settings(pydantic.BaseModel):
    """Takes whatever it is given."""

    model_config = pydantic.ConfigDict(extra="allow", frozen=True)

    image: str = ""


_SETTINGS = Settings()


class Actions:
    """What one runner process can do.

    Args:
        fate: of a commit: "good", "red" (its tests fail), "shaky" (we break, once) or "deadly" (its runner dies).
    """

    def __init__(self, host, world, process, fate):
        self._host, self._world, self._process, self._fate = host, world, process, fate
        anything = SimpleNamespace(model_validate=lambda _: _SETTINGS)
        self._known = {
            "build": SimpleNamespace(NEEDS_IMAGE=False, Settings=anything, run=self._build),
            "push": _real(push),
            "deploy_eb": _real(deploy_eb),
            "script": Script(host, world, read_once(script), world.people.refuses),
        }

    def __call__(self, name):
        return self._known[name]

    def _build(self, settings, context):
        del settings
        commit = context.job.event.commit
        context.checkout(context.job.source.name, context.job.event.ref, commit, context.folder)
        if self._world.nightly:
            self._world.nightly.builds(context.run, commit)
        fate = self._fate(commit)
        if fate == "deadly":
            self._world.dies(self._process, "the build kills its runner")
            raise Killed
        self._wait(context, self._world.random() * 20)
        if fate == "red":
            raise StepFailed("the tests say no")
        if fate == "shaky" and self._world.broke.setdefault(context.run, 0) == 0:
            self._world.broke[context.run] += 1
            raise StepErrored("a registry was away")
        image = f"sha256:{context.run}.{context.epoch}"
        name = context.job.steps[context.index].settings["image"]
        self._world.image_runs[digest_of(image)] = context.run
        labels = {key.replace(".", "_"): value for key, value in context.labels.items()}
        self._host.add_image(image, f"{name}:r-{context.run.lower()}", **labels)
        facts = {"image": {"name": name, "id": image}, "commits": {}}
        return StepResult("build", StepStatus.PASSED, context.now(), context.now(), facts=facts)

    def _wait(self, context, seconds):
        """A container that runs for so long, or until somebody stops it."""
        stopped = self._world.scheduler_flag()
        with context.stopping.telling(stopped.set):
            stopped.wait(seconds)
        context.stopping.check()


def _real(action):
    return SimpleNamespace(NEEDS_IMAGE=action.NEEDS_IMAGE, Settings=read_once(action), run=action.run)
