"""The command that plans a delivery without enacting it: `tau plan`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from chalicelib.errors import BadInput, NotThere
from chalicelib.model import Provider
from chalicelib.providers.signature import LEAST_SECRET_BYTES
from runner.operating import Connect

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chalicelib.config import Config
    from chalicelib.model import Delivery

# What needs pydantic or boto3 is imported by the command that needs it: `tau --help` answers at once.
# ruff: noqa: PLC0415

CI_YML = Path(__file__).parent.parent / "chalicelib" / "ci.yml"
_SENDING = [str(provider) for provider in Provider if provider is not Provider.TAU]


def _secret(context: click.Context, _option: click.Parameter, name: str | None) -> bytes | None:
    """The value of the variable that was named; click reads the environment."""
    if name is None:
        return None
    value = click.Option(["--secret"], envvar=name).resolve_envvar_value(context)
    if value is None:
        raise BadInput(f"--secret-env: the variable {name} is not set, or empty")
    secret = value.encode("utf-8", "surrogateescape")
    if len(secret) < LEAST_SECRET_BYTES:
        click.echo(
            f"warning: ${name} has {len(secret)} bytes; the intake takes none below {LEAST_SECRET_BYTES}", err=True
        )
    return secret


@click.command()
@click.option("--provider", type=click.Choice(_SENDING), help="Whose dialect the delivery is.")
@click.option("--headers", "headers_file", type=click.Path(path_type=Path), help='Its headers: JSON, or "Name: value".')
@click.option("--body", "body_file", type=click.Path(path_type=Path), help="Its body, byte for byte.")
@click.option("--delivery", "delivery_id", help="Instead of these: a delivery in the records, by Tau's id.")
@click.option("--config", "path", type=click.Path(path_type=Path), default=CI_YML, help="The ci.yml to plan with.")
@click.option("--forge", help="Which forge of ci.yml sent it, where several speak the dialect.")
@click.option("--secret-env", "secret", metavar="NAME", callback=_secret, help="Verify with the secret in $NAME.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def plan(
    connect: Connect,
    provider: str | None,
    headers_file: Path | None,
    body_file: Path | None,
    delivery_id: str | None,
    path: Path,
    forge: str | None,
    secret: bytes | None,
    as_json: bool,  # noqa: FBT001 - click's way of flags
) -> None:
    """Say what a delivery would start, and why; nothing is written or started.

    The answer is what the forge would be told if the delivery had not been seen before. Its signature is looked at
    only with --secret-env.
    """
    import json

    from runner.planned import plan_request, plan_taken, show, to_json

    config = compiled(path)
    if delivery_id is not None:
        if provider or headers_file or body_file or forge or secret:
            raise BadInput("--delivery names a delivery that was verified and recorded: give nothing else of it")
        found = plan_taken(recorded(connect, delivery_id.upper()), config)
    elif provider and headers_file and body_file:
        headers = headers_of(contents(headers_file), headers_file)
        found = plan_request(headers, contents(body_file), Provider(provider), config, forge=forge, secret=secret)
    else:
        raise BadInput("name the delivery: --provider, --headers and --body, or --delivery")
    if as_json:
        click.echo(json.dumps(to_json(found), indent=2))
    else:
        show(found)


def compiled(path: Path) -> Config:
    """The ci.yml, as the planner reads it."""
    from chalicelib.config import parse
    from runner.compiler import compile_source

    return parse(compile_source(contents(path), path.name).form)


def recorded(connect: Connect, delivery_id: str) -> Delivery:
    """A delivery from the records, with its body to the byte."""
    from chalicelib import wire
    from chalicelib.records.deliveries import delivery_of

    edge = connect()
    record = edge.store.delivery(delivery_id)
    if record is None:
        raise NotThere(f"no delivery {delivery_id} is recorded: they are kept for 90 days")
    body = record["body"]
    return delivery_of(record, wire.unzipped(edge.objects.get(record["body_key"])) if body is None else body)


def contents(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def headers_of(text: bytes, path: Path) -> Mapping[str, tuple[str, ...]]:
    """Names lower-cased, with every value: of a JSON object (name -> value or values), or of `Name: value` lines.

    Raises:
        BadInput: it is neither.
    """
    try:
        # As HTTP servers read headers; a value beyond ASCII is then none that a forge sends.
        pairs = _of_json(text) if text.lstrip().startswith(b"{") else _of_lines(text.decode("latin-1"))
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: {error}; headers are a JSON object of texts, or lines of `Name: value`") from error
    headers: dict[str, tuple[str, ...]] = {}
    for name, value in pairs:
        headers[name.lower()] = (*headers.get(name.lower(), ()), value)
    return headers


def _of_json(text: bytes) -> list[tuple[str, str]]:
    import json

    pairs: list[tuple[str, str]] = []
    # Pairs, so that a name that stands there twice comes twice.
    for name, held in json.loads(text, object_pairs_hook=list):
        values = held if isinstance(held, list) else [held]
        if not all(isinstance(value, str) for value in values):
            raise ValueError(f"the header {name} has a value that is no text")
        pairs += [(name, value) for value in values]
    return pairs


def _of_lines(text: str) -> list[tuple[str, str]]:
    pairs = []
    for number, line in enumerate(text.splitlines(), 1):
        name, colon, value = line.partition(":")
        if line.strip() and (not colon or not name.strip()):
            raise ValueError(f"line {number} is no header")
        if line.strip():
            pairs.append((name.strip(), value.strip()))
    return pairs
