import json
import re
import threading
import time

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from chalicelib.objects import Objects
from runner import runlog
from runner.pace import Real
from runner.redaction import Matcher
from runner.runlog import StepLog, step_prefix
from tests.installation import NOW, installation

RUN = "01KAQ000000000000000000001"
PREFIX = step_prefix(RUN, 1, 0)


class Bucket:
    """S3 that keeps what is put; `says` is what it answers instead, `loses` answers after it took something."""

    def __init__(self):
        self.objects = {}
        self.puts = []
        self.says = None
        self.loses = False
        self.slow = threading.Event()
        self.slow.set()

    def put_object(self, *, Key, Body, Metadata, IfNoneMatch, **_):  # noqa: N803 - S3's own names
        assert IfNoneMatch == "*"
        self.puts.append(Key)
        self.slow.wait(10)
        if self.says:
            raise self.says
        if Key in self.objects:
            raise ClientError({"Error": {"Code": "PreconditionFailed", "Message": ""}}, "PutObject")
        self.objects[Key] = (Body, Metadata)
        if self.loses:
            raise ReadTimeoutError(endpoint_url="https://s3.invalid")

    def text(self):
        keys = sorted(key for key in self.objects if not key.endswith("index"))
        return b"".join(self.objects[key][0] for key in keys)

    def index(self, prefix=PREFIX):
        return [json.loads(line) for line in self.objects[f"{prefix}index"][0].splitlines()]


class Clockwork:
    """Time that stands still until a test lets it pass; whoever waits wakes when his time has come."""

    def __init__(self):
        self.seconds = 0.0
        self._turn = threading.Condition()
        self._wakes_at = {}

    def monotonic(self):
        return self.seconds

    def flag(self):
        return Flag(self)

    def start(self, work, name):
        return Real().start(work, name)

    def pass_(self, seconds):
        """So many seconds, one after the other; those who wake at one do their work before the next."""
        for _ in range(seconds):
            with self._turn:
                assert self._turn.wait_for(lambda: self._wakes_at, 10)
                self.seconds += 1
                self._turn.notify_all()
                due = {one for one, at in self._wakes_at.items() if at <= self.seconds}
                assert self._turn.wait_for(lambda due=due: not due & {*self._wakes_at} or self._moved_on(due), 10)

    def _moved_on(self, due):
        return all(self._wakes_at.get(one, self.seconds + 1) > self.seconds for one in due)

    def wait(self, flag, timeout):
        with self._turn:
            at = self._wakes_at[flag] = self.seconds + timeout
            self._turn.notify_all()
            self._turn.wait_for(lambda: flag.is_set() or self.seconds >= at)
            return flag.is_set()

    def wake(self, flag):
        with self._turn:
            self._wakes_at.pop(flag, None)
            self._turn.notify_all()


class Flag(threading.Event):
    def __init__(self, clockwork):
        super().__init__()
        self._clockwork = clockwork

    def wait(self, timeout=None):
        return self.is_set() or self._clockwork.wait(self, timeout)

    def set(self):
        super().set()
        self._clockwork.wake(self)


DOWN = EndpointConnectionError(endpoint_url="https://s3.invalid")
BUSY = ClientError({"Error": {"Code": "SlowDown", "Message": "busy"}}, "PutObject")


@pytest.fixture
def bucket():
    return Bucket()


@pytest.fixture
def log(bucket):
    made = StepLog(Objects(bucket, "tau-test"), PREFIX, lambda: NOW)
    yield made
    made.close()


def test_what_a_step_prints_and_our_own_lines_lie_in_order(log, bucket):
    log.line("build (step 1 of 2)")
    log.write(b"Step 1/3 : FROM base\n")
    log.write(b"half a ")
    log.write(b"line")
    log.close()
    assert bucket.text() == b"[tau] build (step 1 of 2)\nStep 1/3 : FROM base\nhalf a line"


def test_a_line_of_our_own_begins_a_line_whatever_stands_before_it(log, bucket):
    log.write(b"no end")
    log.line("first")
    log.line("second")
    log.write(b"more\n")
    log.line("third")
    log.close()
    assert bucket.text() == b"no end\n[tau] first\n[tau] second\nmore\n[tau] third\n"


def test_the_index_says_where_each_piece_begins_in_bytes_and_lines(log, bucket):
    log.write(b"one\ntwo\nthr")
    log._flush()
    log.write(b"ee\n")
    log.close()
    first, second = bucket.index()
    assert (first["n"], first["first_byte"], first["bytes"], first["first_line"], first["lines"]) == (0, 0, 11, 0, 2)
    assert (second["n"], second["first_byte"], second["bytes"], second["first_line"], second["lines"]) == (
        1,
        11,
        3,
        2,
        1,
    )
    assert first["from_"] == "2026-11-23T12:00:00.000Z"
    _, metadata = bucket.objects[f"{PREFIX}000001"]
    assert (metadata["first_byte"], metadata["first_line"], metadata["from"]) == ("11", "2", first["from_"])


