"""The notice that a spot instance is about to be taken away, asked for every five seconds.

Source: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
"""

from __future__ import annotations

import http.client
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, datetime
from urllib.parse import urlsplit

from runner.pace import Flag, Pace

log = logging.getLogger("tau.notice")

EVERY_S = 5
_ADDRESS = "http://169.254.169.254"
# It is one hop away, or nowhere.
_TIMEOUT_S = 2
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
_TOKEN_PATH, _TOKEN_TTL_S = "/latest/api/token", 21600
_ACTION_PATH = "/latest/meta-data/spot/instance-action"


class SpotNotice:
    """Asks the instance's own metadata. It comes two minutes ahead, and is not promised to come.

    Args:
        address: of the metadata service.
    """

    def __init__(self, address: str = _ADDRESS) -> None:
        self._address = urlsplit(address)
        self._token = ""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> SpotNotice:
        """Where botocore would ask too.

        Source: https://boto3.amazonaws.com/v1/documentation/api/latest/guide/configuration.html
        """
        return cls(environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or _ADDRESS)

    def watch(self, pace: Pace, stopping: Flag, on_notice: Callable[[datetime], object]) -> None:
        """Ask until `stopping`, or until there was a notice: it is handed over once, with the time of the end."""
        asked_at = pace.monotonic() - EVERY_S
        while not stopping.wait(max(0.0, asked_at + EVERY_S - pace.monotonic())):
            asked_at = pace.monotonic()
            deadline = self.look()
            if deadline is not None:
                log.warning("this instance is about to be taken away", extra={"deadline": deadline.isoformat()})
                on_notice(deadline)
                return

    def look(self) -> datetime | None:
        """When this instance ends; None where there is no notice, or nobody who knows."""
        try:
            status, body = self._ask()
            return _deadline(body) if status == http.HTTPStatus.OK else None
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._token = ""  # it may be the reason
            log.debug("the instance's metadata cannot be read", extra={"error": str(error)})
            return None

    def _ask(self) -> tuple[int, str]:
        if not self._token:
            self._token = self._new_token()
        status, body = self._request("GET", _ACTION_PATH, {"X-aws-ec2-metadata-token": self._token})
        if status == http.HTTPStatus.UNAUTHORIZED:
            # The next time begins with a new one.
            self._token = ""
        return status, body

    def _new_token(self) -> str:
        status, body = self._request(
            "PUT", _TOKEN_PATH, {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_TTL_S), "Content-Length": "0"}
        )
        if status != http.HTTPStatus.OK:
            raise ValueError(f"no token: {status}")
        return body

    def _request(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, str]:
        """Never by a proxy: what that says of its own instance is nothing to us."""
        host, port = self._address.hostname or "", self._address.port
        with closing(http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)) as connection:
            connection.request(method, self._address.path.rstrip("/") + path, headers=dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.read().decode()


def _deadline(body: str) -> datetime:
    """When `{"action": "terminate", "time": "2026-11-23T12:02:00Z"}` says; the action makes no difference to a run.

    Raises:
        ValueError: it says nothing of the kind.
    """
    match json.loads(body):
        case {"time": str(time)}:
            at = datetime.fromisoformat(time)
            return at if at.tzinfo else at.replace(tzinfo=UTC)
    raise ValueError(f"no notice that we know: {body[:200]}")
