"""What another ci.yml would have done differently: two files and what came in, sentences out."""

import re
from dataclasses import replace
from datetime import UTC, timedelta

import pytest

from chalicelib.config import parse
from chalicelib.errors import BadInput
from chalicelib.model import EventKind, Provider, Pull, PushedImage, Step
from chalicelib.plan import plan
from runner import actions
from runner.compiler import compile_text
from runner.differences import Difference, Replayed, compare
from runner.effects import effects
from runner.rule_changes import Change, RuleChange, Setting, rule_changes
from runner.whatif import Reading, WhatIf, _words, length_of
from runner.whatif_words import lines, sentence_of, to_json
from tests.installation import NOW, event

HEAD = """\
version: 1
operators: [ops@2pisoftware.com]
forges:
  github.com: {provider: github, clone: 'https://github.com/{repository}', webhook: [hook-1]}
  bitbucket.org: {provider: bitbucket_cloud, clone: 'https://bitbucket.org/{repository}', webhook: [hook-1]}
registries: {docker.io: {credentials: dockerhub}, code.example: {credentials: registry}}
pipelines:
"""
CMFIVE = """\
  cmfive:
    repository: github.com/2pisoftware/cmfive
    trigger: {push: [master]}
    steps:
      - build: {image: 2pisoftware/cmfive}
      - push: {to: [code.example], tags: [latest, "{branch}"]}
"""
DEV = """\
  cmfive-dev:
    repository: github.com/2pisoftware/cmfive
    trigger: {push: [develop]}
    steps:
      - build: {image: 2pisoftware/cmfive-dev}
      - test: {command: [/opt/testrunner/run]}
      - push: {to: [docker.io, code.example], tags: [latest]}
"""
CLIENTS = """\
  deployments:
    repository: bitbucket.org/2pisoftware/{client}_deploy
    trigger: {tag: ["*"]}
    steps:
      - build: {image: "2pisoftware/{client}"}
      - test: {command: [/opt/smoke], results: none}
      - deploy_eb: {application: "{client|dash}", environment: "production"}
"""
NIGHTLY = """\
  nightly:
    repository: github.com/2pisoftware/cmfive
    trigger: {schedule: {cron: "0 3 * * *"}}
    steps:
      - build: {image: 2pisoftware/nightly}
"""


def ci(*pipelines, head=HEAD):
    return parse(compile_text(head + "".join(pipelines)))


def pushes(number, branch="develop", **changes):
    return [event(ref=f"refs/heads/{branch}", name=branch, **changes)] * number


def tags(*names, client="client-a"):
    made = event(forge="bitbucket.org", provider=Provider.BITBUCKET_CLOUD, kind=EventKind.TAG_CREATED)
    made = replace(made, repository=f"2pisoftware/{client}_deploy")
    return [replace(made, ref=f"refs/tags/{name}", name=name) for name in names]


def compared(old, new, events):
    replayed = [Replayed(f"01D{number}", one, plan(one, old), plan(one, new)) for number, one in enumerate(events)]
    return compare(replayed, _words(old, new))


def sentences(old, new, events):
    return [sentence_of(one) for one in compared(old, new, events).differences]


# --- what would be done -----------------------------------------------------------------------------


def test_a_pipeline_that_goes_takes_all_that_it_did_with_it():
    assert sentences(ci(CMFIVE, DEV), ci(CMFIVE), [*pushes(12), *pushes(1, "master")]) == [
        (
            "12 pushes to develop of github.com/2pisoftware/cmfive would not be built, tested, pushed to docker.io or "
            "pushed to code.example any more"
        )
    ]


def test_a_deployment_is_named_first_and_before_everything_more_frequent():
    events = [*pushes(5), *tags("v1", "v2")]
    assert sentences(ci(CMFIVE), ci(CMFIVE, DEV, CLIENTS), events) == [
        (
            "2 tags more of bitbucket.org/2pisoftware/client-a_deploy (v1, v2) would deploy client-a to production, "
            "be built and tested"
        ),
        (
            "5 pushes more to develop of github.com/2pisoftware/cmfive would be built, tested, pushed to docker.io and "
            "pushed to code.example"
        ),
    ]


