"""`make demo`: what it says and insists on, without anything running; then the whole of it, as a user starts it."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from chalicelib.model import RunState, Step, StepResult, StepStatus, WaitingFor
from infra.local import demo, demo_checks
from infra.local.alone import alone
from infra.local.cloud import ROOT
from infra.local.demo_keep import Kept, NotRunning, exports
from infra.local.demo_view import Check, Line, View, check_text, line_text, seconds
from infra.local.installation import SYSTEM
from infra.local.mailbox import SentMail
from infra.local.processes import NotStarted
from infra.local.traces import SYSTEM_LABEL, snapshot
from tests.installation import NOW, later, run

STEPS = (Step("build", {}), Step("test", {}), Step("push", {}))
NAME = "127.0.0.1:5000/2pisoftware/cmfive-dev"
DIGEST = "sha256:" + "d" * 64
BUILT = StepResult(
    "build",
    StepStatus.PASSED,
    NOW,
    later(1),
    facts={"image": {"name": "2pisoftware/cmfive-dev", "id": "sha256:" + "a" * 64}},
)
TESTED = StepResult("test", StepStatus.PASSED, later(1), later(3), facts={"tests": {"passed": 3, "failed": 0}})
PUSHED = StepResult(
    "push", StepStatus.PASSED, later(3), later(4), facts={"pushed": [{"name": f"{NAME}:develop", "digest": DIGEST}]}
)
BROKEN = StepResult(
    "test",
    StepStatus.FAILED,
    later(1),
    later(3),
    reason="1 of 3 tests failed",
    lines=("greets: wanted 'world', got 'wrold'",),
    facts={"tests": {"passed": 2, "failed": 1}},
)
QUEUED = run(1, *STEPS)
RUNNING = replace(QUEUED, state=RunState.RUNNING, started_at=NOW)
PASSED = replace(RUNNING, state=RunState.PASSED, ended_at=later(4), results={"0": BUILT, "1": TESTED, "2": PUSHED})
FAILED = replace(
    RUNNING, state=RunState.FAILED, ended_at=later(3), reason=BROKEN.reason, results={"0": BUILT, "1": BROKEN}
)
MAIL = SentMail(
    id="1",
    sender="tau@2pisoftware.com",
    to=("dev@2pisoftware.com",),
    subject="failed: 2pisoftware/cmfive develop 2222222 (cmfive-dev)",
    text="greets: wanted 'world', got 'wrold'",
    html="<p>greets: wanted &#39;world&#39;, got &#39;wrold&#39;</p>",
    sent_at=NOW,
)


# --- what it tells --------------------------------------------------------------------------------


def test_a_passed_run_is_told_step_by_step_with_what_each_made():
    told = [(line.name, line.took_s) for line in demo_checks.story(PASSED)]
    assert told == [("claimed", 0), ("build", 1), ("test", 2), ("push", 1), ("end", 4)]
    said = " ".join(line.text for line in demo_checks.story(PASSED))
    for fact in (
        "sha256:aaaaaaaaaaaa",
        "3 tests passed",
        f"{NAME}, tagged develop: sha256:dddddddddddd",
        "the run passed",
    ):
        assert fact in said


def test_a_failed_run_is_told_with_the_failing_lines():
    lines = demo_checks.story(FAILED)
    assert [line.name for line in lines if line.bad] == ["test", "end"]
    assert lines[2].lines == BROKEN.lines


def test_what_was_told_once_stays_as_the_run_goes_on():
    seen = [
        QUEUED,
        RUNNING,
        replace(RUNNING, results={"0": BUILT}),
        replace(RUNNING, results={"0": BUILT, "1": TESTED}),
        PASSED,
    ]
    told = [demo_checks.story(one) for one in seen]
    assert all(later_on[: len(lines)] == lines for lines, later_on in pairwise(told))
    assert [len(lines) for lines in told] == [0, 1, 2, 3, 5]


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (QUEUED, "in the queue"),
        (RUNNING, "build"),
        (replace(RUNNING, results={"0": BUILT}), "test"),
        (
            replace(RUNNING, state=RunState.WAITING, waiting_for=WaitingFor.RETRY, reason="once more"),
            "build: once more",
        ),
        (PASSED, "telling"),
    ],
)
def test_a_watcher_is_told_what_is_under_way(now, words):
    assert demo_checks.under_way(now).startswith(words)


@pytest.mark.parametrize(("length", "text"), [(0.0341, "34 ms"), (1.24, "1.2 s"), (59.94, "59.9 s"), (64, "1m 04s")])
def test_a_time_is_as_exact_as_a_watcher_needs(length, text):
    assert seconds(length) == text


def test_a_line_and_a_check_say_by_sign_and_word_how_it_went():
    assert line_text(Line("build", "the image", 1.2)) == "  ✔ build       1.2 s  the image"
    assert line_text(Line("test", "failed: 1 of 3", bad=True)).startswith("  ✘ test")
    assert check_text(Check("it is green", so=True, found="never shown")) == "    ✔ checked it is green"
    assert check_text(Check("it is green", so=False, found="grey")) == "    ✘ NOT SO  it is green (found: grey)"


def test_what_is_piped_is_plain_text_with_one_line_for_each_thing(capsys):
    with View({}) as view:
        view.busy("something that takes its time")
        view.line(Line("build", "a text [bold]with[/] brackets " + "and many words " * 20))
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "[bold]with[/]" in printed
    assert len(printed.splitlines()) == 1


# --- what it insists on ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "found"),
    [
        (demo_checks.ends(PASSED, RunState.PASSED, ("build", "test", "push")), ""),
        (demo_checks.ends(FAILED, RunState.PASSED, ("build", "test", "push")), "failed after build, test: 1 of 3"),
        (demo_checks.ends(FAILED, RunState.FAILED, ("build", "test")), ""),
        (demo_checks.ends(PASSED, RunState.PASSED, ("build", "push")), "passed after build, test, push"),
        (demo_checks.tests(PASSED, 3, 0), ""),
        (demo_checks.tests(FAILED, 3, 0), "2 passed, 1 failed"),
        (demo_checks.tests(QUEUED, 3, 0), "None passed"),
    ],
)
def test_a_run_that_is_not_as_it_should_be_is_named(check, found):
    assert check.so == (not found)
    assert check.found.startswith(found)


@pytest.mark.parametrize(
    ("mails", "wrong"),
    [
        ([MAIL], []),
        ([], ["one mail"]),
        ([MAIL, MAIL], ["one mail"]),
        ([replace(MAIL, to=("ops@2pisoftware.com",))], ["one mail"]),
        ([replace(MAIL, subject="passed: 2pisoftware/cmfive")], ["its subject"]),
        ([replace(MAIL, text="it failed")], ["it says"]),
        ([replace(MAIL, html="it failed")], ["it says"]),
    ],
)
def test_a_mail_that_is_not_as_it_should_be_is_named(mails, wrong):
    checks = demo_checks.mailed(mails, "dev@2pisoftware.com", "failed: 2pisoftware/cmfive develop", ("got 'wrold'",))
    assert [
        check.text.split(",")[0][: len(start)]
        for check, start in zip((c for c in checks if not c.so), wrong, strict=True)
    ] == wrong


def test_a_run_that_never_pushed_has_no_digests():
    assert demo_checks.pushed(FAILED) == {}
    assert demo_checks.pushed(PASSED) == {f"{NAME}:develop": DIGEST}


# --- leaving it running ---------------------------------------------------------------------------


def test_the_environment_file_is_read_by_a_shell_as_it_was_meant(tmp_path):
    path = tmp_path / "environment"
    path.write_text(exports({"TAU_STAGE": "local", "ODD": "a 'b' $c `d`"}))
    command = f'. {path}; printf \'%s|\' "$TAU_STAGE" "$ODD" "${{PATH%%:*}}"'
    done = subprocess.run(("sh", "-c", command), capture_output=True, text=True, check=True)
    assert done.stdout == f"local|a 'b' $c `d`|{Path(sys.executable).parent}|"


def test_a_push_without_a_demo_says_how_to_start_one(tmp_path):
    with pytest.raises(NotRunning, match="make demo KEEP=1"):
        Kept(tmp_path).push("hello")


def test_a_second_one_of_a_name_is_refused_by_naming_the_first():
    name = f"tau-test-{os.getpid()}"
    code = f"from infra.local.alone import alone\nwith alone({name!r}):\n print('in', flush=True); input()"
    with subprocess.Popen((sys.executable, "-c", code), stdin=-1, stdout=-1, cwd=ROOT) as first:
        assert first.stdout.readline() == b"in\n"
        with pytest.raises(NotStarted, match=f"process {first.pid}, in {ROOT}"), alone(name):
            pass
        first.kill()
    with alone(name):
        pass


def test_a_second_one_of_a_name_in_the_same_process_is_refused_at_once():
    with alone("tau-test-twice"), pytest.raises(NotStarted, match="very process"), alone("tau-test-twice", 60):
        pass


# --- all of it ------------------------------------------------------------------------------------


@pytest.fixture
def temporary(tmp_path):
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


@pytest.mark.slow
@pytest.mark.cloud
def test_the_demo_finds_everything_so_and_leaves_nothing_behind(docker_client, temporary):
    before = snapshot(docker_client)
    done = subprocess.run(COMMAND, capture_output=True, text=True, check=False, timeout=300, **started(temporary))
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    assert "NOT SO" not in done.stdout
    assert len(list(demo.MAILS.glob("*.eml"))) == len(list(demo.MAILS.glob("*.html"))) == 4
    assert "FAIL  the page greets the world" in (demo.LOGS / "2-failed.log").read_text()
    assert left_behind(docker_client, before) == []
    assert (processes(), list(temporary.iterdir()), demo.WORK.exists()) == ([], [], False)


@pytest.mark.slow
@pytest.mark.cloud
def test_after_a_kill_no_process_stays_and_the_next_demo_removes_the_rest_even_if_it_is_interrupted(
    docker_client, temporary
):
    before = snapshot(docker_client)
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE, text=True, **started(temporary)) as killed:
        wait_for(killed, "build")
        killed.kill()
    until = time.monotonic() + 10
    while processes() and time.monotonic() < until:
        time.sleep(0.1)
    assert processes() == []
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE, text=True, **started(temporary)) as interrupted:
        wait_for(interrupted, "claimed")
        interrupted.send_signal(signal.SIGINT)
        said = interrupted.stdout.read()
    assert (interrupted.returncode, "taken down again" in said) == (130, True)
    assert left_behind(docker_client, before) == []
    assert (processes(), list(temporary.iterdir())) == ([], [])


COMMAND = (sys.executable, "-m", "infra.local.demo")


def started(temporary):
    return {"cwd": ROOT, "env": {**os.environ, "TMPDIR": str(temporary), "KEEP": ""}}


def wait_for(child, word):
    """Read what the demo says until a line of this name."""
    for line in child.stdout:
        if line.split()[1:2] == [word]:
            return
    pytest.fail(f"it ended before it said {word}")


def left_behind(client, before):
    """What is new in the engine, but for what another installation (a test's, a developer's) is making meanwhile."""
    now = snapshot(client)
    new = {key for kind in vars(now) for key in getattr(now, kind) - getattr(before, kind)}
    api = client.api
    for thing in [*api.images(all=True), *api.containers(all=True), *api.networks()]:
        if (thing["Labels"] or {}).get(SYSTEM_LABEL, SYSTEM) != SYSTEM:
            new -= {thing["Id"], *(thing.get("RepoTags") or ())}
    return sorted(new)


def processes():
    """The command lines of processes that work in the demo's folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command = path.joinpath("cmdline").read_text().replace("\0", " ")
            folder = str(path.joinpath("cwd").readlink())
        except OSError:
            continue  # it ended while we looked, or is the kernel's
        if str(demo.WORK) in command + folder:
            found.append(command)
    return found
