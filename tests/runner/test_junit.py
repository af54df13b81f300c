import io
import json
import re
import tarfile

import pytest

from runner import junit
from runner.junit import Tests as Counts

PASSED = '<testcase classname="a.B" name="one"/>'
FAILED = '<testcase classname="a.B" name="two"><failure message="1 is not 2">trace</failure></testcase>'
ERRORED = '<testcase classname="a.B" name="three"><error type="KeyError">trace of three</error></testcase>'
SKIPPED = '<testcase classname="a.B" name="four"><skipped/></testcase>'


def suite(*cases):
    return f'<?xml version="1.0"?><testsuite name="s">{"".join(cases)}</testsuite>'.encode()


def read(*documents):
    return junit.read((f"/results/{number}.xml", document) for number, document in enumerate(documents))


def test_passed_failed_errored_and_skipped_are_counted():
    tests = read(suite(PASSED, FAILED, ERRORED, SKIPPED))
    assert (tests.passed, tests.failed, tests.skipped, tests.ran) == (1, 2, 1, 3)
    assert tests.failures == (("a.B.two", "1 is not 2"), ("a.B.three", "trace of three"))


def test_several_documents_are_one_suite():
    tests = read(suite(PASSED), suite(FAILED), suite())
    assert tests == Counts(1, 1, 0, (("a.B.two", "1 is not 2"),), frozenset({"a.B.one"}))


def test_the_slowest_tests_are_named_with_their_seconds_and_quick_ones_are_not():
    cases = [f'<testcase classname="a" name="t{number}" time="{number}.5"/>' for number in range(8)]
    odd = [f'<testcase name="odd" time="{text}"/>' for text in ("inf", "nan", "-1", "")]
    tests = read(suite(*cases, *odd))
    assert tests.slowest == tuple((f"a.t{number}", number + 0.5) for number in (7, 6, 5, 4, 3))
    assert tests.facts()["slowest"][0] == {"name": "a.t7", "seconds": 7.5}
    assert "slowest" not in read(suite(PASSED)).facts()


def test_suites_inside_suites_are_counted_once_as_phpunit_writes_them():
    """https://docs.phpunit.de/en/9.6/logging.html"""
    nested = f"""<?xml version="1.0" encoding="UTF-8"?>
    <testsuites>
      <testsuite name="" tests="3"><testsuite name="unit" tests="3"><testsuite name="TaskTest" tests="3">
        {PASSED}{FAILED}{SKIPPED}
      </testsuite></testsuite></testsuite>
    </testsuites>"""
    tests = read(nested.encode())
    assert (tests.passed, tests.failed, tests.skipped) == (1, 1, 1)


@pytest.mark.parametrize(
    "document",
    [
        f'<testsuite name="unit" tests="2" errors="1"><error message="setUpBeforeClass broke"/>{PASSED}</testsuite>',
        f'<testsuites><testsuite name="unit" errors="1" failures="1">{PASSED}{ERRORED}</testsuite></testsuites>',
        f'<testsuites errors="1"><testsuite name="unit">{PASSED}</testsuite></testsuites>',
    ],
)
def test_errors_that_a_suite_counts_and_no_test_case_shows_are_a_failure(document):
    tests = read(document.encode())
    assert tests.failures[-1][0] == "unit"
    assert re.fullmatch(r"it counts \d errors and failures, of which its test cases show \d", tests.failures[-1][1])


def test_counts_that_the_test_cases_show_or_that_are_none_are_no_failure():
    shown = f'<testsuites failures="1" errors="1"><testsuite failures="1" errors="1">{FAILED}{ERRORED}</testsuite>'
    assert read(f"{shown}</testsuites>".encode()).failed == 2
    assert read(f'<testsuite errors="none" failures="">{PASSED}</testsuite>'.encode()).failed == 0


def test_cases_right_below_the_root_are_counted():
    assert read(f"<testsuites>{PASSED}{FAILED}</testsuites>".encode()).ran == 2


def test_a_case_that_failed_and_errored_is_one_failure():
    both = '<testcase name="x"><failure message="a"/><error message="b"/></testcase>'
    assert read(suite(both)) == Counts(0, 1, 0, (("x", "a"),))


def test_a_case_without_a_name_or_a_message_is_counted_all_the_same():
    assert read(suite("<testcase/>", "<testcase><failure/></testcase>")) == Counts(
        1, 1, 0, (("", ""),), frozenset({""})
    )


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"no xml",
        b"<testsuite><testcase>",
        b"<html><body/></html>",
        b"\xff\xfe\x00",
        suite(PASSED)[:-5],
        b'<?xml version="1.0" encoding="nope"?><testsuite/>',
        b'<?xml version="1.0" encoding="utf-32"?><testsuite/>',
        b'<?xml version="1.0" encoding="undefined"?><testsuite/>',
        b"<testsuite>" * 3000 + b"</testsuite>" * 3000,
    ],
    ids=[
        *("empty", "text", "cut", "html", "bytes", "cut at its end"),
        *("unknown encoding", "encoding of several bytes", "encoding that decodes nothing", "suites in suites"),
    ],
)
def test_what_is_no_junit_is_named_by_its_file(broken):
    with pytest.raises(ValueError, match=r"/results/1\.xml is no JUnit XML"):
        read(suite(PASSED), broken)