def test_each_client_that_would_go_live_has_its_own_line():
    events = [*tags("v1"), *tags("v1", "v2", client="client-b")]
    old, new = ci(CLIENTS.replace("tag:", "push:")), ci(CLIENTS)
    assert [line.partition(" would ")[2] for line in sentences(old, new, events)] == [
        "deploy client-b to production, be built and tested",
        "deploy client-a to production, be built and tested",
    ]


def test_another_region_is_another_place_to_go_live():
    there = CLIENTS.replace('environment: "production"', "environment: production, region: eu-west-1")
    assert [line.partition(" would ")[2] for line in sentences(ci(CLIENTS), ci(there), tags("v1"))] == [
        "deploy client-a to production in eu-west-1",
        "not deploy client-a to production any more",
    ]


def test_a_test_that_is_taken_out_is_all_that_is_said():
    untested = DEV.replace("      - test: {command: [/opt/testrunner/run]}\n", "")
    assert sentences(ci(DEV), ci(untested), pushes(2)) == [
        "2 pushes to develop of github.com/2pisoftware/cmfive would not be tested any more"
    ]


def test_an_image_with_another_name_is_named():
    new = CMFIVE.replace("2pisoftware/cmfive}", "2pi/new}")
    assert [line.partition(" would ")[2] for line in sentences(ci(CMFIVE), ci(new), pushes(1, "master"))] == [
        "be built as 2pi/new and pushed to code.example as 2pi/new",
        "not be built as 2pisoftware/cmfive or pushed to code.example as 2pisoftware/cmfive any more",
    ]


def test_a_script_is_known_by_its_program_and_not_by_what_differs_from_push_to_push():
    script = DEV + '      - script: {run: [/opt/announce, "now"]}\n'
    assert sentences(ci(DEV), ci(script), pushes(2)) == [
        "2 pushes more to develop of github.com/2pisoftware/cmfive would run /opt/announce"
    ]


@pytest.mark.parametrize(
    ("words", "settings", "found"),
    [
        (("be shown on {host}", "as {name}"), {"host": "a", "name": "b"}, [("be shown on a", "as b")]),
        (("be shown on {host}", "as {name}"), {"host": "a"}, [("be shown on a", "")]),
        (("reach {to[]}", ""), {"to": ["a", "{b}"]}, [("reach a", ""), ("reach {b}", "")]),
        (("run {run[0]}", ""), {"run": ["a", "b"]}, [("run a", "")]),
        (None, {"host": "a"}, [("go through show", "")]),
    ],
)
def test_an_action_says_itself_what_it_does(words, settings, found):
    (job,) = plan(event(), ci(DEV)).jobs
    shown = effects([replace(job, steps=(Step("show", settings),))], {"show": words} if words else {})
    assert [(effect.does, effect.which) for effect in shown] == found


@pytest.mark.parametrize("name", actions.names())
def test_what_an_action_says_of_itself_names_settings_that_it_has(name):
    action = actions.find(name)
    named = re.findall(r"\{(\w+)", " ".join(getattr(action, "DOES", ())))
    assert set(named) <= set(action.Settings.model_fields)


def test_what_another_pipeline_does_instead_is_no_difference_in_what_is_done():
    found = compared(ci(CMFIVE), ci(CMFIVE.replace("cmfive:", "app:")), pushes(3, "master"))
    assert (found.differences, found.same, found.answered) == ((), 0, {"cmfive": 3, "app": 3})


def test_many_branches_and_many_repositories_are_told_of_in_one_line():
    branches = [one for number in range(5) for one in pushes(1, f"feature/{number}")]
    everything = DEV.replace("[develop]", '["**"]')
    (line,) = sentences(ci(CMFIVE), ci(everything), branches)
    assert line.startswith(
        "5 pushes more to 5 branches (feature/0, feature/1, feature/2, …) of github.com/2pisoftware/cmfive would"
    )
    clients = [one for name in "abcd" for one in tags("v1", "v2", client=name)]
    built = CLIENTS[: CLIENTS.index("      - test")]
    (line,) = sentences(ci(CMFIVE), ci(built), clients)
    assert line == (
        "8 tags more of 4 repositories (bitbucket.org/2pisoftware/a_deploy, bitbucket.org/2pisoftware/b_deploy,"
        " bitbucket.org/2pisoftware/c_deploy, …) (v1, v2) would be built"
    )


