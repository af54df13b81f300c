import pytest

from runner.progress import Progress

FAILED = """\
#1 [internal] load build definition from Dockerfile
#1 sha256:61d5a3dc2f1d6f4d9c6e5a4a5d7ed3f2ecb3b0c3f3b6f0d8b1f2a3c4d5e6f708
#1 transferring dockerfile: 92B done
#1 DONE 0.0s

#4 [1/3] FROM docker.io/library/base
#4 CACHED

#5 [2/3] RUN echo one
#5 sha256:61d5a3dc2f1d6f4d9c6e5a4a5d7ed3f2ecb3b0c3f3b6f0d8b1f2a3c4d5e6f708
#5 0.211 one
#5 DONE 2.1s

#6 [3/3] RUN echo no such file; exit 3
#6 0.345 no such file
#6 ERROR: executor failed running [/bin/sh -c echo no such file; exit 3]: exit code: 3
------
 > [3/3] RUN echo no such file; exit 3:
#6 0.345 no such file
------
executor failed running [/bin/sh -c echo no such file; exit 3]: exit code: 3
"""
OF_BUILDX = """\
#5 [2/2] RUN echo ------; echo ERROR: failed to solve: not this; exit 3
#5 0.101 ------
#5 0.102 ERROR: failed to solve: not this
#5 ERROR: process "/bin/sh -c echo ------; exit 3" did not complete successfully: exit code: 3
------
 > [2/2] RUN echo ------; exit 3:
0.101 ------
0.102 ERROR: failed to solve: not this
------
Dockerfile:2
--------------------
   1 |     FROM base
   2 | >>> RUN echo ------; exit 3
   3 |
--------------------
ERROR: failed to solve: process "/bin/sh -c echo ------; exit 3" did not complete successfully: exit code: 3
"""


class Read:
    """What became of a client's output, given in pieces of a size."""

    def __init__(self, text, size=7):
        self.log, self.ours = b"", []
        self.progress = Progress(self._write, self.ours.append)
        raw = text.encode()
        for at in range(0, len(raw), size):
            self.progress.feed(raw[at : at + size])
        self.progress.finish()

    def _write(self, chunk):
        self.log += chunk


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_each_instruction_is_told_with_its_time_once_it_is_over(size):
    assert Read(FAILED, size).ours == [
        "step 1/3 from the cache: FROM docker.io/library/base",
        "step 2/3 took 2.1 s: RUN echo one",
    ]


def test_the_log_has_every_line_but_numbers_that_only_the_cache_knows():
    log = Read(FAILED).log.decode()
    assert "sha256" not in log
    assert log.splitlines() == [line for line in FAILED.splitlines() if " sha256:" not in line]


def test_the_reason_is_buildkits_and_the_lines_are_the_failed_commands():
    progress = Read(FAILED).progress
    assert progress.error == "executor failed running [/bin/sh -c echo no such file; exit 3]: exit code: 3"
    assert progress.tail == ("no such file",)


def test_what_a_command_prints_is_never_taken_for_buildkits_words():
    progress = Read(OF_BUILDX).progress
    assert progress.error.startswith("ERROR: failed to solve: process ")
    assert "not this" not in progress.error
    assert progress.tail == ("------", "ERROR: failed to solve: not this")


def test_an_error_before_any_step_is_the_last_words():
    said = Read("ERROR: Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?\n").progress
    assert said.error.startswith("ERROR: Cannot connect")
    assert said.tail == ()


def test_stages_that_run_beside_each_other_are_told_apart():
    text = (
        "#5 [first 2/2] RUN a\n#6 [second 2/3] RUN b\n#5 0.1 of a\n#6 0.1 of b\n#6 DONE 0.2s\n"
        "#5 1.0 more of a\n#5 ERROR: executor failed running [/bin/sh -c a]: exit code: 1\n"
    )
    read = Read(text)
    assert read.ours == ["step 2/3 took 0.2 s: RUN b"]
    assert read.progress.tail == ("of a", "more of a")


def test_a_log_that_was_clipped_says_so_and_what_to_do():
    read = Read("#5 [2/2] RUN seq\n#5 0.2 1\n#5 0.2 [output clipped, log limit 200KiB/s reached]\n#5 DONE 0.5s\n")
    assert "left out some of this build's output" in read.ours[-1]
    assert "`builder: classic`" in read.ours[-1]


def test_a_line_without_end_is_passed_on_before_it_ends():
    read = Read("#5 0.1 " + "x" * 300_000, size=50_000)
    assert len(read.log) == 300_007
    assert len(read.progress._rest) < 100_000
