"""Somebody who reads no further: the run is asked to stop, and nothing breaks."""

import os
import subprocess
import sys
from datetime import UTC, datetime

from infra.local.cloud import ROOT
from runner.laptop.outlet import Outlet
from runner.laptop.screen import Screen
from runner.stopping import Stopping, Why

PROGRAM = """\
import sys
from runner.laptop.outlet import Outlet
from runner.stopping import Stopping
stopping = Stopping()
outlet = Outlet(sys.stdout.buffer, stopping)
sys.stdin.read()
for _ in range(100):
    outlet.write(b"x" * 1024)
    outlet.flush()
sys.exit(0 if stopping.why is None else 130)
"""


def test_a_step_that_goes_on_printing_where_nobody_reads_is_asked_to_stop():
    stopping, (here, there), (said, says) = Stopping(), os.pipe(), os.pipe()
    with os.fdopen(there, "wb") as output:
        screen = Screen(Outlet(output, stopping, says))
        log = screen.open_log(None, "", lambda: datetime.now(UTC))
        log.write(b"before\n")
        while os.read(here, 100) != b"before\n":
            pass
        os.close(here)
        assert stopping.why is None
        log.write(b"after\n")
        screen.close()
        assert stopping.why is Why.ASKED
    os.close(says)
    with os.fdopen(said) as file:
        assert file.read() == "tau: nothing more can be printed: Broken pipe\n"


def test_a_process_whose_reader_is_gone_ends_as_it_wants_to_and_says_it_once():
    argv = (sys.executable, "-c", PROGRAM)
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        process.stdout.close()
        process.stdin.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (130, b"tau: nothing more can be printed: Broken pipe\n")
