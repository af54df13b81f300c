"""What only our edges in memory can do: fail where they are told to, lag, be nasty, and count what was done outside."""

import random
from datetime import timedelta

import pytest
from boto3.dynamodb.conditions import Attr, Key
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.errors import StepErrored
from chalicelib.mail import send
from chalicelib.model import DeploymentState, Message
from chalicelib.queue import Queue, decode
from chalicelib.records.table import Change
from chalicelib.reports.email import Mail
from runner.actions import push
from runner.context import Image
from tests.deploying import World
from tests.installation import SETTINGS
from tests.running import context
from tests.sim.edges.beanstalk import MemoryBeanstalk
from tests.sim.edges.cloud import MemoryCloud
from tests.sim.edges.eb_fates import GOOD, Fate, Fates
from tests.sim.edges.point import OPERATIONS, no_answer, refused, server_error, throttled
from tests.sim.edges.table import MemoryTable
from tests.sim.edges.worlds import PLACE, Agenda, item


class Hook:
    """Writes down what passes; does what it is told to once, at the next call."""

    def __init__(self):
        self.names, self.then = [], None

    def __call__(self, name, do):
        self.names.append(name)
        then, self.then = self.then, None
        return then(name, do) if then else do()


def lost(name, do):
    do()
    raise no_answer(name)


def repeated(_name, do):
    do()
    return do()


def dropped(name, _do):
    raise no_answer(name, closed=True)


@pytest.fixture
def hook():
    return Hook()


@pytest.fixture
def agenda():
    return Agenda()


@pytest.fixture
def cloud(hook, agenda):
    made = MemoryCloud(SETTINGS, agenda.now, agenda.monotonic, agenda.idle, point=hook)
    made.put_secret("registry", "u:p")
    return made


# --- the hook -------------------------------------------------------------------------------------


def test_a_write_whose_answer_is_lost_was_done_and_one_that_was_dropped_was_not(hook):
    table = MemoryTable(point=hook)
    for then, there in ((dropped, None), (lost, {"pk": "run#1", "sk": "run"})):
        hook.then = then
        with pytest.raises(BotoCoreError):
            table.write(item())
        assert table.get(PLACE) == there


def test_a_repeated_write_meets_itself_and_a_repeated_transaction_does_not(hook):
    table = MemoryTable(point=hook)
    hook.then = repeated
    assert table.write(item()) is None
    hook.then = repeated
    table.transact([Change(PLACE, when=Attr("a").not_exists(), add={"a": 1})])
    assert table.get(PLACE)["a"] == 1


def test_every_call_of_a_process_passes_the_hook(cloud, hook):
    edge = cloud.edge()
    cloud.beanstalk.add_environment("crm-production", "crm")
    edge.store.lock_holder("a")
    edge.store.acquire_lock("a", "b", 0)
    list(edge.store.due(cloud.edge().now()))
    list(edge.store.table.partition("run#1"))
    edge.store.table.get_many([("run#1", "run")])
    edge.queue.send(Message("01", 1), pool="default", group="g")
    received = edge.queue.receive("default", wait_s=20, hidden_s=30)
    edge.queue.hide(received, 30)
    edge.queue.delete(received)
    edge.objects.put_once("a", b"")
    edge.objects.get("a")
    list(edge.objects.keys(""))
    edge.secrets.get("registry")
    edge.secrets.get("registry")
    asked = {"ApplicationName": "crm", "EnvironmentNames": ["crm-production"], "IncludeDeleted": False}
    edge.client("elasticbeanstalk", "ap-southeast-2").describe_environments(**asked)
    cloud.registries.open("docker.io", "x", None).digest("latest")
    assert hook.names == [
        *("table.get", "table.write", "table.query", "table.partition", "table.get_many"),
        *("queue.url", "queue.send", "queue.receive", "queue.hide", "queue.delete"),
        *("s3.put_object", "s3.get_object", "s3.list_objects", "ssm.get_parameter"),
        *("eb.describe_environments", "registry.digest"),
    ]


