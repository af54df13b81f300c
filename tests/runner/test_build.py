import os
import threading
import time
from dataclasses import replace

import pytest

from chalicelib.errors import NothingToDo, StepErrored, StepFailed
from chalicelib.model import Source
from runner.actions import build
from runner.inventory import inventory
from runner.retention import Known
from runner.stopping import Stopped, Stopping, Why
from tests.installation import NOW, event, job
from tests.running import Journal, context, stopping_soon, within

APP = "github.com/2pisoftware/cmfive"
DEPLOY = "bitbucket.org/2pisoftware/cmfive-dev_deploy"
IMAGE = f"tau-test-runner-{os.getpid()}/built"
TAG = f"{IMAGE}:r-01kaq000000000000000000001"


def tree(**files):
    """Fill a folder; `__` stands for `/`, and a Path is linked to."""

    def fill(folder):
        for name, content in files.items():
            path = folder / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                path.write_bytes(content)
            elif isinstance(content, str):
                path.write_text(content)
            else:
                path.symlink_to(content)

    return fill


def settings(**changes):
    return build.Settings.model_validate({"image": IMAGE, **changes})


def dockerfile(lab, *lines):
    return "\n".join((f"FROM {lab.base}", *lines)) + "\n"


# --- what the engine makes of it ------------------------------------------------------------------


@pytest.fixture
def made(lab, tmp_path):
    """Build a tree; the context and the result."""

    def make(files, *, given=None, **changes):
        held = context(lab.client, tmp_path, system=lab.system, trees={APP: tree(**files)}, **changes)
        return held, build.run(given or settings(), held)

    return make


@pytest.fixture(scope="module")
def sample(lab, tmp_path_factory):
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
    held = context(lab.client, folder, system=lab.system, trees={APP: tree(**files)})
    return held, build.run(settings(args={"GREETING": "hello"}), held)


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
    assert "Step 5/7 : COPY . /x" in held.log.text
    assert held.log.ours[0] == f"checked out {APP} at 2222222"
    assert held.log.ours[-1].startswith(f"built {IMAGE} ")


@pytest.mark.engine
def test_nothing_but_the_image_is_left_in_the_engine(lab, sample):  # noqa: ARG001 - it was built
    assert lab.containers() == []


@pytest.mark.engine
def test_arguments_of_ci_yml_and_the_commit_reach_the_build(sample):
    assert f"hello of {'2' * 40}" in sample[0].log.text


@pytest.mark.engine
def test_an_ignored_file_does_not_reach_the_engine(sample):
    lines = sample[0].log.text.splitlines()
    assert "page" in lines
    assert "ignored" not in lines


@pytest.mark.engine
def test_a_link_in_the_tree_reaches_the_image_as_a_link(sample):
    assert "out" in sample[0].log.text.splitlines()
    assert "s3cret" not in sample[0].log.text


@pytest.mark.engine
def test_a_command_that_fails_is_the_codes_fault_and_shows_what_it_printed(lab, made):
    with pytest.raises(StepFailed, match="the Dockerfile's command `echo no such file; exit 3` exited with 3") as said:
        made({"Dockerfile": dockerfile(lab, "RUN echo no such file; exit 3")})
    assert "no such file" in said.value.lines
    assert lab.containers() == []


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
def test_one_stage_of_several_bears_the_labels_too(lab, made):
    text = f"FROM {lab.base} AS first\nRUN true\nFROM {lab.base}\nRUN exit 1\n"
    _, result = made({"Dockerfile": text}, given=settings(target="first"))
    assert lab.labels(result.facts["image"]["id"])["tau.system"] == lab.system


@pytest.mark.engine
def test_a_branch_with_an_odd_name_breaks_no_dockerfile_and_its_image_is_found_again(lab, made):
    lock = 'cmfive-dev/x/refs/heads/"$(id)\\`#1` caf\u00e9=%41'
    odd = replace(job(event=event(name='"$(id)\\ caf\u00e9')), lock=lock)
    held, result = made({"Dockerfile": dockerfile(lab, "RUN true")}, job=odd)
    (found,) = inventory(lab.client, lab.system, lambda _: Known(), NOW, lock).images
    assert (found.id, found.run) == (result.facts["image"]["id"], held.run)


