"""Which newer run takes a run's place, as the commits say; and who is asked to stop for it."""

from dataclasses import replace

import pytest
from botocore.exceptions import EndpointConnectionError

from chalicelib.model import ENDS, Handed, Pusher, RunState, Stop, Supersede
from chalicelib.records.run_items import new_run
from chalicelib.store import Store
from chalicelib.superseding import GAVE_UP, Ancestry, ask_older, handed, others_of, reason, rivals, successor
from tests.installation import NOW, event, installation, job, later, run

A, B, C = "a" * 40, "b" * 40, "c" * 40


def pushed(number, commit, *, state=RunState.QUEUED, ref="refs/heads/develop", **changes):
    kind, name = ref.split("/", 2)[1:]
    assert kind in {"heads", "tags"}
    planned = job(event=event(commit=commit, ref=ref, name=name), **changes)
    return run(number, job=planned, state=state)


def line(*commits):
    """A branch on which these commits follow each other; it stands at the last one."""

    def is_ancestor(older, newer):
        return older in commits and newer in commits and commits.index(older) <= commits.index(newer)

    return lambda: Ancestry(commits[-1] if commits else None, is_ancestor)


def numbers(runs):
    return [int(run.id[-3:]) for run in runs]


# --- rivals ---------------------------------------------------------------------------------------


def test_rivals_are_the_other_runs_of_the_same_pipeline_and_ref_with_another_commit():
    others = [
        pushed(1, A),
        pushed(2, B),
        pushed(3, C, pipeline="another"),
        pushed(4, C, ref="refs/heads/master"),
        pushed(5, A),
        pushed(6, None),
        pushed(7, C),
    ]
    assert numbers(rivals(others[0], others)) == [2, 7]


@pytest.mark.parametrize("state", [*RunState])
def test_who_gave_up_is_nobodys_rival(state):
    found = rivals(pushed(1, A), [pushed(2, B, state=state)])
    assert bool(found) is (state not in GAVE_UP)


def test_where_each_push_is_built_nobody_has_rivals():
    assert rivals(pushed(1, A, supersede=Supersede.NEVER), [pushed(2, B)]) == []


def test_a_run_that_has_yet_to_look_whether_it_builds_takes_nobodys_place_and_may_give_its_own():
    looking = pushed(2, B, paths=("src/**",))
    assert rivals(pushed(1, A), [looking]) == []
    assert numbers(rivals(looking, [pushed(3, C)])) == [3]


def test_deliveries_of_a_branch_may_come_in_any_order_and_a_tags_newer_run_wins():
    assert numbers(rivals(pushed(2, A), [pushed(1, B), pushed(3, C)])) == [1, 3]
    tag = "refs/tags/v1"
    assert numbers(rivals(pushed(2, A, ref=tag), [pushed(1, B, ref=tag), pushed(3, C, ref=tag)])) == [3]


# --- the successor --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mine", "others", "branch", "expected"),
    [
        ((1, A), [], [A], None),
        ((1, A), [(2, B)], [A, B], 2),
        ((2, B), [(1, A)], [A, B], None),
        ((2, A), [(1, B)], [A, B], 1),
        ((1, A), [(2, B), (3, C)], [A, B, C], 3),
        ((2, A), [(1, C), (3, B)], [A, B, C], 3),
        ((1, A), [(2, B)], [B], 2),
        ((2, B), [(1, A)], [A], None),
        ((2, B), [(1, A), (3, A)], [A], 3),
        ((1, A), [(2, B), (3, A)], [A], None),
        ((1, A), [(2, B)], [C], 2),
        ((1, A), [(2, B)], [], None),
        ((1, A), [(2, B)], [A, C], None),
    ],
    ids=[
        "alone",
        "a newer push holds it",
        "the older one is nobody's successor",
        "delivered the wrong way round",
        "the newest of those that hold it",
        "the newest run of those that hold it",
        "forced away",
        "forced back here: it is the tip",
        "forced away by going back",
        "it is the tip again",
        "forced away, and what replaced it has no run",
        "the branch is gone",
        "the other one is on no line of it",
    ],
)
def test_the_commits_say_which_run_takes_its_place(mine, others, branch, expected):
    found = successor(pushed(*mine), [pushed(*other) for other in others], line(*branch))
    assert (int(found.id[-3:]) if found else None) == expected


def test_two_that_were_forced_away_may_name_each_other_so_whoever_ends_first_needs_a_living_heir():
    older, newer = pushed(3, A), pushed(1, B)
    ancestry = Ancestry(C, lambda one, other: one == other or (one, other) == (A, B))
    assert successor(older, [newer], lambda: ancestry) == newer
    assert successor(newer, [older], lambda: ancestry) == older


def test_a_tags_newest_run_wins_and_nobody_asks_the_forge():
    def never():
        raise AssertionError("asked")

    tag = "refs/tags/v1"
    found = successor(pushed(1, A, ref=tag), [pushed(2, B, ref=tag), pushed(3, C, ref=tag)], never)
    assert numbers([found]) == [3]
    assert successor(pushed(1, A), [], never) is None


def test_the_reason_names_what_came_and_its_run():
    newer = pushed(2, B)
    assert reason(newer) == f"a newer push of develop (bbbbbbb) takes its place: run {newer.id}"
    assert reason(pushed(2, B, ref="refs/tags/v1")).startswith("a newer tag of v1 (bbbbbbb) takes its place")


