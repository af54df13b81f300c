"""A runner's call in; what it changes outside, in words without anything of one run's own, out."""

import json
import re
import threading
from collections import Counter
from pathlib import Path
from urllib.parse import unquote

from boto3.dynamodb.types import TypeDeserializer

from chalicelib.model import ENDS, RunState

_LISTED = Path(__file__).with_name("boundaries.txt")
# What only time makes: a message that stays hidden, a poll.
_BY_TIME = frozenset({"ChangeMessageVisibility", "ReceiveMessage"})
_ASKS = re.compile(r"(GET|HEAD|Get|Describe|List|Query|Scan|BatchGet|Check)")
_WORDS = {"SendMessage": "message", "DeleteMessage": "delete", "SendEmail": "mail"}
_SET = re.compile(r"(#\w+(?:\.#\w+)*) = (?:list_append\([^,]+, )?(:\w+)")
_ADD = re.compile(r"(?:ADD|DELETE|,) (#\w+) (:\w+)")
_REMOVE = re.compile(r"REMOVE ((?:#\w+(?:, )?)+)")


class Writes:
    """Names the writes of one run, from its claim on: a second one of a name is `…, again`, later ones have none."""

    def __init__(self):
        self._counted = Counter()
        self._lock = threading.Lock()

    def name(self, call):
        """What the call writes; None where it writes nothing, or nothing that is told apart."""
        word = written(call)
        with self._lock:
            if word is None or not (self._counted or word == "claim"):
                return None
            self._counted[word] += 1
            # How often a deployment is looked at is the environment's affair.
            most = 1 if word.startswith("deployment ") else 2
            return word + ", again" * (self._counted[word] - 1) if self._counted[word] <= most else None


def listed():
    """(`push` or `tag`, a write of it), in their order, as boundaries.txt has them."""
    return [tuple(line.split(": ", maxsplit=1)) for line in _LISTED.read_text().splitlines()]


def written(call):
    """What a call writes (`intent push`, `end`, `mail`); None where it only asks, or only time makes it.

    Whatever is not known here gets a name too: a new write is seen.
    """
    operation = call.operation
    if operation in _BY_TIME or _ASKS.match(operation):
        return None
    if operation in {"UpdateItem", "PutItem", "DeleteItem", "TransactWriteItems"}:
        return _in_the_table(json.loads(call.body))
    if call.path.startswith("/v2/") and operation != "SendEmail":
        return _at_a_registry(call)
    return _in_the_bucket(unquote(call.path)) if operation == "PUT" else _WORDS.get(operation, operation)


def _at_a_registry(call):
    if "/manifests/" not in call.path:
        # Layers are uploaded where the registry does not have them yet.
        return None
    tag = call.path.rpartition("/")[2]
    if tag.startswith("r-"):
        return "image under its run's tag"
    return "first public tag" if tag == "latest" else "last public tag"


def _in_the_bucket(path):
    key = path.split("/", 2)[2]
    if key.startswith("logs/"):
        # In pieces, as they come, and each once.
        return None
    return "registry's login" if key.startswith("bundles/auth/") else f"file of {key.partition('/')[0]}"


def _in_the_table(sent):
    if "TransactItems" not in sent:
        return _item(sent)
    words = [_item(action) for item in sent["TransactItems"] for action in item.values()]
    return next((word for word in ("claim", "end") if word in words), " and ".join(filter(None, words)))


def _item(sent):
    kind = (sent.get("Key") or sent["Item"])["pk"]["S"].partition("#")[0]
    if kind == "runner":
        # A sign of life, once a minute.
        return None
    values = _values(sent)
    if kind == "run":
        return _run(values)
    if kind == "deployment":
        return _deployment(values, is_new="Item" in sent)
    return _lock(values) if kind == "lock" else f"{kind} record"


def _run(values):
    state = values.get("state")
    if state in ENDS:
        return "end"
    for entry in values.get("journal") or ():
        return " ".join(filter(None, (entry["kind"], entry["key"].partition(" ")[0])))
    for path, value in values.items():
        if path.startswith("results."):
            return f"result of {json.loads(value)['action']}"
        if path.startswith("tell."):
            return "told"
    if "beat" in values and state is None:
        return None
    # Waiting: parked again, since its time to look came before the end that it waits for.
    known = {RunState.RUNNING: "claim", RunState.QUEUED: "woken", RunState.WAITING: None}
    return known[state] if state else f"run: {' '.join(sorted(values))}"


def _deployment(values, *, is_new):
    if is_new:
        return "deployment made"
    if values.get("due_at", "") is None:
        return "deployment settled"
    state = values.get("state")
    # It was looked at, and stands where it stood; or its version was not processed yet.
    return None if state in {None, "prepared"} else f"deployment {state}"


def _lock(values):
    if "holder" not in values:
        return "lock's line"
    return "lock taken" if values["holder"] else "lock freed"


def _values(sent):
    """Attribute, or `map.key` -> its new value; None = it is removed."""
    if "Item" in sent:
        return {name: _plain(value) for name, value in sent["Item"].items()}
    said, names = sent.get("UpdateExpression", ""), sent.get("ExpressionAttributeNames", {})
    changed = {
        ".".join(names[part] for part in path.split(".")): _plain(sent["ExpressionAttributeValues"][value])
        for path, value in [*_SET.findall(said), *_ADD.findall(said)]
    }
    removed = [part for group in _REMOVE.findall(said) for part in group.split(", ") if part]
    return {**changed, **{names[part]: None for part in removed}}


def _plain(value):
    return value["B"] if "B" in value else TypeDeserializer().deserialize(value)
