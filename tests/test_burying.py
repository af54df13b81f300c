"""Messages that nobody can act on: into the records first, then out of their queue."""

from dataclasses import replace

import pytest
from botocore.exceptions import ClientError

from chalicelib.burying import bury_dead, bury_message, letter_of, pools_of
from chalicelib.config import parse
from chalicelib.errors import NotThere
from chalicelib.model import Message, RunState
from chalicelib.queue import Received, encode
from chalicelib.records.dead import LetterKind, LetterState
from chalicelib.records.run_items import new_run, run_place
from chalicelib.records.table import Change
from chalicelib.ticker import tick
from tests.hooks import compiled, pipeline
from tests.installation import NOW, installation, later, run

FOREIGN = "somebody else's words"


@pytest.fixture
def edge(monkeypatch):
    with installation(monkeypatch) as made:
        made.client("sqs").create_queue(QueueName="tau-test-default-dead")
        yield made


@pytest.fixture
def store(edge):
    return edge.store


def put(edge, body, queue="default-dead"):
    """A message in a queue; returns SQS's id of it."""
    return edge.client("sqs").send_message(QueueUrl=edge.queue.url(queue), MessageBody=body)["MessageId"]


def queued(edge, number=1):
    edge.store.table.write(new_run(run(number)))
    return edge.store.run(run(number).id)


