"""ci.yml compiled: the normal form, and every complaint with its place and words to act on."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import pydantic
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.config import load, parse
from chalicelib.errors import BadConfig
from chalicelib.fit import Sink
from chalicelib.model import Event, EventKind, Provider
from chalicelib.plan import plan
from runner import actions, fields
from runner.compiler import compile_source, compile_text, render
from runner.fields import Duration, ImageName, ImageTag, PositiveInt, Registry, Repository, Size, template
from runner.grammar import CiFile, Pipeline

ROOT = Path(__file__).parents[2]


class Part(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class From(Part):
    repository: Repository
    into: str = "."


class Build(Part):
    image: ImageName
    from_: From | None = pydantic.Field(None, alias="from")
    args: Mapping[str, str] = {}


class Suite(Part):
    command: tuple[str, ...] = pydantic.Field(min_length=1)
    image: ImageName | None = None
    timeout: Duration = 60
    memory: Size = 1024
    times: PositiveInt = 1


class Push(Part):
    to: tuple[Registry, ...] = pydantic.Field(min_length=1)
    tags: tuple[ImageTag, ...]
    image: ImageName | None = None


class Deploy(Part):
    environment: Annotated[str, template(Sink.NAME)]
    region: str | None = pydantic.Field(None, pattern="^[a-z]+-[a-z]+-[0-9]$")
    image: ImageName | None = None


ACTIONS = {"build": Build, "test": Suite, "push": Push, "deploy_eb": Deploy}

HEAD = """\
version: 1
operators: [ops@2pisoftware.com]
forges:
  github.com: {provider: github, clone: "ssh://git@github.com/{repository}.git", key: github, webhook: [hook-1]}
registries:
  docker.io: {credentials: dockerhub}
pipelines:
"""
PIPELINE = """\
  cmfive:
    repository: github.com/2pisoftware/cmfive
    trigger: {push: [master]}
    steps:
      - build: {image: 2pisoftware/cmfive}
