"""The environment in, one frozen Settings out. Nobody else reads the environment."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from chalicelib.errors import TauError


class MissingSetting(TauError):
    """The environment lacks a variable that Tau cannot do without, or it holds something else."""


@dataclass(frozen=True)
class Settings:
    """One installation.

    Args:
        stage: names everything else: table, queues, secrets (`prod`, `dev`, `local`).
        sender: the address that mails come from; verified at SES.
        system: value of the label `tau.system`; nothing of another system is ever touched.
        lease_s: a run whose beat stands still for so long, by the watcher's own clock, is taken over.
        retry_s: between our own first failure in a run and the second try.
    """

    stage: str
    table: str
    bucket: str
    queue_prefix: str
    sender: str
    system: str
    lease_s: float
    retry_s: float = 30

    @property
    def secrets_prefix(self) -> str:
        return f"/tau/{self.stage}/secrets/"

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Read `TAU_*`.

        Raises:
            MissingSetting: naming the variable that is missing or is no such thing, and what it is for.
        """
        stage = _required(environ, "TAU_STAGE", "the name of the installation, such as prod")
        return cls(
            stage=stage,
            table=environ.get("TAU_TABLE", f"tau-{stage}"),
            bucket=_required(environ, "TAU_BUCKET", "the bucket of logs and bundles (an output of infra/stack.yml)"),
            queue_prefix=environ.get("TAU_QUEUE_PREFIX", f"tau-{stage}"),
            sender=_required(environ, "TAU_SENDER", "the address that mails come from, verified at SES"),
            system=environ.get("TAU_SYSTEM", f"tau-{stage}"),
            lease_s=_seconds(environ, "TAU_LEASE_S", "30"),
            retry_s=_seconds(environ, "TAU_RETRY_S", "30"),
        )


def _required(environ: Mapping[str, str], name: str, meaning: str) -> str:
    value = environ.get(name, "")
    if not value:
        raise MissingSetting(f"{name} is not set: {meaning}")
    return value


def _seconds(environ: Mapping[str, str], name: str, default: str) -> float:
    text = environ.get(name, default)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds < math.inf:
        raise MissingSetting(f"{name} is {text!r}: expected a number of seconds above 0, such as {default}")
    return seconds
