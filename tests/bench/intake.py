"""The Lambda's side of a push: a verified 10 KB push against HMAC + JSON alone, in process, and a cold import.

AWS is left out: its clients are replaced by ones that answer at once. What is made for them (zipped bodies, items,
conditions) is in, and shown by itself.
"""

from __future__ import annotations

import hmac
import json
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

from parts import ROOT, pushes
from parts.table import show, timed_us, verdict

from chalicelib import intake, providers
from chalicelib.edge import Edge
from chalicelib.queue import Queue
from chalicelib.records.table import Table
from chalicelib.secrets import Secrets
from chalicelib.settings import Settings
from chalicelib.store import Store

AIM_HANDLER = 4.0
AIM_IMPORT = 1.15
_CALLS = 1500
_IMPORTS = 11


class Nowhere:
    """Every AWS client at once: takes anything, keeps nothing, answers at once."""

    def transact_write_items(self, **_: object) -> Mapping[str, Any]:
        return {}

    def get_item(self, **_: object) -> Mapping[str, Any]:
        return {}

    def put_item(self, **_: object) -> Mapping[str, Any]:
        return {}

    def get_queue_url(self, **_: object) -> Mapping[str, Any]:
        return {"QueueUrl": "https://sqs.example.com/1/q"}

    def send_message(self, **_: object) -> Mapping[str, Any]:
        return {}

    def get_parameter(self, **_: object) -> Mapping[str, Any]:
        return {"Parameter": {"Value": pushes.SECRET}}


def edge_to_nowhere() -> Edge:
    client: Any = Nowhere()
    settings = Settings("bench", "table", "bucket", "tau-bench", "tau@example.com", "tau-bench", 30)
    return Edge(
        settings=settings,
        store=Store(Table(client, settings.table)),
        queue=Queue(client, settings.queue_prefix),
        secrets=Secrets(client, settings.secrets_prefix),
        region="nowhere",
        client=lambda *_: client,
        now=lambda: datetime.now(UTC),
    )


def loaded_app(edge: Edge) -> ModuleType:
    """app.py with that edge."""
    import app

    app.edge = lambda: edge
    return app


def bare(event: Mapping[str, Any]) -> object:
    """The least that anybody could do with a signed push."""
    content = event["body"].encode()
    signed = event["headers"]["X-Hub-Signature-256"].encode()
    if not hmac.compare_digest(pushes.signature(content).encode(), signed):
        raise ValueError("not signed")
    return json.loads(content)


def handler() -> tuple[dict[str, float], float, float]:
    """Each part in µs, medians inside a running handler; the peer in µs; the median ratio."""
    app = loaded_app(edge_to_nowhere())
    event = pushes.event(pushes.body())
    answer = app.app(event, None)
    if answer["statusCode"] != 202:
        raise SystemExit(f"the handler answers {answer}")
    ours_us, peer_us = [], []
    for _ in range(_CALLS):
        # One after the other, so that both find the processor's caches as another's work has left them.
        ours_us.append(timed_us(lambda: app.app(event, None)))
        peer_us.append(timed_us(lambda: bare(event)))
    ratio = statistics.median(ours / peer for ours, peer in zip(ours_us, peer_us, strict=True))
    parts = inside(app, lambda: app.app(event, None))
    return parts, statistics.median(peer_us), ratio


