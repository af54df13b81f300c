"""What tests of runs stand on: an engine in memory, actions that do as they are told, and a time that a test moves."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager

import pydantic
import requests.exceptions
from docker.errors import APIError, ImageNotFound, NotFound
from runner.tools import Tools

from chalicelib.errors import LostClaim, StepErrored, StepFailed
from chalicelib.model import Step, StepResult, StepStatus
from chalicelib.queue import Message
from chalicelib.records.runs import new_run
from chalicelib.superseding import Ancestry
from runner.classic import Classic
from runner.context import Aws, Context
from runner.pace import Real
from runner.stopping import Why
from runner.storage import Storage
from runner.workspace import Workspace
from tests.installation import NOW
from tests.installation import job as make_job
from tests.installation import run as make_run


class Engine:
    """A Docker engine in memory: what lies in it, and what was removed. `gone`: it does not answer."""

    def __init__(self):
        self.api = self
        self.gone = False
        self.held = set()
        self.image_list, self.container_list, self.network_list, self.volume_list = {}, {}, {}, {}
        self.removed = []
        self.base_url = "http://engine"
        self.root = None

    def lies_at(self, root):
        """Its files are on this machine's disk."""
        self.base_url, self.root = "http+docker://localhost", root

    def add_image(self, image_id, *tags, parent="", size=0, created=0, **labels):
        self.image_list[image_id] = {
            "Id": image_id,
            "ParentId": parent,
            "RepoTags": list(tags) or None,
            "RepoDigests": None,
            "Labels": _dotted(labels),
            "Size": size,
            "Created": created,
        }

    def add_container(self, name, *, image="", state="running", **labels):
        self.container_list[name] = {"Id": name, "ImageID": image, "State": state, "Labels": _dotted(labels)}

    def add_volume(self, name, **labels):
        self.volume_list[name] = {"Name": name, "Labels": _dotted(labels)}

    def add_network(self, name, **labels):
        self.network_list[name] = {"Id": name, "Labels": _dotted(labels), "Driver": "bridge"}

    # --- the SDK's names ---

    def inspect_image(self, image_id):
        self._answer()
        if image_id not in self.image_list:
            raise ImageNotFound(image_id)
        return self.image_list[image_id]

    def info(self):
        self._answer()
        return {"DockerRootDir": str(self.root)}

    def images(self, *, all=False, filters=None):  # noqa: A002, ARG002 - the SDK's names
        self._answer()
        return _filtered(self.image_list, filters)

    def containers(self, *, all, filters=None):  # noqa: A002 - the SDK's name
        self._answer()
        assert all
        return _filtered(self.container_list, filters)

    def volumes(self, *, filters):
        self._answer()
        return {"Volumes": _filtered(self.volume_list, filters) or None}

    def networks(self, *, filters):
        self._answer()
        return _filtered(self.network_list, filters)

    def remove_container(self, name, *, force, v):
        assert force
        assert v
        self._remove(self.container_list, name)

    def remove_network(self, name):
        self._remove(self.network_list, name)

    def remove_volume(self, name):
        self._remove(self.volume_list, name)

    def remove_image(self, name):
        """One name less; the image goes with its last, unless something stands on it or is made of it."""
        image_id = next((key for key, image in self.image_list.items() if name in (image["RepoTags"] or [key])), name)
        names = self.image_list.get(image_id, {}).get("RepoTags") or []
        if len(names) > 1:
            self._answer()
            names.remove(name)
            return
        if any(image["ParentId"] == image_id for image in self.image_list.values()) and not names:
            raise APIError(f"conflict: {image_id} has dependent child images")
        self._remove(self.image_list, image_id)

    def _remove(self, things, name):
        self._answer()
        if name in self.held:
            raise APIError(f"conflict: {name} is in use")
        if things.pop(name, None) is None:
            raise NotFound(name)
        self.removed.append(name)

    def _answer(self):
        if self.gone:
            raise requests.exceptions.ConnectionError("no such socket")


def _dotted(labels):
    return {name.replace("_", "."): value for name, value in labels.items()}


def _filtered(things, filters):
    def has(labels, wanted):
        name, equals, value = wanted.partition("=")
        return name in labels and (not equals or labels[name] == value)

    wanted = filters["label"] if filters else ()
    states = (filters or {}).get("status")
    return [
        thing
        for thing in things.values()
        if all(has(thing["Labels"], one) for one in wanted) and (not states or thing["State"] in states)
    ]


class Settings(pydantic.BaseModel):
    """Takes whatever it is given."""

    model_config = pydantic.ConfigDict(extra="allow")


class Action:
    """One word of ci.yml. Each call gives the next of `outcomes` (the last one for ever); an error is raised.

    An outcome may be a function of the context. `said`: its settings in ci.yml; `settings`: those of its last call.
    """

    Settings = Settings

    def __init__(self, name, *outcomes, needs_image=False, **settings):
        self.name = name
        self.said = settings
        self.outcomes = list(outcomes)
        self.NEEDS_IMAGE = needs_image
        self.contexts = []

    @property
    def calls(self):
        return len(self.contexts)

    def run(self, settings, context):
        self.settings = settings
        self.contexts.append(context)
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else (self.outcomes or [passed(self.name)])[0]
        if callable(outcome):
            outcome = outcome(context)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


def passed(action, **facts):
    return StepResult(action, StepStatus.PASSED, NOW, NOW, facts=facts)


def built(engine, image_id="sha256:1", name="2pisoftware/cmfive-dev"):
    """A build that leaves its image in the engine."""

    def build(context):
        labels = {key.replace(".", "_"): value for key, value in context.labels.items()}
        engine.add_image(image_id, f"{name}:r-{context.run.lower()}", **labels)
        return passed("build", image={"name": name, "id": image_id}, commits={})

    return build


