"""A saved configuration of Elastic Beanstalk in; the platform of what is made from it, or what to do, out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pydantic
from botocore.exceptions import ClientError

from chalicelib.creating import is_no_template, no_template
from chalicelib.errors import StepFailed
from runner.fields import VersionLabel

if TYPE_CHECKING:
    from mypy_boto3_elasticbeanstalk import ElasticBeanstalkClient


class Create(pydantic.BaseModel):
    """`create: {template: production}`.

    Args:
        template: the name of a saved configuration of the application. AWS holds it to what it holds labels to.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    template: VersionLabel


def platform_of(template: str, application: str, client: ElasticBeanstalkClient, region: str) -> str:
    """What an environment that is made from it runs.

    Raises:
        StepFailed: there is no such saved configuration.
    """
    try:
        told = client.describe_configuration_settings(ApplicationName=application, TemplateName=template)
    except ClientError as error:
        if is_no_template(error.response["Error"].get("Message", "")):
            raise StepFailed(no_template(template, application, region)) from error
        raise
    saved = told["ConfigurationSettings"][0]
    return saved.get("SolutionStackName") or saved.get("PlatformArn") or ""
