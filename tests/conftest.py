"""Settings for all tests."""

from __future__ import annotations

import pytest
from hypothesis import settings

# The same examples on every run and machine; slow machines are no failure.
settings.register_profile("sentiment", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("sentiment")


def pytest_configure(config: pytest.Config) -> None:
    """Hide what MXNet, which will not change any more, could do better."""
    config.addinivalue_line("filterwarnings", "ignore::DeprecationWarning:mxnet")