class Branch(Workspace):
    """A real folder, and a branch as the test says: its line of commits, oldest first; it stands at the last one.

    Without a line it is gone from its forge. `asked` counts the fetches; `unreachable`: the forge does not answer.
    """

    def __init__(self, folder, *line):
        super().__init__(folder, {}.__getitem__, {})
        self.line, self.asked, self.unreachable = list(line), 0, False
        self.meanwhile = lambda: None

    def ancestry(self, source, ref, *, stopping=None):  # noqa: ARG002 - there is one branch
        self.asked += 1
        self.meanwhile()
        if self.unreachable:
            raise StepErrored("the forge does not answer")
        return Ancestry(self.line[-1] if self.line else None, self._is_ancestor)

    def tip(self, source, ref, *, stopping=None):  # noqa: ARG002 - there is one branch
        self.asked += 1
        if self.unreachable:
            raise StepErrored("the forge does not answer")
        if not self.line:
            raise StepFailed(f"{ref} is gone")
        return self.line[-1]

    def _is_ancestor(self, older, newer):
        line = self.line
        return older in line and newer in line and line.index(older) <= line.index(newer)


def tools(edge, workspace, engine, pace, *actions, runner="r1", storage=None):
    """What a runner has; `workspace` may be a folder, of whose branches all are gone."""
    by_name = {action.name: action for action in actions}
    return Tools(
        edge=edge,
        workspace=workspace if isinstance(workspace, Workspace) else Branch(workspace),
        docker=engine,
        runner=runner,
        pace=pace,
        action=by_name.__getitem__,
        storage=storage or Storage(),
    )


def queued(edge, number, *actions, send=True, **changes):
    """A run of these actions, written and (unless told otherwise) called for."""
    made = make_run(number, *(Step(action.name, action.said) for action in actions), **changes)
    edge.store.table.write(new_run(made))
    if send:
        edge.queue.send(Message(made.id, made.send), pool="default", group="g")
    return edge.store.run(made.id)


def in_queue(edge, pool="default"):
    """How many messages there are, in somebody's hands or not."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = edge.client("sqs").get_queue_attributes(QueueUrl=edge.queue.url(pool), AttributeNames=names)["Attributes"]
    return sum(int(number) for number in found.values())


@contextmanager
def stopping_soon(stopping, why=Why.ASKED, after_s=0.7):
    """Somebody asks a moment after the block has begun."""
    timer = threading.Timer(after_s, stopping.ask, (why,))
    timer.start()
    try:
        yield
    finally:
        timer.join()


@contextmanager
def within(seconds):
    """The block does not wait for what takes minutes."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


class Log:
    """A step's log in memory."""

    def __init__(self):
        self.ours, self.printed = [], b""

    def line(self, text):
        self.ours.append(text)

    def write(self, chunk):
        self.printed += chunk

    def tail(self, most=20):
        return tuple(self.printed.decode(errors="replace").splitlines()[-most:])

    @property
    def text(self):
        return self.printed.decode(errors="replace")


class Impatient(Real):
    """A pace at which the pauses between attempts are short; everything else takes its time."""

    def flag(self):
        made = super().flag()
        wait = made.wait
        made.wait = lambda timeout=None: wait(0.01 if timeout in {1.0, 4.0, 15.0} else timeout)
        return made


class Journal:
    """A journal in memory, which a later claim may be given again.

    Args:
        lost_at: how the key begins at which the claim is lost.
    """

    def __init__(self):
        self.entries = []
        self.lost_at = None

    def intend(self, key, **facts):
        if self.lost_at and key.startswith(self.lost_at):
            raise LostClaim(key)
        earlier = None if self.observed(key) is not None else self._last("intent", key)
        self.entries.append(("intent", key, facts))
        return earlier

    def begun(self, key):
        return self.observed(key) is None and self._last("intent", key) is not None

    def observe(self, key, **facts):
        self.entries.append(("seen", key, facts))

    def observed(self, key):
        return self._last("seen", key)

    def _last(self, kind, key):
        return next((facts for k, name, facts in reversed(self.entries) if (k, name) == (kind, key)), None)


class Images:
    """Where pushed images are written down."""

    def __init__(self):
        self.known, self.made = {}, {}

    def put_known_image(self, image):
        self.known[image.named] = image

    def known_image(self, name, tag):
        return self.known.get(f"{name}:{tag}")

    def put_made_image(self, made):
        self.made[made.name, made.commit] = made

    def made_image(self, name, commit):
        return self.made.get((name, commit))


def context(docker, folder, *, system="tau-test", **changes):
    """What an action gets; trees are checked out from `trees`: repository -> a function that fills a folder."""
    held = changes.pop("job", None) or make_job()
    trees = changes.pop("trees", {})
    checkouts = changes.pop("checkouts", [])

    def checkout(name, ref, commit, into):
        checkouts.append((name, ref, commit))
        into.mkdir(parents=True, exist_ok=True)
        trees[name](into)
        return commit or "d" * 40

    fields = {
        "run": "01KAQ000000000000000000001",
        "epoch": 1,
        "index": 1,
        "job": held,
        "folder": folder,
        "checkout": checkout,
        "archive": None,
        "docker": docker,
        "log": Log(),
        "journal": Journal(),
        "images": {},
        "labels": {
            "tau.system": system,
            "tau.run": "01KAQ000000000000000000001",
            "tau.epoch": "1",
            "tau.runner": "r1",
            "tau.lock": held.lock,
        },
        "secret": {}.__getitem__,
        "remaining_s": lambda: 600.0,
        "now": lambda: NOW,
        "aws": Aws(client=None, store=Images(), objects=None, region="ap-southeast-2"),
        "builder": Classic(),
    }
    return Context(**{**fields, **changes})