OF_NO_REPOSITORY = {
    "forge": "tau",
    "provider": Provider.TAU,
    "kind": EventKind.IMAGE,
    **dict.fromkeys(("repository", "ref", "commit", "before", "after")),
}


def test_a_new_branch_counts_as_a_push_and_other_kinds_by_their_own_names():
    image = PushedImage("code.example", "2pisoftware/cmfive", "latest", "sha256:1", "01R")
    events = [
        *pushes(1),
        *pushes(1, kind=EventKind.BRANCH_CREATED),
        event(kind=EventKind.PULL_REQUEST, ref=None, name=None, pull=Pull(7, "2" * 40, "feature/x", "develop")),
        event(kind=EventKind.MANUAL, pipeline="cmfive-dev"),
        event(**OF_NO_REPOSITORY, name="2pisoftware/cmfive:latest", image=image),
    ]
    answering = "{push: [develop], pull_request: [develop], manual: {}, image: ['2pisoftware/cmfive:latest']}"
    built = DEV[: DEV.index("      - test")].replace("{push: [develop]}", answering)
    assert sentences(ci(CMFIVE), ci(built), events) == [
        "2 pushes more to develop of github.com/2pisoftware/cmfive would be built",
        "1 image more (2pisoftware/cmfive:latest) would be built",
        "1 pull request more into develop of github.com/2pisoftware/cmfive would be built",
        "1 start by hand more on develop of github.com/2pisoftware/cmfive would be built",
    ]


def test_what_a_pusher_wrote_reaches_no_terminal_as_it_is():
    seen = (("01D", "github.com/a/b", "x\u202ey\x1b[31m"),)
    line = sentence_of(Difference(True, ("be built",), EventKind.PUSH, False, seen))
    assert line == "1 push more to x<U+202E>y of github.com/a/b would be built"


# --- what the file says -----------------------------------------------------------------------------


def settings(old, new):
    (rule,) = rule_changes(old, new)
    return [(one.name, ", ".join(one.old), ", ".join(one.new)) for one in rule.settings]


@pytest.mark.parametrize(
    ("said", "instead", "told"),
    [
        (
            "trigger: {push: [master]}",
            "trigger: {push: [main, master]}",
            ("trigger.push.names", "master", "main, master"),
        ),
        ('[latest, "{branch}"]', "[latest]", ("push.tags", "latest, {branch}", "latest")),
        ("    steps:", "    timeout: 2h\n    steps:", ("timeout", "1h 0m", "2h 0m")),
        ("    steps:", "    notify: {to: [pusher], on: never}\n    steps:", ("notify.on", "change", "never")),
        ("    steps:", "    lock: one\n    steps:", ("lock", "", "one")),
        ("    steps:", "    runs_on: arm\n    steps:", ("runs_on", "default", "arm")),
    ],
)
def test_a_setting_is_told_as_ci_yml_calls_it(said, instead, told):
    assert settings(ci(CMFIVE), ci(CMFIVE.replace(said, instead))) == [told]


def test_a_step_more_is_told_once_and_not_with_each_of_its_settings():
    extra = CMFIVE + "      - push: {to: [docker.io], tags: [latest]}\n"
    assert settings(ci(CMFIVE), ci(extra)) == [("steps", "build, push", "build, push, push 2")]


