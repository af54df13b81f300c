"""Settings in, the whole edge to AWS out: the one place where the Lambda's and the runner's clients are made."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Any

import boto3
from botocore.config import Config

from chalicelib.clock import Clock, steady
from chalicelib.environment import Answer
from chalicelib.model import Deployment, Result
from chalicelib.objects import Objects
from chalicelib.queue import Queue
from chalicelib.records.table import Table
from chalicelib.secrets import Secrets
from chalicelib.settings import Settings
from chalicelib.store import Store

# A long poll answers after 20 s at the latest; anything later is a dead connection.
_CONFIG = Config(
    retries={"mode": "standard", "max_attempts": 5}, connect_timeout=5, read_timeout=30, tcp_keepalive=True
)
# Two attempts, eight seconds at the worst: a forge gives up after ten.
# https://docs.github.com/webhooks/using-webhooks/best-practices-for-using-webhooks
_SOON = Config(retries={"mode": "standard", "total_max_attempts": 2}, connect_timeout=1, read_timeout=3)
# One attempt: who calls these repeats a lost call itself, from the record, and must know when it was made.
_ONCE = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=20)
_OF_SERVICE = {"elasticbeanstalk": _ONCE, "sesv2": _ONCE}


def by_mail(edge: Edge, result: Result, address: str) -> str:
    """Told by a mail through SES."""
    # Templates and mail are of no use to a webhook: its cold start does not wait for them.
    from chalicelib.mail import send  # noqa: PLC0415
    from chalicelib.reports.email import Console, render  # noqa: PLC0415

    mail = render(result, to=address, console=Console(log_command=f"tau log {result.run}"))
    return send(edge.client("sesv2"), edge.settings.sender, mail)


def by_mail_asked(edge: Edge, deployment: Deployment, address: str) -> str:
    """Asked for an approval by a mail through SES."""
    from chalicelib.mail import send  # noqa: PLC0415 - as above
    from chalicelib.reports.approval import render  # noqa: PLC0415

    return send(edge.client("sesv2"), edge.settings.sender, render(deployment, to=address))


def by_http(deployment: Deployment) -> Answer:
    """Probed by a GET."""
    from chalicelib.probing import ask  # noqa: PLC0415 - as above

    return ask(deployment)


@dataclass(frozen=True)
class Edge:
    """What an installation is made of at AWS.

    Args:
        client: `client(service, region)` makes or finds a client; region None = the installation's own.
        now: the time of day as AWS has it, UTC: what goes into records.
        post: `post(edge, result, address)` tells somebody of an end; returns the message's id.
        ask: `ask(edge, deployment, address)` asks somebody for his approval; returns the message's id.
        probe: `probe(deployment)` asks at the address that it names.
    """

    settings: Settings
    store: Store
    queue: Queue
    secrets: Secrets
    region: str
    client: Callable[..., Any]
    now: Callable[[], datetime]
    post: Callable[[Edge, Result, str], str] = by_mail
    ask: Callable[[Edge, Deployment, str], str] = by_mail_asked
    probe: Callable[[Deployment], Answer] = by_http

    @cached_property
    def objects(self) -> Objects:
        """Made when it is first asked for: few webhooks need S3, and its client is a tenth of a cold start."""
        return Objects(self.client("s3"), self.settings.bucket)


def connect(
    settings: Settings,
    session: boto3.session.Session | None = None,
    endpoint: str | None = None,
    *,
    patient: bool = True,
) -> Edge:
    """The edge of one installation. Clients that are rarely needed are made when they are first asked for.

    Args:
        session: None = AWS as the environment says.
        endpoint: one address for every service; None = as the environment says.
        patient: False where somebody waits for the answer: a forge, which gives up after ten seconds, or a person.
    """
    session = session or boto3.session.Session()
    # Clients may be used by several threads at once, a session may not.
    # https://boto3.amazonaws.com/v1/documentation/api/latest/guide/session.html#multithreading-or-multiprocessing-with-sessions
    making = threading.Lock()
    # Who is asked for one answer at a time may be frozen between two, as a function at AWS is.
    ticks = steady if patient else time.time
    clock = Clock(ticks)

    @lru_cache(maxsize=32)
    def client(service: str, region: str | None = None) -> Any:
        with making:
            made = session.client(  # type: ignore[call-overload] # any service
                service,
                region_name=region,
                endpoint_url=endpoint,
                config=_OF_SERVICE.get(service, _CONFIG if patient else _SOON),
            )
        clock.listen(made)
        return made

    return Edge(
        settings=settings,
        store=Store(Table(client("dynamodb"), settings.table)),
        queue=Queue(client("sqs"), settings.queue_prefix),
        secrets=Secrets(client("ssm"), settings.secrets_prefix, ticks),
        region=session.region_name or "",
        client=client,
        now=clock.now,
    )