def test_each_long_poll_looks_again_when_it_may_have_something(cloud, hook, agenda):
    queue = cloud.edge().queue
    agenda.soon(7, lambda: queue.send(Message("01", 1), pool="default", group="g"))
    assert queue.receive("default", wait_s=20, hidden_s=30)
    assert agenda.seconds == 7
    assert hook.names == ["queue.url", "queue.receive", "queue.send", "queue.receive"]


def test_failures_have_the_shape_that_the_programs_know():
    for name in OPERATIONS:
        assert isinstance(throttled(name), ClientError)
        assert server_error(name).response["ResponseMetadata"]["HTTPStatusCode"] == 500
        assert isinstance(no_answer(name), BotoCoreError)
    assert isinstance(no_answer("registry.tag"), StepErrored)
    assert refused("X", "Code").response["ResponseMetadata"]["RetryAttempts"] == 0


# --- lag ------------------------------------------------------------------------------------------


def test_an_index_may_lag_and_shows_what_was_then(hook):
    hidden = {"due": 0, "by_day": 0}
    table = MemoryTable(point=hook, lag=lambda index, _waiting: hidden.get(index, 0))
    table.write(item(day="d", id="1", due_shard="0", due_at=1))
    assert len(list(table.query("by_day", Key("day").eq("d"), most=9))) == 1
    hidden["by_day"] = hidden["due"] = 1
    table.write(Change(PLACE, values={"day": "e"}, remove=("due_at",)))
    assert [one["day"] for one in table.query("by_day", Key("day").eq("d"), most=9)] == ["d"]
    assert len(list(table.query("due", Key("due_shard").eq("0"), most=9))) == 1
    assert table.get(PLACE)["day"] == "e"
    hidden.clear()
    assert list(table.query("by_day", Key("day").eq("d"), most=9)) == []
    assert list(table.query("due", Key("due_shard").eq("0"), most=9)) == []


# --- a nasty queue --------------------------------------------------------------------------------


def nasty_life(seed):
    """What happened while somebody received and deleted twenty messages."""
    agenda = Agenda()
    cloud = MemoryCloud(SETTINGS, agenda.now, agenda.monotonic, agenda.idle, nasty=random.Random(seed))
    queue = Queue(cloud.sqs, SETTINGS.queue_prefix)
    for number in range(20):
        queue.send(Message(f"{number:02}", number), pool="default", group="g")
    seen = []
    while received := queue.receive("default", wait_s=20, hidden_s=10):
        seen.append(decode(received.body).send)
        queue.delete(received)
    return seen


def test_a_nasty_queue_gives_every_message_some_twice_in_any_order_and_the_same_for_a_seed():
    lives = [nasty_life(seed) for seed in range(10)]
    assert all(set(seen) == set(range(20)) for seen in lives)
    assert any(len(seen) > 20 for seen in lives)
    assert all(sorted(seen) != seen for seen in lives)
    assert lives == [nasty_life(seed) for seed in range(10)]


# --- Elastic Beanstalk: the one of the deployer's own tests, and this ------------------------------


def deployed(fate, *, ours):
    world = World(fate=fate)
    if ours:
        world.beanstalk = MemoryBeanstalk(world.clock, page=2)
        world.beanstalk.fates = Fates(lambda label: Fate(fate.lower() if label == "v2" else GOOD))
        world.beanstalk.add_environment("crm-production", "crm", label="v1")
        world.beanstalk.create_application_version(
            ApplicationName="crm", VersionLabel="v2", SourceBundle={}, Process=True
        )
    else:
        world.beanstalk.environments["crm-production"].enhanced = True
    world.clock.pass_(5)
    ended = world.to_the_end()
    return ended.state, ended.reason, ended.previous_label


@pytest.mark.parametrize(
    ("fate", "state"),
    [
        ("good", DeploymentState.LIVE),
        ("rolled back", DeploymentState.ROLLED_BACK),
        ("Red", DeploymentState.ROLLED_BACK),
    ],
)
def test_a_deployment_ends_as_with_the_deployers_own_elastic_beanstalk(fate, state):
    assert deployed(fate, ours=True) == deployed(fate, ours=False)
    assert deployed(fate, ours=True)[0] is state


