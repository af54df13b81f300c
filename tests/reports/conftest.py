"""The sample results. `TAU_GOLDEN=write pytest tests/reports` renews the texts in mails/ they are compared with."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def samples():
    """tests/reports/samples.py, which importlib mode does not put on the path."""
    spec = importlib.util.spec_from_file_location("report_samples", HERE / "samples.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
