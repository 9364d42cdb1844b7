"""Settings for all tests."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# MXNet reads it at its import. On batches this small, threads only wait for each other.
os.environ["OMP_NUM_THREADS"] = "1"

# The same examples on every run and machine; slow machines are no failure.
settings.register_profile("sentiment", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("sentiment")


def pytest_configure(config: pytest.Config) -> None:
    """Hide what MXNet and GluonNLP, which will not change any more, could do better."""
    config.addinivalue_line("filterwarnings", "ignore::DeprecationWarning:mxnet")
    config.addinivalue_line("filterwarnings", "ignore:WARNING. New optimizer:UserWarning:mxnet")