@pytest.mark.engine
def test_what_a_build_that_breaks_leaves_is_known_to_be_ours_and_the_next_one_goes_on_from_it(lab, made):
    made({"Dockerfile": dockerfile(lab, "RUN echo a >/marked", "RUN true")})
    before = {image["Id"] for image in lab.client.api.images(all=True)}
    with pytest.raises(StepFailed):
        made({"Dockerfile": dockerfile(lab, "RUN echo a >/marked", "RUN echo b >/broken", "RUN exit 1")})
    left = {image["Id"] for image in lab.client.api.images(all=True)} - before
    there = inventory(lab.client, lab.system, lambda _: Known(), NOW).images
    assert left == {image.id for image in there if image.is_layer and image.id in left}
    assert len(left) == 1
    again, _ = made({"Dockerfile": dockerfile(lab, "RUN echo a >/marked", "RUN echo b >/broken")})
    assert again.log.text.count("Using cache") >= 3


@pytest.mark.engine
def test_a_dockerfile_and_a_context_may_lie_deeper_in_the_tree(lab, made):
    files = {"sub__docker__My.Dockerfile": dockerfile(lab, "COPY page /"), "sub__page": "x", "page": "y"}
    held, _ = made(files, given=settings(context="sub", dockerfile="docker/My.Dockerfile"))
    assert held.log.ours[-1].startswith(f"built {IMAGE} ")


@pytest.mark.engine
@pytest.mark.parametrize(
    "command", ["sleep 60", "while true; do echo still here; sleep 0.1; done"], ids=["silent", "noisy"]
)
def test_a_build_without_end_is_ended_at_the_runs_deadline(lab, made, command):
    until = time.monotonic() + 1
    with pytest.raises(StepFailed, match="the build took longer than the run's 1h 0m"):
        made({"Dockerfile": dockerfile(lab, f"RUN {command}")}, remaining_s=lambda: until - time.monotonic())
    assert time.monotonic() < until + 3
    assert nothing_runs(lab, command)


@pytest.mark.engine
@pytest.mark.parametrize(
    "command",
    ["sleep 600", "trap '' TERM; sleep 601", "while true; do echo still here; sleep 0.2; done"],
    ids=["silent", "deaf", "noisy"],
)
def test_a_build_is_ended_for_whoever_asks_and_leaves_nothing(lab, made, command):
    stopping = Stopping()
    with within(10), stopping_soon(stopping, after_s=2), pytest.raises(Stopped):
        made({"Dockerfile": dockerfile(lab, "RUN true", f"RUN {command}")}, stopping=stopping)
    assert nothing_runs(lab, command)
    assert lab.client.api.containers(all=True, filters={"ancestor": lab.base}) == []


@pytest.mark.engine
def test_an_engine_that_never_answers_a_build_keeps_nobody_who_asks(lab, tmp_path):
    """Nothing can be cut before its first word; when that comes after all, nobody wants it any more."""
    engine, stopping = Slow(lab.client), Stopping()
    held = context(engine, tmp_path, trees={APP: tree(Dockerfile=dockerfile(lab, "RUN sleep 602"))}, stopping=stopping)
    with within(10), stopping_soon(stopping), pytest.raises(Stopped):
        build.run(settings(), held)
    engine.goes_on.set()
    assert engine.answered.wait(10)
    assert nothing_runs(lab, "sleep 602")


@pytest.mark.engine
def test_a_claim_that_is_to_stop_builds_nothing(lab, made):
    stopping = Stopping()
    stopping.ask(Why.HANDED_BACK)
    with pytest.raises(Stopped):
        made({"Dockerfile": dockerfile(lab, "RUN true")}, given=settings(image=f"{IMAGE}-not"), stopping=stopping)
    assert lab.client.api.images(name=f"{IMAGE}-not") == []


class Slow:
    """The engine, which begins a build as soon as it is told to go on."""

    def __init__(self, client):
        self.api = self
        self._client = client
        self.goes_on, self.answered = threading.Event(), threading.Event()

    def __getattr__(self, name):
        return getattr(self._client.api, name)

    def build(self, **options):
        self.goes_on.wait(20)
        try:
            return self._client.api.build(**options)
        finally:
            self.answered.set()


def nothing_runs(lab, command):
    """The engine has ended a command, at once or in a moment."""
    for _ in range(50):
        if not [one for one in lab.client.api.containers(all=True) if command in one["Command"]]:
            return True
        time.sleep(0.1)
    return False