def test_a_large_output_is_stored_while_the_step_runs(log, bucket):
    log.write(b"x" * 3_000_000)
    assert soon(lambda: len(bucket.text()) == 3_000_000)


def test_a_small_output_is_stored_after_a_moment(bucket):
    log = StepLog(Objects(bucket, "tau-test"), PREFIX, lambda: NOW)
    log.write(b"working\n")
    until = time.monotonic() + 6
    while not bucket.objects and time.monotonic() < until:
        time.sleep(0.05)
    assert bucket.text() == b"working\n"
    log.close()


@pytest.fixture
def unread(bucket):
    """A log that nobody reads along, at first: `.live` says whether somebody does, `.pace` is its time."""
    pace, live = Clockwork(), [False]
    made = StepLog(Objects(bucket, "tau-test"), PREFIX, lambda: NOW, lambda: live[0], pace)
    made.pace, made.live = pace, live
    yield made
    made.close()


def soon(holds):
    """Whether it comes to be so within five seconds."""
    until = time.monotonic() + 5
    while not holds() and time.monotonic() < until:
        time.sleep(0.01)
    return holds()


def each_second(log, seconds):
    """A step that prints a line every second."""
    for _ in range(seconds):
        log.write(b"x\n")
        log.pace.pass_(1)


def test_while_nobody_reads_along_a_log_is_written_ever_more_rarely(unread, bucket):
    times = []
    for _ in range(250):
        before = len(bucket.puts)
        each_second(unread, 1)
        times += [unread.pace.seconds] * (len(bucket.puts) - before)
    assert times == [2, 6, 14, 30, 62, 122, 182, 242]
    unread.close()
    assert len(bucket.text()) == 500


def test_whoever_begins_to_read_along_waits_a_second_and_whoever_ends_costs_little_again(unread, bucket):
    each_second(unread, 130)
    before = len(bucket.puts)
    unread.live[0] = True
    each_second(unread, 1)
    assert len(bucket.text()) > 250
    each_second(unread, 19)
    assert len(bucket.puts) == before + 20
    unread.live[0] = False
    each_second(unread, 50)
    assert len(bucket.puts) == before + 20
    each_second(unread, 12)
    assert len(bucket.puts) == before + 21


def test_what_a_step_prints_after_a_long_silence_waits_no_longer_than_two_seconds(unread, bucket):
    unread.pace.pass_(300)
    assert bucket.puts == []
    each_second(unread, 2)
    assert len(bucket.puts) == 1


def test_a_piece_that_is_full_does_not_wait(unread, bucket):
    each_second(unread, 70)
    before = len(bucket.puts)
    unread.write(b"y" * 3_000_000)
    # Beside: the step goes on printing meanwhile.
    assert soon(lambda: len(bucket.puts) == before + 1)
    unread.line("z" * 3_000_000)  # ours: whoever says it does not wait for the bucket
    assert len(bucket.puts) == before + 1
    unread.pace.pass_(2)
    assert len(bucket.puts) == before + 2


def test_a_short_step_costs_one_piece(unread, bucket):
    unread.pace.pass_(1)
    unread.line("build (step 1 of 2)")
    unread.write(b"Step 1/3 : FROM base\n")
    unread.close()
    assert bucket.puts == [f"{PREFIX}000000"]


def test_a_bucket_that_is_away_is_asked_ever_more_rarely_too(unread, bucket):
    bucket.says = DOWN
    each_second(unread, 250)
    assert len(bucket.puts) == 8
    bucket.says = None
    unread.close()
    assert len(bucket.text()) == 500


def test_a_step_that_prints_nothing_leaves_nothing(log, bucket):
    log.close()
    assert list(bucket.objects) == []


@pytest.mark.parametrize("error", [DOWN, BUSY], ids=["unreachable", "busy"])
def test_what_the_bucket_refuses_is_kept_and_stored_later(log, bucket, error):
    bucket.says = error
    log.write(b"one\n")
    log._flush()
    log.write(b"two\n")
    log._flush()
    assert bucket.objects == {}
    bucket.says = None
    log.write(b"three\n")
    log.close()
    assert bucket.text() == b"one\ntwo\nthree\n"
    assert sum(piece["bytes"] for piece in bucket.index()) == 14


def test_a_piece_that_was_taken_though_the_answer_was_lost_costs_no_line(log, bucket):
    bucket.loses = True
    log.write(b"one\n")
    log._flush()
    bucket.loses = False
    log.write(b"two\n")
    log.close()
    assert bucket.text() == b"one\ntwo\n"
    assert [(piece["first_byte"], piece["bytes"]) for piece in bucket.index()] == [(0, 4), (4, 4)]


