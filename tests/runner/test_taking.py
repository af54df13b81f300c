"""What a suite leaves is brought to the bucket, and nothing that was meant to do harm does any."""

import errno
import io
import tarfile
import threading
from dataclasses import replace

import pytest
from botocore.exceptions import ClientError
from docker.errors import APIError, NotFound

from runner import taking
from runner.redaction import Matcher
from runner.stopping import Stopped, Stopping, Why
from runner.taking import take
from tests.running import context, within

PREFIX = "artifacts/01KAQ000000000000000000001/0001/001/"
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20


def entry(name, data=b"", *, kind=tarfile.REGTYPE, size=None, link=""):
    """A file, or something else; `size` is what its header says where that is not the truth."""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, len(data) if size is None else size, link
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape") + data + b"\0" * (-len(data) % 512)


class Response:
    """An answer of the engine. `read` counts what was asked for of it; `broken` is raised at its end."""

    def __init__(self, chunks, broken=None):
        self.chunks, self.read, self.closed, self.broken = chunks, 0, False, broken

    def iter_content(self, _size):
        for chunk in self.chunks:
            self.read += len(chunk)
            yield chunk
        if self.broken:
            raise self.broken

    def close(self):
        self.closed = True


class Engine:
    """An engine whose one container holds these folders, each as the tar that it would send."""

    def __init__(self, folders, folder="/app", broken=None):
        self.api = self
        self.folder = folder
        self.asked = []
        self.answers = {path: Response(chunks, broken) for path, chunks in folders.items()}

    def inspect_container(self, _container):
        return {"Config": {"WorkingDir": self.folder}}

    def _url(self, path, container):
        return path.format(container)

    def _get(self, _address, *, params, **_how):
        self.asked.append(params["path"])
        return self.answers.get(params["path"], Response(()))

    def _raise_for_status(self, response):
        if response not in self.answers.values():
            raise NotFound("no such path")


class Bucket:
    """Objects in memory. `refuses`: raised instead of taking one."""

    def __init__(self):
        self.held, self.refuses = {}, None

    def put_file_once(self, key, file, content_type, *, shown):
        if self.refuses:
            raise self.refuses
        file.seek(0)
        self.held[key] = (file.read(), content_type, shown)


@pytest.fixture
def bucket():
    return Bucket()


@pytest.fixture
def taken(bucket, tmp_path):
    """What is taken of one folder, `/app/out`: the facts, and the lines of the log."""

    def taken(*entries, globs=("out/**",), engine=None, **changes):
        engine = engine or Engine({"/app/out": [entry("out/", kind=tarfile.DIRTYPE), *entries]})
        held = context(engine, tmp_path, **changes)
        held = replace(held, aws=replace(held.aws, objects=bucket))
        try:
            return take(globs, "c1", held), held.log.ours
        finally:
            assert list(tmp_path.iterdir()) == []
            assert all(engine.answers[path].closed for path in engine.asked if path in engine.answers)

    return taken


def names(facts):
    return [one["name"] for one in facts["artifacts"]["files"]]


# --- what is taken --------------------------------------------------------------------------------


def test_what_a_glob_names_is_stored_under_a_key_of_ours_and_named_in_record_and_log(taken, bucket):
    facts, log = taken(entry("out/a.png", PNG), entry("out/deep/index.html", b"<script>"), entry("out/core", b"\xff\0"))
    assert facts == {
        "artifacts": {
            "files": [
                {"name": "out/a.png", "bytes": 28, "key": f"{PREFIX}001"},
                {"name": "out/deep/index.html", "bytes": 8, "key": f"{PREFIX}002"},
                {"name": "out/core", "bytes": 2, "key": f"{PREFIX}003"},
            ]
        }
    }
    assert bucket.held == {
        f"{PREFIX}001": (PNG, "image/png", True),
        f"{PREFIX}002": (b"<script>", "text/plain; charset=utf-8", False),
        f"{PREFIX}003": (b"\xff\0", "application/octet-stream", False),
    }
    assert log == ["artifact out/a.png, 28 B", "artifact out/deep/index.html, 8 B", "artifact out/core, 2 B"]


def test_where_nothing_is_asked_for_the_engine_is_not_asked_either(taken):
    engine = Engine({})
    assert taken(globs=(), engine=engine) == ({}, [])
    assert engine.asked == []


def test_a_glob_begins_where_the_command_did_or_at_the_root_and_each_folder_is_read_once(taken):
    engine = Engine(
        {
            "/app/out": [entry("out/a.png"), entry("out/b.txt"), entry("out/in/c.txt")],
            "/var/log/x.log": [entry("x.log")],
        }
    )
    facts, log = taken(globs=("out/*.png", "/app/out/**.txt", "out/in/*", "/var/log/x.log", "no/*"), engine=engine)
    assert names(facts) == ["/var/log/x.log", "out/a.png", "/app/out/b.txt", "/app/out/in/c.txt"]
    assert engine.asked == ["/var/log/x.log", "/app/out", "/app/no"]
    assert log[-1] == "artifacts: there is no file no/*"