# --- two repositories -----------------------------------------------------------------------------

FROM = {"from": {"repository": DEPLOY, "into": "app"}}


def two(lab):
    return {
        DEPLOY: tree(Dockerfile=dockerfile(lab, "COPY app/page /page", "RUN cat /page")),
        APP: tree(page="of the application"),
    }


def with_deploy():
    held = job()
    other = Source("bitbucket.org", "2pisoftware/cmfive-dev_deploy", "ssh://…")
    return replace(held, sources={**held.sources, other.name: other})


@pytest.mark.engine
def test_another_repositorys_dockerfile_builds_the_triggering_tree(lab, tmp_path):
    checkouts = []
    held = context(lab.client, tmp_path, system=lab.system, trees=two(lab), job=with_deploy(), checkouts=checkouts)
    result = build.run(settings(**FROM), held)
    assert "of the application" in held.log.text
    assert result.facts["commits"] == {DEPLOY: "d" * 40, APP: "2" * 40}
    assert checkouts == [(DEPLOY, "HEAD", None), (APP, "refs/heads/develop", "2" * 40)]
    assert lab.labels(TAG)["org.opencontainers.image.revision"] == "2" * 40


def test_the_other_repositorys_commit_is_the_same_in_a_later_claim(tmp_path):
    journal, checkouts = Journal(), []
    trees = {DEPLOY: tree(), APP: tree()}
    for number in range(2):
        held = context(
            None, tmp_path / str(number), trees=trees, job=with_deploy(), journal=journal, checkouts=checkouts
        )
        with pytest.raises(StepFailed, match="there is no Dockerfile"):
            build.run(settings(**FROM), held)
    assert [commit for name, _, commit in checkouts if name == DEPLOY] == [None, "d" * 40]


def test_only_another_repositorys_tree_is_built_where_into_is_not_said(tmp_path):
    checkouts = []
    held = context(None, tmp_path, trees={DEPLOY: tree()}, job=with_deploy(), checkouts=checkouts)
    with pytest.raises(StepFailed, match="there is no Dockerfile"):
        build.run(settings(**{"from": {"repository": DEPLOY}}), held)
    assert [name for name, _, _ in checkouts] == [DEPLOY]


# --- what is refused before the engine hears of it ------------------------------------------------


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret"
    path.write_text("FROM s3cret\n")
    return path


@pytest.mark.parametrize("where", ["../secret", "../../secret", "absolute", "link", "folder/secret"])
def test_a_dockerfile_outside_the_tree_is_refused_and_not_read(tmp_path, secret, where):
    files = {"link": secret, "folder": tmp_path, "page": "x"}
    given = settings(dockerfile=str(secret) if where == "absolute" else where)
    held = context(None, tmp_path / "run", trees={APP: tree(**files)})
    with pytest.raises(StepFailed, match="leads out of the repository") as said:
        build.run(given, held)
    assert "s3cret" not in str(said.value)


@pytest.mark.parametrize("where", ["..", "../..", "/", "folder"])
def test_a_context_outside_the_tree_is_refused(tmp_path, where):
    held = context(None, tmp_path / "run", trees={APP: tree(folder=tmp_path, Dockerfile="FROM scratch")})
    with pytest.raises(StepFailed, match="leads out of the repository"):
        build.run(settings(context=where), held)


@pytest.mark.parametrize("where", ["..", "../../x", "/x", "link"])
def test_the_triggering_tree_lies_nowhere_but_inside_the_other(tmp_path, where):
    checkouts = []
    held = context(
        None,
        tmp_path / "run",
        trees={DEPLOY: tree(link=tmp_path), APP: tree(page="x")},
        job=with_deploy(),
        checkouts=checkouts,
    )
    with pytest.raises(StepFailed, match="leads out of the repository"):
        build.run(settings(**{"from": {"repository": DEPLOY, "into": where}}), held)
    assert [name for name, _, _ in checkouts] == [DEPLOY]


def test_an_ignore_file_that_leads_out_is_refused_and_not_read(tmp_path):
    """The SDK would read it to its end, and /dev/zero has none."""
    files = {"Dockerfile": "FROM scratch\n", ".dockerignore": type(tmp_path)("/dev/zero")}
    with pytest.raises(StepFailed, match="leads out of the repository"):
        build.run(settings(), context(None, tmp_path, trees={APP: tree(**files)}))


