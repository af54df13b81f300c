"""`tau run` as somebody calls it: a process of its own, real git, the real engine, the sample application."""

import os
import signal
import subprocess
import time

import pytest

from tests.runner.laptop.developer import of_laptops
from tests.runner.trees_to_build import nothing_runs
from tests.whole.seen import wait_for

pytestmark = pytest.mark.engine

CI_YML = """\
version: 1
operators: [ops@2pisoftware.com]
forges:
  github.com: {{provider: github, clone: "http://127.0.0.1:9/{{repository}}.git", webhook: [hook-local]}}
registries:
  "{registry}": {{credentials: registry-login}}
pipelines:
  hello:
    repository: github.com/2pisoftware/hello
    trigger: {{push: [develop]}}
    steps:
      - build: {{image: {image}}}
      - test: {{command: [/opt/testrunner/run], results: "/results/*.xml", timeout: 2m}}
      - push: {{to: ["{registry}"], tags: [latest]}}
    notify: {{to: [pusher], on: always}}
  secretive:
    repository: github.com/2pisoftware/hello
    trigger: {{push: [develop]}}
    steps:
      - build: {{image: {image}}}
      - test:
          command: [sh, -c, "echo it is $KEY; echo $KEY > /bad.txt; echo seen > /good.txt"]
          secrets: {{KEY: hello-key}}
          results: none
          timeout: 2m
          artifacts: [/bad.txt, /good.txt]
"""


@pytest.fixture(autouse=True)
def _pipelines(sam):
    sam.config.write_text(CI_YML.format(registry="127.0.0.1:9", image=sam.image))


def test_what_lies_in_the_working_copy_is_built_and_tested_and_nobody_hears_of_it(sam, lab):
    sam.write(".gitignore", "site/private.html\n")
    sam.write("site/private.html", "ignored")
    sam.write("site/new.html", "not committed")
    index, objects = (sam.copy / ".git" / "index").read_bytes(), sorted(sam.copy.glob(".git/objects/*/*"))

    code, said = sam.run("hello")

    assert code == 0, said
    assert "left out: push (127.0.0.1:9); --with push does it" in said
    assert "3 passed, 0 failed, 0 skipped" in said
    (name,) = (line.split()[2] for line in said.splitlines() if line.startswith("[tau] image "))
    assert lab.client.containers.run(name, ["ls", "/www"], remove=True).split() == [b"index.html", b"new.html"]
    assert ((sam.copy / ".git" / "index").read_bytes(), sorted(sam.copy.glob(".git/objects/*/*"))) == (index, objects)
    assert of_laptops(lab) == []


def test_a_failing_test_is_exit_code_1_with_its_lines_and_a_copy_to_look_into(sam, lab):
    sam.write("site/index.html", "<h1>Goodbye</h1>")

    code, said = sam.run("hello", "--keep")

    assert code == 1, said
    assert "the page greets the world: wanted 'Hello, world', got 'Goodbye'" in said
    (copy,) = (line.split("`")[3].split()[-1] for line in said.splitlines() if line.startswith("[tau] kept: "))
    assert lab.client.containers.run(copy, ["ls", "/results"], remove=True).split() == [b"hello.xml"]
    assert of_laptops(lab) == []


def test_a_tree_that_cannot_be_built_at_all_is_not_the_tests_verdict(sam):
    sam.write("Dockerfile", "FROM 127.0.0.1:9/nobody/nothing:1\n")
    code, said = sam.run("hello")
    assert code == 2, said
    assert "errored in" in said


def test_a_submodule_that_ci_yml_allows_is_in_the_image_at_its_commit(sam, githost):
    pinned = githost.create("github.com", "2pisoftware/laptop-lib", {"word": "the pinned one"})
    githost.commit("github.com", "2pisoftware/laptop-lib", "develop", {"word": "a later one"}, "Later")
    form = CI_YML.format(registry="127.0.0.1:9", image=sam.image).replace(
        "http://127.0.0.1:9/{repository}.git", githost.clone_template("github.com")
    )
    command = "submodules: [github.com/2pisoftware/laptop-*]\n    steps:"
    form = form.replace("steps:", command).replace(
        '[sh, -c, "echo it is $KEY', '[sh, -c, "cat /lib/word; echo it is $KEY'
    )
    sam.config.write_text(form)
    sam.write("Dockerfile", (sam.copy / "Dockerfile").read_text() + "COPY lib /lib/\n")
    sam.write(".gitmodules", '[submodule "x"]\n\tpath = lib\n\turl = git@github.com:2pisoftware/laptop-lib.git\n')
    sam.git("add", "--all")
    sam.git("update-index", "--add", "--cacheinfo", f"160000,{pinned},lib")
    sam.git("commit", "--quiet", "-m", "With a submodule")
    sam.git("clone", "--quiet", githost.url("github.com", "2pisoftware/laptop-lib"), "lib")
    sam.git("-C", "lib", "checkout", "--quiet", pinned)
    code, said = sam.run("secretive", TAU_SECRET_HELLO_KEY="correct horse battery")
    assert code == 0, said
    assert f"submodule lib of github.com/2pisoftware/hello: github.com/2pisoftware/laptop-lib at {pinned[:7]}" in said
    assert "the pinned one" in said