# --- what is left out, and said -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (entry("out/x", kind=tarfile.SYMTYPE, link="/etc/shadow"), "out/x (0 B): it is a link"),
        (entry("out/x", kind=tarfile.SYMTYPE, link="../../etc/shadow"), "out/x (0 B): it is a link"),
        (entry("out/x", kind=tarfile.LNKTYPE, link="out/y"), "out/x (0 B): it is a link"),
        (entry("out/x", kind=tarfile.FIFOTYPE), "out/x (0 B): it is a pipe"),
        (entry("out/x", kind=tarfile.CHRTYPE), "out/x (0 B): it is a device"),
        (entry("out/x", kind=tarfile.BLKTYPE), "out/x (0 B): it is a device"),
        (entry("out/a\nb", b"x"), "out/a b (1 B): its name cannot be written"),
        (entry("out/\x1b[2J", b"x"), "out/ (1 B): its name cannot be written"),
        (entry("out/\udcff\udcfe", b"x"), "out/<U+DCFF><U+DCFE> (1 B): its name cannot be written"),
        (entry("out/" + "d/" * 200, b"x"), "its name is longer than 300 characters"),
        (entry("out/x", b"pw is hunter22!"), "out/x (15 B): the secret db-password stands in it"),
        (entry("out/x", b"aHVudGVyMjIh"), "out/x (12 B): the secret db-password stands in it"),
    ],
)
def test_what_is_no_plain_file_or_holds_a_secret_is_left_out_and_said(taken, bucket, what, said):
    facts, log = taken(what, entry("out/z", b"z"), matcher=lambda: Matcher({"db-password": ["hunter22!"]}))
    assert names(facts) == ["out/z"]
    assert facts["artifacts"]["left_out"] == 1
    assert log[0].startswith("left out: out/")
    assert log[0].endswith(said)
    assert [body for body, _, _ in bucket.held.values()] == [b"z"]


def test_a_secret_that_two_reads_share_is_found(taken, bucket):
    long = b"." * (1024**2 - 3) + b"hunter22!"
    facts, _ = taken(entry("out/x", long), matcher=lambda: Matcher({"db-password": ["hunter22!"]}))
    assert (facts, bucket.held) == ({"artifacts": {"files": [], "left_out": 1}}, {})


@pytest.mark.parametrize("name", ["../../etc/passwd", "out/../../../etc/passwd", "/etc/passwd", "../app/../secret"])
def test_a_name_that_leads_elsewhere_is_nothing_that_was_asked_for(taken, bucket, name):
    facts, log = taken(entry(name, b"x"), globs=("out/**",))
    assert (facts, bucket.held) == ({}, {})
    assert log == ["artifacts: there is no file out/**"]


def test_of_too_many_files_the_first_are_kept_and_the_rest_is_counted(taken, bucket):
    facts, log = taken(*(entry(f"out/{number:03}", b"x") for number in range(130)))
    assert (len(bucket.held), len(names(facts)), facts["artifacts"]["left_out"]) == (100, 100, 30)
    assert log[100] == "left out: out/100 (1 B): there are 100 already"
    assert log[-1] == "left out: 10 files more, 10 B"


def test_what_is_too_large_is_left_out_alone_or_together(taken, monkeypatch):
    monkeypatch.setattr(taking, "MOST_FILE_BYTES", 1000)
    monkeypatch.setattr(taking, "MOST_BYTES", 1500)
    facts, log = taken(
        entry("out/a", b"x" * 1001), entry("out/b", b"x" * 900), entry("out/c", b"x" * 900), entry("out/d")
    )
    assert names(facts) == ["out/b", "out/d"]
    assert log[0] == "left out: out/a (1.0 kB): it is larger than 1.0 kB"
    assert log[2] == "left out: out/c (900 B): all together would be larger than 1.5 kB"


def test_the_names_of_all_fit_into_the_record_of_a_run(taken):
    facts, log = taken(*(entry(f"out/{'ü' * 70}{number:02}", b"x") for number in range(90)))
    assert 20 < len(names(facts)) < 60
    assert any(line.endswith("the names of all are too long for the run's record") for line in log)


def test_a_file_with_holes_of_a_terabyte_is_not_read_through(taken):
    def chunks():
        yield entry("out/a", b"a")
        yield entry("out/b", size=1000**3 * 7)
        while True:
            yield b"\0" * 1024**2

    engine = Engine({"/app/out": chunks()})
    facts, log = taken(engine=engine)
    assert names(facts) == ["out/a"]
    assert log[1] == "left out: out/b (7.0 GB): it is larger than 50 MB"
    assert log[-1] == (
        "the artifacts are not complete: /app/out/b stands before the rest, and has 7.0 GB:"
        " nothing behind it was looked at; give what is wanted a folder of its own"
    )
    assert engine.answers["/app/out"].read < 8 * 1024**2


