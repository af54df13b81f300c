import contextlib
import json
from dataclasses import replace
from datetime import timedelta

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from chalicelib import wire
from chalicelib.config import parse
from chalicelib.intake import accept
from chalicelib.model import Delivery, Deployment, DeploymentState, Provider, RunState, WaitingFor
from chalicelib.queue import Queue, decode
from chalicelib.records.deliveries import HALF_PLANNED_AFTER
from chalicelib.records.due import due_values
from chalicelib.records.runs import SILENT_AFTER, new_run, run_place
from chalicelib.records.table import Change, Put, Table
from chalicelib.store import Store
from chalicelib.telling import notices
from chalicelib.ticker import tick
from tests.fake_beanstalk import Environment, FakeBeanstalk
from tests.hooks import compiled, headers_of, pipeline, push
from tests.installation import NOW, later, run
from tests.mailing import DEV, Ses

AFTER = timedelta(seconds=61)


@pytest.fixture
def edge(mailing_edge):
    return mailing_edge


def queued(edge, number=1, **changes):
    made = run(number, **changes)
    edge.store.table.write(new_run(made))
    return edge.store.run(made.id)


def claimed(edge, number=1, **changes):
    return edge.store.claim(queued(edge, number, **changes), "r1", NOW)


def messages(edge, pool="default"):
    found = []
    while received := edge.queue.receive(pool, wait_s=0, hidden_s=60):
        message = decode(received.body)
        found.append((message.run, message.send))
    return found


def test_nothing_is_due_before_its_time(edge):
    queued(edge)
    assert tick(edge, later(58)) == []
    assert messages(edge) == []


def test_a_run_that_nobody_claimed_is_called_again_once(edge):
    made = queued(edge)
    tick(edge, NOW + AFTER)
    assert messages(edge) == [(made.id, 2)]
    tick(edge, NOW + 2 * AFTER)
    assert messages(edge) == []


def test_a_parked_run_is_woken_when_its_time_has_come(edge):
    held = claimed(edge)
    edge.store.park(held, WaitingFor.RETRY, later(30), "once more")
    tick(edge, later(29))
    assert messages(edge) == []
    tick(edge, later(30))
    assert messages(edge) == [(held.id, 2)]
    assert edge.store.run(held.id).state is RunState.QUEUED


def test_a_message_goes_to_the_pool_of_its_run(edge):
    edge.client("sqs").create_queue(QueueName="tau-test-large")
    made = queued(edge, job=replace(run().job, pool="large"))
    tick(edge, NOW + AFTER)
    assert messages(edge) == []
    assert messages(edge, "large") == [(made.id, 2)]


def test_a_silent_run_only_has_somebody_look_at_it(edge):
    held = claimed(edge)
    tick(edge, NOW + SILENT_AFTER + timedelta(seconds=1))
    assert messages(edge) == [(held.id, 2)]
    after = edge.store.run(held.id)
    assert (after.state, after.epoch, after.attempts) == (RunState.RUNNING, 1, 0)


def test_a_run_whose_beat_moves_is_left_alone(edge):
    held = claimed(edge)
    edge.store.beat(held, NOW + SILENT_AFTER)
    tick(edge, NOW + SILENT_AFTER + timedelta(seconds=1))
    assert messages(edge) == []


def test_who_was_not_told_is_told(edge, ses):
    held = claimed(edge)
    edge.store.end(held, RunState.PASSED, reason=None, tell=notices([DEV]), now=NOW)
    tick(edge, NOW + AFTER)
    assert ses.told == [DEV]
    assert tick(edge, later(100_000)) == []


def test_two_that_find_the_same_run_untold_send_one_mail(edge, ses):
    held = claimed(edge)
    edge.store.end(held, RunState.PASSED, reason=None, tell=notices([DEV]), now=NOW)

    class Meanwhile(Ses):
        """While one is at SES, the other looks too."""

        def send_email(self, **wanted):
            tick(edge, NOW + AFTER)
            return super().send_email(**wanted)

    first = Meanwhile()
    tick(replace(edge, client=lambda *_: first), NOW + AFTER)
    assert first.told + ses.told == [DEV]


def test_one_that_died_while_telling_leaves_the_rest_to_the_next(edge, ses):
    held = claimed(edge)
    edge.store.end(held, RunState.PASSED, reason=None, tell=notices([DEV]), now=NOW)

    class Killed(BaseException):
        pass

    class Dying(Ses):
        def send_email(self, **_):
            raise Killed

    dying = Dying()
    with contextlib.suppress(Killed):
        tick(replace(edge, client=lambda *_: dying), NOW + AFTER)
    tick(edge, NOW + 2 * AFTER)
    assert ses.told == [DEV]


