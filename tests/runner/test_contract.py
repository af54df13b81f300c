import re
from dataclasses import replace
from pathlib import Path

from chalicelib.model import EventKind, Pusher, StepResult, StepStatus
from runner import contract
from runner.context import Image
from runner.operators import environment as minimal
from tests.installation import NOW, event, job
from tests.running import context, passed

DOCS = Path(__file__).parents[2] / "docs" / "ci.yml.md"
HOSTILE = "x;$(touch /tmp/owned)`id`\n--upload-pack=evil"


def of(tmp_path, image=None, **changes):
    return contract.environment(context(None, tmp_path, **changes), image)


def test_the_table_of_the_documentation_is_the_contract():
    section = DOCS.read_text().partition("### The environment of a command")[2].partition("\n### ")[0]
    documented = re.findall(r"^\| `(TAU_[A-Z_]+)` \|", section, re.MULTILINE)
    assert documented == list(contract.VARIABLES)


def test_a_command_knows_what_it_runs_for(tmp_path):
    pushed = event(pusher=Pusher("sam", "Sam", "sam@2pisoftware.com"))
    assert of(tmp_path, job=job(event=pushed, pipeline="cmfive-dev")) == {
        "TAU_RUN": "01KAQ000000000000000000001",
        "TAU_PIPELINE": "cmfive-dev",
        "TAU_EVENT": "push",
        "TAU_FORGE": "github.com",
        "TAU_REPOSITORY": "2pisoftware/cmfive",
        "TAU_REF": "refs/heads/develop",
        "TAU_BRANCH": "develop",
        "TAU_TAG": "",
        "TAU_COMMIT": "2" * 40,
        "TAU_PUSHER": "sam",
        "TAU_IMAGE": "",
        "TAU_IMAGE_DIGEST": "",
        "TAU_RESULT": "passed",
        "TAU_REASON": "",
    }


def test_a_tag_is_no_branch(tmp_path):
    tagged = event(kind=EventKind.TAG_CREATED, ref="refs/tags/v1.2.0", name="v1.2.0")
    values = of(tmp_path, job=job(event=tagged))
    assert (values["TAU_TAG"], values["TAU_BRANCH"], values["TAU_EVENT"]) == ("v1.2.0", "", "tag_created")


def test_an_image_has_its_digest_once_it_was_pushed(tmp_path):
    built = Image("2pisoftware/cmfive", "sha256:1")
    pushed = replace(built, digests={"code.2pisoftware.com:5000": "sha256:" + "a" * 64})
    assert of(tmp_path, built)["TAU_IMAGE_DIGEST"] == ""
    assert of(tmp_path, pushed)["TAU_IMAGE"] == "2pisoftware/cmfive"
    assert of(tmp_path, pushed)["TAU_IMAGE_DIGEST"] == f"code.2pisoftware.com:5000/2pisoftware/cmfive@sha256:{'a' * 64}"


def test_the_first_step_that_did_not_pass_is_the_result_so_far_and_its_reason(tmp_path):
    failed = StepResult("test", StepStatus.FAILED, NOW, NOW, "1 of 2 tests failed")
    values = of(tmp_path, so_far=(passed("build"), failed, passed("script")))
    assert (values["TAU_RESULT"], values["TAU_REASON"]) == ("failed", "1 of 2 tests failed")


def test_what_a_pusher_chose_is_a_value_to_its_last_character(tmp_path):
    hostile = event(ref=f"refs/heads/{HOSTILE}", name=HOSTILE)
    values = of(tmp_path, job=job(event=hostile))
    assert (values["TAU_BRANCH"], values["TAU_REF"]) == (HOSTILE, f"refs/heads/{HOSTILE}")


def test_no_value_holds_what_no_environment_can(tmp_path):
    assert of(tmp_path, job=job(event=event(pusher=Pusher("a\0b"))))["TAU_PUSHER"] == "ab"


def test_what_a_script_of_the_operators_gets_besides_is_nothing_of_the_runners(tmp_path):
    assert set(minimal(tmp_path)) == {"PATH", "HOME", "LANG"}
