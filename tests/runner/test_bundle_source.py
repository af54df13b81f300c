"""A Dockerfile that Elastic Beanstalk builds: on what it stands, and what else goes along."""

import pytest

from chalicelib.errors import StepFailed
from chalicelib.graph import Base
from runner.bundle.dockerrun import Place
from runner.bundle.making import Source, build
from runner.bundle.pins import pinned
from tests.bundling import GOOD, OURS, archived, names, opened, read, tarred

D = {letter: "sha256:" + letter * 64 for letter in "abcde"}
BASES = (
    Base("docker.io", "2pisoftware/crm", "latest", D["a"]),
    Base("docker.io", "debian", "12", D["b"]),
    Base("code.2pisoftware.com:5000", "2pisoftware/crm", "1.2", D["c"]),
    Base("docker.io", "2pisoftware/own", "latest", D["d"], local=True),
)


def pin(text, commit=None):
    made = pinned(text, BASES, commit)
    assert made.complaints == []
    return made.text


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("FROM 2pisoftware/crm:latest\n", f"FROM 2pisoftware/crm@{D['a']}\n"),
        ("FROM 2pisoftware/crm", f"FROM 2pisoftware/crm@{D['a']}"),
        ("from\tdocker.io/library/debian:12 as build\r\n", f"FROM docker.io/library/debian@{D['b']} as build\n"),
        ("FROM --platform=linux/amd64 debian:12 AS x\n", f"FROM --platform=linux/amd64 debian@{D['b']} AS x\n"),
        (
            "FROM code.2pisoftware.com:5000/2pisoftware/crm:1.2\n",
            f"FROM code.2pisoftware.com:5000/2pisoftware/crm@{D['c']}\n",
        ),
        ("ARG V=12\nFROM debian:${V}\nRUN x\n", f"ARG V=12\nFROM debian@{D['b']}\nRUN x\n"),
        ("# a\nFROM \\\n# b\n  debian:12 \\\n  AS x\nRUN y\n", f"# a\nFROM debian@{D['b']} AS x\n\n\n\nRUN y\n"),
        (f"FROM anything@{D['e']}\n", f"FROM anything@{D['e']}\n"),
        ("FROM scratch\nCOPY a /\n", "FROM scratch\nCOPY a /\n"),
        ("\ufeffFROM debian:12\n", f"FROM debian@{D['b']}\n"),
    ],
)
def test_each_from_names_what_it_was_in_the_test(written, expected):
    assert pin(written) == expected


def test_every_stage_is_pinned_and_none_of_its_own():
    text = "FROM debian:12 AS build\nRUN a\nFROM 2pisoftware/crm AS base\nFROM base\nCOPY --from=build /a /a\n"
    made = pinned(text, BASES, None)
    assert made.text == text.replace("debian:12", f"debian@{D['b']}").replace(
        "2pisoftware/crm", f"2pisoftware/crm@{D['a']}"
    )
    assert made.images == [f"debian@{D['b']}", f"2pisoftware/crm@{D['a']}"]
    # What is run is the last stage.
    assert made.stands_on == f"2pisoftware/crm@{D['a']}"
    assert pinned("FROM debian:12\nFROM scratch\n", BASES, None).stands_on == "scratch"
    assert made.remarks == []


@pytest.mark.parametrize("sign", ["<<EOF", "<<-EOF", '<<"EOF"', "2<<'EOF'"])
def test_what_stands_in_a_heredoc_is_no_instruction(sign):
    text = f"FROM debian:12\nRUN cat {sign} > /Dockerfile\nFROM elsewhere:1\nEOF\nFROM 2pisoftware/crm\n"
    assert "FROM elsewhere:1\n" in pin(text)
    assert f"FROM 2pisoftware/crm@{D['a']}" in pin(text)


def test_a_shift_is_no_heredoc_behind_which_a_from_could_hide():
    assert f"FROM 2pisoftware/crm@{D['a']}" in pin(
        "FROM debian:12\nRUN echo $((1<<2)) $((1 << 2))\nFROM 2pisoftware/crm\n"
    )
    made = pinned("FROM debian:12\nRUN x <<EOF\nFROM 2pisoftware/crm\n", BASES, None)
    assert made.complaints == ["Dockerfile, line 2: <<EOF has no line EOF that ends it"]


def test_the_commit_is_filled_in_where_the_dockerfile_asks_for_it():
    text = "FROM debian:12\nARG TAU_COMMIT\nARG TAU_COMMIT=none\nARG OTHER\n"
    assert pin(text, "c0ffee").splitlines()[1:] == ["ARG TAU_COMMIT=c0ffee", "ARG TAU_COMMIT=c0ffee", "ARG OTHER"]
    assert pin(text).splitlines()[1:] == text.splitlines()[1:]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("FROM redis:7\n", "Dockerfile, line 1: FROM redis:7: which image that was in the test is not known"),
        ("FROM debian:13\n", "Dockerfile, line 1: FROM debian:13: which image"),
        ("FROM scratch\n\nFROM 2pisoftware/own\n", "Dockerfile, line 3: FROM 2pisoftware/own was made on this machine"),
        ("RUN x\n", "Dockerfile: there is no FROM in it"),
        ("", "Dockerfile: there is no FROM in it"),
        ("# escape=`\nFROM debian:12\n", "Dockerfile: leave out the line `escape=`"),
        ("FROM ${UNSET}\n", "Dockerfile, line 1: FROM : which image"),
        ("FROM\n", "Dockerfile, line 1: FROM : which image"),
    ],
)
def test_what_cannot_be_pinned_is_refused_with_its_line(text, sentence):
    (complaint,) = pinned(text, BASES, None).complaints
    assert complaint.startswith(sentence)


