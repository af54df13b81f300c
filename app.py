"""The Lambda: routes and schedules, each a few lines; everything they do is in chalicelib."""

import os
import time
from datetime import timedelta
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger, Metrics, single_metric
from aws_lambda_powertools.metrics import MetricUnit
from botocore.exceptions import BotoCoreError, ClientError
from chalice.app import Chalice, Response

from chalicelib import config as configuration
from chalicelib.answering import Answer, Refusal, refusal
from chalicelib.edge import Edge, connect
from chalicelib.errors import BadDelivery, TauError
from chalicelib.intake import receive
from chalicelib.settings import Settings

# powertools writes the log; chalice would write every line a second time.
app = Chalice(app_name="tau", configure_logs=False)
logger = Logger(service="tau")
metrics = Metrics(namespace="Tau", service="intake")
# Read while the app is being packaged too: a ci.json that is not of this ci.yml stops the packaging here.
config = configuration.load()

_HOOK: dict[str, Any] = {
    "methods": ["POST"],
    # GitHub's own default is the form. https://docs.github.com/webhooks/using-webhooks/creating-webhooks
    "content_types": ["application/json", "application/x-www-form-urlencoded"],
}
# Of the 14 minutes of .chalice/config.json: the last repository may take the rest.
RECONCILING = timedelta(minutes=10)
# Of the minute until the schedule comes again.
LINGERING = timedelta(seconds=55)


@cache
def edge() -> Edge:
    """The edge to AWS, made once for each process."""
    return connect(Settings.from_env(os.environ), patient=False)


@cache
def keep_config() -> None:
    """Write this ci.yml down, once for each process: a half-planned delivery is finished by the one that began it."""
    edge().store.put_config(config.hash, configuration.text())
    edge().store.put_in_force(config.hash, edge().now())


@app.route("/hooks", **_HOOK)
def hooks() -> Response:
    """Any forge; its headers say which."""
    return answer(pinned=None)


@app.route("/hooks/{forge}", **_HOOK)
def hooks_of(forge: str) -> Response:
    """One forge, by its name in ci.yml."""
    return answer(pinned=forge)


@app.route("/health")
def health() -> dict[str, str]:
    """Alive, and of which ci.yml."""
    return {"status": "ok", "config": config.hash}


@app.schedule("rate(1 minute)")
def ticker(event: Any) -> None:
    """Do what is due and nobody has done."""
    # What only the ticker needs (mail, templates, Elastic Beanstalk) does not slow a webhook's cold start.
    from chalicelib.burying import pools_of  # noqa: PLC0415
    from chalicelib.firing import fire  # noqa: PLC0415
    from chalicelib.lingering import linger  # noqa: PLC0415
    from chalicelib.ticker import tick  # noqa: PLC0415

    # A ci.yml is in force once it was deployed, though nobody pushes: queued runs are held against it.
    keep_config()
    began = edge().now()
    found = tick(edge(), began, pools=pools_of(config))
    letters = len(edge().store.dead_letters())
    # The alarm of infra/stack.yml names these dimensions: it is quiet again once each letter was redriven or discarded.
    with single_metric(name="DeadLetters", unit=MetricUnit.Count, value=letters, namespace="Tau") as metric:
        metric.add_dimension("service", "ticker")
        metric.add_dimension("stage", edge().settings.stage)
    # Last: should it fail, what is due is done all the same, and the next tick makes up for it.
    fired = fire(edge(), config, edge().now())
    logger.info("ticked", due=len(found), fired=fired, dead_letters=letters, at=event.to_dict().get("time"))
    linger(edge(), began + LINGERING, time.sleep)


@app.schedule("rate(15 minutes)")
def reconciler(event: Any) -> None:
    """Ask the forges for what no webhook said."""
    from chalicelib.reconciler import reconcile  # noqa: PLC0415

    looked = list(reconcile(edge(), config, deadline=edge().now() + RECONCILING, keep_config=keep_config))
    found = sum(len(one.found) for one in looked)
    runs, failed = sum(one.runs for one in looked), sum(one.failed for one in looked)
    logger.info("reconciled", found=found, runs=runs, failed=failed, at=event.to_dict().get("time"))


def answer(*, pinned: str | None) -> Response:
    """Receive the request at hand; every failure becomes its status here, and nowhere else."""
    try:
        given = received(pinned)
    except Refusal as error:
        given = refusal(error)
    except TauError as error:
        logger.exception("cannot take deliveries", reason=str(error))
        given = Answer(500, {"reason": "Tau is not set up to take this delivery; its log says why"})
    except (ClientError, BotoCoreError) as error:
        logger.exception("no record was written", reason=str(error))
        given = Answer(503, {"reason": "the delivery could not be recorded; send it again"})
    log(given)
    return Response(dict(given.body), status_code=given.status)


def received(pinned: str | None) -> Answer:
    """The request's headers with every value, and its exact bytes, to `intake.receive`."""
    request = app.current_request
    assert request is not None  # noqa: S101 - chalice sets it before it calls a route
    sent = request.to_original_event().get("multiValueHeaders") or {}
    headers: dict[str, tuple[str, ...]] = {}
    for name, values in sent.items():
        headers[name.lower()] = headers.get(name.lower(), ()) + tuple(values)
    try:
        body = bytes(request.raw_body)  # type: ignore[arg-type] # always bytes, whatever its stub says
    except ValueError as error:
        raise BadDelivery("the body is not the base64 that its envelope says") from error
    return receive(headers, body, pinned=pinned, config=config, edge=edge(), now=edge().now(), keep_config=keep_config)


def log(given: Answer) -> None:
    """One line and one metric for each request; ids are keys, never a body or a header."""
    logger.info("answered", status=given.status, unsent=len(given.unsent), **dict(given.body))
    metrics.add_metric(name=f"Answered{given.status}", unit=MetricUnit.Count, value=1)
    metrics.flush_metrics()