def test_one_item_that_fails_does_not_keep_the_others_waiting(edge):
    store = edge.store
    store.create_deployment(deployment(region="nowhere at all"))
    lost = half_planned(edge, pipeline())
    pk, sk = f"config#{'c' * 64}", "config"
    edge.client("dynamodb").delete_item(TableName="tau-test", Key={"pk": {"S": pk}, "sk": {"S": sk}})
    last = queued(edge, 9)
    tick(edge, NOW + AFTER)
    assert messages(edge) == [(last.id, 2)]
    assert [due.id for due in store.due(NOW + AFTER)] == ["01X.3", lost.id]


def test_all_deployments_that_are_due_are_looked_at_together(edge):
    names = [f"crm-{number}" for number in range(3)]
    beanstalk = FakeBeanstalk(lambda: NOW + AFTER, environments={name: Environment() for name in names})
    beanstalk.add_version("v2")
    for number, name in enumerate(names):
        new = {"id": f"01X{number}.3", "run": f"01X{number}", "application": "crm", "environment": name, "label": "v2"}
        record = deployment(region="ap-southeast-2", **new)
        edge.store.create_deployment(record)
    tick(replace(edge, client=lambda *_: beanstalk, now=lambda: NOW + AFTER), NOW + AFTER, bury=False)
    assert beanstalk.updates == ["v2"] * 3
    assert beanstalk.calls.count("DescribeEvents") == beanstalk.calls.count("DescribeEnvironments") == 1


def test_a_deployment_that_a_newer_program_wrote_is_left_to_it_too(edge):
    edge.store.create_deployment(deployment(region="ap-southeast-2"))
    place = ("deployment#01X.3", "deployment")
    edge.store.table.write(Change(place, values={"v": 2, "state": "pondering"}))
    last = queued(edge, 9)
    tick(edge, NOW + AFTER)
    assert messages(edge) == [(last.id, 2)]
    edge.store.table.write(Change(place, values={"v": 1}))
    again = queued(edge, 8)
    tick(edge, NOW + AFTER)
    assert messages(edge) == [(again.id, 2)], "a state that nobody knows is no reason to stop either"


def test_a_record_that_a_newer_program_wrote_is_left_to_it(edge):
    newer = queued(edge, 1)
    edge.store.table.write(Change(run_place(newer.id), values={"v": 2, "state": "pondering"}))
    last = queued(edge, 9)
    tick(edge, NOW + AFTER)
    assert messages(edge) == [(last.id, 2)]
    assert edge.store.table.get(run_place(newer.id))["state"] == "pondering"


def test_what_a_newer_program_wrote_is_passed_over_without_a_word(edge, caplog):
    newer = queued(edge, 1)
    edge.store.table.write(Change(run_place(newer.id), values={"v": 2}))
    tick(edge, NOW + AFTER)
    assert caplog.records == []


def test_a_tick_looks_at_what_is_due_and_at_nothing_else_however_much_has_ended(edge):
    queued(edge, 999)
    asked = []

    class Counting:
        """DynamoDB that remembers what it was asked for."""

        def __getattr__(self, name):
            asked.append(name)
            return getattr(edge.client("dynamodb"), name)

    counted = replace(edge, store=Store(Table(Counting(), "tau-test")))
    tick(counted, NOW + AFTER)
    alone, asked[:] = list(asked), []
    for number in range(200):
        ended = new_run(run(number, state=RunState.PASSED)).item
        edge.store.table.write(Put({**ended, "due_shard": None, "due_at": None}))
    edge.store.table.write(Change(run_place(run(999).id), values=dict(due_values(NOW))))
    assert [due.id for due in tick(counted, NOW + AFTER)] == [run(999).id]
    assert asked == alone


class Refusing:
    """SQS that takes nothing and gives nothing."""

    def get_queue_url(self, **_):
        return {"QueueUrl": "https://sqs.invalid/q"}

    def send_message(self, **_):
        raise ClientError({"Error": {"Code": "ServiceUnavailable", "Message": "busy"}}, "SendMessage")

    receive_message = send_message


