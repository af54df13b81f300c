"""`tau doctor` on a machine, and as somebody types it."""

import json
import os

import pytest
from click.testing import CliRunner

from runner.cli import main
from runner.disk import Amount, Need
from runner.doctor import machine
from runner.doctor.findings import Mark
from runner.doctor.machine import Machine
from runner.needs import write_needs
from runner.storage import UNKNOWN, limits
from tests.doctoring import LOGIN, asked


def of_machine(name, folder, *, reserve_mb=1, **how):
    environ = {"PATH": os.environ["PATH"], **how.pop("environ", {})}
    return asked(machine.questions(Machine(folder, environ, limits(2, reserve_mb), how.pop("docker", None))), name)


def test_a_git_that_is_old_or_missing_is_told(tmp_path):
    assert of_machine("git", tmp_path).said.startswith("version 2.")
    (tmp_path / "git").write_text("#!/bin/sh\necho git version 2.20.1\n")
    (tmp_path / "git").chmod(0o755)
    old = of_machine("git", tmp_path, environ={"PATH": str(tmp_path)})
    assert (old.mark, old.said) == (Mark.BROKEN, "git version 2.20.1 is too old: 2.30 or newer is needed")
    none = of_machine("git", tmp_path, environ={"PATH": str(tmp_path / "none")})
    assert "there is no git on PATH" in none.said


def test_a_disk_is_held_against_what_the_neediest_pipeline_took_and_what_stays_free(tmp_path):
    assert of_machine("disk", tmp_path).mark is Mark.OK
    assert "a run takes up to 1.2 GB" in of_machine("disk", tmp_path).said
    full = of_machine("disk", tmp_path, reserve_mb=10**9)
    assert (full.mark, "are needed: runs wait" in full.said) == (Mark.BROKEN, True)
    write_needs(tmp_path, {"hello": (Need(Amount(10**18, 1), Amount(0, 0)),), "small": (UNKNOWN,)})
    hungry = of_machine("disk", tmp_path)
    assert (hungry.mark, "runs wait" in hungry.said) == (Mark.BROKEN, True)


def test_a_folder_that_is_not_there_is_not_made(tmp_path):
    finding = of_machine("folder", tmp_path / "none" / "of it")
    assert (finding.mark, finding.said) == (Mark.OK, f"{tmp_path}/none/of it is made when it is wanted")
    assert not (tmp_path / "none").exists()


@pytest.mark.engine
def test_an_engine_and_how_it_builds_are_told_in_its_own_words(lab, tmp_path):
    assert of_machine("engine", tmp_path, docker=lab.client).said.startswith("Docker ")
    assert of_machine("builder", tmp_path, docker=lab.client).mark is not Mark.BROKEN


# --- the command ------------------------------------------------------------------------------------


def tau(*arguments, **environ):
    return CliRunner().invoke(main, ("doctor", *arguments), env={"DOCKER_HOST": "tcp://127.0.0.1:1", **environ})


def test_without_settings_the_machine_is_looked_at_and_the_rest_is_said_to_need_a_code_server(tmp_path):
    said = tau("--folder", str(tmp_path))
    marks = {line.split()[2]: line.split()[1] for line in said.stdout.splitlines()[:-1]}
    assert marks["git"] == "ok"
    assert marks["engine"] == "broken", "there is none at this address"
    assert marks["installation"] == "mind"
    assert not {"AWS", "secrets", "registry", "forge"} & set(marks)
    assert said.exit_code == 1
    assert said.stdout.splitlines()[-1] == "1 broken, 1 thing to mind."


def test_a_code_server_of_the_local_cloud_is_well_but_for_what_nobody_has_stored(cloud, registry, tmp_path):
    known = {"version": 1, "operators": [], "forges": {}, "pipelines": [], "source_sha256": "c" * 64}
    known["registries"] = {registry.host: "doctors-registry"}
    (tmp_path / "ci.json").write_text(json.dumps(known))
    arguments = ("--config", str(tmp_path / "ci.yml"), "--folder", str(tmp_path), "--json")

    def said():
        done = tau(*arguments, **cloud.environment)
        return done.exit_code, {one["what"]: (one["mark"], one["said"]) for one in json.loads(done.stdout)}

    _, without = said()
    assert {
        what for what in ("AWS", "clock", "table", "queue default", "bucket", "mail") if without[what][0] != "ok"
    } == set()
    assert without["secrets"][0] == without[f"registry {registry.host}"][0] == "broken"
    assert "set the SSM parameter /tau/local/secrets/doctors-registry" in without["secrets"][1]
    cloud.put_secret("doctors-registry", LOGIN)
    code, there = said()
    assert {what for what, (mark, _) in there.items() if mark == "broken"} == {"engine"}
    assert code == 1
    assert LOGIN.partition(":")[2] not in json.dumps(there)


def test_a_setting_that_is_missing_is_one_finding_and_what_can_be_asked_is_asked(tmp_path):
    said = tau("--folder", str(tmp_path), TAU_STAGE="test")
    assert "✗ broken  settings                 TAU_BUCKET is not set" in said.stdout
    assert "✓ ok      git" in said.stdout
    assert said.exit_code == 1