def inside(app: ModuleType, call: Callable[[], object]) -> dict[str, float]:
    """Where a call of the handler spends its time, in µs."""
    taken: dict[str, list[float]] = defaultdict(list)

    def watch(owner: Any, name: str) -> None:
        function = getattr(owner, name)

        def watched(*args: Any, **kwargs: Any) -> Any:
            result: list[Any] = []
            taken[name].append(timed_us(lambda: result.append(function(*args, **kwargs))))
            return result[0]

        setattr(owner, name, watched)

    watch(providers, "verify")
    watch(providers, "read")
    for name in ("plan", "accept", "_record_and_wake"):
        watch(intake, name)
    watch(app, "log")
    watch(app, "answer")
    taken["whole"] = [timed_us(call) for _ in range(_CALLS)]
    us = {name: statistics.median(samples) for name, samples in taken.items()}
    return {
        "verify": us["verify"],
        "read": us["read"],
        "plan": us["plan"],
        "ids and runs": us["accept"] - us["read"] - us["plan"],
        "zip and items for AWS": us["_record_and_wake"],
        "log and metric": us["log"],
        "chalice": us["whole"] - us["answer"],
        "the rest": us["answer"] - us["verify"] - us["accept"] - us["_record_and_wake"] - us["log"],
    }


def tell_handler(parts: Mapping[str, float], peer_us: float, ratio: float) -> None:
    whole = sum(parts.values())
    rows = [[name, f"{us:.0f}", f"{us / whole:.0%}", f"{ratio * us / whole:.2f}"] for name, us in parts.items()]
    show(
        f"A verified push of {len(pushes.body())} bytes in the handler", ("part", "µs", "share", "of HMAC + JSON"), rows
    )
    without = ratio * (1 - parts["zip and items for AWS"] / whole)
    rows = [
        ["the handler", f"{ratio * peer_us:.0f}", f"{ratio:.1f}", f"{AIM_HANDLER}", verdict(ratio, AIM_HANDLER)],
        [
            "without what is made for AWS",
            f"{without * peer_us:.0f}",
            f"{without:.1f}",
            f"{AIM_HANDLER}",
            verdict(without, AIM_HANDLER),
        ],
        ["HMAC + json.loads", f"{peer_us:.0f}", "1", "", ""],
    ]
    show("The handler and the least it could do", ("what", "µs", "ratio", "aim", ""), rows)


def cold_import() -> None:
    """Fresh interpreters, alternating. app.py makes no client when it is imported: it does so at its first push."""
    clients = "for name in ('dynamodb', 'sqs', 'ssm'): boto3.client(name)"
    programs = {
        "import app.py": "import app",
        "app.py, ready for a push": "import app, os; app.connect(app.Settings.from_env(os.environ))",
        "chalice, boto3, the same three clients": f"import chalice.app, boto3\n{clients}",
        "chalice, boto3": "import chalice.app, boto3",
    }
    samples: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(_IMPORTS):
        for name, program in programs.items():
            samples[name].append(fresh_ms(program))
    imported, ready, peer, least = programs
    rows = []
    for name in (imported, ready, peer, least):
        ratio = statistics.median(a / b for a, b in zip(samples[name], samples[peer], strict=True))
        aim = [f"{AIM_IMPORT}", verdict(ratio, AIM_IMPORT)] if name in {imported, ready} else ["", ""]
        rows.append([name, f"{statistics.median(samples[name]):.0f}", f"{ratio:.2f}", *aim])
    show(f"A cold start: fresh interpreters, {_IMPORTS} rounds", ("what", "ms", "ratio", "aim", ""), rows)


def fresh_ms(program: str) -> float:
    """How long a program takes in a new interpreter, without the interpreter's own start."""
    lines = f"import time; t = time.perf_counter()\n{program}\nprint((time.perf_counter() - t) * 1000)"
    aws = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nobody", "AWS_DEFAULT_REGION": "ap-southeast-2"}
    tau = {"TAU_STAGE": "bench", "TAU_BUCKET": "bucket", "TAU_SENDER": "tau@example.com"}
    done = subprocess.run(
        (sys.executable, "-c", lines),
        cwd=ROOT,
        env={**os.environ, **aws, **tau},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.split()[-1])


def main() -> None:
    # The handler's log and metrics are written as always, but to nobody.
    out, sys.stdout = sys.stdout, open(os.devnull, "w", buffering=1)  # noqa: PTH123, SIM115 - open to the end
    found = handler()
    sys.stdout = out
    tell_handler(*found)
    cold_import()


if __name__ == "__main__":
    main()