def test_what_is_copied_from_an_image_is_said_not_to_be_pinned():
    text = "FROM debian:12 AS a\nCOPY --from=a /x /x\nCOPY --from=0 /x /x\nCOPY --from=composer:2 /x /x\n"
    (remark,) = build(tarred({"Dockerfile": text}), Source(BASES)).remarks
    assert remark.startswith("Dockerfile, line 4: composer:2 is not pinned")


FILES = {
    "Dockerfile": "FROM 2pisoftware/crm:latest\nCOPY app /app\n",
    "app/index.php": "<?php",
    "app/go.sh": "#!/bin/sh",
    ".dockerignore": "*.md",
    ".ebextensions/a.config": "a",
    ".platform/hooks/prebuild/a.sh": "b",
    "notes/a.md": "c",
}


def test_the_whole_tree_goes_along(tmp_path):
    made = build(archived(tmp_path, FILES, executable={"app/go.sh"}), Source(BASES))
    assert names(made) == sorted(FILES)
    with opened(made) as archive:
        assert archive.getinfo("app/go.sh").external_attr >> 16 == 0o100755
    assert made.built_from == f"2pisoftware/crm:latest@{D['a']}"
    assert made.images == (f"2pisoftware/crm@{D['a']}",)


def test_the_same_tree_on_the_same_base_is_the_same_bytes_and_on_another_base_others(tmp_path):
    first = build(archived(tmp_path / "one", FILES), Source(BASES))
    assert build(archived(tmp_path / "two", dict(reversed(FILES.items()))), Source(BASES)) == first
    moved = Source((Base("docker.io", "2pisoftware/crm", "latest", D["e"]),))
    assert build(archived(tmp_path / "three", FILES), moved).content != first.content


def test_a_dockerrun_loses_the_image_that_would_be_ignored_and_keeps_everything_else():
    said = read(build(tarred({**FILES, "Dockerrun.aws.json": GOOD}), Source(BASES)))
    assert said == {"AWSEBDockerrunVersion": "1", "Ports": [{"ContainerPort": 80}]}
    bare = '{"AWSEBDockerrunVersion": 1, "Logging": "/var/log"}'
    assert read(build(tarred({**FILES, "Dockerrun.aws.json": bare}), Source(BASES)))["Logging"] == "/var/log"


def test_a_base_of_a_registry_with_credentials_has_a_dockerrun_made_that_names_them():
    text = "FROM code.2pisoftware.com:5000/2pisoftware/crm:1.2\n"

    def login(hosts):
        return Place("b", "k") if "code.2pisoftware.com:5000" in hosts else None

    made = build(tarred({"Dockerfile": text}), Source(BASES), login=login)
    assert read(made) == {"AWSEBDockerrunVersion": "1", "Authentication": {"Bucket": "b", "Key": "k"}}
    assert names(build(tarred({"Dockerfile": "FROM debian:12"}), Source(BASES), login=login)) == ["Dockerfile"]


@pytest.mark.parametrize(
    ("wanted", "name"), [(Source(BASES), "Dockerfile"), (OURS, "Dockerrun.aws.json")], ids=["source", "image"]
)
def test_what_ebignore_names_and_nothing_works_without_is_said(wanted, name):
    tree = tarred({**FILES, "Dockerrun.aws.json": GOOD, ".ebignore": name})
    with pytest.raises(StepFailed, match=f".ebignore names {name}, which deploy_eb needs"):
        build(tree, wanted, ignored=lambda _: frozenset({name}))


def test_rules_that_would_keep_git_busy_for_ever_are_refused():
    rules = "*a*a*a*b\n" * 8000
    with pytest.raises(StepFailed, match=r"\.ebignore has more than 64 KB"):
        build(tarred({**FILES, ".ebignore": rules}), Source(BASES), ignored=lambda _: frozenset())


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"dockerfile": "FROM debian:12"}, "did you mean Dockerfile by dockerfile"),
        ({**FILES, "Dockrrun.aws": GOOD}, r"did you mean Dockerrun\.aws\.json by Dockrrun\.aws"),
        ({"README": ""}, "has no Dockerfile, which deploy_eb needs, and bundle: source has Elastic Beanstalk build it"),
        ({"Dockerfile": b"\xff"}, "Dockerfile is not UTF-8: byte 0"),
        ({**FILES, "Dockerrun.aws.json": '{"AWSEBDockerrunVersion": 1, "Ports": []}'}, "Ports: expected the port"),
    ],
)
def test_a_tree_that_cannot_be_built_is_refused(files, sentence):
    with pytest.raises(StepFailed, match=sentence):
        build(tarred(files), Source(BASES))
