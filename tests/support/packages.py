"""Packages that are not installed everywhere, and the one reason that a test without them is skipped for."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

__all__ = ["NO_MXNET", "needs_mxnet"]

NO_MXNET = "MXNet is not installed; it has wheels for Python 3.11 on Linux x86-64 only"
needs_mxnet = pytest.mark.skipif(find_spec("mxnet") is None, reason=NO_MXNET)