"""


def compiled(text):
    return compile_source(text.encode(), "ci.yml", ACTIONS)


def form(pipeline):
    return compiled(HEAD + pipeline).form["pipelines"][0]


def complaints(text):
    with pytest.raises(BadConfig) as refused:
        compiled(text)
    return str(refused.value).splitlines()


def only(text):
    (line,) = complaints(text)
    return line


def steps(*lines, trigger="{push: [master]}", repository="github.com/2pisoftware/cmfive"):
    listed = "".join(f"      - {line}\n" for line in lines)
    return f"  cmfive:\n    repository: {repository}\n    trigger: {trigger}\n    steps:\n{listed}"


# --- the normal form ------------------------------------------------------------------------------


def test_a_pipeline_is_compiled_with_its_defaults_written_out():
    assert form(PIPELINE) == {
        "name": "cmfive",
        "repository": "github.com/2pisoftware/cmfive",
        "except": [],
        "map": {},
        "triggers": {"push": {"names": ["master"]}},
        "steps": [{"action": "build", "settings": {"image": "2pisoftware/cmfive", "args": {}}}],
        "sources": [],
        "notify": {"to": ["pusher"], "on": "change"},
        "lock": None,
        "timeout_s": 3600,
        "pool": "default",
        "supersede": "queued",
    }


def test_what_may_be_a_submodule_is_compiled_where_it_is_said():
    said = PIPELINE.replace(
        "    steps:", "    submodules: [github.com/2pisoftware/lib, 'github.com/2pisoftware/*']\n    steps:"
    )
    assert form(said)["submodules"] == ["github.com/2pisoftware/lib", "github.com/2pisoftware/*"]


def test_the_head_is_compiled_with_the_hash_of_the_source():
    out = compiled(HEAD + PIPELINE).form
    assert out["version"] == 1
    assert out["source_sha256"] == sha256((HEAD + PIPELINE).encode()).hexdigest()
    assert out["operators"] == ["ops@2pisoftware.com"]
    assert out["registries"] == {"docker.io": "dockerhub"}
    assert out["forges"]["github.com"]["clone"] == "ssh://git@github.com/{repository}.git"


def test_the_same_source_makes_the_same_text():
    once, twice = (render(compiled(HEAD + PIPELINE).form) for _ in range(2))
    assert once == twice
    assert once.endswith("}\n")
    assert json.loads(once) == compiled(HEAD + PIPELINE).form


def test_a_text_is_compiled_with_the_actions_of_the_folder():
    text = HEAD + steps("build: {image: x}", "test: {command: [a], results: none}")
    assert compile_text(text)["pipelines"][0]["steps"][1]["settings"]["image"] == "x"
    with pytest.raises(BadConfig, match=r"elsewhere\.yml:12:9: .*unknown action; did you mean \"build\"\?"):
        compile_text(HEAD + steps("buld: {image: x}"), "elsewhere.yml")


def test_a_text_with_a_placeholder_carries_its_sink():
    tags = form(PIPELINE + '      - push: {to: [docker.io], tags: [latest, "{branch}"]}\n')["steps"][1]["settings"][
        "tags"
    ]
    assert tags == ["latest", {"template": "{branch}", "sink": "image_tag"}]


def test_scalars_stay_the_text_that_was_written():
    args = form(steps("build: {image: x, args: {a: 1.10, b: no, on: on, d: 22:22, e: 0x1F, f: 'null', g: 2026-11-23}}"))
    assert args["steps"][0]["settings"]["args"] == {
        "a": "1.10",
        "b": "no",
        "on": "on",
        "d": "22:22",
        "e": "0x1F",
        "f": "null",
        "g": "2026-11-23",
    }


def test_durations_sizes_and_numbers_become_numbers():
    step = form(steps("build: {image: x}", "test: {command: [a], timeout: 30m, memory: 512MB, times: 3}"))["steps"][1]
    assert (step["settings"]["timeout"], step["settings"]["memory"], step["settings"]["times"]) == (
        1800,
        512 * 1024**2,
        3,
    )
    assert Suite.model_validate(step["settings"]).timeout == 1800


def test_steps_use_the_image_of_the_only_build():
    out = form(
        steps("build: {image: 'a/{client}'}", "test: {command: [x]}", repository="github.com/2pi/{client}_deploy")
    )
    assert out["steps"][1]["settings"]["image"] == {"template": "a/{client}", "sink": "image"}


def test_repositories_that_steps_name_are_listed_as_sources_once():
    line = "build: {image: IMAGE, from: {repository: github.com/2pisoftware/other}}"
    out = form(steps(line.replace("IMAGE", "a"), line.replace("IMAGE", "b")))
    assert out["sources"] == ["github.com/2pisoftware/other"]


def test_everything_a_pipeline_may_say_reaches_the_form():
    out = form(
        PIPELINE.replace("cmfive\n    trigger", "{client}_deploy\n    trigger")
        + "    except: [cmfive_deploy]\n    map: {2picrm: crm}\n    notify: {to: [pusher, a@b.org], on: always}\n"
        + '    lock: "{client}"\n    timeout: 2h\n    runs_on: big\n'
    )
    assert (out["except"], out["map"], out["timeout_s"], out["pool"]) == (
        ["cmfive_deploy"],
        {"2picrm": "crm"},
        7200,
        "big",
    )
    assert out["notify"] == {"to": ["pusher", "a@b.org"], "on": "always"}
    assert out["lock"] == {"template": "{client}", "sink": "text"}


def test_the_form_is_what_the_planner_reads():
    config = parse(json.loads(render(compiled(HEAD + PIPELINE).form)))
    event = Event(
        "github.com", Provider.GITHUB, "d", EventKind.PUSH, "2pisoftware/cmfive", "refs/heads/master", "master"
    )
    (verdict,) = plan(event, config).verdicts
    assert verdict.reason == "nothing to build: the event has no commit"


# --- complaints -----------------------------------------------------------------------------------


def test_an_unknown_key_is_named_with_its_place_and_what_was_meant():
    assert only(HEAD + PIPELINE.replace("{image:", "{imgae: x, image:")) == (
        'ci.yml:12:17: pipelines.cmfive.steps[0].build.imgae: unknown key; did you mean "image"?'
    )


def test_all_complaints_come_at_once_and_in_order():
    text = HEAD.replace("provider: github", "provider: githib").replace("[ops@", "[ops")
    assert complaints(text + PIPELINE.replace("image:", "imgae:") + "    runs: x\n") == [
        'ci.yml:2:13: operators[0]: expected an email address, got "ops2pisoftware.com"',
        'ci.yml:4:16: forges.github.com.provider: expected github, bitbucket_cloud or bitbucket_server, got "githib"',
        'ci.yml:12:9: pipelines.cmfive.steps[0].build.image: "image" is required',
        'ci.yml:12:17: pipelines.cmfive.steps[0].build.imgae: unknown key; did you mean "image"?',
        'ci.yml:13:5: pipelines.cmfive.runs: unknown key; did you mean "runs_on"?',
    ]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ("build: {image: [a]}", "build.image: expected text, got a list"),
        ("build: {image: {a: b}}", "build.image: expected text, got a mapping"),
        ("build: {image: A/b}", 'build.image: "A/b" cannot be an image name of at most 255 characters'),
        ("build: {image: ''}", "build.image: expected text, got an empty one"),
        ("build: x", 'build: expected a mapping (key: value), got "x"'),
        ("build: {image: x, args: [a]}", "build.args: expected a mapping (key: value), got a list"),
        ("build: {image: x, from: {repository: a/b}}", "build.from.repository: expected forge/owner/name, such as"),
        ("build: {image: x, from: {repository: git.org/a/b}}", '"git.org" is none of the forges; known: github.com'),
        ("build: {image: x, from: {repository: github.com/a/..}}", "expected forge/owner/name"),
        (
            "build: {image: x, from: {repository: github.com/a/b, int: y}}",
            'from.int: unknown key; did you mean "into"?',
        ),
        ("build: {image: x, args: {template: a, sink: b}}", "means something else here"),
        ("pusch: {}", 'steps[0].pusch: unknown action; did you mean "push"?'),
        ("build", "steps[0]: expected one action with its settings"),
        ("{build: {image: x}, test: {command: [a]}}", "steps[0]: expected one action with its settings"),
        ("test: {command: a, image: x}", 'test.command: expected a list, got "a"'),
        ("test: {command: [], image: x}", "test.command: is empty; write at least one"),
        ("test: {command: [a], image: x, timeout: '30'}", "test.timeout: expected a duration such as 30s"),
        ("test: {command: [a], image: x, timeout: 0m}", "test.timeout: expected a duration such as 30s"),
        ("test: {command: [a], image: x, memory: 2G}", "test.memory: expected a size such as 512MB or 2GB"),
        ("test: {command: [a], image: x, times: 1.5}", "test.times: expected a whole number from 1 on"),
        (
            "push: {to: [quay.io], tags: [], image: x}",
            'push.to[0]: "quay.io" is none of the registries; known: docker.io',
        ),
        ("push: {to: [dockr.io], tags: [], image: x}", 'did you mean "docker.io"?'),
        ('push: {to: [docker.io], tags: ["{brnch}"], image: x}', '{brnch} is not known; did you mean "branch"?'),
        ('push: {to: [docker.io], tags: ["{x1}"], image: x}', "known: branch, commit, commit7, major, minor"),
        (
            'push: {to: [docker.io], tags: ["{tag}"], image: x}',
            "{tag} has no value here: this pipeline answers to push",
        ),
        ('push: {to: [docker.io], tags: ["{branch|dash}"], image: x}', "a branch is fitted to its place anyway"),
        ('push: {to: [docker.io], tags: ["{pipeline|up}"], image: x}', "the filter is not known; known: dash"),
        ('push: {to: [docker.io], tags: ["{repository}"], image: x}', "cannot be an image tag"),
        ('push: {to: [docker.io], tags: ["a b"], image: x}', '"a b" cannot be an image tag'),
        ("deploy_eb: {environment: e, region: x, image: x}", 'region: "x" is not of the form ^[a-z]+-[a-z]+-[0-9]$'),
    ],
)
def test_a_wrong_setting_is_told_in_words(settings, complaint):
    line = only(HEAD + steps(settings))
    assert complaint in line
    assert re.match(r"ci\.yml:12:\d+: pipelines\.cmfive\.steps\[0\]", line)


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("version: 1", "version: 2", 'ci.yml:1:1: version: expected 1, got "2"'),
        ("version: 1", "versions: 1", 'did you mean "version"?'),
        ("[ops@2pisoftware.com]", "[]", "ci.yml:2:1: operators: is empty; write at least one"),
        ("provider: github,", "", 'forges.github.com.provider: "provider" is required'),
        ("[hook-1]", "[]", "forges.github.com.webhook: is empty"),
        ("[hook-1]", "[a/b]", "webhook[0]: expected the name of a secret"),
        ("[hook-1]", "[github-2026]", "webhook[0]: the name of a webhook's secret begins with hook-"),
        ("ssh://git@github.com", "http://github.com", "the scheme must be ssh or https (http for this machine only)"),
        ("ssh://git@github.com", "file:///srv", "expected an address such as"),
        ("ssh://git@github.com", "ext::sh", "expected an address such as"),
        ("ssh://git@github.com", "ssh://-oProxyCommand=x", "expected an address such as"),
        ("ssh://git@github.com", "https://user:secret@github.com", "looks like an address with a password in it"),
        ("ssh://git@github.com/", "git@github.com:", "expected an address such as"),
        ("{repository}.git", "x.git", "{repository} must stand in it, once"),
        ("{repository}.git", "{repository}/{repository}", "{repository} must stand in it, once"),
        ("key: github", "api: http://api.github.com", "the scheme must be https (http for this machine only)"),
        ("key: github", "api: ftp://api.github.com", "expected an address such as https://api.github.com"),
        ("key: github", "api: 'https://sam:secret@api.github.com'", "looks like an address with a password in it"),
        ("key: github", "api: 'https://api.github.com?x=y'", "no password, no query"),
        ("key: github", "token: hook-1", "the name of a forge's token begins with token-"),
        ("key: github", "token: a b", "expected the name of a secret"),
        ("provider: github,", "provider: bitbucket_server, token: token-x,", "nothing here speaks the API of"),
        ("provider: github,", "provider: bitbucket_server, api: 'https://x',", "known: bitbucket_cloud, github"),
        ("docker.io:", "https://docker.io:", "expected a registry's host[:port]"),
        ("credentials", "credential", 'registries.docker.io.credential: unknown key; did you mean "credentials"?'),
        ("{credentials: dockerhub}", "{credentials: a b}", "expected the name of a secret"),
    ],
)
def test_a_wrong_head_is_told_in_words(before, after, complaint):
    assert complaint in "\n".join(complaints(HEAD.replace(before, after) + PIPELINE))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("provider: github", "https://api.github.com"),
        ("provider: bitbucket_cloud", "https://api.bitbucket.org/2.0"),
        ("provider: bitbucket_server", None),
        ("provider: github, api: 'https://git.example.com/api/v3/'", "https://git.example.com/api/v3"),
        ("provider: github, api: 'http://127.0.0.1:8080'", "http://127.0.0.1:8080"),
        ("provider: github, api: 'http://[::1]:8080/2.0'", "http://[::1]:8080/2.0"),
    ],
)
def test_a_forges_api_is_its_providers_where_ci_yml_names_no_other(written, meant):
    forge = compiled(HEAD.replace("provider: github", written) + PIPELINE).form["forges"]["github.com"]
    assert (forge.get("api"), forge.get("token")) == (meant, None)


def test_the_local_cloud_may_be_cloned_without_encryption():
    for host in ("127.0.0.1:8080", "localhost"):
        assert compiled(HEAD.replace("ssh://git@github.com", f"http://{host}") + PIPELINE)


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("github.com/2pisoftware/cmfive", "'*'", "would let strangers in"),
        ("github.com/2pisoftware/cmfive", "'*/*'", "would let strangers in"),
        ("github.com/2pisoftware/cmfive", "github.com/*/cmfive", "would let strangers in"),
        ("github.com/2pisoftware/cmfive", "github.com/cmfive", "expected forge/owner/name"),
        ("github.com/2pisoftware/cmfive", "gitlab.com/2pisoftware/cmfive", '"gitlab.com" is none of the forges'),
        ("github.com/2pisoftware/cmfive", "github.com/2pisoftware/cmfive.git", "leave .git out"),
        ("2pisoftware/cmfive\n", "2pisoftware/{branch}\n", "{branch} is a placeholder already"),
        ("2pisoftware/cmfive\n", "2pisoftware/{a}_{a}\n", "{a} stands in it twice"),
        ("2pisoftware/cmfive\n", "2pisoftware/{a}{b}\n", "some text must stand"),
        ("2pisoftware/cmfive\n", "2pisoftware/{A}\n", "expected forge/owner/name"),
        ("{push: [master]}", "{push: []}", "trigger.push: is empty"),
        ("{push: [master]}", "{}", "trigger: expected one of push, branch, tag, image"),
        ("{push: [master]}", "{imag: [a]}", 'trigger.imag: unknown key; did you mean "image"?'),
        ("{push: [master]}", "{push: master}", 'trigger.push: expected a list, got "master"'),
        ("[master]", "['[ab]*']", "a glob knows *, ** and ?"),
        ("[master]", "['!x']", "a glob knows *, ** and ?"),
        ("[master]", "[refs/heads/x]", "without refs/heads/"),
        ("[master]", "['a b']", "expected the name of a branch or tag"),
        ("  cmfive:", "  a/b:", "expected a pipeline's name"),
        ("    steps:", "    timeout: 12h\n    steps:", "timeout: a run may take 11h at most"),
        ("    steps:", "    runs_on: A\n    steps:", "runs_on: expected the name of a pool of runners"),
        ("    steps:", "    runs_on: arm-dead\n    steps:", "runs_on: expected the name of a pool of runners"),
        ("    steps:", "    notify: {to: [bob]}\n    steps:", "notify.to[0]: expected pusher or an email address"),
        ("    steps:", "    notify: {to: []}\n    steps:", "notify.to: is empty"),
        ("    steps:", "    notify: {on: no}\n    steps:", "notify.on: expected always, change, failure or never"),
        ("    steps:", "    except: []\n    steps:", "except: is empty"),
        ("    steps:", "    map: {a: b}\n    steps:", "map: maps what the repository's captures catch"),
        ("    steps:", "    lock: '{x}'\n    steps:", "lock: {x} is not known"),
        ("    steps:", "    paths: [a]\n    steps:", "paths: unknown key"),
        ("    steps:", "    submodules: []\n    steps:", "submodules: is empty"),
        ("    steps:", "    submodules: [github.com]\n    steps:", "submodules[0]: expected forge/owner/name"),
        ("    steps:", "    submodules: ['github.com/*/x']\n    steps:", "would let strangers in"),
        ("    steps:", "    submodules: ['github.com/a/{x}']\n    steps:", "nothing is captured here"),
        ("    steps:", "    submodules: [gitlab.com/a/b]\n    steps:", "is none of the forges"),
    ],
)
def test_a_wrong_pipeline_is_told_in_words(before, after, complaint):
    assert complaint in only(HEAD + PIPELINE.replace(before, after))


def test_a_step_without_an_image_needs_exactly_one_build_before_it():
    test, one, other = "test: {command: [a]}", "build: {image: a}", "build: {image: b}"
    assert only(HEAD + steps(test)).endswith('test.image: "image" is required: this pipeline builds none')
    assert only(HEAD + steps(one, other, test)).endswith('"image" is required: this pipeline has 2 builds')
    assert only(HEAD + steps(test, one)).endswith("test: stands before the build whose image it needs")


@pytest.mark.parametrize(("trigger", "word"), [("{tag: ['*']}", "branch"), ("{push: [x], tag: ['*']}", "tag")])
def test_a_placeholder_that_some_event_has_no_value_for_is_refused(trigger, word):
    line = only(HEAD + steps(f"build: {{image: 'a/{{{word}}}'}}", trigger=trigger))
    assert f"{{{word}}} has no value here: this pipeline answers to" in line


RELEASE = """\
  cmfive:
    repository: github.com/2pisoftware/cmfive
    trigger: {tag: ["v*"]}
    rebuild: dependents
    steps:
      - tag: {image: 2pisoftware/cmfive, to: [docker.io], tags: ["{tag}", "{major}.{minor}"]}
      - build: {image: 2pisoftware/cmfive}
      - push: {to: [docker.io], tags: ["{tag}", "{major}.{minor}"]}
