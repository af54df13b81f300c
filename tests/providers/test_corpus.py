"""Every recorded delivery, the project's own and those in the folder that TAU_CORPUS names, means what its case says.

A folder holds `<provider>/case.json` and the bodies beside it.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from chalicelib import providers
from chalicelib.errors import BadConfig, BadSignature
from chalicelib.model import Delivery, Event, Provider
from chalicelib.providers.signature import LEAST_SECRET_BYTES, signature

OWN = Path(__file__).parent / "recorded"
OTHERS = os.environ.get("TAU_CORPUS")
FOLDERS = [OWN, *([Path(OTHERS)] if OTHERS else [])]

BUILT = {str(dialect.PROVIDER): dialect for dialect in providers.DIALECTS}
KINDS = {"push", "branch_created", "branch_deleted", "tag_created", "tag_deleted", "ping", "pull_request", "ignored"}
NOT_IN_PAYLOAD = "not in payload"


class Case:
    def __init__(self, folder: Path, provider: str, record: dict[str, Any]) -> None:
        self.provider = provider
        self.record = record
        self.expect = record["expect"]
        self.path = folder / record["body"]
        self.name = f"{folder.parent.name}-{provider}-{record['id']}"

    def delivery(self, **headers: str) -> Delivery:
        sent = {name.lower(): (value,) for name, value in {**self.record["headers"], **headers}.items()}
        return Delivery("forge.example", Provider(self.provider), sent, self.path.read_bytes())


def cases() -> list[Case]:
    return [
        Case(index.parent, index.parent.name, record)
        for folder in FOLDERS
        for index in sorted(folder.glob("*/case.json"))
        for record in json.loads(index.read_text("utf-8"))
    ]


def vectors() -> list[tuple[Case, dict[str, Any]]]:
    return [(case, vector) for case in cases() for vector in case.record.get("signatures", [])]


def skip_what_is_not_built(case: Case) -> None:
    if case.provider not in BUILT:
        pytest.skip(f"{case.name}: {case.provider} is not built")
    kinds = {event["kind"] for event in case.expect["events"]}
    if not kinds <= KINDS:
        pytest.skip(f"{case.name}: {', '.join(sorted(kinds - KINDS))} is not read from a payload")


def right_kind(event: Event, expected: dict[str, Any]) -> bool:
    return event.kind in {expected["kind"], *expected["kind_also_ok"]}


def seen(event: Event) -> dict[str, Any]:
    return {
        "ref": event.ref,
        "name": event.name,
        "before": event.before,
        "after": event.after,
        "commit": event.commit,
        "forced": event.forced,
        "truncated": event.truncated,
        "commit_author_emails": list(event.commit_author_emails),
        "head_commit_author_email": event.head_commit_author_email,
    }


def wanted(expected: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    return {name: expected.get(name, NOT_IN_PAYLOAD) for name in fields}


def compared(event: Event, expected: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was read and what the case wants, without what the payload cannot say."""
    have, want = seen(event), wanted(expected, seen(event))
    said = [name for name in want if want[name] != NOT_IN_PAYLOAD]
    return {name: have[name] for name in said}, {name: want[name] for name in said}


def test_there_are_recorded_deliveries_of_every_provider_that_is_built():
    assert {case.provider for case in cases()} >= set(BUILT)


def test_a_folder_that_tau_corpus_names_holds_cases():
    for folder in FOLDERS:
        assert list(folder.glob("*/case.json")), f"{folder} holds no <provider>/case.json"


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_a_recorded_body_is_the_one_that_was_recorded(case):
    body = case.path.read_bytes()
    assert len(body) == case.record["bytes"]
    assert hashlib.sha256(body).hexdigest() == case.record["sha256"]


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_a_delivery_is_known_by_its_headers(case):
    skip_what_is_not_built(case)
    assert providers.forge_of(case.record["headers"]) == case.provider


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_a_recorded_delivery_means_what_its_case_says(case):
    skip_what_is_not_built(case)
    events = providers.read(case.delivery())
    expected = case.expect["events"]
    assert len(events) == len(expected)
    for event, want in zip(events, expected, strict=True):
        assert right_kind(event, want), f"{event.kind}, not {want['kind']}"
        if event.kind == want["kind"]:
            have, wants = compared(event, want)
            assert have == wants


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_a_recorded_delivery_names_its_repository_and_its_pusher(case):
    skip_what_is_not_built(case)
    for event, want in zip(providers.read(case.delivery()), case.expect["events"], strict=True):
        assert event.repository == case.expect["repository"]
        if event.kind == want["kind"]:
            assert event.pusher.login == case.expect["pusher_login"]
            assert event.pusher.email == case.expect["pusher_email"]


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_an_ignored_delivery_says_why_and_no_other_does(case):
    skip_what_is_not_built(case)
    for event in providers.read(case.delivery()):
        assert (event.reason is not None) == (event.kind == "ignored")


@pytest.mark.parametrize(
    ("case", "vector"), vectors(), ids=[f"{case.name}-{vector['value'][-6:]}" for case, vector in vectors()]
)
def test_a_recorded_signature_holds_or_not_as_its_vector_says(case, vector):
    skip_what_is_not_built(case)
    secret = vector["secret"].encode()
    delivery = case.delivery(**{vector["header"]: vector["value"]})
    ours = vector["header"].lower() == BUILT[case.provider].SIGNATURE_HEADER.lower()
    if len(secret) < LEAST_SECRET_BYTES:
        # Others sign with secrets that Tau takes from nobody: the arithmetic must still be theirs.
        assert (signature(delivery.body, secret) == vector["value"].encode()) == (vector["valid"] and ours)
        with pytest.raises(BadConfig):
            providers.verify(delivery, [secret])
    elif vector["valid"] and ours:
        providers.verify(delivery, [secret])
    else:
        with pytest.raises(BadSignature):
            providers.verify(delivery, [secret])
