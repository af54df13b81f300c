"""What is said of a suite beside what it was in the branch's run before."""

import pytest

from runner.junit import Tests as Counts
from runner.since import Before, Since, since

OLD, NEW = "1" * 40, "2" * 40


def suite(*failing, passing=()):
    return Counts(len(passing), len(failing), 0, tuple((name, "no") for name in failing), frozenset(passing))


def before(*failing, commit=OLD, failed=None, still=None):
    facts = {"failed": len(failing) if failed is None else failed, "failures": [{"name": name} for name in failing]}
    return Before("01A", commit, {**facts, **({"since": {"still": still}} if still else {})})


def test_without_a_run_before_nothing_is_new():
    assert since(suite("a"), NEW, None) == Since()


@pytest.mark.parametrize(
    ("now", "then", "said"),
    [
        (suite("a", "b"), before("b"), Since(new=("a",), still={"b": OLD})),
        (suite(passing=["a"]), before("a"), Since(fixed=("a",))),
        (suite(passing=["a"]), before("a", commit=NEW), Since(fixed=("a",), flaky=("a",))),
        (suite("a"), before("a", still={"a": "0" * 40}), Since(still={"a": "0" * 40})),
        (suite("a"), before("a", commit=None), Since(still={"a": ""})),
        (suite(passing=["b"]), before("a"), Since()),
        (suite("a", "b"), before("a", failed=70), Since(still={"a": OLD})),
        (suite("a", passing=["a"]), before("a"), Since(still={"a": OLD})),
    ],
    ids=[
        "one more fails, one as before",
        "what failed passes",
        "it failed on this very commit",
        "it fails since long",
        "nobody knows since which commit",
        "what failed is not there any more",
        "the record did not hold all",
        "a name that passes and fails has failed",
    ],
)
def test_what_has_changed_is_said_test_by_test(now, then, said):
    assert since(now, NEW, then) == said


def test_names_are_compared_as_the_record_holds_them():
    long = "n" * 400
    then = before(long[:300])
    assert since(suite(long), NEW, then).still == {long[:300]: OLD}
    assert since(suite(passing=[long[:300]]), NEW, then).fixed == (long[:300],)


def test_the_log_names_a_few_and_counts_the_others():
    many = Since(new=tuple(f"t{number}" for number in range(8)), still={"a": OLD, "b": ""}, fixed=("c",), flaky=("c",))
    assert many.lines() == [
        "newly failing: t0, t1, t2, t3, t4 and 3 tests more",
        "still failing: a (since 1111111), b (since before)",
        "fixed: c",
        "flaky: c",
    ]


def test_a_record_of_what_has_changed_is_small_and_empty_where_nothing_has():
    many = tuple(f"t{number}" for number in range(500))
    facts = Since(new=many, still=dict.fromkeys(many, OLD), fixed=many, flaky=many).facts()
    assert {name: len(part) for name, part in facts.items()} == {"new": 50, "still": 50, "fixed": 50, "flaky": 50}
    assert Since().facts() == {}
