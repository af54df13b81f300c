"""The `tau` command as somebody types it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from chalicelib.model import RunState
from runner.cli import main
from runner.runlog import StepLog, step_prefix
from tests.installation import NOW, installation, later
from tests.running import queued

ROOT = Path(__file__).parents[2]
CI_YML = ROOT / "chalicelib" / "ci.yml"
NO_SETTINGS = {"TAU_STAGE": None, "TAU_BUCKET": None, "TAU_SENDER": None}
SETTINGS = {"TAU_STAGE": "test", "TAU_BUCKET": "tau-test", "TAU_SENDER": "tau@2pisoftware.com"}


def tau(*arguments, **environ):
    return CliRunner().invoke(main, arguments, env={**NO_SETTINGS, **environ})


@pytest.fixture
def ci_yml(tmp_path):
    path = tmp_path / "ci.yml"
    path.write_bytes(CI_YML.read_bytes())
    return path


# --- ci.yml ---------------------------------------------------------------------------------------


def test_the_projects_own_ci_yml_is_right_and_compiled():
    assert tau("check").exit_code == 0
    assert tau("compile", "--check").exit_code == 0


def test_compiling_writes_what_lies_beside_the_projects_own(ci_yml):
    said = tau("compile", "--config", str(ci_yml))
    assert (said.exit_code, said.stdout) == (0, f"wrote {ci_yml.with_suffix('.json')}\n")
    assert ci_yml.with_suffix(".json").read_bytes() == CI_YML.with_suffix(".json").read_bytes()


@pytest.mark.parametrize("stale", [None, "{}"], ids=["absent", "old"])
def test_a_stale_ci_json_is_a_failure_that_says_what_to_do_and_writes_nothing(ci_yml, stale):
    written = ci_yml.with_suffix(".json")
    if stale:
        written.write_text(stale)
    said = tau("compile", "--check", "--config", str(ci_yml))
    assert said.exit_code == 1
    assert "run `tau compile`" in said.stderr
    assert (written.read_text() if stale else written.exists()) == (stale or False)


def test_a_broken_ci_yml_never_replaces_a_good_one(ci_yml):
    tau("compile", "--config", str(ci_yml))
    good = ci_yml.with_suffix(".json").read_bytes()
    ci_yml.write_text(ci_yml.read_text() + "\nnonsense: 1\npipelines: {}\n")
    said = tau("compile", "--config", str(ci_yml))
    assert said.exit_code == 1
    assert "ci.yml:" in said.stderr, "each complaint has its place"
    assert "nonsense" in said.stderr
    assert ci_yml.with_suffix(".json").read_bytes() == good


def test_a_run_of_more_than_eleven_hours_is_refused_with_its_place(ci_yml):
    ci_yml.write_text(ci_yml.read_text().replace("    steps:", "    timeout: 661m\n    steps:", 1))
    said = tau("check", "--config", str(ci_yml))
    assert said.exit_code == 1
    assert re.search(r"ci\.yml:\d+:\d+: pipelines\.[\w-]+\.timeout: a run may take 11h at most", said.stderr)


def test_a_ci_yml_that_is_not_there_is_named(tmp_path):
    said = tau("check", "--config", str(tmp_path / "none.yml"))
    assert (said.exit_code, "Traceback" in said.output) == (1, False)
    assert f"{tmp_path}/none.yml cannot be read: No such file or directory" in said.stderr


# --- failures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [("runs",), ("log", "01X"), ("runner",)])
def test_without_settings_every_command_names_the_first_that_is_missing_and_where_they_are(command):
    said = tau(*command)
    assert said.exit_code == 1
    assert said.stderr.startswith("tau: TAU_STAGE is not set: ")
    assert "/etc/tau/runner.env" in said.stderr
    assert "Traceback" not in said.output


def test_an_aws_that_says_no_is_no_traceback(monkeypatch):
    with installation(monkeypatch) as edge:
        edge.client("dynamodb").delete_table(TableName="tau-test")
        said = tau("runs", **SETTINGS)
    assert said.exit_code == 1
    assert said.stderr.startswith("tau: AWS does not do what was asked: ")
    assert "Traceback" not in said.output


def runner(folder, **environ):
    """The runner as systemd starts it: a process of its own."""
    argv = (sys.executable, "-m", "runner", "runner", "--folder", str(folder))
    env = {"PATH": os.environ["PATH"], "AWS_DEFAULT_REGION": "ap-southeast-2", **SETTINGS, **environ}
    return subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60)


def test_a_runner_whose_folder_cannot_be_made_says_which(tmp_path):
    (tmp_path / "file").write_text("x")
    done = runner(tmp_path / "file" / "work")
    assert done.returncode == 1
    assert done.stderr.startswith(f"tau: {tmp_path}/file/work cannot be made (Not a directory): choose another")
    assert len(done.stderr.splitlines()) == 1


def test_a_runner_without_an_engine_says_so(tmp_path):
    done = runner(tmp_path, DOCKER_HOST="unix:///nowhere/docker.sock")
    assert done.returncode == 1
    assert done.stderr.startswith("tau: the Docker engine does not answer (")
    assert "Traceback" not in done.stderr


# --- runs and logs --------------------------------------------------------------------------------


@pytest.fixture
def edge(monkeypatch):
    with installation(monkeypatch) as made:
        yield made


def a_run_with_a_log(edge):
    held = edge.store.claim(queued(edge, 1), "r1", NOW)
    log = StepLog(edge.objects, step_prefix(held.id, 1, 0), lambda: NOW)
    log.line("test (step 1 of 1)")
    log.write("FAILED caf\u00e9\n".encode())
    log.close()
    edge.store.end(held, RunState.FAILED, reason="1 of 2 tests failed", tell={}, now=later(5))
    return held.id


def test_runs_of_a_day_are_listed(edge):
    run = a_run_with_a_log(edge)
    said = tau("runs", "--day", "2026-11-23", **SETTINGS)
    assert said.exit_code == 0
    assert run in said.stdout
    assert "failed" in said.stdout
    assert tau("runs", "--day", "2026-11-22", **SETTINGS).stdout == "No runs.\n"


def test_runs_of_a_commit_are_found_by_all_of_it_alone(edge):
    run = a_run_with_a_log(edge)
    assert run in tau("runs", "--commit", "2" * 40, **SETTINGS).stdout
    said = tau("runs", "--commit", "2222222", **SETTINGS)
    assert (said.exit_code, "is no full sha" in said.stderr) == (2, True)


@pytest.mark.parametrize("option", [("--day", "yesterday"), ("-n", "0"), ("-n", "many")])
def test_an_option_that_means_nothing_is_named(option):
    said = tau("runs", *option)
    assert (said.exit_code, option[0] in said.stderr) == (2, True)


@pytest.mark.parametrize("spelled", [str.upper, str.lower])
def test_a_log_is_printed_as_it_was_written_and_ends_with_what_came_of_it(edge, spelled):
    run = a_run_with_a_log(edge)
    said = tau("log", spelled(run), **SETTINGS)
    assert said.exit_code == 0
    assert said.stdout == "[tau] test (step 1 of 1)\nFAILED caf\u00e9\n"
    assert said.stderr == f"[tau] {run}: failed: 1 of 2 tests failed\n"


def test_following_the_log_of_a_run_at_its_end_ends_too(edge):
    assert tau("log", "--follow", a_run_with_a_log(edge), **SETTINGS).exit_code == 0


@pytest.mark.usefixtures("edge")
def test_a_run_that_does_not_exist_is_named_with_where_to_look():
    said = tau("log", "01NONE", **SETTINGS)
    assert said.exit_code == 1
    assert said.stderr == "tau: there is no run 01NONE: `tau runs` lists the latest\n"


def test_help_answers_without_loading_the_cloud_or_the_engine():
    heavy = {"boto3", "botocore", "docker", "requests", "urllib3", "pydantic", "jinja2"}
    code = f"import sys; from runner.cli import main; print({heavy} & set(sys.modules))"
    done = subprocess.run((sys.executable, "-c", code), cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
    assert "Take runs from the queue" in tau("--help").stdout
