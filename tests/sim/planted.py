"""Bugs on purpose, each as somebody might well write it: a simulation that does not find them proves nothing."""

from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import timedelta

from boto3.dynamodb.conditions import Attr

from chalicelib import deployer, environment, telling, wishes
from chalicelib.environment import Answer
from chalicelib.graph import IMAGES
from chalicelib.model import DeploymentState, RunState
from chalicelib.records import breakers, deliveries, ends, runs
from chalicelib.records.breakers import BreakerRecords
from chalicelib.records.dead import DeadRecords
from chalicelib.records.ends import EndRecords
from chalicelib.records.runs import SILENT_AFTER
from runner.actions import script
from runner.agent import Agent
from runner.journal import RunJournal
from runner.slots import Slots


@contextmanager
def _instead(where, name, other):
    old = getattr(where, name)
    setattr(where, name, other(old))
    try:
        yield
    finally:
        setattr(where, name, old)


def acknowledged_early():
    """The message is deleted when the run is claimed, not when it is over."""

    def hold(agent, run, received, **more):
        agent._edge.queue.delete(received)
        return _hold(agent, run, received, **more)

    _hold = Agent._hold
    return _instead(Agent, "_hold", lambda old: hold)  # noqa: ARG005


@contextmanager
def no_fence():
    """A holder writes whatever the epoch is."""

    def held(run):  # noqa: ARG001 - that is the bug
        return Attr("state").eq(RunState.RUNNING)

    with _instead(runs, "held_by", lambda _: held), _instead(ends, "_held_as_read", lambda _: held):
        yield


def wall_clock_lease():
    """A run is taken over when its `due_at` looks old by the watcher's time of day, which is off on some machines."""

    def watch(agent, run, message, received):
        del message
        own = agent._pace.now() + timedelta(seconds=20 * agent._pace._process.error_s)
        beat_at = run.due_at - SILENT_AFTER
        if own - beat_at > timedelta(seconds=agent._edge.settings.lease_s):
            agent._claim(run, received, agent._edge.store.take_over)
        else:
            agent._edge.queue.hide(received, 2)

    return _instead(Agent, "_watch", lambda _: watch)


def no_guard_against_copies():
    """A body that was seen before is planned again."""

    def body(old):
        return lambda *args, **kwargs: replace(old(*args, **kwargs), when=Attr("pk").exists() | Attr("pk").not_exists())

    return _instead(deliveries, "body_item", body)


def forgotten_hand_over():
    """A superseded run ends, and its people are handed on to nobody."""

    def supersede(old):
        return lambda store, run, successor, **others: old(store, run, successor, **{**others, "handed": {}})

    return _instead(EndRecords, "supersede", supersede)


def a_repository_may_take_all():
    """A runner gives all of its places to whoever comes first."""
    return _instead(Slots, "enter", lambda _: lambda slots, repository: True)  # noqa: ARG005


def everybody_is_left_alone():
    """One repository's runs kill their runners, and those of all others wait too."""

    def place(_):
        return lambda source_name: ("breaker", source_name.partition("/")[0])

    return _instead(breakers, "breaker_place", place)


def nobody_is_left_alone():
    """A repository whose runs killed their runners is claimed at once."""
    return _instead(BreakerRecords, "breaker", lambda _: lambda store, source_name: None)  # noqa: ARG005


def redriven_as_nothing():
    """A letter is closed, and the run that it was redriven as is not written with it."""

    def close(old):
        return lambda *args, **kwargs: old(*args, **{**kwargs, "also": ()})

    return _instead(DeadRecords, "close_letter", close)


def a_script_goes_on():
    """A script that was interrupted is begun again."""

    def begun(old):
        return lambda journal, key: key != "script" and old(journal, key)

    return _instead(RunJournal, "begun", begun)


def a_script_is_handed_back():
    """A runner that stops interrupts a script that nobody may go on with."""
    return _instead(script, "to_the_end", lambda _: lambda context: nullcontext(context.stopping))


def announced_too_early():
    """The record says that a run's images were announced before they are."""

    def other(announce):
        def early(run, edge, now):
            edge.store.told(run.id, IMAGES, {"state": "told", "attempts": 1}, None)
            announce(run, edge, now)

        return early

    return _instead(telling, "announce", other)


def cancelled_too_late():
    """What waits for the answer to its call is taken for something that waits for its turn."""
    early = wishes._BEFORE_THE_CALL | {DeploymentState.UPDATING, DeploymentState.VERIFYING}
    return _instead(wishes, "_BEFORE_THE_CALL", lambda _: early)


def nobodys_approval():
    """An approval is taken for given as soon as it is wanted."""
    return _instead(wishes, "ask", lambda _: lambda record, now: replace(record, approved_by="somebody", due_at=now))


def broken_by_an_end():
    """Whoever looks at a deployment that has ended breaks: no tick may keep that to itself in here."""

    def settle(record, edge):
        del edge
        raise KeyError(record.id)

    return _instead(deployer, "_settle", lambda _: settle)


def no_word_is_a_good_word():
    """An environment that says nothing about its health is taken for well."""
    return _instead(environment, "_RANK", lambda old: {**old, "Grey": 0})


def any_answer_is_good():
    """A probe is asked, and its answer is not looked at."""

    def ask_all(old):
        return lambda *args: {name: Answer(good=True, said="") for name in old(*args)}

    return _instead(deployer, "ask_all", ask_all)


def the_codes_fault():
    """A right that Tau lacks is taken for a version that does not do."""
    return _instead(deployer, "_is_denied", lambda _: lambda error: False)  # noqa: ARG005


PLANTED = {
    "acknowledged early": (acknowledged_early, "was deleted while it was"),
    "no fence": (no_fence, "moved back and forth|went from|and changed|never heard of|was begun 2 times"),
    "wall-clock lease": (wall_clock_lease, "was taken from"),
    "no guard against copies": (no_guard_against_copies, "one (body|moment), 2 runs"),
    "forgotten hand-over": (forgotten_hand_over, "never heard of"),
    "a repository may take all": (a_repository_may_take_all, "takes run.* beside"),
    "everybody is left alone": (everybody_is_left_alone, "none of its repository killed a runner"),
    "nobody is left alone": (nobody_is_left_alone, "though its repository was left alone"),
    "a script goes on": (a_script_goes_on, "was begun 2 times"),
    "a script is handed back": (a_script_is_handed_back, "though nothing befell its runner"),
    "announced too early": (announced_too_early, "was announced 0 times"),
    "cancelled too late": (cancelled_too_late, "was cancelled, and .* was deployed|still held|the records say"),
    "nobody's approval": (nobodys_approval, "who was not asked"),
    "broken by an end": (broken_by_an_end, "deployment .*: KeyError"),
    "no word is a good word": (no_word_is_a_good_word, "is live, and .* met grey"),
    "any answer is good": (any_answer_is_good, "is live, and .* met unanswered"),
    "the code's fault": (the_codes_fault, "failed by deny, and is not ours"),
    "redriven as nothing": (redriven_as_nothing, "there is no such run|no run"),
}
"""Each bug, and what is said when it is found."""
