"""What somebody wants of a pipeline in, the job that this machine enacts out."""

from dataclasses import replace

import pytest

from chalicelib.config import parse
from chalicelib.errors import BadInput, NotThere
from chalicelib.model import Step
from chalicelib.starting import CannotStart, Wish
from runner import commands
from runner.actions import test as testing
from runner.compiler import compile_text
from runner.laptop import alone, jobs
from runner.laptop.ports import chosen
from runner.laptop.standing import Up
from runner.laptop.up import to_stand

CONFIG = """\
version: 1
operators: [ops@2pisoftware.com]
forges:
  github.com: {provider: github, clone: "ssh://git@github.com/{repository}.git", key: forge-key, webhook: [hook-local]}
registries:
  registry.example.com: {credentials: registry-login}
pipelines:
  app:
    repository: github.com/2pisoftware/app
    trigger: {push: [develop]}
    steps:
      - build:
          image: 2pisoftware/app
          from: {repository: github.com/2pisoftware/deploy}
      - test:
          command: [run]
          results: none
          artifacts: [/screens/*.png]
          timeout: 2m
          secrets: {KEY: app-key}
          services:
            db: {image: registry.example.com/db:1, secrets: {PASSWORD: db-password}}
      - push: {to: [registry.example.com], tags: ["{branch}"]}
  clients:
    repository: github.com/2pisoftware/{client}_deploy
    trigger: {tag: ["v*"]}
    steps:
      - build: {image: "2pisoftware/{client}"}
      - push: {to: [registry.example.com], tags: ["{tag}"]}
      - deploy_eb: {application: "{client|dash}", environment: "{client|dash}-production", timeout: 5m}
"""
DEPLOY = "github.com/2pisoftware/deploy"


@pytest.fixture(scope="module")
def config():
    return parse(compile_text(CONFIG))


def wish(pipeline="app", **more):
    return replace(Wish(pipeline, "sam", None, "refs/heads/develop"), **more)


def planned(config, **more):
    return jobs.planned(wish(**more), config, "my ci.yml", "nonce")


def test_what_is_left_out_says_how_it_is_had_all_the_same(config):
    job = planned(config, pipeline="clients", repository="2pisoftware/acme_deploy", ref="refs/tags/v1")
    trimmed = jobs.trimmed(job, ())
    assert [step.action for step in trimmed.job.steps] == ["build"]
    assert [jobs.left_out(step) for step in trimmed.left_out] == [
        "left out: push (registry.example.com); --with push does it",
        "left out: deploy_eb (acme-production); `tau trigger` does it, on a code server",
    ]


def test_an_effect_that_is_wanted_stays_and_nobody_is_told_of_the_end(config):
    trimmed = jobs.trimmed(planned(config), ("push",))
    assert [step.action for step in trimmed.job.steps] == ["build", "test", "push"]
    assert (trimmed.left_out, trimmed.job.operators, trimmed.job.announces) == ((), (), False)


def test_the_secrets_of_steps_and_services_are_needed_and_a_registrys_only_for_a_push(config):
    job = planned(config)
    assert jobs.secrets(jobs.trimmed(job, ()).job) == {"app-key", "db-password"}
    assert jobs.secrets(jobs.trimmed(job, ("push",)).job) == {"app-key", "db-password", "registry-login"}


def test_a_registry_whose_login_is_not_given_is_asked_without_one(config):
    job = planned(config)
    assert jobs.readable(job, lambda _: False).registries == {"registry.example.com": None}
    assert jobs.readable(job, lambda _: True).registries == {"registry.example.com": "registry-login"}


def test_its_repositories_are_fetched_from_elsewhere_without_a_key(config):
    job = planned(config)
    assert jobs.others(job) == {DEPLOY: {"HEAD"}}
    moved = jobs.at(job, {job.source.name: "file:///app.git", DEPLOY: "file:///deploy.git"})
    assert (moved.source.clone, moved.source.key) == ("file:///app.git", None)
    assert (moved.sources[DEPLOY].clone, moved.sources[DEPLOY].key) == ("file:///deploy.git", None)


def test_a_pipeline_that_is_not_there_is_missed_by_the_files_name_with_what_may_have_been_meant(config):
    with pytest.raises(NotThere, match=r'my ci\.yml has no pipeline ap; did you mean "app"'):
        planned(config, pipeline="ap")


def test_a_pipeline_of_several_repositories_asks_which(config):
    with pytest.raises(CannotStart, match="--repository OWNER/NAME"):
        planned(config, pipeline="clients")


def test_a_secret_has_a_variable_of_its_own():
    assert alone.variable("db-password.2") == "TAU_SECRET_DB_PASSWORD_2"


# --- what `tau up` makes of it ----------------------------------------------------------------------------


def test_what_the_first_test_is_of_is_built_and_stands_with_its_environment_and_services(config):
    job = to_stand((), planned(config)).job
    assert [step.action for step in job.steps] == ["build", "up"]
    settings = job.steps[-1].settings
    assert settings.keys().isdisjoint({"command", "results"})
    assert (settings["image"], list(settings["services"]), settings["secrets"]) == (
        *("2pisoftware/app", ["db"], {"KEY": "app-key"}),
    )
    assert settings["network"] == "none"
    assert jobs.secrets(job) == {"app-key", "db-password"}


def test_whatever_a_test_may_say_what_stands_can_read_what_is_left_of_it(config):
    job = planned(config)
    written = next(step for step in job.steps if step.action == "test").settings
    every = {
        name: field.get_default(call_default_factory=True) for name, field in testing.Settings.model_fields.items()
    }
    steps = [replace(step, settings={**every, **written}) if step.action == "test" else step for step in job.steps]
    up = to_stand((), replace(job, steps=tuple(steps))).job.steps[-1].settings
    assert Up.model_validate(up).secrets == {"KEY": "app-key"}
    assert up.keys() == commands.Limited.model_fields.keys()


def test_a_port_of_a_service_that_is_not_there_is_refused_before_anything_is_built(config):
    with pytest.raises(BadInput, match=r"--port 80:web:80: there is no service web \(there are: db\)"):
        to_stand([chosen("80:web:80")], planned(config))
    assert to_stand([chosen("80:db:80")], planned(config)).job.steps[-1].action == "up"


def test_an_image_that_is_not_tested_stands_alone_with_a_way_out(config):
    job = to_stand(
        (), planned(config, pipeline="clients", repository="2pisoftware/acme_deploy", ref="refs/tags/v1")
    ).job
    assert [(step.action, step.settings) for step in job.steps[1:]] == [
        ("up", {"image": "2pisoftware/acme", "network": "internet"})
    ]


@pytest.mark.parametrize(
    ("builds", "words"),
    [([], "builds no image to start"), (["a/one", "a/two"], "builds a/one, a/two and tests none of them")],
)
def test_where_nothing_says_which_image_stands_that_is_said(config, builds, words):
    job = planned(config)
    steps = [Step("build", {"image": image}) for image in builds]
    with pytest.raises(BadInput, match=words):
        to_stand((), replace(job, steps=tuple(steps)))
