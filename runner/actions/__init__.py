"""The words of ci.yml: one file is one action, with its `Settings` beside its `run`. The folder is the list."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from chalicelib.errors import BadConfig


def names() -> tuple[str, ...]:
    """Every action there is, sorted."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def find(name: str) -> ModuleType:
    """The module of an action: `Settings`, `run`, and `NEEDS_IMAGE` where it works on the built image.

    Raises:
        BadConfig: there is no such action.
    """
    if name not in names():
        raise BadConfig(f"there is no action {name!r}; there are: {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name}")
