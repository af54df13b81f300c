"""One Dockerfile, both builders: the same image, the same verdict, the same words."""

import os
import re
import time
from dataclasses import replace

import pytest

from chalicelib.errors import StepErrored, StepFailed
from runner import builders
from runner.actions import build
from runner.classic import Classic
from runner.inventory import inventory
from runner.retention import Known
from runner.stopping import Stopped, Stopping, Why
from tests.installation import NOW, event, job
from tests.runner.trees_to_build import APP, dockerfile, nothing_runs, settings, stopping_once_it_runs, tree
from tests.running import context, within

IMAGE = f"tau-test-runner-{os.getpid()}/built"
TAG = f"{IMAGE}:r-01kaq000000000000000000001"


@pytest.fixture(scope="module", params=["classic", "BuildKit"])
def builder(request, docker_client):
    if request.param == "classic":
        return Classic("this test asks for it")
    made = builders.builder(docker_client, os.environ)
    if made.name != request.param:
        pytest.skip(f"left out: no BuildKit here, {made.because}.")
    return made


@pytest.fixture
def made(lab, tmp_path, builder):
    """Build a tree; the context and the result."""

    def make(files, *, given=None, **changes):
        held = context(lab.client, tmp_path, system=lab.system, trees={APP: tree(**files)}, builder=builder, **changes)
        return held, build.run(given or settings(IMAGE), held)

    return make


@pytest.fixture(scope="module")
def sample(lab, tmp_path_factory, builder):
    """One build of a tree with a bit of everything: its context and result."""
    folder = tmp_path_factory.mktemp("sample")
    (folder / "outside").write_text("s3cret")
    files = {
        "Dockerfile": dockerfile(
            lab, "ARG GREETING", "ARG TAU_COMMIT", "COPY . /x", "RUN ls /x; cat /x/out; echo $GREETING of $TAU_COMMIT"
        ),
        ".dockerignore": "ignored\n",
        "ignored": "x",
        "page": "x",
        "out": folder / "outside",
    }
    held = context(lab.client, folder, system=lab.system, trees={APP: tree(**files)}, builder=builder)
    return held, build.run(settings(IMAGE, args={"GREETING": "hello"}), held)


@pytest.mark.engine
def test_a_dockerfile_becomes_an_image_with_a_name_and_labels_that_say_where_it_came_from(lab, sample):
    held, result = sample
    image = lab.client.images.get(result.facts["image"]["id"])
    assert result.facts["image"]["name"] == IMAGE
    assert result.facts["commits"] == {APP: "2" * 40}
    assert image.labels["tau.system"] == lab.system
    assert (image.labels["tau.kind"], image.labels["tau.run"]) == ("image", held.run)
    assert image.labels["org.opencontainers.image.revision"] == "2" * 40
    assert image.labels["org.opencontainers.image.source"] == f"https://{APP}"
    assert held.log.ours[0] == f"checked out {APP} at 2222222"


@pytest.mark.engine
def test_the_log_says_who_builds_how_long_each_instruction_took_and_what_came_of_it(sample, builder):
    held, result = sample
    assert held.log.ours[1] == f"{builder.name}, {builder.because}"
    assert any(re.fullmatch(r"step \d/\d took \d\.\d s: COPY \. /x", line) for line in held.log.ours)
    image = result.facts["image"]["id"][7:19]
    layers = result.facts["layers"]
    assert re.fullmatch(rf"built {IMAGE} {image}, 2\.0 MB, {layers} layers, \d\.\d s", held.log.ours[-1])
    assert 1_900_000 < result.facts["size_bytes"] < 2_100_000


@pytest.mark.engine
def test_an_instruction_that_is_silent_for_longer_than_the_client_waits_is_waited_for(lab, engine, tmp_path, builder):
    impatient = engine.client(timeout_s=1)
    files = {"Dockerfile": dockerfile(lab, "RUN sleep 3; echo spoke at last")}
    held = context(impatient, tmp_path, system=lab.system, trees={APP: tree(**files)}, builder=builder)
    build.run(settings(IMAGE), held)
    assert "spoke at last" in held.log.text


@pytest.mark.engine
def test_nothing_but_the_image_is_left_in_the_engine(lab, sample):  # noqa: ARG001 - it was built
    assert lab.containers() == []


