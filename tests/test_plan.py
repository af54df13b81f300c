"""Which pipelines answer to an event, with which jobs, and why the others do not."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.config import parse
from chalicelib.model import Event, EventKind, Job, Notify, Provider, Pull, PushedImage, Source, Step
from chalicelib.plan import is_watched, plan
from chalicelib.wire import dumps, loads

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def pipeline(name="cmfive", **changes):
    return {
        "name": name,
        "repository": "github.com/2pisoftware/cmfive",
        "except": [],
        "map": {},
        "triggers": {"push": {"names": ["master"]}},
        "steps": [{"action": "build", "settings": {"image": "2pisoftware/cmfive"}}],
        "sources": [],
        "notify": {"to": ["pusher"], "on": "change"},
        "lock": None,
        "timeout_s": 3600,
        "pool": "default",
        **changes,
    }


def deployments(name="deployments", **changes):
    settings = {
        "application": {"template": "{client|dash}", "sink": "name"},
        "tags": ["latest", {"template": "{tag}", "sink": "image_tag"}],
    }
    return pipeline(
        name,
        **{
            "repository": "bitbucket.org/2pisoftware/{client}_deploy",
            "except": ["cmfive_deploy"],
            "triggers": {"tag": {"names": ["*"]}},
            "steps": [{"action": "deploy_eb", "settings": settings}],
            **changes,
        },
    )


def config(*pipelines):
    forge = {"provider": "github", "clone": "ssh://git@github.com/{repository}.git", "key": "github", "webhook": ["h"]}
    bitbucket = {**forge, "provider": "bitbucket_cloud", "clone": "https://bitbucket.org/{repository}", "key": None}
    return parse(
        {
            "version": 1,
            "source_sha256": "f" * 64,
            "operators": ["ops@2pisoftware.com"],
            "forges": {"github.com": forge, "bitbucket.org": bitbucket},
            "registries": {"docker.io": "dockerhub"},
            "pipelines": list(pipelines),
        }
    )


def push(branch="master", **changes):
    event = Event(
        forge="github.com",
        provider=Provider.GITHUB,
        delivery_id="d-1",
        kind=EventKind.PUSH,
        repository="2pisoftware/cmfive",
        ref=f"refs/heads/{branch}",
        name=branch,
        commit=COMMIT,
    )
    return replace(event, **changes)


def tag(name="v1.2.0", repository="2pisoftware/crm_2pi_deploy", **changes):
    event = push(name, forge="bitbucket.org", kind=EventKind.TAG_CREATED, repository=repository)
    return replace(event, ref=f"refs/tags/{name}", **changes)


def only_reason(event, *pipelines):
    planned = plan(event, config(*pipelines))
    assert not planned.jobs
    (verdict,) = planned.verdicts
    assert not verdict.matched
    return verdict.reason


def test_a_push_to_the_named_branch_makes_a_job_that_says_everything():
    event = push(pusher=replace(push().pusher, email="dev@2pisoftware.com"))
    planned = plan(event, config(pipeline(sources=["bitbucket.org/2pisoftware/cmfive_deploy"], pool="big")))
    (job,) = planned.jobs
    own = Source("github.com", "2pisoftware/cmfive", "ssh://git@github.com/2pisoftware/cmfive.git", "github")
    other = "2pisoftware/cmfive_deploy"
    assert job.event == event
    assert job.steps == (Step("build", {"image": "2pisoftware/cmfive"}),)
    assert job.source == own
    assert job.sources == {
        "github.com/2pisoftware/cmfive": own,
        f"bitbucket.org/{other}": Source("bitbucket.org", other, f"https://bitbucket.org/{other}", None),
    }
    assert job.registries == {"docker.io": "dockerhub"}
    assert job.lock == "cmfive/github.com/2pisoftware/cmfive/refs/heads/master"
    assert (job.notify, job.operators) == (Notify(("pusher",), "change"), ("ops@2pisoftware.com",))
    assert (job.config, job.pool, job.timeout_s) == ("f" * 64, "big", 3600)
    assert [(verdict.matched, verdict.reason) for verdict in planned.verdicts] == [
        (True, 'branch "master" matches master')
    ]


def test_submodules_are_planned_with_the_address_and_the_key_of_their_forge():
    (job,) = plan(push(), config(pipeline(submodules=["github.com/2pisoftware/*", "bitbucket.org/other/lib"]))).jobs
    assert job.submodules == (
        Source("github.com", "2pisoftware/*", "ssh://git@github.com/{repository}.git", "github"),
        Source("bitbucket.org", "other/lib", "https://bitbucket.org/{repository}"),
    )
    assert loads(Job, dumps(job)) == job
    (none,) = plan(push(), config(pipeline())).jobs
    assert none.submodules == ()


def test_a_new_branch_is_a_push():
    assert plan(push(kind=EventKind.BRANCH_CREATED), config(pipeline())).jobs


def test_several_pipelines_answer_in_the_order_of_ci_yml():
    planned = plan(push(), config(pipeline("a"), pipeline("b", triggers={"tag": {"names": ["*"]}}), pipeline("c")))
    assert [job.pipeline for job in planned.jobs] == ["a", "c"]
    assert [verdict.pipeline for verdict in planned.verdicts] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (push("feature/x"), 'branch "feature/x" matches none of: master'),
        (push(repository="a/b"), "repository github.com/a/b is not github.com/2pisoftware/cmfive"),
        (
            push(forge="bitbucket.org"),
            "repository bitbucket.org/2pisoftware/cmfive is not github.com/2pisoftware/cmfive",
        ),
        (push(kind=EventKind.TAG_CREATED), "a tag, and this pipeline answers to: push"),
        (push(kind=EventKind.BRANCH_DELETED, commit=None), "a deleted branch, and this pipeline answers to: push"),
        (push(kind=EventKind.TAG_DELETED, commit=None), "a deleted tag starts nothing"),
        (push(kind=EventKind.PULL_REQUEST), "a pull request, and this pipeline answers to: push"),
        (push(kind=EventKind.PING, repository=None), "a ping names no repository"),
        (push(kind=EventKind.IGNORED, reason="its push said so already"), "its push said so already"),
        (push(commit=None), "nothing to build: the event has no commit"),
        (push(commit="--upload-pack=x"), 'nothing to build: "--upload-pack=x" is no commit'),
        (push(ref="refs/tags/master"), '"refs/tags/master" is no branch'),
        (push(ref=None), '"" is no branch'),
        (push("master\n"), 'branch "master\\n" matches none of: master'),
        (push(repository="../etc"), '"../etc" is no name of a repository'),
        (push(repository="-o/x"), '"-o/x" is no name of a repository'),
        (push(repository="2pisoftware/cmfive\u202e"), '"2pisoftware/cmfive\\u202e" is no name of a repository'),
        (push(repository="2pisoftware/cmfive/.."), '"2pisoftware/cmfive/.." is no name of a repository'),
    ],
)
def test_whoever_is_not_meant_is_told_why(event, reason):
    assert only_reason(event, pipeline()) == reason


def test_a_repository_matches_in_either_case_and_is_cloned_as_ci_yml_spells_it():
    (job,) = plan(push(repository="2PiSoftware/CMFIVE"), config(pipeline())).jobs
    assert job.source.clone == "ssh://git@github.com/2pisoftware/cmfive.git"
    assert job.sources["github.com/2PiSoftware/CMFIVE"] == job.source
    assert job.lock == "cmfive/github.com/2pisoftware/cmfive/refs/heads/master"


def test_a_capture_reaches_the_settings_and_a_tag_is_fitted():
    (job,) = plan(tag("v1/rc"), config(deployments(triggers={"tag": {"names": ["**"]}}))).jobs
    (step,) = job.steps
    assert step.settings["application"] == "crm-2pi"
    assert step.settings["tags"][0] == "latest"
    assert step.settings["tags"][1].startswith("v1-rc-")
    assert job.source.clone == "https://bitbucket.org/2pisoftware/crm_2pi_deploy"
    assert job.lock == "deployments/bitbucket.org/2pisoftware/crm_2pi_deploy/refs/tags/v1/rc"


def test_a_star_does_not_let_a_tag_with_a_slash_in():
    assert only_reason(tag("v1/rc"), deployments()) == 'tag "v1/rc" matches none of: *'


@pytest.mark.parametrize("spelled", ["cmfive_deploy", "2pisoftware/cmfive_deploy", "2PISoftware/CMFIVE_deploy"])
def test_an_excepted_repository_starts_nothing(spelled):
    event = tag(repository="2pisoftware/cmfive_deploy")
    expected = "repository bitbucket.org/2pisoftware/cmfive_deploy is excepted"
    assert only_reason(event, deployments(**{"except": [spelled]})) == expected


def test_a_capture_that_its_place_cannot_hold_is_a_reason_and_not_a_crash():
    steps = [{"action": "deploy_eb", "settings": {"application": {"template": "{client}", "sink": "name"}}}]
    planned = plan(tag(), config(deployments(steps=steps), deployments(name="dashed")))
    assert [verdict.matched for verdict in planned.verdicts] == [False, True]
    assert '"crm_2pi" cannot be a name' in planned.verdicts[0].reason


def test_map_gives_a_capture_another_value():
    (job,) = plan(tag(), config(deployments(map={"crm_2pi": "staff"}))).jobs
    assert job.steps[0].settings["application"] == "staff"


def test_a_lock_of_its_own_is_filled_in():
    lock = {"template": "{client}/{tag}", "sink": "text"}
    assert plan(tag(), config(deployments(lock=lock))).jobs[0].lock == "crm_2pi/v1.2.0"
    assert plan(push(), config(pipeline(lock="one-at-a-time"))).jobs[0].lock == "one-at-a-time"


def test_what_a_pusher_wrote_is_never_filled_in_again():
    steps = [{"action": "build", "settings": {"args": {"NAME": {"template": "{branch}", "sink": "text"}}}}]
    (job,) = plan(push("{commit}"), config(pipeline(steps=steps, triggers={"push": {"names": ["*"]}}))).jobs
    assert job.steps[0].settings["args"]["NAME"] == "{commit}"


texts = (
    st.none() | st.text(max_size=30) | st.sampled_from(["2pisoftware/cmfive", "master", "refs/heads/master", COMMIT])
)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(EventKind), texts, texts, texts, texts)
def test_no_event_makes_the_planner_raise(kind, repository, ref, name, commit):
    event = push(kind=kind, repository=repository, ref=ref, name=name, commit=commit)
    every = pipeline(
        "all", repository="github.com/2pisoftware/{x}", triggers={"push": {"names": ["**"]}, "tag": {"names": ["**"]}}
    )
    planned = plan(event, config(pipeline(), every, deployments()))
    assert len(planned.verdicts) == 3
    assert all(verdict.reason for verdict in planned.verdicts)


def test_of_two_hundred_pipelines_each_says_why_and_one_answers():
    many = [pipeline(f"p{i}", repository=f"github.com/2pisoftware/app{i}") for i in range(150)]
    many += [deployments(name=f"d{i}", repository=f"github.com/2pisoftware/{{client}}_{i}") for i in range(50)]
    planned = plan(push(repository="2pisoftware/app149"), config(*many))
    assert [job.pipeline for job in planned.jobs] == ["p149"]
    assert len(planned.verdicts) == 200


# --- what is no push and no tag -------------------------------------------------------------------


def of_image(name="2pisoftware/cmfive:latest", **changes):
    image, _, tag = name.rpartition(":")
    pushed = PushedImage("code.2pisoftware.com:5000", image, tag, "sha256:" + "1" * 64, "01RUN")
    return Event("tau", Provider.TAU, "d-1", EventKind.IMAGE, None, name=name, image=pushed, **changes)


def crm(**changes):
    build = {"image": "2pisoftware/crm", "from": {"repository": "bitbucket.org/2pisoftware/2picrm_deploy"}}
    repository = "bitbucket.org/2pisoftware/2picrm_deploy"
    return pipeline(
        "crm",
        **{
            "repository": repository,
            "triggers": {"image": {"names": ["2pisoftware/cmfive:latest"]}},
            "steps": [{"action": "build", "settings": build}],
            "sources": [repository],
            **changes,
        },
    )


def test_a_pushed_image_starts_what_stands_on_it_and_the_job_is_of_the_repository_it_is_built_from():
    planned = plan(of_image(), config(pipeline(), crm()))
    (job,) = planned.jobs
    assert job.source.name == "bitbucket.org/2pisoftware/2picrm_deploy"
    assert job.lock == "crm/bitbucket.org/2pisoftware/2picrm_deploy/2pisoftware/cmfive:latest"
    assert [verdict.reason for verdict in planned.verdicts] == [
        "an image, and this pipeline answers to: push",
        'image "2pisoftware/cmfive:latest" matches 2pisoftware/cmfive:latest',
    ]


def test_another_tag_of_the_image_starts_nothing():
    event = of_image("2pisoftware/cmfive:develop")
    assert only_reason(event, crm()) == (
        'image "2pisoftware/cmfive:develop" matches none of: 2pisoftware/cmfive:latest'
    )


def by_name(kind, pipeline="cmfive", **changes):
    return push(kind=kind, pipeline=pipeline, commit=None, **changes)


@pytest.mark.parametrize("kind", [EventKind.MANUAL, EventKind.SCHEDULE])
def test_what_is_started_by_name_starts_that_pipeline_alone_at_whatever_its_ref_will_be(kind):
    schedule = {"push": {"names": ["master"]}, "schedule": {"cron": "0 3 * * *"}}
    rules = config(pipeline(triggers=schedule), pipeline("other", triggers=schedule))
    planned = plan(by_name(kind, ref=None, name=None), rules)
    assert [(job.pipeline, job.event.commit) for job in planned.jobs] == [("cmfive", None)]
    assert [verdict.matched for verdict in planned.verdicts] == [True, False]


def test_a_placeholder_that_a_start_by_hand_gives_no_value_for_is_named():
    steps = [{"action": "push", "settings": {"tags": [{"template": "{branch}", "sink": "image_tag"}]}}]
    event = by_name(EventKind.MANUAL, ref=None, name=None)
    assert only_reason(event, pipeline(steps=steps)) == "{branch} has no value here"


def test_a_branchs_whole_life_is_one_triggers_and_its_end_runs_nothing_where_nothing_was_left():
    rule = pipeline(triggers={"branch": {"names": ["feature/*"]}})
    for kind in (EventKind.PUSH, EventKind.BRANCH_CREATED):
        assert len(plan(push("feature/x", kind=kind), config(rule)).jobs) == 1
    gone = push("feature/x", kind=EventKind.BRANCH_DELETED, commit=None)
    assert "no step of this pipeline leaves anything behind" in only_reason(gone, rule)


def test_names_that_are_excepted_are_told_by_which_glob():
    rule = pipeline(triggers={"push": {"names": ["**"], "except": ["wip/*"]}})
    assert only_reason(push("wip/x"), rule) == 'branch "wip/x" is excepted by wip/*'
    assert len(plan(push("x"), config(rule)).jobs) == 1


def pulled(**changes):
    pull = Pull(7, changes.pop("head", COMMIT), changes.pop("branch", "feature/x"), changes.pop("target", "master"))
    return push(kind=EventKind.PULL_REQUEST, ref=None, name=None, commit=None, pull=pull, **changes)


PULLS = pipeline(triggers={"pull_request": {"names": ["master"]}})


def test_a_pull_request_is_built_at_its_branchs_head():
    (job,) = plan(pulled(), config(PULLS)).jobs
    assert (job.event.ref, job.event.name, job.event.commit) == ("refs/heads/feature/x", "feature/x", COMMIT)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"fork": True}, "it comes from a fork, and nothing of a fork is built"),
        ({"head": None}, "nothing to build: it is not open"),
        ({"branch": None}, "nothing to build: the payload does not say which branch it brings"),
        ({"target": "develop"}, 'a pull request into "develop" matches none of: master'),
    ],
)
def test_a_pull_request_that_is_not_built_says_why(changes, reason):
    assert only_reason(pulled(**changes), PULLS) == reason


# --- paths ----------------------------------------------------------------------------------------

SOURCES = pipeline(triggers={"push": {"names": ["master"], "paths": ["src/**", "*.json"]}})


def test_a_touched_file_that_a_path_matches_is_named_in_the_verdict():
    planned = plan(push(files=("docs/a.md", "src/deep/x.php")), config(SOURCES))
    (job,) = planned.jobs
    assert planned.verdicts[0].reason == 'branch "master" matches master, and src/deep/x.php is touched'
    assert (job.paths, job.event.files) == ((), None)


def test_where_no_touched_file_matches_nothing_is_started():
    reason = only_reason(push(files=("docs/a.md", "deep/package.json")), SOURCES)
    assert reason == 'branch "master" matches master, and no file is touched that matches src/**, *.json'


def test_where_the_payload_does_not_name_the_files_the_run_is_to_look():
    (job,) = plan(push(), config(SOURCES)).jobs
    assert job.paths == ("src/**", "*.json")


def test_of_two_triggers_that_match_the_one_without_paths_decides():
    both = pipeline(triggers={**SOURCES["triggers"], "branch": {"names": ["**"]}})
    (job,) = plan(push(files=("docs/a.md",)), config(both)).jobs
    assert job.paths == ()


def test_a_persons_own_repository_at_a_data_center_is_answered():
    rule = pipeline(repository="github.com/~ada/notes")
    (job,) = plan(push(repository="~ada/notes"), config(rule)).jobs
    assert job.source.clone == "ssh://git@github.com/~ada/notes.git"
    assert only_reason(push(repository="~~ada/notes"), rule) == '"~~ada/notes" is no name of a repository'


# --- ids ------------------------------------------------------------------------------------------

IDENTIFIED = pipeline(repository_id="1296269")


def test_a_repository_of_the_right_id_is_answered():
    assert plan(push(repository_id="1296269"), config(IDENTIFIED)).jobs


@pytest.mark.parametrize(
    ("changes", "has"), [({"repository_id": "666"}, "has the id 666"), ({}, "comes without an id")]
)
def test_another_repository_under_the_same_name_is_refused(changes, has):
    assert only_reason(push(**changes), IDENTIFIED) == (
        f"github.com/2pisoftware/cmfive {has}, and ci.yml says 1296269: another repository may have taken its name"
    )


def test_a_person_may_start_what_is_bound_to_an_id():
    rule = pipeline(repository_id="1296269", triggers={"manual": {}})
    assert plan(by_name(EventKind.MANUAL), config(rule)).jobs


def test_the_reconciler_watches_a_repository_that_is_bound_to_an_id():
    assert is_watched("github.com", "2pisoftware/cmfive", config(IDENTIFIED))


# --- the same again -------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(EventKind), texts, texts, texts, st.none() | st.lists(st.text(max_size=8), max_size=3))
def test_the_same_event_always_starts_the_same(kind, repository, name, commit, files):
    event = push(kind=kind, repository=repository, ref=f"refs/heads/{name}", name=name, commit=commit)
    event = replace(event, files=None if files is None else tuple(files), pipeline=repository)
    rules = config(SOURCES, IDENTIFIED, PULLS, crm(), deployments(), pipeline(triggers={"branch": {"names": ["**"]}}))
    assert plan(event, rules) == plan(event, rules)


# --- names that were chosen to be mistaken ----------------------------------------------------------


@pytest.mark.parametrize(
    ("globs", "name"),
    [
        (["release/*"], "release/x\ny"),
        (["release/*"], "release/../main/x"),
        (["main"], "main\n"),
        (["main"], "Main"),
        (["main"], "main\u200b"),
        (["**"], "a\x00b"),
        (["**"], "a\x85b"),
        (["^main$"], "main"),
        (["mai[n]"], "main"),
        (["(a+)+"], "aaaaaaaaaaaaaaaaaaaaaaaa!"),
    ],
)
def test_a_name_that_only_looks_like_an_allowed_one_starts_nothing(globs, name):
    event = push(name, ref=f"refs/heads/{name}")
    planned = plan(event, config(pipeline(triggers={"push": {"names": globs}})))
    assert (planned.jobs, [verdict.matched for verdict in planned.verdicts]) == ((), [False])
    assert planned.verdicts[0].reason.isprintable()


HOSTILE = [
    *("-u", "-", "@", "$(id)", "`id`", "a;id", "a&&id", "a|id", "a${IFS}b", "a'b", 'x"y', "#1", "{{.}}", "\u00e9"),
    *(
        "e\u202exe",
        "x,evil.com",
        "latest",
        "A",
        "a",
        "a" * 240,
        "refs/heads/main",
        "main",
        "--upload-pack=touch${IFS}x",
    ),
    *("x/y", "x-y", "X-Y", "x.y", "x_y", "-x-y", "{commit}", "%2e%2e", "~x", "e\u0301"),
]
HOLDS = {
    "name": r"[a-z0-9-]{1,63}",
    "host_label": r"[a-z0-9-]{1,63}",
    "image_tag": r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}",
    "version_label": r"[^/]{1,100}",
}


@pytest.mark.parametrize("sink", HOLDS)
def test_no_hostile_name_reaches_a_place_unfitted_and_no_two_share_one(sink):
    steps = [{"action": "push", "settings": {"to": {"template": "{branch}", "sink": sink}}}]
    settled = config(pipeline(steps=steps, triggers={"push": {"names": ["**"]}}))
    filled = []
    for name in HOSTILE:
        (job,) = plan(push(name, ref=f"refs/heads/{name}"), settled).jobs
        filled.append(job.steps[0].settings["to"])
    assert [text for text in filled if not re.fullmatch(HOLDS[sink], text) or not text.isprintable()] == []
    assert len(set(filled)) == len(HOSTILE)


def test_an_image_whose_own_push_led_to_it_starts_nothing():
    chain = ("2pisoftware/cmfive:latest", "2pisoftware/crm:latest")
    event = of_image()
    planned = plan(replace(event, image=replace(event.image, chain=chain)), config(crm()))
    assert planned.jobs == ()
    assert planned.verdicts[0].reason == (
        "it goes round in a circle: 2pisoftware/cmfive:latest -> 2pisoftware/crm:latest -> 2pisoftware/cmfive:latest"
    )


def test_an_image_does_not_say_which_of_several_repositories_is_built():
    wide = crm(repository="bitbucket.org/2pisoftware/{client}_deploy", sources=[])
    (verdict,) = plan(of_image(), config(wide)).verdicts
    assert verdict.reason == "an image does not say which repository bitbucket.org/2pisoftware/{client}_deploy is"


def rebuilt(*actions, pipeline_name="deployments"):
    steps = [{"action": action, "settings": {"image": "x/{client}"}} for action in actions]
    of = {"forge": "bitbucket.org", "provider": Provider.BITBUCKET_CLOUD, "repository": "2pisoftware/acme_deploy"}
    event = replace(of_image(), **of, ref="refs/tags/v1", name="v1", pipeline=pipeline_name)
    return plan(event, config(deployments(steps=steps), crm()))


def test_an_image_is_built_again_by_its_own_pipeline_up_to_its_last_push_and_no_older_image_is_looked_for():
    planned = rebuilt("tag", "build", "test", "push", "deploy_eb")
    (job,) = planned.jobs
    assert [step.action for step in job.steps] == ["build", "test", "push"]
    assert job.source.name == "bitbucket.org/2pisoftware/acme_deploy"
    assert [verdict.reason for verdict in planned.verdicts] == [
        'its image stands on "2pisoftware/cmfive:latest", and is built again',
        "an image of deployments, not of this pipeline",
    ]


def test_a_pipeline_that_pushes_nothing_any_more_builds_nothing_again():
    assert rebuilt("build").verdicts[0].reason == "it pushes no image that could be built again"


@given(st.permutations(range(4)))
def test_planning_again_gives_the_same_whatever_was_planned_between(order):
    rules = config(pipeline(), deployments(), crm(), PULLS)
    events = [push(), push("feature/x"), of_image(), pulled()]
    first = [plan(event, rules) for event in events]
    assert [plan(events[index], rules) for index in order] == [first[index] for index in order]
