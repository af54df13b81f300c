"""A 10 KB push as GitHub sends it: the project's recorded one, with the addresses and files that fill a real one."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping

from parts import ROOT

SECRET = "a secret for measuring only"
SIZE_BYTES = 10 * 1024
_RECORDED = ROOT / "tests" / "providers" / "recorded" / "github" / "push-develop-three-commits.json"
# https://docs.github.com/webhooks/webhook-events-and-payloads#push (what a repository lists besides its names)
_ADDRESSES = (  # noqa: SIM905 - thirty quoted words are harder to read
    "archive assignees blobs branches collaborators comments commits compare contents contributors deployments"
    " downloads events forks git_commits git_refs git_tags hooks issue_comment issue_events issues keys labels"
    " languages merges milestones notifications pulls releases stargazers statuses subscribers subscription tags"
    " teams trees"
).split()


def body() -> str:
    """Three commits to develop of 2pisoftware/cmfive: some twenty JSON objects, as in a push of that size."""
    payload = json.loads(_RECORDED.read_text())
    repository = payload["repository"]
    repository |= {f"{name}_url": f"{repository['url']}/{name}{{/{name}}}" for name in _ADDRESSES}
    number = 0
    while len(_compact(payload)) < SIZE_BYTES:
        number += 1
        payload["commits"][number % 3]["modified"].append(f"system/modules/admin/actions/edit{number}.php")
    return _compact(payload)


def event(text: str) -> dict[str, object]:
    """The push as API Gateway hands it to a Lambda, signed with SECRET."""
    headers = {
        "Accept": "*/*",
        "Content-Type": "application/json",
        "Host": "hooks.example.com",
        "User-Agent": "GitHub-Hookshot/0f1a2b3",
        "X-Forwarded-For": "140.82.115.1",
        "X-GitHub-Delivery": "db2c145f-2b0a-11f0-9e1f-d9583adaffed",
        "X-GitHub-Event": "push",
        "X-GitHub-Hook-ID": "31415",
        "X-Hub-Signature-256": signature(text.encode()),
    }
    context = {"httpMethod": "POST", "resourcePath": "/hooks", "path": "/api/hooks", "stage": "api"}
    return {
        "resource": "/hooks",
        "path": "/hooks",
        "httpMethod": "POST",
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {**context, "identity": {"sourceIp": "140.82.115.1"}},
        "body": text,
        "isBase64Encoded": False,
    }


def signature(content: bytes) -> str:
    return f"sha256={hmac.new(SECRET.encode(), content, hashlib.sha256).hexdigest()}"


def _compact(payload: Mapping[str, object]) -> str:
    return json.dumps(payload, separators=(",", ":"))