@pytest.mark.parametrize("files", [{"page": "x"}, {"Dockerfile__page": "x"}], ids=["none", "a folder"])
def test_a_tree_without_a_dockerfile_is_the_codes_fault(tmp_path, files):
    with pytest.raises(StepFailed, match=r"there is no Dockerfile in \.: build needs one"):
        build.run(settings(), context(None, tmp_path, trees={APP: tree(**files)}))


WANTED = {"only_with": ["Dockerfile", "Dockerrun.aws.json"]}


@pytest.mark.parametrize("files", [{}, {"Dockerfile": "FROM scratch"}, {"Dockerrun.aws.json": "{}"}])
def test_a_tree_without_what_there_is_to_do_something_with_is_skipped(tmp_path, files):
    with pytest.raises(NothingToDo, match=f"there is nothing to do for {APP}: it has no Docker"):
        build.run(settings(**WANTED), context(None, tmp_path, trees={APP: tree(**files)}))


@pytest.mark.parametrize("slip", ["Dockrrun.aws.json", "dockerrun.aws.json", "Dockerrun.aws"])
def test_a_tree_whose_file_is_nearly_called_so_is_not_passed_over_in_silence(tmp_path, slip):
    files = {"Dockerfile": "FROM scratch", slip: "{}"}
    with pytest.raises(StepFailed, match=f"did you mean Dockerrun.aws.json by {slip}"):
        build.run(settings(**WANTED), context(None, tmp_path, trees={APP: tree(**files)}))


def test_a_dockerfile_that_is_no_text_is_the_codes_fault(tmp_path):
    files = {"Dockerfile": "FROM scratch\n# caf\u00e9\n".encode("latin-1")}
    with pytest.raises(StepFailed, match="not UTF-8"):
        build.run(settings(), context(None, tmp_path, trees={APP: tree(**files)}))


# --- whose fault ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        "write /x: no space left on device",
        'Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io on 10.0.0.2:53: no such host',
        "toomanyrequests: You have reached your pull rate limit",
        "received unexpected HTTP status: 503 Service Unavailable",
        'Get "https://x/v2/": net/http: TLS handshake timeout',
        "error pulling image: unexpected EOF",
        'unable to find image "sha256:c8f049b4864ed3efa48b2d6f371b5c44949b75e409b0c6d037117fb31ea9681d"',
        "failed to export image: failed to set parent sha256:95de7e76: unknown parent image ID sha256:95de7e76",
        "The command '/bin/sh -c make' returned a non-zero code: 137",
    ],
)
def test_disk_network_and_registry_are_not_the_committers_fault(error):
    assert isinstance(build.refusal(error, ()), StepErrored)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            "The command '/bin/sh -c composer   install\n --no-dev' returned a non-zero code: 2",
            "the Dockerfile's command `composer install --no-dev` exited with 2",
        ),
        (
            "COPY failed: file not found in build context: stat nothing: file does not exist",
            "the Dockerfile does not build: COPY failed: file not found in build context: stat nothing",
        ),
        ("manifest for x:y not found: manifest unknown", "the Dockerfile does not build: manifest for x:y not found"),
    ],
    ids=["command", "copy", "base image"],
)
def test_everything_else_is_the_dockerfiles(error, reason):
    failed = build.refusal(error, ("the last line",))
    assert isinstance(failed, StepFailed)
    assert str(failed).startswith(reason)
    assert failed.lines == ("the last line",)


def test_a_command_of_a_thousand_lines_is_named_by_its_beginning():
    failed = build.refusal(f"The command '/bin/sh -c {'x ' * 5000}' returned a non-zero code: 2", ())
    assert len(str(failed)) < 200


def test_a_stream_that_ends_without_an_image_and_without_an_error_is_our_fault(tmp_path):
    held = context(None, tmp_path)
    with pytest.raises(StepErrored, match="without an image"):
        build.follow([{"stream": "Step 1/1 : FROM x\n"}], held)


def test_progress_of_a_pull_does_not_flood_the_log(tmp_path):
    held = context(None, tmp_path)
    messages = [
        {"status": "Pulling from library/busybox"},
        *({"status": "Downloading", "progressDetail": {"current": n}, "id": "a"} for n in range(100)),
        {"aux": {"ID": "sha256:1"}},
    ]
    assert build.follow(messages, held) == "sha256:1"
    assert held.log.text == "Pulling from library/busybox\n"
