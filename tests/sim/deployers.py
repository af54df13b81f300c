"""Who takes deployments back, brings the version before back, and answers when asked for an approval."""

from functools import partial

from chalicelib.aborting import CannotStop, abort
from chalicelib.approving import NotAnApprover, NotAsked, approve
from chalicelib.errors import NotThere
from chalicelib.reverting import NoWayBack, roll_back
from tests.sim.errors import Broken
from tests.sim.pipelines import APPROVERS, ENVIRONMENT

_BY, _REGION = "kim@laptop", "ap-southeast-2"


class Deployers:
    """`asked` holds each (run, address) that a mail went to; `did` counts what came of what they did."""

    def __init__(self, world, operators):
        self._world, self._operators, self._random = world, operators, world.dice
        self.asked = set()

    def moved(self, state):
        """A deployment came to another state: now and then somebody does not like it."""
        roll = self._random.random()
        if state == "live":
            if roll < 0.5:
                self._operators.act(self._roll_back, self._random.random() * 30)
        elif roll < self._world.faults.odds.abort:
            self._operators.act(self._abort, self._random.random() * self._random.choice([1, 1, 20, 60]))

    def ask(self, run, address):
        """A mail came: most people answer it, some more than once, and some of them no."""
        self.asked.add((run, address))
        for _ in range(self._random.choice([0, 1, 1, 1, 2])):
            answer = partial(self._answer, run, address, self._random.random() < 0.8)
            self._operators.act(answer, self._random.random() * self._random.choice([1, 30, 90, 400]))

    def _abort(self, edge, now):
        waiting = self._random.random() < 0.3
        try:
            abort(ENVIRONMENT, _REGION, _BY, edge, now, waiting=waiting)
        except (NotThere, CannotStop):
            return

    def _roll_back(self, edge, now):
        try:
            roll_back(ENVIRONMENT, _REGION, _BY, edge, now, self._world.people.new_id)
        except (NotThere, NoWayBack):
            return

    @staticmethod
    def _answer(run, address, yes, edge, now):
        try:
            approve(run, address, edge, now, yes=yes)
        except (NotThere, NotAsked):
            return
        except NotAnApprover as error:
            raise Broken(f"{address} was asked, and {error}") from error


def check_deployments(world, runs):
    """What people said counted, and nothing went on without them."""
    deployments = [item for place, item in world.cloud.table.items.items() if place[1] == "deployment"]
    brought = {label for _, label in world.cloud.beanstalk.updates}
    for environment, label in world.cloud.beanstalk.aborted:
        if not any(item["label"] == label and "aborted_at" in item for item in deployments):
            raise Broken(f"the update of {environment} to {label} was aborted, and nobody wanted that")
    for item in deployments:
        name, state, run = item["id"], item["state"], runs[item["run"]]
        if item["approvers"]:
            _check_approval(world, item, brought)
        if state == "cancelled" and item["label"] in brought and "instead_of" not in item:
            raise Broken(f"{name} was cancelled, and {item['label']} was deployed")
        if state == "rolled_back" and "stopped_by" in item and "aborted by" not in item["failure"]:
            # It failed by itself before anybody acted on the wish.
            continue
        taken_back = state == "cancelled" or (state == "rolled_back" and "stopped_by" in item)
        if taken_back and run.state not in {"cancelled", "errored"}:
            raise Broken(f"{name} was taken back, and its run is {run.state}: {run.reason}")
        if state == "live" and run.state not in {"passed", "errored"}:
            raise Broken(f"{name} is live, and its run is {run.state}: {run.reason}")


def _check_approval(world, item, brought):
    name, label = item["id"], item["label"]
    if item["approvers"] != list(APPROVERS):
        raise Broken(f"{name} asks {item['approvers']}")
    if label in brought and "approved_by" not in item:
        raise Broken(f"{label} was deployed, and nobody approved it")
    if "refused_by" in item and (label in brought or item["state"] == "live"):
        raise Broken(f"{label} was deployed, though {item['refused_by']} refused it")
    asked = {address for run, address in world.people.deployers.asked if run == item["run"]}
    if "approved_by" in item and item["approved_by"] not in asked:
        raise Broken(f"{label} was approved by {item['approved_by']}, who was not asked")