def test_a_document_that_grows_when_it_is_read_is_refused():
    """https://en.wikipedia.org/wiki/Billion_laughs_attack"""
    entities = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    bomb = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY l0 "lol">{entities}]><testsuite name="&l11;"/>'
    with pytest.raises(ValueError, match="no JUnit XML"):
        read(bomb.encode())


def test_a_document_reads_no_file_of_this_machine(tmp_path):
    (tmp_path / "secret").write_text("s3cret")
    entity = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY f SYSTEM "file://{tmp_path}/secret">]>'
    document = f'{entity}<testsuite><testcase name="x"><failure>&f;</failure></testcase></testsuite>'
    try:
        tests = read(document.encode())
    except ValueError:
        return
    assert "s3cret" not in str(tests)


def test_what_goes_into_the_record_is_limited():
    many = Counts(0, 200, 0, tuple((f"t{n}", "m" * 5000) for n in range(200)))
    facts = many.facts()
    assert facts["failed"] == 200
    assert len(facts["failures"]) == 50
    assert len(facts["failures"][0]["message"]) == 1000


def test_names_as_long_as_books_are_cut():
    facts = Counts(0, 50, 0, tuple(("n" * 9000, "m") for _ in range(50))).facts()
    assert {len(failure["name"]) for failure in facts["failures"]} == {300}
    assert len(facts["failures"]) == 50


@pytest.mark.parametrize("letter", ["n", "ö", "\U0001f600", '"'])
def test_the_facts_are_small_in_every_script(letter):
    facts = Counts(0, 50, 0, tuple((letter * 9000, letter * 9000) for _ in range(50))).facts()
    assert len(json.dumps(facts)) < 70_000
    assert facts["failed"] == 50
    assert facts["failures"]


@pytest.mark.parametrize(
    ("pattern", "folder"),
    [
        ("/results/*.xml", "/results"),
        ("/app/build/**/TEST-*.xml", "/app/build"),
        ("/results/junit.xml", "/results"),
        ("/res?lts/a.xml", "/"),
        ("/*.xml", "/"),
    ],
)
def test_the_folder_of_a_glob_is_the_deepest_without_a_wildcard(pattern, folder):
    assert junit.folder_of(pattern) == folder


def archive(*members):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
            else:
                entry.type, entry.linkname = content
                tar.addfile(entry)
    return packed.getvalue()


def test_of_an_archive_only_the_files_that_the_glob_names_are_read():
    packed = archive(
        ("results", (tarfile.DIRTYPE, "")),
        ("results/a.xml", b"a"),
        ("results/b.txt", b"b"),
        ("results/deep/c.xml", b"c"),
    )
    assert list(junit.files(packed, "/results/*.xml")) == [("/results/a.xml", b"a")]
    assert list(junit.files(packed, "/results/**.xml")) == [("/results/a.xml", b"a"), ("/results/deep/c.xml", b"c")]
    assert list(junit.files(packed, "/results/a.xml")) == [("/results/a.xml", b"a")]
    assert list(junit.files(packed, "/results/[a].xml")) == []


def test_links_in_an_archive_are_passed_over():
    packed = archive(
        ("results/a.xml", (tarfile.SYMTYPE, "/etc/passwd")),
        ("results/b.xml", (tarfile.LNKTYPE, "/etc/passwd")),
        ("results/c.xml", (tarfile.FIFOTYPE, "")),
    )
    assert list(junit.files(packed, "/results/*.xml")) == []


def test_a_file_of_a_deeper_folder_is_named_by_its_whole_path():
    packed = archive(("build/TEST-a.xml", b"a"), ("build/x/TEST-b.xml", b"b"))
    found = dict(junit.files(packed, "/app/build/**/TEST-*.xml"))
    assert found["/app/build/x/TEST-b.xml"] == b"b"


def test_results_larger_than_anybody_reads_are_refused_however_many_files_they_are():
    half = b"x" * (junit.MOST_BYTES // 2)
    assert len(list(junit.files(archive(("results/a.xml", half), ("results/b.xml", half)), "/results/*.xml"))) == 2
    more = archive(("results/a.xml", half), ("results/b.xml", half), ("results/c.xml", b"x"))
    with pytest.raises(ValueError, match="results larger than 16 MB"):
        list(junit.files(more, "/results/*.xml"))