def test_what_stands_in_the_way_takes_no_file_that_is_named_nor_another_folder_away(taken):
    large = entry("out/b", size=1000**3 * 7)
    engine = Engine(
        {
            "/app/out": [entry("out/a", b"a"), large],
            "/app/out/c": [entry("c", b"c")],
            "/app/out/b": [entry("b", size=1000**3 * 7)],
            "/app/more": [entry("more/d", b"d")],
        }
    )
    globs = ("out/*", "out/d/*", "out/c", "out/b", "out/none", "more/*", "more/in/*")
    facts, log = taken(globs=globs, engine=engine)
    assert names(facts) == ["out/c", "out/a", "more/d"]
    left, way, *none = (line for line in log if not line.startswith("artifact "))
    assert left == "left out: out/b (7.0 GB): it is larger than 50 MB"
    assert way.startswith("the artifacts are not complete: /app/out/b stands before the rest")
    # Of what may lie behind it nothing is said.
    assert none == ["artifacts: there is no file out/none", "artifacts: there is no file more/in/*"]


def test_a_file_that_is_named_and_lies_in_a_folder_that_is_too_is_kept_once(taken, bucket):
    engine = Engine({"/app/out": [entry("out/a", b"a"), entry("out/b", b"b")], "/app/out/b": [entry("b", b"b")]})
    facts, log = taken(globs=("out/*", "out/b"), engine=engine)
    assert (names(facts), len(bucket.held)) == (["out/b", "out/a"], 2)
    assert log == ["artifact out/b, 1 B", "artifact out/a, 1 B"]


def test_a_folder_that_is_named_like_a_file_is_none_and_is_not_read_through(taken):
    engine = Engine({"/app/out": iter([entry("out/", kind=tarfile.DIRTYPE), *(entry("out/a", b"x" * 1024**2),) * 50])})
    assert taken(globs=("out",), engine=engine) == ({}, ["artifacts: there is no file out"])
    assert engine.answers["/app/out"].read < 3 * 1024**2


def test_a_folder_without_an_end_is_left_after_so_much(taken):
    chunks = (entry(f"out/{number}", b"x" * 1024**2) for number in range(10**9))
    engine = Engine({"/app/out": chunks})
    _, log = taken(globs=("out/none*",), engine=engine)
    assert log == [
        "the artifacts are not complete: they lie among more than 2.0 GB: give what is wanted a folder of its own"
    ]
    assert engine.answers["/app/out"].read < 2.1e9


def test_a_million_names_are_not_gone_through(taken, monkeypatch):
    monkeypatch.setattr(taking, "_MOST_ENTRIES", 3)
    facts, log = taken(*(entry(f"out/{number}", b"x") for number in range(10)))
    assert len(names(facts)) == 3
    assert "they lie among more than 3 files" in log[-1]


# --- what breaks ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "broken",
    [
        APIError("the engine is ill"),
        OSError(errno.ENOSPC, "No space left on device"),
        tarfile.ReadError("unexpected end of data"),
    ],
)
def test_whatever_breaks_is_said_and_what_was_stored_before_stays(taken, broken):
    facts, log = taken(engine=Engine({"/app/out": [entry("out/a", b"a")]}, broken=broken))
    assert names(facts) == ["out/a"]
    assert log[-1].startswith("the artifacts are not complete: ")


def test_a_bucket_that_refuses_ends_the_taking_and_no_more(taken, bucket, monkeypatch, edge):
    def no(**_):
        raise ClientError({"Error": {"Code": "SlowDown", "Message": "Please reduce your request rate."}}, "PutObject")

    monkeypatch.setattr(edge.objects._client, "put_object", no)
    bucket.put_file_once = edge.objects.put_file_once
    facts, log = taken(entry("out/a", b"a"), entry("out/b", b"b"))
    assert facts == {}
    (line,) = log
    assert line.startswith(f"the artifacts are not complete: the bucket does not take {PREFIX}001: An error")


def test_who_asks_for_a_runs_end_in_the_middle_of_an_upload_does_not_wait_for_it(taken, bucket):
    stopping, going_on = Stopping(), threading.Event()

    def slow(*_, **__):
        stopping.ask(Why.ASKED)
        going_on.wait(20)

    bucket.put_file_once = slow
    with within(5), pytest.raises(Stopped):
        taken(entry("out/a", b"a"), stopping=stopping)
    going_on.set()


def test_who_asks_for_a_runs_end_does_not_wait_for_its_artifacts(taken):
    stopping = Stopping()
    stopping.ask(Why.ASKED)
    with pytest.raises(Stopped):
        taken(entry("out/a", b"a"), stopping=stopping)


def test_an_object_is_written_once_with_a_type_that_no_browser_runs(edge):
    for _ in range(2):
        edge.objects.put_file_once("artifacts/a", io.BytesIO(b"<html>"), "text/plain; charset=utf-8", shown=False)
    edge.objects.put_file_once("artifacts/b", io.BytesIO(PNG), "image/png", shown=True)
    head = [edge.client("s3").head_object(Bucket="tau-test", Key=f"artifacts/{name}") for name in "ab"]
    assert [(one["ContentType"], one["ContentDisposition"]) for one in head] == [
        ("text/plain; charset=utf-8", "attachment"),
        ("image/png", "inline"),
    ]
    assert b"".join(edge.objects.parts("artifacts/a")) == b"<html>"
