"""What somebody asked about in; one finding after the other out, from the machine to what lies outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.config import Config, load
from chalicelib.edge import Edge
from chalicelib.errors import StaleConfig, TauError
from chalicelib.reports.words import counted
from runner.doctor import cloud, machine, outside
from runner.doctor.findings import Finding, Mark, found, of_aws
from runner.handed import Handed
from runner.storage import Limits

_NO_SETTINGS = (
    "no settings of one (TAU_STAGE, TAU_BUCKET, TAU_SENDER): AWS, secrets, forges and registries are looked at where a"
    " code server's settings are"
)


@dataclass(frozen=True)
class Asked:
    """What somebody asked about.

    Args:
        path: of the ci.yml; its compiled form lies beside it.
        folder: the runner's.
        pool: the one whose messages the runner here takes.
    """

    path: Path
    folder: Path
    pool: str
    limits: Limits
    environ: Mapping[str, str]


def examine(asked: Asked, connect: Callable[[], Edge] | None, handed: Handed) -> Iterator[Finding]:
    """A finding for each thing that was asked about, as soon as it is known.

    Args:
        connect: reaches the installation; None = there is none.
        handed: gets to know each secret that is read meanwhile.
    """
    config, finding = _configuration(asked.path)
    yield finding
    docker, silence = machine.engine_or_none()
    if silence:
        yield Finding("engine", Mark.BROKEN, silence)
    buildkit = config is not None and outside.uses_build_secrets(config)
    here = machine.Machine(asked.folder, asked.environ, asked.limits, docker, wants_buildkit=buildkit)
    yield from map(found, machine.questions(here))
    if connect is None:
        yield Finding("installation", Mark.MIND, _NO_SETTINGS)
        return
    yield found(("firewall", machine.firewall))
    edge, finding = _reached(connect)
    yield finding
    if edge is None:
        return
    yield from map(found, cloud.questions(edge, config, asked.pool))
    if config is not None:
        secret = handed.listening(edge.secrets.get)
        yield from map(found, outside.questions(outside.Outside(config, secret, asked.environ, docker)))


def _configuration(path: Path) -> tuple[Config | None, Finding]:
    try:
        config = load(path.parent)
    except StaleConfig as error:
        return None, Finding("ci.yml", Mark.BROKEN, str(error))
    said = f"{config.hash[:7]}, {counted(len(config.pipelines), 'pipeline')}, compiled"
    return config, Finding("ci.yml", Mark.OK, said)


def _reached(connect: Callable[[], Edge]) -> tuple[Edge | None, Finding]:
    """The installation, once AWS has said who we are."""
    try:
        edge = connect()
        return edge, Finding("AWS", Mark.OK, cloud.identity(edge))
    except TauError as error:
        return None, Finding("settings", Mark.BROKEN, str(error))
    except (ClientError, BotoCoreError) as error:
        return None, Finding("AWS", Mark.BROKEN, of_aws(error))