@pytest.mark.engine
def test_arguments_of_ci_yml_and_the_commit_reach_the_build(sample):
    assert f"hello of {'2' * 40}" in sample[0].log.text


@pytest.mark.engine
def test_an_ignored_file_does_not_reach_the_engine(sample):
    words = sample[0].log.text.split()
    assert "page" in words
    assert "ignored" not in words


@pytest.mark.engine
def test_a_link_in_the_tree_reaches_the_image_as_a_link(sample):
    assert "out" in sample[0].log.text.split()
    assert "s3cret" not in sample[0].log.text


@pytest.mark.engine
def test_a_command_that_fails_is_the_codes_fault_and_shows_what_it_printed(lab, made):
    with pytest.raises(StepFailed, match="the Dockerfile's command `echo no such file; exit 3` exited with 3") as said:
        made({"Dockerfile": dockerfile(lab, "RUN echo no such file; exit 3")})
    assert "no such file" in said.value.lines
    assert lab.containers() == []


@pytest.mark.engine
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('RUN ["/bin/sh", "-c", "exit 5"]', r"the Dockerfile's command `.*exit 5` exited with 5"),
        ("RUN true && \\\n  exit 4", "the Dockerfile's command `true && exit 4` exited with 4"),
        ("COPY nothing /", "the Dockerfile does not build: .*nothing"),
        ('RUN ["nosuchthing"]', "the Dockerfile.*nosuchthing"),
        ("USER nobody-at-all\nRUN true", "the Dockerfile.*nobody-at-all"),
        ("COPY ../outside /", "the Dockerfile does not build: .*outside"),
    ],
    ids=["words", "several lines", "no file", "no program", "no user", "outside"],
)
def test_whatever_is_wrong_with_a_dockerfile_is_its_fault_in_the_same_words(lab, made, line, words):
    with pytest.raises(StepFailed, match=words):
        made({"Dockerfile": dockerfile(lab, line)})


@pytest.mark.engine
@pytest.mark.parametrize("image", ["127.0.0.1:1/none:x", "nowhere.invalid/none:x"])
def test_a_registry_that_is_away_is_our_fault(made, image):
    with pytest.raises(StepErrored, match="the build broke: "):
        made({"Dockerfile": f"FROM {image}\n"})


@pytest.mark.engine
def test_a_command_that_was_killed_is_our_fault(lab, made):
    with pytest.raises(StepErrored, match="killed from outside"):
        made({"Dockerfile": dockerfile(lab, "RUN exit 137")})


@pytest.mark.engine
def test_a_base_image_that_is_nowhere_to_be_had_is_named(made, registry):
    with pytest.raises(StepFailed, match=f"the Dockerfile does not build: .*{registry.host}"):
        made({"Dockerfile": f"FROM {registry.host}/none:x\n"})


@pytest.mark.engine
@pytest.mark.parametrize("text", ["FRM x\n", "", "RUN true\n", "FROM \n"], ids=["word", "empty", "no FROM", "no name"])
def test_a_dockerfile_that_is_none_is_the_codes_fault(made, text):
    with pytest.raises(StepFailed, match="the Dockerfile"):
        made({"Dockerfile": text})


@pytest.mark.engine
def test_a_stage_that_there_is_not_is_the_codes_fault(lab, made):
    with pytest.raises(StepFailed, match=r"the Dockerfile does not build: .*nope"):
        made({"Dockerfile": dockerfile(lab)}, given=settings(IMAGE, target="nope"))


@pytest.mark.engine
def test_the_platform_of_ci_yml_is_the_images(lab, made):
    _, result = made({"Dockerfile": dockerfile(lab, "RUN true")}, given=settings(IMAGE, platform="linux/amd64"))
    inspected = lab.client.api.inspect_image(result.facts["image"]["id"])
    assert (inspected["Os"], inspected["Architecture"]) == ("linux", "amd64")


@pytest.mark.engine
def test_one_stage_of_several_bears_the_labels_too(lab, made):
    text = f"FROM {lab.base} AS first\nRUN true\nFROM {lab.base}\nRUN exit 1\n"
    _, result = made({"Dockerfile": text}, given=settings(IMAGE, target="first"))
    assert lab.labels(result.facts["image"]["id"])["tau.system"] == lab.system


