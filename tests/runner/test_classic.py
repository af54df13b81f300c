import pytest

from chalicelib.errors import StepErrored
from runner.classic import follow
from tests.running import context


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
