"""What must hold: while a schedule runs, at each write; and when it is over."""

import json
from collections import Counter
from itertools import groupby

from chalicelib.cancelling import Answer
from chalicelib.graph import event_of, pushed
from chalicelib.model import ENDS, RunState, may_become
from chalicelib.queue import BadMessage, decode
from chalicelib.records.run_items import run_of
from tests.sim.deployers import check_deployments
from tests.sim.ends import check_ends
from tests.sim.errors import Broken
from tests.sim.scripts import check_scripts
from tests.sim.shares import Shares

_OPERATORS = "ops@2pisoftware.com"
_ENDS = frozenset(str(end) for end in ENDS)


class Watch:
    """Looks at every write of a run and at every message that goes."""

    def __init__(self, world):
        self._world, self._shares = world, Shares(world)
        self._keep, self._delete = world.cloud.table._keep, world.cloud.sqs._delete
        world.cloud.table._keep, world.cloud.sqs._delete = self.keep, self.delete
        self.beats = {}
        self.takings = 0

    def keep(self, place, item, keys):
        if place[1] == "run":
            old = self._world.cloud.table.items.get(place)
            if old is not None:
                self._check(old, item)
        elif place[0] == "dead" and item["kind"] == "run" and place not in self._world.cloud.table.items:
            self._world.people.operators.letter(item)
        elif place[1] == "deployment":
            old = self._world.cloud.table.items.get(place)
            if old is None or old["state"] != item["state"]:
                self._world.people.deployers.moved(item["state"])
        elif place[0] == "schedules":
            self._world.nightly.looked(item)
        self._keep(place, item, keys)

    def _check(self, old, new):
        before, after, run = old["state"], new["state"], old["pk"]
        if before != after and not may_become(RunState(before), RunState(after)):
            raise Broken(f"{run} went from {before} to {after}")
        if before in _ENDS and (after != before or old["epoch"] != new["epoch"] or old["journal"] != new["journal"]):
            raise Broken(f"{run} was {before}, and changed")
        self._shares.look(before, new)
        now = self._world.scheduler.time
        if before == after == "running" and old["epoch"] != new["epoch"]:
            self.takings += 1
            self._not_from_the_living(run, old, now)
        if old["beat"] != new["beat"]:
            self.beats[run] = now

    def _not_from_the_living(self, run, old, now):
        holder = self._world.runners.get(old["runner"])
        lease_s = self._world.settings.lease_s
        if holder and holder.alive and now - self.beats.get(run, now) < lease_s * 0.9:
            raise Broken(f"{run} was taken from {old['runner']}, whose last beat was {now - self.beats[run]:.1f} s ago")

    def delete(self, asked):
        held = self._world.cloud.sqs._held(asked, "DeleteMessage")
        if held is not None:
            self._no_longer_needed(held.body)
        return self._delete(asked)

    def _no_longer_needed(self, body):
        try:
            message = decode(body)
        except BadMessage:
            return
        item = self._world.cloud.table.items.get((f"run#{message.run}", "run"))
        if item and item["state"] in {"queued", "running"} and item["send"] <= message.send:
            raise Broken(f"the message of {message.run} was deleted while it was {item['state']}")


def runs_of(world):
    return {place[0][4:]: item for place, item in world.cloud.table.items.items() if place[1] == "run"}


def all_over(world):
    """Whether every run has ended and everybody is told; cheap: it is asked all the time."""
    for place, item in world.cloud.table.items.items():
        if place[1] == "run":
            if item["state"] not in _ENDS or "due_at" in item:
                return False
        elif (place[1] == "delivery" and not item["planned"]) or (place[1] == "deployment" and "due_at" in item):
            return False
    return True


def check(world):
    """When it is over."""
    runs = {run_id: run_of(item) for run_id, item in runs_of(world).items()}
    _accepted_deliveries_have_their_runs(world, runs)
    _one_run_for_a_body(world)
    _who_was_cancelled_is_cancelled(world, runs)
    _what_is_redriven_is_done(world, runs)
    _locks_are_free(world)
    _everybody_is_told(world, runs)
    _images_are_moved_once(world, runs)
    _images_are_announced_once(world, runs)
    _the_newest_push_is_what_there_is(world, runs)
    _environments_are_updated_once(world)
    check_ends(world, runs)
    check_deployments(world, runs)
    check_scripts(world, runs)
    if world.nightly:
        world.nightly.check(runs)
    _nothing_lies_about(world)


def _accepted_deliveries_have_their_runs(world, runs):
    for body, answer in world.people.answers:
        if answer.status == 202:
            missing = set(answer.body["runs"]) - set(runs)
            if missing:
                raise Broken(f"accepted, and no record: {missing} of {body[:60]!r}")


def _one_run_for_a_body(world):
    for body in {body for body, _ in world.people.answers}:
        made = {run for seen, answer in world.people.answers if seen == body for run in answer.body["runs"]}
        # Where a branch was forced back, the same bytes may be a copy or a second time; ours bear no time of day.
        if len(made) > 1 and not world.people.rewound:
            raise Broken(f"one body, {len(made)} runs: {sorted(made)}")


def _who_was_cancelled_is_cancelled(world, runs):
    for run, answer in world.people.operators.cancelled.items():
        if answer is Answer.CANCELLED and runs[run].state is not RunState.CANCELLED:
            raise Broken(f"{run} was said to be cancelled, and is {runs[run].state}")


