"""A container that prints without end or sense costs neither memory nor the verdict, and no byte of what is kept."""

import re
import resource
from pathlib import Path

import pytest

from chalicelib.objects import Objects
from runner import containers
from runner.capping import Capped
from runner.containers import Wanted
from runner.ending import Limits
from runner.runlog import StepLog, step_prefix
from runner.stopping import Stopping
from tests.installation import NOW
from tests.runner.test_runlog import Bucket

pytestmark = pytest.mark.engine

MB = 1024 * 1024
ZEROS = "head -c 104857600 /dev/zero"
ODD = b"\xff\xfe\x80 \x1b[31mred\x1b[0m 10 %\r20 %\r\n\x00 caf\xc3\xa9 \xf0\x9f"


class Watched(StepLog):
    """A log that looks at this process's memory whenever something was written."""

    most = 0

    def write(self, chunk):
        super().write(chunk)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.most = max(self.most, pages * resource.getpagesize())


@pytest.fixture
def ran(lab, request):
    """How a container that runs these words ended, its log, and what of it the bucket holds."""

    def run(script):
        bucket = Bucket()
        log = Watched(Objects(bucket, "b"), step_prefix("01A", 1, 0), lambda: NOW, capped=Capped(MB, MB))
        labels = {"tau.system": lab.system, "tau.run": "01A", "tau.epoch": "1"}
        name = f"{lab.system}-{abs(hash(request.node.name))}"
        wanted = Wanted(lab.base, ("/bin/sh", "-c", script), {}, 64 * MB, labels, name)
        with containers.created(lab.client, wanted, "none") as made:
            ended = containers.watch(lab.client, made, log, Limits(60), Stopping())
        log.close()
        return ended, log, bucket.text()

    return run


def test_a_line_of_a_hundred_megabytes_costs_no_memory_and_its_end_is_there(ran):
    ran("echo warm")
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    ended, log, text = ran(f"{ZEROS}; echo; echo the end; exit 3")
    assert ended.code == 3
    assert log.most - before < 20 * MB
    assert text.endswith(b"\x00\nthe end\n")
    (dropped,) = map(int, re.findall(rb"\n\[tau\] (\d+) bytes dropped here", text))
    assert text.count(b"\x00") + dropped == 100 * MB
    assert len(text) < 2 * MB + 100_000
    assert log.tail(1) == ("the end",)


def test_what_is_no_text_and_what_colours_it_survive_byte_for_byte(ran):
    octal = "".join(f"\\{byte:03o}" for byte in ODD)
    _, _, text = ran(f"printf '{octal}'; printf '{octal}' >&2")
    assert text == ODD + ODD
