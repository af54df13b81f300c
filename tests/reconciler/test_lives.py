"""Which repositories are looked at, when there is no time for all, and what is left by who dies over it."""

from dataclasses import replace

import pytest
from botocore.exceptions import EndpointConnectionError

from chalicelib import wire
from chalicelib.config import parse
from chalicelib.errors import NotThere, UnknownForge
from chalicelib.records.delivery_items import HALF_PLANNED_AFTER, delivery_place
from chalicelib.records.due import due_values
from chalicelib.records.run_items import run_place
from chalicelib.records.table import Change, Table
from chalicelib.store import Store
from chalicelib.ticker import tick
from tests.forge_stand_ins import BitbucketStandIn, GitHubStandIn, Trouble, sha
from tests.hooks import REPOSITORY, pipeline
from tests.reconciler.world import ANY, OTHER, TOKEN_NAME, World, happened, of, reasons

# --- which repositories ---------------------------------------------------------------------------


@pytest.mark.parametrize("person", [False, True], ids=["an organisation's", "a person's"])
def test_a_pattern_stands_for_what_its_owner_has_but_for_what_it_excepts(edge, person):
    with GitHubStandIn() as forge:
        world = World(
            edge, forge, pipeline(repository="github.com/2pi/{client}_deploy", triggers=ANY, **{"except": ["b_deploy"]})
        )
        forge.people = {"2pi"} if person else set()
        forge.page_size = 2
        for name in ("a_deploy", "b_deploy", "c_Deploy", "site", "d_deploy"):
            forge.repository(f"2pi/{name}").tags["v1"] = sha(name), sha(name)
        forge.repository("else/a_deploy")
        assert {one.repository for one in world.look() if one.repository} == {
            "2pi/a_deploy",
            "2pi/c_Deploy",
            "2pi/d_deploy",
        }
        forge.repository("2pi/a_deploy").tags["v2"] = sha("new"), sha("new")
        (found,) = (one for one in world.look() if one.found)
        assert (found.repository, found.runs) == ("2pi/a_deploy", 1)


def test_a_bitbucket_workspace_is_listed_too(edge):
    with BitbucketStandIn() as forge:
        world = World(edge, forge, pipeline(repository="bitbucket.org/2pi/{client}_deploy"))
        for name in ("a_deploy", "b_deploy", "site"):
            forge.repository(f"2pi/{name}").branches["x"] = sha(name)
        assert {one.repository for one in world.look()} == {"2pi/a_deploy", "2pi/b_deploy"}


def test_owners_that_cannot_be_listed_are_named_and_what_ci_yml_names_outright_is_compared(edge):
    with GitHubStandIn() as forge:
        rules = pipeline(repository=f"github.com/{REPOSITORY}"), pipeline("p", repository="github.com/2pi/*_deploy")
        world = World(edge, forge, *rules)
        world.push("develop")
        forge.trouble = of("/orgs/2pi", Trouble(500))
        looked = world.look()
        assert reasons(looked) == {
            None: "the repositories of 2pi are not known: github.com is unwell: 500 for /orgs/2pi/repos",
            REPOSITORY: None,
        }


def test_a_forge_without_a_token_is_not_asked_and_that_is_said(github):
    del github.form["forges"]["github.com"]["token"]
    github.config = parse(github.form)
    (looked,) = github.look()
    assert (looked.reason, looked.failed) == ("not compared: ci.yml gives it no token", False)
    assert github.forge.asked == []


def test_a_token_that_is_not_there_is_named(github):
    github.edge.client("ssm").delete_parameter(Name=f"/tau/test/secrets/{TOKEN_NAME}")
    github.edge.secrets._kept.clear()
    (looked,) = github.look()
    assert looked.failed
    assert f"set the SSM parameter /tau/test/secrets/{TOKEN_NAME}" in looked.reason


def test_a_forge_or_a_repository_that_ci_yml_does_not_know_is_refused(github):
    with pytest.raises(UnknownForge, match=r"ci\.yml has no forge nowhere; it has "):
        github.look(forge="nowhere")
    with pytest.raises(NotThere, match=r"no pipeline of ci\.yml is about 2pi/none"):
        github.look(repository="2pi/none")


def test_one_repository_alone_can_be_looked_at(two):
    assert [one.repository for one in two.look(repository=OTHER.upper())] == [OTHER.upper()]
    assert all(OTHER.upper() in path for path in two.forge.paths)


