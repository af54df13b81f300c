"""The commands that act on an installation, as somebody types them."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from chalicelib.model import DeploymentState, Live, Message, RunState, WaitingFor
from chalicelib.queue import encode
from chalicelib.records.dead import Letter, LetterKind, LetterState, buried_run
from chalicelib.records.run_items import new_run
from runner.cli import main
from tests.deploying import deployment
from tests.installation import NOW, installation, later, run

SETTINGS = {
    "TAU_STAGE": "test",
    "TAU_BUCKET": "tau-test",
    "TAU_SENDER": "tau@2pisoftware.com",
    "TZ": "Australia/Sydney",
    "LOGNAME": "sam",
}
MESSAGE = "a81c6b98-da5b-4183-a0ee-cedce7f2dcaf"
DIED = "its runner died 5 times while it held this run"


def tau(*arguments):
    return CliRunner().invoke(main, arguments, env=SETTINGS)


@pytest.fixture
def store(monkeypatch):
    with installation(monkeypatch) as made:
        yield made.store


@pytest.fixture
def letter(store):
    """A message that nobody could act on, though its run is there; the run."""
    made = queued_run(store)
    body = encode(Message(made.id, 1))
    store.bury(Letter(MESSAGE, LetterKind.MESSAGE, "default", "received 51 times", 51, NOW, body, made.id))
    return made


def queued_run(store, number=1):
    store.table.write(new_run(run(number)))
    return store.run(run(number).id)


def killer(store):
    """A run that killed its runners just now, by the clock that the command reads."""
    held = store.claim(queued_run(store, 2), "r1", NOW)
    also = buried_run(held, DIED, datetime.now(UTC))
    store.end(held, RunState.ERRORED, reason=DIED, tell={}, now=NOW, also=also)
    return held


# --- dead letters ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("store")
def test_where_nothing_is_dead_that_is_said():
    assert tau("dead").stdout == "No dead letters.\n"


def test_letters_and_parked_repositories_are_two_tables(store, letter):
    killed = killer(store)
    header, *rows, blank, parked_header, parked = tau("dead").stdout.splitlines()
    assert [word for word in header.split() if "(" not in word] == ["letter", "state", "since", "tries", "pool", "of"]
    message = next(row for row in rows if row.startswith(MESSAGE))
    assert message.split()[1] == "open"
    assert message.endswith(f"run {letter.id}: received 51 times")
    died = next(row for row in rows if row.startswith(killed.id))
    assert died.endswith(f"github.com/2pisoftware/cmfive: {DIED}")
    assert (blank, parked_header.split()[0], parked.split()[0]) == ("", "parked", "github.com/2pisoftware/cmfive")
    assert parked.endswith(f"{killed.id}  {DIED} (1 time)")


@pytest.mark.usefixtures("letter")
def test_closed_letters_are_listed_when_asked_for_with_who_closed_them():
    tau("discard", MESSAGE, "--by", "sam@laptop")
    assert tau("dead").stdout == "No dead letters.\n"
    assert tau("dead", "--all").stdout.splitlines()[-1].endswith("; discarded by sam@laptop")


def test_a_strangers_message_cannot_write_on_the_terminal(store):
    store.bury(Letter(MESSAGE, LetterKind.MESSAGE, "default", "not ours: \x1b[2J[bold]\u202e", 1, NOW, "\x1b[2J", None))
    said = tau("dead").stdout
    assert "\x1b" not in said
    assert "[bold]" in said


def test_redriving_says_what_was_done_and_by_whom_it_was_asked(store, letter):
    said = tau("redrive", MESSAGE)
    assert (said.exit_code, said.stdout) == (
        *(0, f"run {letter.id} was queued: a runner of the pool default is woken\n"),
    )
    assert store.dead_letter(MESSAGE).by.startswith("sam@")
    again = tau("redrive", MESSAGE, "--by", "kim@desk")
    assert (again.exit_code, "was redriven by sam@" in again.stdout) == (0, True)


@pytest.mark.usefixtures("letter")
def test_discarding_says_so(store):
    assert tau("discard", MESSAGE).stdout == f"dead letter {MESSAGE} is discarded\n"
    assert store.dead_letter(MESSAGE).state is LetterState.DISCARDED


def test_a_repository_is_let_go_by_its_name(store):
    killer(store)
    said = tau("redrive", "github.com/2pisoftware/cmfive")
    assert said.stdout == "github.com/2pisoftware/cmfive is not parked any more, 0 runs woken\n"


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("redrive", "01NONE"), "there is no dead letter and no run 01NONE"),
        (("redrive", "github.com/a/b"), "the repository github.com/a/b is not parked"),
        (("discard", "01NONE"), "there is no dead letter 01NONE"),
        (("cancel", "01NONE"), "there is no run 01NONE: `tau runs` lists the latest"),
    ],
)
def test_what_does_not_exist_is_an_error_that_says_where_to_look(arguments, words):
    said = tau(*arguments)
    assert (said.exit_code, said.stdout) == (1, "")
    assert said.stderr.startswith(f"tau: {words}")
    assert "Traceback" not in said.output


# --- cancelling -----------------------------------------------------------------------------------


def test_a_run_that_waits_is_cancelled_at_once(store):
    made = queued_run(store)
    said = tau("cancel", made.id.lower(), "--by", "sam@laptop")
    assert (said.exit_code, said.stdout) == (0, f"run {made.id} cancelled: cancelled by sam@laptop\n")
    assert store.run(made.id).state is RunState.CANCELLED
    assert tau("cancel", made.id).stdout == f"run {made.id} had ended before: cancelled: cancelled by sam@laptop\n"


def test_a_deployment_under_way_is_not_stopped_and_that_is_no_success(store):
    held = store.claim(queued_run(store), "r1", NOW)
    begun = {"step": 0, "kind": "intent", "key": "deploy client-production", "must_finish": True, "epoch": 1}
    store.park(held, WaitingFor.ENVIRONMENT, later(5), "Elastic Beanstalk works", [begun])
    said = tau("cancel", held.id)
    assert (said.exit_code, said.stdout) == (
        *(1, f"run {held.id} goes on: its deployment has begun; `tau abort ENVIRONMENT` stops that\n"),
    )


# --- runners --------------------------------------------------------------------------------------


def test_the_runners_that_live_are_listed_with_what_they_have_in_hand(store):
    assert tau("runners").stdout == "No runner has shown life for ten minutes: pushes wait.\n"
    facts = {"host": "code", "pool": "default", "version": "0.1.0", "jobs": 4, "runs": ["01X", "01Y"], "since": NOW}
    store.put_runner("code-1a2b3c4d", facts, datetime.now(UTC))
    _, row = tau("runners").stdout.splitlines()
    assert row.split()[:7] == ["code-1a2b3c4d", "code", "default", "0.1.0", "2", "of", "4"]
    assert row.endswith("01X 01Y")


# --- what is live ---------------------------------------------------------------------------------


def test_what_is_live_can_be_had_by_a_program_with_how_it_is_now(store):
    made = deployment("01RUN", environment="gone")
    image = "registry/crm@sha256:" + "ab" * 32
    assert store.create_deployment(made)
    left = Live(made.region, made.application, "gone", "v2", made.id, NOW, health="Ok", image=image)
    assert store.move_deployment(made, replace(made, state=DeploymentState.LIVE), live=left)
    done = tau("live", "--json")
    assert done.exit_code == 1, "it is not as it was left"
    (one,) = json.loads(done.stdout)
    assert (one["environment"], one["region"], one["label"], one["image"]) == ("gone", "ap-southeast-2", "v2", image)
    assert one["now"] == {"health": None, "drift": "there is no such environment any more", "unseen": None}


def test_where_nothing_is_live_a_program_is_told_so_too(store):
    assert store.all_live() == []
    assert tau("live", "--json").stdout == "[]\n"