def test_a_secret_that_is_not_given_is_named_before_anything_begins(sam):
    code, said = sam.run("secretive")
    assert (code, said) == (
        2,
        "tau: secrets are missing: set TAU_SECRET_HELLO_KEY (hello-key) in the environment\n",
    )


def test_a_secret_that_is_given_reaches_the_step_and_neither_the_terminal_nor_what_is_kept(sam):
    code, said = sam.run("secretive", TAU_SECRET_HELLO_KEY="correct horse battery")
    assert code == 0, said
    assert "it is " in said
    assert "correct horse" not in said
    # What it left lies on this machine, but for the file in which the secret stands.
    assert "left out: /bad.txt (22 B): the secret hello-key stands in it" in said
    (good,) = (sam.config.parent / "cache" / "artifacts").rglob("*.txt")
    assert good.read_text() == "seen\n"
    assert f"artifact {good}, 5 B" in said


def test_ctrl_c_ends_it_within_5_s_and_leaves_nothing(sam, lab):
    sam.write("tests/run", "#!/bin/sh\necho it has begun\nexec sleep 604\n")
    with subprocess.Popen(
        sam.command("run", "hello"), env=sam.environment(), cwd=sam.config.parent, stdout=subprocess.PIPE, text=True
    ) as process:
        lines = iter(process.stdout.readline, "")
        assert any("it has begun" in line for line in lines)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        said = process.stdout.read()
        assert process.wait(10) == 130, said
    assert time.monotonic() - began < 5
    assert "stopped after" in said
    assert of_laptops(lab) == []
    assert nothing_runs("sleep 604")


def test_it_ends_when_nobody_reads_what_it_prints(sam, lab):
    sam.write("tests/run", "#!/bin/sh\nwhile :; do echo it goes on; sleep 0.605; done\n")
    pipe = subprocess.PIPE
    with subprocess.Popen(
        sam.command("run", "hello"), env=sam.environment(), cwd=sam.config.parent, stdout=pipe, stderr=pipe, text=True
    ) as process:
        assert any("it goes on" in line for line in iter(process.stdout.readline, ""))
        process.stdout.close()
        assert process.wait(10) == 130
        assert process.stderr.read() == "tau: nothing more can be printed: Broken pipe\n"
    assert of_laptops(lab) == []
    assert nothing_runs("sleep 0.605")


def test_an_effect_that_is_asked_for_is_had(sam, registry):
    ((user, password),) = registry.users.items()
    sam.config.write_text(CI_YML.format(registry=registry.host, image=sam.image))
    code, said = sam.run("hello", "--with", "push", TAU_SECRET_REGISTRY_LOGIN=f"{user}:{password}")
    assert code == 0, said
    assert f"{registry.host}/{sam.image}:latest" in said


def test_ctrl_c_while_git_still_works_ends_it_too_and_says_so(sam, tmp_path):
    begun, slow = tmp_path / "begun", tmp_path / "bin" / "git"
    slow.parent.mkdir()
    slow.write_text(f"#!/bin/sh\n: > {begun}\nexec sleep 606\n")
    slow.chmod(0o755)
    environment = sam.environment(PATH=f"{slow.parent}:{os.environ['PATH']}")
    with subprocess.Popen(sam.command("run", "hello"), env=environment, stdout=subprocess.PIPE, text=True) as process:
        wait_for(begun.exists, "git to be called")
        process.send_signal(signal.SIGINT)
        said = process.stdout.read()
        assert process.wait(10) == 130, said
    assert said.splitlines()[-1] == "[tau] stopped before the first step"
    assert nothing_runs("sleep 606")