def test_what_holds_for_all_pipelines_is_told_once_under_no_name():
    head = HEAD.replace("ops@", "all@").replace("code.example: {credentials: registry}", "code.example: {}")
    (rule,) = rule_changes(ci(CMFIVE), ci(CMFIVE, head=head))
    assert rule.pipeline == ""
    assert [(one.name, one.new) for one in rule.settings] == [
        ("operators", ("all@2pisoftware.com",)),
        ("registries.code.example", ("without credentials",)),
    ]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("a", "b", "a -> b"),
        ("", "a b", "none -> a, b"),
        ("a b c", "a b", "a, b, c -> a, b"),
        ("a b c d", "a b d e", "without c; with e"),
        ("a b c d", "a b c", "without d"),
        ("a b c d", "d c b a", "a, b, c, d -> d, c, b, a"),
    ],
)
def test_of_a_long_list_only_what_goes_and_comes_is_said(old, new, said):
    rule = RuleChange("deployments", Change.CHANGED, (Setting("except", tuple(old.split()), tuple(new.split())),))
    found = WhatIf(NOW, NOW, "", "", compared(ci(DEV), ci(DEV), []), (rule,))
    assert f"    except: {said}" in list(lines(found, "a", "b", UTC))


# --- all of it --------------------------------------------------------------------------------------

GOLDEN = """\
17 events of 17 deliveries since 24 Oct 2026, 12:00 UTC, by new.yml (NEW) instead of old.yml (OLD):

  2 tags of bitbucket.org/2pisoftware/client-a_deploy (v1, v2) would not deploy client-a to production, be built or \
tested any more
  12 pushes to develop of github.com/2pisoftware/cmfive would not be pushed to docker.io any more

What the file says differently:
  cmfive-dev: 12 events of this time
    push.to: docker.io, code.example -> code.example
  nightly is new: 0 events of this time
  deployments is gone: 2 events of this time

3 events would go exactly as before.
1 delivery could not be read: a newer Tau wrote them."""


def whole():
    old, new = ci(CMFIVE, DEV, CLIENTS), ci(CMFIVE, DEV.replace("docker.io, ", ""), NIGHTLY)
    events = [*pushes(12), *pushes(3, "master"), *tags("v1", "v2")]
    since = NOW - timedelta(days=30)
    found = compared(old, new, events)
    return WhatIf(since, NOW, old.hash, new.hash, found, rule_changes(old, new), Reading(len(events), 1))


def test_a_person_reads_what_would_be_different_what_was_changed_and_what_stays():
    found = whole()
    said = "\n".join(lines(found, "old.yml", "new.yml", UTC))
    assert said == GOLDEN.replace("OLD", found.old[:7]).replace("NEW", found.new[:7])


def test_a_program_reads_the_same_with_the_deliveries_that_show_it():
    said = to_json(whole())
    live, pushed = said["differences"]
    assert (live["goes_live"], live["change"], live["deliveries"]) == (True, "no_more", ["01D15", "01D16"])
    assert (pushed["does"], pushed["events"]) == (["be pushed to docker.io"], 12)
    assert [(rule["pipeline"], rule["change"], rule["events"]) for rule in said["pipelines"]] == [
        ("cmfive-dev", "changed", 12),
        ("nightly", "new", 0),
        ("deployments", "gone", 2),
    ]
    assert (said["events"], said["same"], said["since"]) == (17, 3, "2026-10-24T12:00:00.000Z")


def test_two_files_of_one_meaning_differ_in_nothing():
    old, new = ci(CMFIVE, DEV), ci(DEV, "\n", CMFIVE)
    found = compared(old, new, [*pushes(1), *pushes(1, "master")])
    since = WhatIf(NOW, NOW, old.hash, new.hash, found, rule_changes(old, new), Reading(2))
    said = list(lines(since, "a", "b", UTC))
    assert said[2:] == [
        "  nothing would be done that was not, and nothing left out that was",
        "",
        "2 events would go exactly as before.",
    ]


@pytest.mark.parametrize(("text", "days"), [("30d", 30), ("12h", 0.5), ("90d", 90)])
def test_days_and_hours_are_how_far_back_one_looks(text, days):
    assert length_of(text) == timedelta(days=days)


@pytest.mark.parametrize("text", ["", "30", "0d", "-1d", "30m", "91d", "9999999d", "3o"])
def test_how_far_back_is_said_in_days_that_are_kept(text):
    with pytest.raises(BadInput, match="--since"):
        length_of(text)
