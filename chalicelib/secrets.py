"""A secret's name in, its value out: SSM SecureStrings under /tau/<stage>/secrets/, kept for at most 60 s."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from chalicelib.errors import MissingSecret

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient

KEPT_S = 60


class Secrets:
    """The secret store of one installation. A value is read when it is used, never written anywhere."""

    def __init__(self, client: SSMClient, prefix: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._prefix = prefix
        self._clock = clock
        self._kept: dict[str, tuple[float, str]] = {}

    def get(self, name: str) -> str:
        """The value of a secret.

        Raises:
            MissingSecret: it is not there, may not be read, or is empty; names the parameter to set.
        """
        read_at, value = self._kept.get(name, (0.0, ""))
        if value and self._clock() - read_at < KEPT_S:
            return value
        # A secret that was put from a file ends in its line's end, which belongs to the file.
        value = self._read(name).rstrip("\r\n")
        self._kept[name] = (self._clock(), value)
        return value

    def _read(self, name: str) -> str:
        parameter = f"{self._prefix}{name}"
        try:
            value = self._client.get_parameter(Name=parameter, WithDecryption=True)["Parameter"].get("Value", "")
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code not in {"ParameterNotFound", "AccessDeniedException"}:
                raise
            raise MissingSecret(
                f"the secret {name} cannot be read ({code}): set the SSM parameter {parameter}"
            ) from error
        if not value.strip():
            raise MissingSecret(f"the secret {name} is empty: set the SSM parameter {parameter}")
        return value
