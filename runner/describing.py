"""The command that describes ci.yml to editors: `tau schema`."""

from __future__ import annotations

import click

# What needs pydantic is imported by the command that needs it: `tau --help` answers at once.
# ruff: noqa: PLC0415


@click.command()
def schema() -> None:
    """Print the JSON Schema of ci.yml, for editors."""
    import json

    from runner.compiler import known_actions
    from runner.schema import schema as schema_of

    click.echo(json.dumps(schema_of(known_actions()), indent=2, ensure_ascii=False))
