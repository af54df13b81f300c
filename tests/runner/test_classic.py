import os

import pytest

from chalicelib.errors import StepErrored, StepFailed
from runner.actions import build
from runner.classic import Classic, follow
from runner.inventory import inventory
from runner.retention import Known
from tests.installation import NOW
from tests.runner.trees_to_build import APP, dockerfile, settings, tree
from tests.running import context

IMAGE = f"tau-test-runner-{os.getpid()}/classic"


def test_a_stream_that_ends_without_an_image_and_without_an_error_is_our_fault(tmp_path):
    held = context(None, tmp_path)
    with pytest.raises(StepErrored, match="without an image"):
        follow([{"stream": "Step 1/1 : FROM x\n"}], held)


def test_progress_of_a_pull_does_not_flood_the_log(tmp_path):
    held = context(None, tmp_path)
    messages = [
        {"status": "Pulling from library/busybox"},
        *({"status": "Downloading", "progressDetail": {"current": n}, "id": "a"} for n in range(100)),
        {"aux": {"ID": "sha256:1"}},
    ]
    assert follow(messages, held) == "sha256:1"
    assert held.log.text == "Pulling from library/busybox\n"


@pytest.mark.engine
def test_what_a_build_that_breaks_leaves_is_known_to_be_ours_and_the_next_one_goes_on_from_it(lab, tmp_path):
    def make(*lines):
        trees = {APP: tree(Dockerfile=dockerfile(lab, *lines))}
        held = context(lab.client, tmp_path, system=lab.system, trees=trees, builder=Classic())
        build.run(settings(IMAGE), held)
        return held

    make("RUN echo a >/marked", "RUN true")
    before = {image["Id"] for image in lab.client.api.images(all=True)}
    with pytest.raises(StepFailed):
        make("RUN echo a >/marked", "RUN echo b >/broken", "RUN exit 1")
    left = {image["Id"] for image in lab.client.api.images(all=True)} - before
    there = inventory(lab.client, lab.system, lambda _: Known(), NOW).images
    assert left == {image.id for image in there if image.is_layer and image.id in left}
    assert len(left) == 1
    assert make("RUN echo a >/marked", "RUN echo b >/broken").log.text.count("Using cache") >= 3