def test_a_wake_up_that_is_not_sent_is_sent_at_a_later_tick(edge):
    held = claimed(edge)
    edge.store.park(held, WaitingFor.RETRY, later(30), "once more")
    tick(replace(edge, queue=Queue(Refusing(), "tau-test")), later(30))
    assert edge.store.run(held.id).state is RunState.QUEUED
    tick(edge, later(31) + AFTER)
    assert messages(edge) == [(held.id, 3)]


def test_what_falls_due_soon_is_told_and_not_done(edge):
    made = queued(edge)
    found = tick(edge, later(50), ahead=timedelta(seconds=30))
    assert [(due.kind, due.id, due.at) for due in found] == [("run", made.id, later(60))]
    assert messages(edge) == []


def deployment(**changes):
    fields = {
        "id": "01X.3",
        "run": "01X",
        "application": "client",
        "environment": "client-production",
        "label": "v1",
        "state": DeploymentState.PREPARED,
        "number": 1,
        "created_at": NOW,
        "deadline_at": later(600),
        "due_at": NOW,
    }
    return Deployment(**{**fields, **changes})


# --- deliveries of which only a part was written ---------------------------------------------------


def accepted_of(edge, *pipelines):
    """A push, verified and planned; its ci.yml is kept, as the Lambda keeps it."""
    form = compiled(*pipelines)
    edge.store.put_config("c" * 64, json.dumps(form).encode())
    webhook = push()
    delivery = Delivery("github.com", Provider.GITHUB, headers_of(webhook), webhook.body)
    return accept(delivery, parse(form), NOW)


def half_planned(edge, *pipelines):
    """A delivery of which only the record was written."""
    accepted = accepted_of(edge, *pipelines)
    edge.store.record(accepted)
    for one in accepted.runs:
        pk, sk = run_place(one.id)
        edge.client("dynamodb").delete_item(TableName="tau-test", Key={"pk": {"S": pk}, "sk": {"S": sk}})
    place = (f"delivery#{accepted.id}", "delivery")
    due = due_values(NOW + HALF_PLANNED_AFTER)
    edge.store.table.write(Change(place, values={"planned": False, **due}))
    return accepted


class Dying:
    """DynamoDB for a Lambda that dies after its first transaction."""

    def __init__(self, client):
        self._client = client
        self._lives = 1

    def __getattr__(self, name):
        return getattr(self._client, name)

    def transact_write_items(self, **wanted):
        if not self._lives:
            raise EndpointConnectionError(endpoint_url="https://dynamodb.invalid")
        self._lives -= 1
        return self._client.transact_write_items(**wanted)


def test_a_delivery_of_more_runs_than_fit_is_finished_with_the_same_runs(edge):
    accepted = accepted_of(edge, *(pipeline(f"p{number:03}") for number in range(104)))
    with pytest.raises(EndpointConnectionError):
        Store(Table(Dying(edge.client("dynamodb")), "tau-test")).record(accepted)
    there = [one for one in accepted.runs if edge.store.table.get(run_place(one.id))]
    assert 0 < len(there) < 104
    tick(edge, NOW + HALF_PLANNED_AFTER, most=1000)
    assert [edge.store.run(one.id).job.pipeline for one in accepted.runs] == [f"p{n:03}" for n in range(104)]
    assert edge.store.delivery(accepted.id)["planned"] is True
    assert not [due for due in edge.store.due(later(100_000), 1000) if due.kind == "delivery"]


def test_a_half_planned_delivery_waits_until_its_lambda_must_be_dead(edge):
    accepted = half_planned(edge, pipeline())
    tick(edge, NOW + HALF_PLANNED_AFTER - timedelta(seconds=2))
    assert edge.store.delivery(accepted.id)["planned"] is False


def test_finishing_a_delivery_a_second_time_changes_no_run(edge):
    accepted = half_planned(edge, pipeline())
    edge.store.finish_planning(accepted)
    held = edge.store.claim(edge.store.run(accepted.runs[0].id), "r1", NOW)
    edge.store.finish_planning(accepted)
    assert edge.store.run(held.id) == held


def test_a_delivery_whose_body_lies_in_the_bucket_is_finished_from_there(edge):
    accepted = half_planned(edge, pipeline())
    place = (f"delivery#{accepted.id}", "delivery")
    edge.objects.put_once("deliveries/x", wire.zipped(accepted.delivery.body))
    edge.store.table.write(Change(place, values={"body_key": "deliveries/x"}, remove=("body",)))
    tick(edge, NOW + HALF_PLANNED_AFTER)
    assert edge.store.delivery(accepted.id)["planned"] is True