"""


def test_a_tag_step_names_the_image_that_a_build_behind_it_makes_where_there_is_none():
    compiled = compile_source((HEAD + RELEASE).encode())
    (made,) = compiled.form["pipelines"]
    assert compiled.warnings == ()
    assert made["rebuild"] == "dependents"
    assert [step["settings"]["image"] for step in made["steps"]] == ["2pisoftware/cmfive"] * 3
    assert parse(compiled.form).pipelines[0].rebuild


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("image: 2pisoftware/cmfive, to", "to", '"image" is required'),
        ("rebuild: dependents", "rebuild: all", "expected dependents"),
        ("to: [docker.io], tags", "to: [quay.io], tags", "none of the registries"),
        ('trigger: {tag: ["v*"]}', "trigger: {push: [master]}", "has no value here: this pipeline answers to push"),
    ],
)
def test_a_wrong_release_is_told_in_words(before, after, complaint):
    with pytest.raises(BadConfig) as found:
        compile_source((HEAD + RELEASE).replace(before, after, 1).encode())
    assert complaint in str(found.value), str(found.value)


def test_nothing_but_the_head_is_a_list_of_what_is_missing():
    assert complaints("operators: [a@b.org]\n") == [
        'ci.yml:1:1: version: "version" is required',
        'ci.yml:1:1: forges: "forges" is required',
        'ci.yml:1:1: pipelines: "pipelines" is required',
    ]


# --- YAML -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        (b"a: &x 1\nb: *x\n", "1:4: a: the anchor &x"),
        (b"a: &x 1\nb: *x\n", "2:4: b: the alias *x"),
        (b"a: !!str 1\n", "1:4: a: the tag tag:yaml.org,2002:str"),
        (b"a: !!python/object/apply:os.system [id]\n", "1:4: a: the tag tag:yaml.org,2002:python"),
        (b"version:\n", "1:1: version: no value"),
        (b"version: ~\n", "1:1: version: no value"),
        (b"operators: [null]\n", "1:13: operators[0]: no value"),
        (b"version: 1\nversion: 1\n", "2:1: version: a repeated key; it stands in line 1 already"),
        (b"? [a]\n: b\n", "1:3: ?: a key must be one word"),
        (b"a: [\n", "2:1: not YAML: did not find expected node content"),
        (b"a:\n\t- b\n", "2:1: a tab; indent with spaces"),
        (b"- " * 60 + b"a\n", "nested deeper than 50 levels"),
        (b"[" * 100_000, "nested deeper than 50 levels"),
        (b"#" * (256 * 1024 + 1), "the file has 262145 bytes; at most 262144 are read"),
        (b"a: b\nc: \xff\n", "2:4: byte 0xff is not UTF-8"),
        (b"a: b\nc: \x07\n", "2:4: the control character U+0007"),
        (b'a: "\\x07"\n', "1:4: a: a control character"),
        (b'a: "x\\ny"\n', "1:4: a: a control character"),
        (b"", "1:1: the file is empty"),
        (b"# nothing\n", "1:1: the file is empty"),
        (b"version: 1\n---\nversion: 1\n", "2:1: a second document"),
        (b"just a text\n", "1:1: expected a mapping"),
    ],
)
def test_yaml_that_could_mean_something_else_is_refused_with_its_place(source, complaint):
    with pytest.raises(BadConfig) as refused:
        compile_source(source, "ci.yml", ACTIONS)
    assert f"ci.yml:{complaint}" in str(refused.value) or complaint in str(refused.value).splitlines()[0]


def test_a_missing_value_is_not_reported_as_a_missing_key_too():
    assert only(HEAD + steps("build: {image: }")) == (
        "ci.yml:12:17: pipelines.cmfive.steps[0].build.image: no value; leave the key out, or write one"
    )


def test_a_laughing_file_is_refused_and_never_unfolded():
    # Unfolded it has 2^40 leaves: this test ends, or the machine does.
    lines = ["a0: &a0 [x, x]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 40))]
    assert complaints("\n".join(lines))


def test_a_file_full_of_mistakes_is_answered_with_the_first_hundred():
    lines = complaints("".join(f"k{i}:\n" for i in range(5000)))
    assert len(lines) == 101
    assert lines[-1] == "ci.yml: and 4904 more"


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: raw.decode("latin-1")))
def test_any_text_is_either_compiled_or_refused(text):
    with pytest.raises(BadConfig):
        compile_source(text.encode("utf-8", "surrogatepass"), "ci.yml", ACTIONS)


words = st.sampled_from(sorted({*CiFile.model_fields, *Pipeline.model_fields, "push", "build", "image", "github.com"}))
trees = st.recursive(
    st.text(max_size=8) | words, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4)
)


@settings(max_examples=300, deadline=None)
@given(trees, st.sampled_from(["forges", "registries", "operators", "pipelines", "steps", "notify", "trigger"]))
def test_any_tree_in_any_place_is_either_compiled_or_refused(tree, place):
    whole = yaml.safe_load(HEAD + PIPELINE)
    (whole if place in whole else whole["pipelines"]["cmfive"])[place] = tree
    try:
        compiled(yaml.dump(whole))
    except BadConfig as error:
        assert str(error).startswith("ci.yml:")  # noqa: PT017  # being compiled is as good


# --- warnings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pipeline", "warning"),
    [
        (
            steps("build: {image: x}", "deploy_eb: {environment: e}"),
            "ci.yml:13:9: pipelines.cmfive.steps[1].deploy_eb: goes live untested: no test stands before it",
        ),
        (
            PIPELINE.replace("cmfive\n    trigger", "{client}_deploy\n    except: [cmfive-deploy]\n    trigger"),
            "excepts nothing: github.com/2pisoftware/cmfive-deploy is not github.com/2pisoftware/{client}_deploy",
        ),
        (
            steps("build: {image: x}", "test: {command: [a], image: y}"),
            "steps[1].test.image: no build before this step makes it",
        ),
    ],
)
def test_what_looks_like_a_slip_is_a_warning(pipeline, warning):
    (line,) = compiled(HEAD + pipeline).warnings
    assert warning in line


def test_a_good_file_has_no_warnings():
    assert compiled(HEAD + PIPELINE).warnings == ()


# --- the project's own ----------------------------------------------------------------------------


def test_the_projects_own_ci_json_is_what_the_compiler_makes_of_its_ci_yml():
    source = ROOT / "chalicelib" / "ci.yml"
    out = compile_source(source.read_bytes(), "chalicelib/ci.yml")
    assert out.warnings == ()
    assert (ROOT / "chalicelib" / "ci.json").read_text() == render(out.form), "run `tau compile`"


def test_a_tag_of_a_deployment_repository_of_ours_goes_live():
    event = Event(
        "bitbucket.org", Provider.BITBUCKET_CLOUD, "d", EventKind.TAG_CREATED, "2pisoftware/crm_2pisoftware_deploy",
        ref="refs/tags/v1.2.0", name="v1.2.0", commit="0" * 39 + "1",
    )  # fmt: skip
    (job,) = plan(event, load()).jobs
    settings = {step.action: step.settings for step in job.steps}
    assert settings["build"]["image"] == settings["deploy_eb"]["image"] == "2pisoftware/crm_2pisoftware"
    assert settings["push"]["tags"] == ["v1.2.0"]
    assert settings["deploy_eb"]["environment"] == "crm-2pisoftware-production"
    for step in job.steps:
        assert actions.find(step.action).Settings.model_validate(step.settings)


def test_a_push_to_either_name_of_develop_runs_the_suite_before_the_push():
    for branch in ("develop", "development"):
        event = Event(
            "github.com", Provider.GITHUB, "d", EventKind.PUSH, "2pisoftware/cmfive",
            ref=f"refs/heads/{branch}", name=branch, commit="a" * 40,
        )  # fmt: skip
        (job,) = plan(event, load()).jobs
        assert [step.action for step in job.steps] == ["build", "test", "push"]
        assert job.steps[2].settings["tags"] == ["latest", branch]


def test_two_hundred_pipelines_are_compiled_and_read():
    text = HEAD + "".join(PIPELINE.replace("cmfive", f"app{i}") for i in range(200))
    read = parse(json.loads(render(compiled(text).form)))
    assert [one.name for one in read.pipelines] == [f"app{i}" for i in range(200)]


def test_a_field_without_a_compiler_around_it_takes_texts_as_they_are():
    assert Push(to=("quay.io",), tags=("{any}",)).model_dump()["tags"] == ("{any}",)
    assert fields.suggestion("x", []) == "known: none"


FROM = "{image: 2pisoftware/cmfive, from: {repository: github.com/2pisoftware/cmfive_deploy}}"


def test_a_pipeline_of_no_pushes_is_about_what_its_image_is_built_from():
    text = PIPELINE.replace("    repository: github.com/2pisoftware/cmfive\n", "").replace(
        "{push: [master]}", "{image: [a:b]}"
    )
    text = HEAD + text
    (read,) = parse(compile_text(text.replace("{image: 2pisoftware/cmfive}", FROM))).pipelines
    assert read.repository == "github.com/2pisoftware/cmfive_deploy"
    assert "a build that has" in only(text)
    assert '"repository" is required: push is about one' in only(text.replace("image: [a:b]", "push: [a]"))


def test_a_persons_own_repository_at_a_data_center_can_be_named():
    forge = 'dc: {provider: bitbucket_server, clone: "ssh://git@dc/{repository}.git", webhook: [hook-1]}\n'
    text = HEAD.replace("registries:", f"  {forge}registries:") + PIPELINE.replace("github.com/2pisoftware", "dc/~ada")
    assert compiled(text).form["pipelines"][0]["repository"] == "dc/~ada/cmfive"


@pytest.mark.parametrize("ref", ["develop", "refs/heads/develop"])
def test_a_schedule_of_a_branch_has_a_value_for_it_and_one_of_the_default_branch_has_none(ref):
    text = steps("build: {image: 'a/{branch}'}", trigger=f"{{schedule: {{cron: '0 3 * * *', ref: {ref}}}}}")
    assert form(text)["triggers"]["schedule"]["ref"] == ref
    assert "{branch} has no value here" in only(HEAD + text.replace(f", ref: {ref}", ""))


@pytest.mark.parametrize("kind", ["image: ['a:b']", "schedule: {cron: '0 3 * * *'}"])
def test_what_starts_without_a_push_has_a_commit_all_the_same(kind):
    assert form(steps("build: {image: 'a/{commit7}'}", trigger=f"{{{kind}}}"))["steps"]


def test_a_list_of_names_alone_is_the_short_form_of_their_mapping():
    short, long = (form(PIPELINE.replace("[master]", text)) for text in ("[master]", "{names: [master]}"))
    assert short == long