# --- time, and lives that end ---------------------------------------------------------------------


def test_what_there_is_no_time_for_is_first_the_next_time(edge):
    with GitHubStandIn() as forge:
        names = [f"2pisoftware/r{number}" for number in range(6)]
        world = World(
            edge, forge, *(pipeline(f"r{n}", repository=f"github.com/{name}") for n, name in enumerate(names))
        )
        for name in names:
            forge.repository(name).branches["develop"] = sha(name)
        # Each request takes a second, each repository three.
        forge.trouble = lambda _: world.clock.pass_(1)
        seen = []
        for _ in range(3):
            looked = world.look(budget_s=5)
            seen.append([one.repository for one in looked if one.taken])
            left = [one for one in looked if one.reason]
            assert all("no time left" in one.reason and not one.failed for one in left)
        assert seen == [names[:2], names[2:4], names[4:]]


class Mortal:
    """DynamoDB for a process that ends after so many writes, each of which was made."""

    def __init__(self, client, writes):
        self._client, self._left = client, writes

    def __getattr__(self, name):
        def call(**wanted):
            if not self._left:
                raise EndpointConnectionError(endpoint_url="https://dynamodb.invalid")
            self._left -= 1
            return getattr(self._client, name)(**wanted)

        writes = name in {"put_item", "update_item", "transact_write_items"}
        return call if writes else getattr(self._client, name)


@pytest.mark.parametrize("writes", range(8))
def test_whoever_dies_over_it_leaves_nothing_twice_and_nothing_out(github, writes):
    github.deliver(github.push("develop"))
    github.look()
    for number in range(25):
        github.tag(f"v{number:02}")
    github.push("develop")
    whole = github.edge
    github.edge = replace(whole, store=Store(Table(Mortal(whole.client("dynamodb"), writes), "tau-test")))
    github.look()
    github.edge = whole
    github.look()
    assert github.look_at_one().found == ()
    built = github.built()
    assert {built[head] for head in github.heads()} == {1}
    assert max(built.values()) == 1


def test_a_first_look_that_was_cut_off_goes_on_as_one(github):
    for number in range(5):
        github.tag(f"v{number}")
    whole = github.edge
    github.edge = replace(whole, store=Store(Table(Mortal(whole.client("dynamodb"), 3), "tau-test")))
    github.look()
    github.edge = whole
    assert github.look_at_one().taken == 3
    assert github.runs() == []


def test_what_was_found_and_half_planned_is_finished_by_the_ticker(github):
    github.push("develop")
    github.look()
    github.tag("v1")
    github.look()
    (run,) = github.runs()
    pk, sk = run_place(run.id)
    github.edge.client("dynamodb").delete_item(TableName="tau-test", Key={"pk": {"S": pk}, "sk": {"S": sk}})
    due = due_values(github.clock() + HALF_PLANNED_AFTER)
    github.edge.store.table.write(Change(delivery_place(run.delivery), values={"planned": False, **due}))
    github.clock.pass_(120)
    tick(github.edge, github.clock(), bury=False)
    assert github.edge.store.run(run.id).job == run.job
    assert github.edge.store.delivery(run.delivery)["planned"] is True


def test_a_queue_that_does_not_answer_leaves_the_run_to_the_ticker(github):
    github.push("develop")
    github.look()
    github.edge.client("sqs").delete_queue(QueueUrl=github.edge.queue.url("default"))
    github.tag("v1")
    assert github.look_at_one().runs == 1
    (run,) = github.runs()
    assert run.due_at is not None


# --- dry ------------------------------------------------------------------------------------------


def items(edge):
    return sorted(wire.dumps(item) for item in edge.client("dynamodb").scan(TableName="tau-test")["Items"])


def test_a_dry_run_says_what_would_be_and_writes_nothing(world):
    world.push("develop")
    assert world.look_at_one(dry_run=True).taken == 1
    assert items(world.edge) == []
    world.look()
    world.push("develop")
    world.delete("develop")
    world.tag("v1")
    world.push("master")
    before = items(world.edge)
    looked = world.look_at_one(dry_run=True)
    assert (len(looked.found), looked.runs) == (3, 2)
    assert items(world.edge) == before
    assert happened(world.look_at_one()) == happened(looked)