def _what_is_redriven_is_done(world, runs):
    for place, item in world.cloud.table.items.items():
        if place[0] == "dead" and item["state"] == "redriven" and item["redriven_run"] not in runs:
            raise Broken(f"letter {place[1]} was redriven as {item['redriven_run']}, and there is no such run")
    for named, said in world.people.operators.redriven.items():
        letter = world.cloud.table.items.get(("dead", named))
        if named in runs and runs[named].state is RunState.ERRORED and "does run" in said and letter is None:
            raise Broken(f"{named} was redriven, and no letter says so: {said}")


def _locks_are_free(world):
    items = world.cloud.table.items
    locks = [item for place, item in items.items() if place[1] == "lock" and "holder" in item]
    # Who dies right after he took an environment's lock for a deployment that had just ended leaves it so: the next
    # deployment there frees it.
    ended = {
        place[0].partition("#")[2] for place, item in items.items() if place[1] == "deployment" and "due_at" not in item
    }
    held = [item["name"] for item in locks if item["holder"] not in ended]
    if held:
        raise Broken(f"still held: {held}")


def _everybody_is_told(world, runs):
    told = Counter((mail.to, mail.run) for mail in world.outbox)
    for run in runs.values():
        event = run.job.event
        to = event.pusher.email or _OPERATORS
        covering = [one for one in runs.values() if one.id == run.id or run.id in one.handed]
        if not any(told[to, one.id] for one in covering):
            raise Broken(f"{to} never heard of {run.id} ({run.state}, {run.reason})")
    for (to, run_id), times in told.items():
        if times > 1 + world.troubles:
            raise Broken(f"{to} was told of {run_id} {times} times")


def _images_are_moved_once(world, runs):
    for (host, name), repository in world.cloud.registries.repositories.items():
        for tag, history in repository.history.items():
            if tag.startswith("r-"):
                continue
            moved = [world.image_runs[digest] for digest, _ in groupby(history)]
            if len(set(moved)) != len(moved):
                raise Broken(f"{host}/{name}:{tag} was moved back and forth: {moved}")
            # One that is asked to give way right when it moves its tags moves them; its successor moves them on.
            if moved and runs[moved[-1]].state is RunState.SUPERSEDED and tag in world.branch_tags.values():
                raise Broken(f"{host}/{name}:{tag} is of {moved[-1]}, which gave way")


def _images_are_announced_once(world, runs):
    """Every tag that a run moved is one delivery, and started what stands on it once."""
    said = Counter(item["delivery_id"] for place, item in world.cloud.table.items.items() if _of_image(place, item))
    again = {item.get("redriven_run") for place, item in world.cloud.table.items.items() if place[0] == "dead"}
    started = Counter(run.job.event.delivery_id for run in runs.values() if run.job.event.image and run.id not in again)
    for run in runs.values():
        for image in pushed(run, run.results):
            event = event_of(image, run.job)
            if said[event.delivery_id] != 1:
                raise Broken(f"{event.name} of {run.id} was announced {said[event.delivery_id]} times")
    if any(times > 1 for times in started.values()):
        raise Broken(f"started more than once: {started}")


def _of_image(place, item):
    return place[1] == "delivery" and item["origin"] == "image"


def _the_newest_push_is_what_there_is(world, runs):
    """A branch's tag stands at the run of its newest commit that passed."""
    for ref, tag in world.branch_tags.items():
        passed = [
            run
            for run in runs.values()
            if run.job.source.repository == world.forge.repository
            and run.job.event.ref == ref
            and run.state is RunState.PASSED
        ]
        repository = world.cloud.registries.repositories.get(world.place_of_images)
        if not passed or repository is None:
            continue
        there = world.image_runs[repository.tags[tag]]
        commit = runs[there].job.event.commit
        newer = [
            run.id
            for run in passed
            if commit != run.job.event.commit and _is_newer(world, ref, run.job.event.commit, commit)
        ]
        if newer:
            raise Broken(f"{tag} is of {there}, though {newer} passed with newer commits")


def _is_newer(world, ref, commit, than):
    return world.forge.is_ancestor(than, commit) and world.forge.is_ancestor(commit, world.forge.refs[ref])


def _environments_are_updated_once(world):
    deployments = [item for place, item in world.cloud.table.items.items() if place[1] == "deployment"]
    undone = Counter(item["back_to"] for item in deployments if item["undoing"])
    pushed = {item["label"]: item["run"] for item in deployments if "instead_of" not in item}
    wanted = Counter(item["label"] for item in deployments if "instead_of" in item)
    for (environment, label), times in world.cloud.beanstalk.updates.items():
        if times > undone[label] + wanted[label] + (label in pushed):
            raise Broken(f"{environment} was updated to {label} {times} times, {undone[label]} times to go back")
    beanstalk = world.cloud.beanstalk
    for name, environment in {**beanstalk.environments, **beanstalk.gone}.items():
        # The first time that each of them ran: later it was gone back to.
        order = [pushed[label] for label in dict.fromkeys(label for _, label in environment.history) if label in pushed]
        if order != sorted(order):
            raise Broken(f"{name} went back to an older run: {order}")


def _nothing_lies_about(world):
    for name, messages in world.cloud.sqs.queues.items():
        if messages:
            raise Broken(f"{name} still holds {[json.loads(message.body) for message in messages]}")
    letters = [item for place, item in world.cloud.table.items.items() if place[0] == "dead" and item["kind"] != "run"]
    if letters:
        raise Broken(f"buried: {letters}")
