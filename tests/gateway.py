"""The Lambda as API Gateway calls it, over an installation in memory."""

import contextlib
import importlib
import json

from tests.hooks import SECRET
from tests.installation import installation

MASTER = {"repository": "2pisoftware/cmfive", "ref": "refs/heads/master", "secret": SECRET}


@contextlib.contextmanager
def lambda_of_an_installation(monkeypatch):
    """An installation with its secret, and the environment of a Lambda."""
    for name, value in {
        "TAU_STAGE": "test",
        "TAU_BUCKET": "tau-test",
        "TAU_SENDER": "tau@2pisoftware.com",
        "POWERTOOLS_METRICS_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    with installation(monkeypatch) as made:
        put_secret(made)
        # Clients hold no state, and making them takes a while: tests share them, but for what was kept.
        app().edge().secrets._kept.clear()
        # Metrics that are disabled are collected and never flushed: the hundredth of a name would be.
        app().metrics.clear_metrics()
        yield made


def forget_the_edge():
    """As a new process of the Lambda begins."""
    app().edge.cache_clear()
    app().keep_config.cache_clear()


def app():
    return importlib.import_module("app")


def put_secret(edge):
    edge.client("ssm").put_parameter(Name="/tau/test/secrets/hook-2026", Value=SECRET, Type="SecureString")


class Context:
    function_name = "tau-test"
    memory_limit_in_mb = 128
    invoked_function_arn = "arn:aws:lambda:ap-southeast-2:000000000000:function:tau-test"
    aws_request_id = "52fdfc07-2182-154f-163f-5f0f9a621d72"


def gateway_event(webhook, path="/hooks", method="POST", **changes):
    """What API Gateway's REST API hands to a Lambda.

    Source: https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
    """
    resource, _, forge = path.partition("/hooks/")
    return {
        "resource": "/hooks/{forge}" if forge else resource,
        "path": path,
        "httpMethod": method,
        "headers": dict(webhook.headers),
        "multiValueHeaders": {name: [value] for name, value in webhook.headers.items()},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": {"forge": forge} if forge else None,
        "stageVariables": None,
        "requestContext": {"httpMethod": method, "resourcePath": "/hooks/{forge}" if forge else resource},
        "body": webhook.body.decode(),
        "isBase64Encoded": False,
        **changes,
    }


def call(event):
    answer = app().app(event, Context())
    return answer["statusCode"], json.loads(answer["body"])


def send(webhook, path="/hooks", **changes):
    return call(gateway_event(webhook, path, **changes))


def items(edge):
    """Everything that is written but for the configuration."""
    found = edge.client("dynamodb").scan(TableName="tau-test")["Items"]
    return [item for item in found if not item["pk"]["S"].startswith("config#")]