@pytest.mark.engine
def test_a_branch_with_an_odd_name_breaks_no_dockerfile_and_its_image_is_found_again(lab, made, builder):
    lock = f'{builder.name}/x/refs/heads/"$(id)\\`#1` caf\u00e9=%41'
    odd = replace(job(event=event(name='"$(id)\\ caf\u00e9')), lock=lock)
    held, result = made({"Dockerfile": dockerfile(lab, "RUN true")}, job=odd)
    (found,) = inventory(lab.client, lab.system, lambda _: Known(), NOW, lock).images
    assert (found.id, found.run, found.names) == (result.facts["image"]["id"], held.run, (TAG,))


@pytest.mark.engine
def test_what_a_build_that_breaks_leaves_is_known_to_be_ours_and_the_next_one_goes_on_from_it(lab, made):
    made({"Dockerfile": dockerfile(lab, "RUN echo a >/marked", "RUN true")})
    before = {image["Id"] for image in lab.client.api.images(all=True)}
    with pytest.raises(StepFailed):
        made({"Dockerfile": dockerfile(lab, "RUN echo a >/marked", "RUN echo b >/broken", "RUN exit 1")})
    left = {image["Id"] for image in lab.client.api.images(all=True)} - before
    there = inventory(lab.client, lab.system, lambda _: Known(), NOW).images
    assert left == {image.id for image in there if image.is_layer} - before
    again, _ = made({"Dockerfile": dockerfile(lab, "RUN echo a >/marked", "RUN echo b >/broken")})
    assert len(re.findall("Using cache|CACHED", again.log.text)) >= 2


@pytest.mark.engine
def test_a_dockerfile_and_a_context_may_lie_deeper_in_the_tree(lab, made):
    files = {"sub__docker__My.Dockerfile": dockerfile(lab, "COPY page /"), "sub__page": "x", "page": "y"}
    held, _ = made(files, given=settings(IMAGE, context="sub", dockerfile="docker/My.Dockerfile"))
    assert held.log.ours[-1].startswith(f"built {IMAGE} ")


@pytest.mark.engine
@pytest.mark.parametrize(
    "command", ["sleep 61", "while true; do echo still here; sleep 0.1; done"], ids=["silent", "noisy"]
)
def test_a_build_without_end_is_ended_at_the_runs_deadline(lab, made, command):
    until = time.monotonic() + 1
    with pytest.raises(StepFailed, match="the build took longer than the run's 1h 0m"):
        made({"Dockerfile": dockerfile(lab, f"RUN {command}")}, remaining_s=lambda: until - time.monotonic())
    assert time.monotonic() < until + 3
    assert nothing_runs(command)


@pytest.mark.engine
@pytest.mark.parametrize(
    ("command", "process"),
    [
        # Lengths that no other test has: its process is looked for on the whole machine.
        ("sleep 603", "sleep 603"),
        # A shell becomes its last command.
        ("trap '' TERM; sleep 601", "sleep 601"),
        ("while true; do echo still here; sleep 0.2; done", "echo still here"),
    ],
    ids=["silent", "deaf", "noisy"],
)
def test_a_build_is_ended_for_whoever_asks_and_leaves_nothing(lab, made, command, process):
    stopping = Stopping()
    with within(30), stopping_once_it_runs(process, stopping), pytest.raises(Stopped):
        made({"Dockerfile": dockerfile(lab, "RUN true", f"RUN {command}")}, stopping=stopping)
    assert nothing_runs(process)
    assert no_container(lab)


def no_container(lab):
    """The classic builder's container goes a moment after its command."""
    for _ in range(50):
        if not lab.client.api.containers(all=True, filters={"ancestor": lab.base}):
            return True
        time.sleep(0.1)
    return False


@pytest.mark.engine
def test_a_claim_that_is_to_stop_builds_nothing(lab, made):
    stopping = Stopping()
    stopping.ask(Why.HANDED_BACK)
    with pytest.raises(Stopped):
        made({"Dockerfile": dockerfile(lab, "RUN true")}, given=settings(f"{IMAGE}-not"), stopping=stopping)
    assert lab.client.api.images(name=f"{IMAGE}-not") == []