# --- people ---------------------------------------------------------------------------------------


def test_a_run_hands_on_its_own_people_and_those_that_it_was_handed():
    who = Pusher("ann", "Ann", "ann@2pisoftware.com")
    said = event(commit=A, pusher=who, head_commit_message="Show overdue tasks first\n\nThey were last.")
    gone = replace(run(2, job=job(event=said)), handed={"01OLDER": Handed(B, "ben@2pisoftware.com")})
    assert handed(gone) == {
        "01OLDER": Handed(B, "ben@2pisoftware.com"),
        gone.id: Handed(A, "ann@2pisoftware.com", "Ann", "Show overdue tasks first"),
    }


def test_who_cannot_be_reached_is_handed_on_by_name():
    said = event(pusher=Pusher(login="ann"), head_commit_message=None)
    assert handed(run(1, job=job(event=said)))[run(1).id] == Handed("2" * 40, None, "ann", None)


def test_a_message_of_a_megabyte_is_handed_on_as_its_beginning():
    said = event(head_commit_message="x" * 1_000_000)
    assert len(handed(run(1, job=job(event=said)))[run(1).id].message) <= 100


# --- asking who holds an older run ----------------------------------------------------------------


@pytest.fixture
def edge(monkeypatch):
    with installation(monkeypatch) as made:
        yield made


def written(edge, made, *, held=True):
    edge.store.table.write(new_run(replace(made, job=replace(made.job, lock=made.id))))
    return edge.store.claim(edge.store.run(made.id), "r1", NOW) if held else edge.store.run(made.id)


NEWER = {"supersede": Supersede.RUNNING}


def test_who_holds_an_older_run_of_the_branch_is_asked(edge):
    older = written(edge, pushed(1, A, **NEWER))
    newer = written(edge, pushed(2, B, **NEWER), held=False)
    ask_older([newer], edge, later(1))
    assert edge.store.run(older.id).stop == Stop(RunState.SUPERSEDED, newer.id, later(1))
    assert edge.store.run(newer.id).stop is None


@pytest.mark.parametrize("supersede", [Supersede.QUEUED, Supersede.NEVER])
def test_nobody_is_asked_where_ci_yml_does_not_say_so(edge, supersede):
    older = written(edge, pushed(1, A, supersede=supersede))
    ask_older([written(edge, pushed(2, B, supersede=supersede), held=False)], edge, NOW)
    assert edge.store.run(older.id).stop is None


def test_a_run_that_was_planned_to_be_built_in_any_case_is_not_asked(edge):
    older = written(edge, pushed(1, A, supersede=Supersede.NEVER))
    ask_older([written(edge, pushed(2, B, **NEWER), held=False)], edge, NOW)
    assert edge.store.run(older.id).stop is None


def test_the_older_run_of_a_tag_that_was_moved_is_asked_and_the_newer_one_is_not(edge):
    tag = "refs/tags/v1"
    oldest, newest = (written(edge, pushed(number, commit, ref=tag, **NEWER)) for number, commit in ((1, A), (3, C)))
    ask_older([written(edge, pushed(2, B, ref=tag, **NEWER), held=False)], edge, NOW)
    assert (edge.store.run(oldest.id).stop is None, edge.store.run(newest.id).stop is None) == (False, True)


@pytest.mark.parametrize("state", sorted(ENDS | {RunState.QUEUED, RunState.WAITING}))
def test_only_who_holds_a_run_can_be_asked(edge, state):
    written(edge, replace(pushed(1, A, **NEWER), state=state), held=False)
    ask_older([written(edge, pushed(2, B, **NEWER), held=False)], edge, NOW)
    assert edge.store.run(run(1).id).stop is None


def test_who_was_asked_by_a_person_is_not_asked_for_anything_else(edge):
    older = written(edge, pushed(1, A, **NEWER))
    edge.store.ask_to_stop(older, Stop(RunState.CANCELLED, "sam@laptop", NOW))
    ask_older([written(edge, pushed(2, B, **NEWER), held=False)], edge, NOW)
    assert edge.store.run(older.id).stop.by == "sam@laptop"


def test_where_asking_fails_for_one_run_the_others_are_asked(edge, caplog):
    class Broken(Store):
        def runs_of_ref(self, forge, repository, ref, most):
            if ref.endswith("develop"):
                raise EndpointConnectionError(endpoint_url="https://dynamodb.invalid")
            return super().runs_of_ref(forge, repository, ref, most)

    older = written(edge, pushed(1, A, ref="refs/heads/master", **NEWER))
    newer = [
        written(edge, pushed(number, B, ref=f"refs/heads/{name}", **NEWER), held=False)
        for number, name in ((2, "develop"), (3, "master"))
    ]
    ask_older(newer, replace(edge, store=Broken(edge.store.table)), NOW)
    assert edge.store.run(older.id).stop.by == newer[1].id
    assert "older runs were not asked to stop" in caplog.text


def test_the_runs_of_a_ref_are_looked_at_back_to_the_twentieth(edge):
    for number in range(1, 25):
        written(edge, pushed(number, A), held=False)
    assert numbers(others_of(pushed(24, A), edge)) == list(range(24, 4, -1))