def test_a_step_does_not_wait_for_a_bucket_that_refuses(log, bucket):
    bucket.says = DOWN
    log.write(b"x" * 3_000_000)
    tried = len(bucket.puts)
    for _ in range(50):
        log.write(b"y" * 10_000)
    assert len(bucket.puts) <= tried + 1, "each line of a build would wait for a time-out"
    bucket.says = None


def test_a_step_does_not_wait_for_a_piece_that_is_on_its_way(log, bucket):
    bucket.slow.clear()
    log.write(b"one\n")
    flushing = threading.Thread(target=log._flush)
    flushing.start()
    while not bucket.puts:
        time.sleep(0.01)
    began = time.monotonic()
    log.write(b"two\n")
    assert time.monotonic() - began < 1
    bucket.slow.set()
    flushing.join()
    log.close()
    assert bucket.text() == b"one\ntwo\n"


def test_a_bucket_that_refuses_for_long_costs_no_memory_without_end(log, bucket):
    bucket.says = DOWN
    log.write(b"the beginning\n")
    for _ in range(600):
        log.write(b"y" * 99_999 + b"\n")
    held = len(log._buffer) + sum(len(block.text) for block in log._capped._blocks)
    assert held < 17_500_000
    bucket.says = None
    log.write(b"the end\n")
    log.close()
    text = bucket.text()
    assert text.startswith(b"the beginning\nyyy")
    assert text.endswith(b"yyy\nthe end\n")
    assert re.search(rb"\n\[tau\] \d{8} bytes dropped here", text)


def test_a_secret_in_two_writes_and_in_a_line_of_ours_is_not_stored_and_is_named_once(bucket):
    matcher = Matcher({"chat": ["s3cret-value"]})
    log = StepLog(Objects(bucket, "b"), PREFIX, lambda: NOW, matcher=lambda: matcher)
    log.write(b"login s3cret-")
    log.write(b"value, and again s3cret-value\nit ends in s3cr")
    log.line("$ login s3cret-value")
    assert log.tail(1) == ("it ends in s3cr",)
    log.close()
    text = bucket.text().decode()
    assert "s3cret" not in text
    assert text.startswith("login ***, and again ***\n")
    assert text.count("the secret chat was printed by this step") == 1
    assert log.printed == {"chat"}


def test_the_log_of_a_bucket_that_stays_away_costs_no_verdict(log, bucket):
    bucket.says = DOWN
    log.write(b"one\n")
    log.close()
    bucket.says = None
    assert log.tail() == ("one",)


def test_the_tail_is_what_the_step_printed_last_and_nothing_of_ours(log):
    log.line("ours")
    for number in range(300):
        log.write(f"line {number}\r\n".encode())
    log.write(b"half")
    log.line("ours")
    assert log.tail(3) == ("line 298", "line 299", "half")
    assert len(log.tail(1000)) <= 201


def test_the_tail_joins_a_line_that_comes_in_chunks_and_cuts_one_without_end(log):
    for chunk in (b"FAI", b"LED te", b"st\n"):
        log.write(chunk)
    log.write(b"x" * 10_000_000)
    assert log.tail()[0] == "FAILED test"
    assert len(log.tail()[1]) == 2000


def test_bytes_that_are_no_text_stay_bytes_in_the_log_and_are_shown_in_the_tail(log, bucket):
    log.write(b"\xff\xfe caf\xc3\xa9\n")
    log.close()
    assert bucket.text() == b"\xff\xfe caf\xc3\xa9\n"
    assert log.tail() == ("\ufffd\ufffd café",)


def test_keys_sort_in_the_order_of_epochs_steps_and_pieces():
    keys = [
        f"{step_prefix(RUN, epoch, step)}{piece:06}" for epoch in (1, 2, 10) for step in (0, 9, 10) for piece in (0, 11)
    ]
    assert keys == sorted(keys)


def test_a_reader_gets_the_pieces_in_order_and_goes_on_where_it_stopped(monkeypatch):
    with installation(monkeypatch) as edge:
        for epoch, step, text in ((1, 0, b"a"), (1, 1, b"b"), (2, 1, b"c")):
            log = StepLog(edge.objects, step_prefix(RUN, epoch, step), lambda: NOW)
            log.write(text)
            log.close()
        read = list(runlog.read(edge.objects, RUN))
        assert [piece for _, piece in read] == [b"a", b"b", b"c"]
        assert [piece for _, piece in runlog.read(edge.objects, RUN, read[0][0])] == [b"b", b"c"]
        assert list(runlog.read(edge.objects, RUN, read[-1][0])) == []
        assert list(runlog.read(edge.objects, RUN[:-1])) == []