def left(edge, queue="default-dead"):
    """How many messages lie in a queue, those in somebody's hands too."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = edge.client("sqs").get_queue_attributes(QueueUrl=edge.queue.url(queue), AttributeNames=names)["Attributes"]
    return sum(map(int, found.values()))


def received(body=FOREIGN, **changes):
    fields = {"receipt": "r", "queue_url": "https://sqs.invalid/q", "pool": "default", "id": "m-1", "receives": 51}
    return Received(**{"body": body, **fields, **changes})


# --- which letter a message is worth ---------------------------------------------------------------


def test_a_message_whose_run_goes_on_is_a_letter_with_that_run():
    waiting = replace(run(1), state=RunState.WAITING)
    letter = letter_of(received(encode(Message(waiting.id, 1))), waiting, NOW)
    assert (letter.id, letter.kind, letter.run, letter.attempts) == ("m-1", LetterKind.MESSAGE, waiting.id, 51)
    assert letter.reason == "received 51 times, and its run is still waiting"
    assert letter.repository == "github.com/2pisoftware/cmfive"
    assert letter.state is LetterState.OPEN


@pytest.mark.parametrize("state", [RunState.PASSED, RunState.ERRORED, RunState.SUPERSEDED])
def test_a_message_whose_run_is_at_its_end_is_worth_no_letter(state):
    assert letter_of(received(), replace(run(1), state=state), NOW) is None


def test_a_message_that_leads_to_no_run_is_a_letter_that_says_why_and_which_run_it_named():
    letter = letter_of(received('{"v": 2, "run": "01X"}'), NotThere("there is no run 01X"), NOW)
    assert (letter.reason, letter.run, letter.repository) == ("there is no run 01X", "01X", None)


def test_of_a_long_message_the_beginning_is_kept():
    letter = letter_of(received("x" * 1_000_000), NotThere("-"), NOW)
    assert len(letter.body) == 1000
    assert letter.body.startswith("xxx")


# --- what an agent cannot act on -------------------------------------------------------------------


def test_a_message_is_a_letter_before_it_leaves_its_queue(edge, store):
    message_id = put(edge, FOREIGN, "default")

    class Dying:
        """SQS for somebody who is killed after the letter was written."""

        def delete(self, _):
            raise KeyboardInterrupt

    taken = edge.queue.receive("default", wait_s=0, hidden_s=0)
    with pytest.raises(KeyboardInterrupt):
        bury_message(taken, "not a wake-up message", replace(edge, queue=Dying()), NOW)
    assert [letter.id for letter in store.dead_letters()] == [message_id]
    assert left(edge, "default") == 1
    again = edge.queue.receive("default", wait_s=0, hidden_s=0)
    bury_message(again, "not a wake-up message", edge, later(60))
    (letter,) = store.dead_letters()
    assert (letter.body, letter.reason, letter.at, letter.attempts) == (FOREIGN, "not a wake-up message", NOW, 1)
    assert left(edge, "default") == 0


# --- what SQS gave up on ---------------------------------------------------------------------------


def test_the_dead_queue_is_emptied_into_the_records(edge, store):
    going_on, ended = queued(edge, 1), store.claim(queued(edge, 2), "r1", NOW)
    store.end(ended, RunState.PASSED, reason=None, tell={}, now=NOW)
    for body in (FOREIGN, *(encode(Message(one, 1)) for one in (going_on.id, ended.id, "01NONE"))):
        put(edge, body)
    put(edge, '{"v": 2, "run": "01NEWER", "how": "new"}')
    tick(edge, later(5))
    assert left(edge) == 0
    letters = {letter.run: letter for letter in store.dead_letters()}
    assert set(letters) == {None, going_on.id, "01NONE", "01NEWER"}
    assert letters[going_on.id].reason == "received 1 time, and its run is still queued"
    assert letters["01NONE"].reason == "there is no run 01NONE"
    assert letters[None].body == FOREIGN
    assert "version 2" in letters["01NEWER"].reason
    assert store.run(going_on.id) == going_on, "its due_at looks after it"


def test_a_message_whose_run_only_a_newer_program_can_read_is_a_letter_too(edge, store):
    newer = queued(edge, 1)
    store.table.write(Change(run_place(newer.id), values={"v": 2}))
    put(edge, encode(Message(newer.id, 1)))
    tick(edge, NOW)
    (letter,) = store.dead_letters()
    assert (letter.run, "of version 2" in letter.reason) == (newer.id, True)


def test_whoever_has_no_right_to_the_dead_letters_leaves_them(edge, store):
    put(edge, FOREIGN)
    tick(edge, NOW, bury=False)
    assert (store.dead_letters(), left(edge)) == ([], 1)


def test_each_pool_has_its_dead_letters_and_one_that_cannot_be_read_is_in_nobodys_way(edge, store):
    edge.client("sqs").create_queue(QueueName="tau-test-large-dead")
    put(edge, FOREIGN, "large-dead")

    class Refusing:
        """The queues of somebody who may not read those of one pool."""

        def __getattr__(self, name):
            return getattr(edge.queue, name)

        def receive_dead(self, pool):
            if pool == "default":
                raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "ReceiveMessage")
            return edge.queue.receive_dead(pool)

    bury_dead(["default", "nowhere", "large"], replace(edge, queue=Refusing()), NOW)
    assert [(letter.pool, letter.body) for letter in store.dead_letters()] == [("large", FOREIGN)]


def test_a_letter_that_cannot_be_written_leaves_its_message_where_it_is_and_the_others_go_on(edge, store):
    for body in ("first", "second"):
        put(edge, body)

    class Choosy:
        """Records that refuse one letter."""

        def __getattr__(self, name):
            return getattr(store, name)

        def bury(self, letter):
            if letter.body == "first":
                raise ClientError({"Error": {"Code": "ValidationException", "Message": "no"}}, "PutItem")
            return store.bury(letter)

    bury_dead(["default"], replace(edge, store=Choosy()), NOW)
    assert [letter.body for letter in store.dead_letters()] == ["second"]
    assert left(edge) == 1


def test_the_pools_are_those_that_ci_yml_names_and_the_default_one():
    config = parse(compiled(pipeline(), {**pipeline("other"), "pool": "arm"}, {**pipeline("third"), "pool": "arm"}))
    assert pools_of(config) == ("arm", "default")
    assert pools_of(parse(compiled({**pipeline(), "pool": "arm"}))) == ("arm", "default")