def test_elastic_beanstalk_remembers_what_ran_when_and_what_was_asked_of_it(agenda):
    beanstalk = MemoryBeanstalk(agenda.now)
    beanstalk.add_environment("crm-production", "crm", label="v1", takes_s=60)
    beanstalk.create_application_version(ApplicationName="crm", VersionLabel="v2", SourceBundle={}, Process=True)
    asked = {"ApplicationName": "crm", "EnvironmentName": "crm-production", "VersionLabel": "v2"}
    agenda.wait(5)
    beanstalk.update_environment(**asked)
    with pytest.raises(ClientError, match="Must be Ready"):
        beanstalk.update_environment(**asked)
    agenda.wait(100)
    beanstalk.settle()
    began = agenda.now() - timedelta(seconds=100)
    history = [(began - timedelta(seconds=5), "v1"), (began + timedelta(seconds=60), "v2")]
    assert beanstalk.environments["crm-production"].history == history
    assert beanstalk.updates == {("crm-production", "v2"): 1}
    assert [event["EventDate"] for event in beanstalk.events] == [began, began + timedelta(seconds=60)]


def test_a_version_and_an_application_are_what_they_are(agenda):
    beanstalk = MemoryBeanstalk(agenda.now, processing_s=5)
    beanstalk.add_environment("crm-production", "crm")
    made = {"VersionLabel": "v2", "SourceBundle": {"S3Bucket": "b", "S3Key": "k"}, "Process": True}
    with pytest.raises(ClientError, match="No Application named 'x' found"):
        beanstalk.create_application_version(ApplicationName="x", **made)
    beanstalk.create_application_version(ApplicationName="crm", **made)
    with pytest.raises(ClientError, match="v2 already exists"):
        beanstalk.create_application_version(ApplicationName="crm", **made)
    for status in ("PROCESSING", "PROCESSED"):
        (found,) = beanstalk.describe_application_versions(ApplicationName="crm", VersionLabels=["v2", "v3"])[
            "ApplicationVersions"
        ]
        assert (found["Status"], found["SourceBundle"]) == (status, made["SourceBundle"])
        agenda.wait(5)


# --- registries, an engine, mail ------------------------------------------------------------------


def test_the_push_action_pushes_and_moves_tags_and_the_registry_remembers_each(cloud, tmp_path):
    engine = cloud.engine()
    engine.add_image("sha256:1", "2pi/x:r-1")
    engine.add_image("sha256:2", "2pi/x:r-2")
    settings = push.Settings(to=("docker.io", "code.2pisoftware.com:5000"), tags=("latest",), image="2pi/x")
    for image_id in ("sha256:1", "sha256:2"):
        images = {"2pi/x": Image("2pi/x", image_id)}
        made = context(engine, tmp_path, images=images, registry=cloud.registries.open, run=image_id[-1])
        push.run(settings, made)
    for host in settings.to:
        repository = cloud.registries.repositories[host, "2pi/x"]
        assert repository.history["latest"] == [repository.tags["r-1"], repository.tags["r-2"]]
        assert repository.tags["latest"] == repository.tags["r-2"]
    assert engine.image_list["sha256:1"]["RepoTags"] == ["2pi/x:r-1"]


def test_a_tag_is_moved_only_to_what_is_there(cloud):
    with pytest.raises(StepErrored, match="404"):
        cloud.registries.open("docker.io", "2pi/x").tag("sha256:none", "latest")


def test_an_image_goes_with_its_last_name(cloud):
    engine = cloud.engine()
    engine.add_image("sha256:1", "x:r-1", tau_system="s", tau_lock="l", tau_run="1")
    engine.tag("sha256:1", "docker.io/x", "r-1")
    for name in ("x:r-1", "docker.io/x:r-1"):
        assert engine.image_list
        engine.remove_image(name)
    assert engine.image_list == {}


def test_mail_is_counted_by_what_tells_a_repetition(cloud):
    mail = Mail(("dev@x.org",), "passed", "text", "<p>html</p>", {"X-Tau-Run": "01R", "X-Tau-Notice": "01R-abc"})
    for _ in range(2):
        send(cloud.client("sesv2"), "tau@x.org", mail)
    assert cloud.ses.notices == {"01R-abc": 2}
    assert cloud.ses.told == {("dev@x.org", "01R"): 2}
    assert cloud.ses.outbox[0].to == "dev@x.org"
