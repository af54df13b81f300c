"""The mail, read as its readers and their mail clients read it."""

from __future__ import annotations

import os
from dataclasses import replace
from html.parser import HTMLParser
from itertools import count
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from chalicelib.model import EventKind, Handed, RunState
from chalicelib.reports.email import Console, render

ALICE, BOB, OPS = "alice@2pisoftware.com", "bob@2pisoftware.com", "ops@2pisoftware.com"
CONSOLE = Console(zone=ZoneInfo("Australia/Sydney"))
MAILS = Path(__file__).parent / "mails"

VOID = {"meta", "br"}
TAGS = {"html", "head", "title", "body", "div", "table", "tr", "td", "h1", "h2", "p", "span", "a", *VOID}


class Reader(HTMLParser):
    """What a mail client sees: tags, attributes, text; and whether they nest."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.open, self.said = [], [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.said.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.said).replace("\ufe0e", "").split())


@pytest.mark.parametrize(
    ("name", "sample", "to"),
    [
        ("passed", "PASSED", ALICE),
        ("failed", "FAILED", ALICE),
        ("build_failed", "BUILD_FAILED", ALICE),
        ("deployed", "DEPLOYED", ALICE),
        ("built_there", "BUILT_THERE", ALICE),
        ("errored_operator", "ERRORED", OPS),
        ("errored_pusher", "ERRORED", ALICE),
        ("superseded", "SUPERSEDED", ALICE),
        ("cancelled", "CANCELLED", ALICE),
        ("handed_on", "HANDED", BOB),
    ],
)
def test_the_text_reads_like_the_one_that_was_agreed_on(samples, name, sample, to):
    mail = render(getattr(samples, sample), to=to, console=CONSOLE)
    text = f"Subject: {mail.subject}\n\n{mail.text}"
    expected = MAILS / f"{name}.txt"
    if os.environ.get("TAU_GOLDEN") == "write":
        expected.write_text(text, encoding="utf-8")
    assert text == expected.read_text(encoding="utf-8")
    # Only an address that cannot be broken may stick out.
    assert [line for line in mail.text.splitlines() if len(line) > 72 and "http" not in line] == []


@pytest.mark.parametrize("sample", ["PASSED", "FAILED", "BUILD_FAILED", "DEPLOYED", "ERRORED", "SUPERSEDED", "HANDED"])
def test_the_html_says_every_word_of_the_text(samples, sample):
    mail = render(getattr(samples, sample), to=OPS, console=CONSOLE)
    seen = Reader(mail.html)
    said = seen.text.lower()
    words = {word for word in mail.text.lower().split() if word != "|"}
    assert {word for word in words if word not in said} == set()
    assert seen.open == []
    assert set(seen.tags) <= TAGS


@pytest.mark.parametrize(
    ("sample", "sign", "word"), [("PASSED", "✔", "passed"), ("FAILED", "✘", "failed"), ("ERRORED", "⚠", "errored")]
)
def test_colour_is_never_the_only_signal(samples, sample, sign, word):
    mail = render(getattr(samples, sample), to=OPS, console=CONSOLE)
    for said in (mail.text, Reader(mail.html).text):
        assert sign in said
        assert word in said
    assert mail.subject.startswith(f"{word}: ")


def test_the_operators_hear_what_broke_and_the_pusher_that_it_was_not_their_code(samples):
    operator, pusher = (render(samples.ERRORED, to=to, console=CONSOLE) for to in (OPS, ALICE))
    assert "refused the connection" in operator.text
    assert "push broke" in operator.subject
    assert "Not your code" in pusher.text
    assert "not your code" in pusher.subject
    for inside in ("10.0.0.7", "systemctl", "redrive"):
        assert inside not in pusher.text + pusher.html


def test_where_a_way_back_failed_too_the_operators_read_what_asks_for_it_again_and_nobody_else(samples):
    facts = {"not_back": {"environment": "acme-production", "region": "ap-southeast-2"}}
    broken = samples.step("deploy_eb", "errored", 112, 75, reason="needs attention: it burned", facts=facts)
    told = samples.result("errored", 187, broken)
    operator, pusher = (render(told, to=to, console=CONSOLE).text for to in (OPS, ALICE))
    assert "Go back    tau rollback acme-production --region ap-southeast-2\nRun again  tau redrive" in operator
    assert "rollback" not in pusher


def test_a_run_that_broke_outside_any_step_says_its_own_reason(samples):
    result = replace(samples.ERRORED, steps=(), reason="three runners died of it")
    assert "three runners died of it" in render(result, to=OPS, console=CONSOLE).text
    assert "the run broke" in render(result, to=OPS, console=CONSOLE).subject


def test_failing_tests_of_an_earlier_step_are_not_blamed_for_a_later_one(samples):
    tests = replace(samples.FAILED.steps[1], status=samples.BUILD.status)
    push = samples.step("push", "failed", 130, 2, reason="the tag is not allowed")
    result = replace(samples.FAILED, steps=(samples.BUILD, tests, push))
    assert "The step push failed: the tag is not allowed." in render(result, to=ALICE, console=CONSOLE).text


def test_a_secret_that_a_step_printed_is_named_with_the_step(samples):
    step = replace(samples.BUILD, facts={"printed_secrets": ["chat-token"]})
    text = render(samples.result("passed", 9, step), to=ALICE, console=CONSOLE).text
    assert "  Printed     the secret chat-token, by build; the log hides it\n" in text


def test_without_commit_pusher_steps_or_facts_there_is_still_a_mail(samples):
    event = replace(
        samples.EVENT,
        kind=EventKind.SCHEDULE,
        repository=None,
        ref=None,
        name=None,
        commit=None,
        pusher=type(samples.EVENT.pusher)(),
        head_commit_message=None,
    )
    for state in RunState:
        mail = render(samples.result(state, 0, job=replace(samples.JOB, event=event)), to=OPS, console=CONSOLE)
        assert mail.subject.startswith(f"{state}: no repository (cmfive-dev")
        assert "the schedule" in mail.text


@pytest.mark.parametrize(
    "facts",
    [
        {"tests": 3, "pushed": "x", "deployment": [1]},
        {"tests": {"failures": {}, "failed": "2"}},
        {"printed_secrets": 3},
    ],
)
def test_facts_of_another_shape_are_left_out(samples, facts):
    step = replace(samples.BUILD, facts=facts)
    assert render(samples.result("passed", 9, step), to=ALICE, console=CONSOLE).text


def test_the_same_result_gives_the_same_mail_and_another_reader_another_notice(samples):
    one, again, other = (render(samples.FAILED, to=to, console=CONSOLE) for to in (ALICE, ALICE, OPS))
    assert one == again
    assert one.headers["X-Tau-Run"] == other.headers["X-Tau-Run"] == samples.RUN
    assert one.headers["X-Tau-Notice"] != other.headers["X-Tau-Notice"]


def test_of_many_pushes_for_which_it_stands_the_oldest_ten_are_named_and_the_others_counted(samples):
    handed = {f"01X{number:02}": Handed(f"{number:07}" + "0" * 33, None, "ann") for number in range(12)}
    text = render(replace(samples.PASSED, handed=handed), to=ALICE, console=CONSOLE).text
    named = [line.split()[1] for line in text.splitlines() if line.startswith("  Also ")]
    assert named == [f"{number:07}" for number in range(10)]
    assert "              and 2 more\n" in text


def test_a_conversation_is_one_pipeline_on_one_ref_of_one_repository(samples):
    def thread(**changes):
        event = {name: value for name, value in changes.items() if name != "pipeline"}
        job = replace(samples.JOB, event=replace(samples.EVENT, **event))
        job = replace(job, pipeline=changes.get("pipeline", job.pipeline))
        return render(replace(samples.FAILED, job=job), to=ALICE, console=CONSOLE).headers["References"]

    assert (
        thread()
        == thread(commit="0" * 39 + "1")
        == render(samples.PASSED, to=OPS, console=CONSOLE).headers["References"]
    )
    # The parts are framed: moving a letter from one to the next is another conversation.
    others = [
        thread(ref="refs/heads/master"),
        thread(repository="2pisoftware/cmfiv", ref="erefs/heads/develop"),
        thread(pipeline="cmfive"),
    ]
    assert len({thread(), *others}) == 4


@pytest.mark.parametrize("state", ["passed", "failed", "errored", "superseded"])
@pytest.mark.parametrize("to", [ALICE, OPS])
def test_nothing_that_a_stranger_wrote_becomes_markup_a_link_or_a_template(samples, state, to):
    mail = render(samples.hostile(state=state), to=to, console=CONSOLE)
    seen = Reader(mail.html)
    assert seen.open == []
    assert set(seen.tags) <= TAGS
    assert not [name for name, _ in seen.attributes if name.startswith("on") or name == "src"]
    assert not [value for name, value in seen.attributes if name == "href"]
    assert "{{7*7}}" in seen.text
    assert "<img/src=x/onerror" in seen.text


def test_every_text_that_a_stranger_chooses_stands_in_the_mail_escaped(samples):
    canaries = count()

    def canary():
        return f'<b id="c{next(canaries)}">&\u202e'

    event = replace(
        samples.EVENT,
        repository=canary(),
        name=canary(),
        pusher=replace(samples.EVENT.pusher, login=canary(), name=canary()),
        head_commit_message=canary(),
    )
    job = replace(samples.JOB, event=event, pipeline=canary())
    failures = [{"name": canary(), "message": canary()}]
    facts = {
        "tests": {"passed": 0, "failed": 1, "skipped": 0, "failures": failures},
        "pushed": [{"name": canary(), "digest": "sha256:1"}],
        "deployment": {
            "environment": canary(),
            "label": canary(),
            "url": canary(),
            "previous_label": canary(),
            "note": canary(),
        },
    }
    step = samples.step(canary(), "failed", 0, 1, reason=canary(), lines=(canary(),), facts=facts)
    handed = {"01X": Handed("a" * 40, None, by=canary(), message=canary())}
    result = replace(samples.result("failed", 9, step, job=job), handed=handed)
    mail = render(result, to=ALICE, console=CONSOLE)
    planted = next(canaries)
    assert planted == 19
    for number in range(planted):
        assert f'<b id="c{number}">&<U+202E>' in mail.text
        assert f"&lt;b id=&#34;c{number}&#34;&gt;&amp;&lt;U+202E&gt;" in mail.html


def test_only_a_web_address_becomes_a_link(samples):
    deployed = samples.DEPLOYED
    assert ("href", "http://acme-production.ap-southeast-2.elasticbeanstalk.com") in Reader(
        render(deployed, to=ALICE, console=CONSOLE).html
    ).attributes
    for url in ("javascript:alert(1)", "data:text/html,x", "acme.example", " https ://x", "JAVASCRIPT:x"):
        facts = {"deployment": {"environment": "e", "label": "l", "url": url, "previous_label": ""}}
        html = render(samples.result("passed", 9, replace(samples.BUILD, facts=facts)), to=ALICE, console=CONSOLE).html
        assert "href" not in html


def test_lines_that_a_build_printed_never_stand_where_a_verdict_stands(samples):
    step = replace(samples.BUILD_FAILED.steps[0], lines=("✔ PASSED", "Steps", "\r\n✔ PASSED"))
    text = render(samples.result("failed", 9, step), to=ALICE, console=CONSOLE).text
    assert [line for line in text.splitlines() if "PASSED" in line] == ["  | ✔ PASSED", "  | ✔ PASSED"]
    assert text.startswith("✘ FAILED\n")


def test_a_mail_stays_small_whatever_was_printed(samples):
    mail = render(samples.hostile("x" * 1_000_000), to=OPS, console=CONSOLE)
    assert len(mail.subject) <= 250
    assert len(mail.html) < 100_000  # Gmail cuts what is longer
    assert len(mail.text) < 20_000
