"""Settings for all tests."""

from __future__ import annotations

from hypothesis import settings

# The same examples on every run and machine; slow machines are no failure.
settings.register_profile("sentiment", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("sentiment")
