"""MXNet, for test modules that need it as a whole: where it is missing, importing this skips them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.packages import NO_MXNET

__all__ = ["mx"]

mx: Any = pytest.importorskip("mxnet", reason=NO_MXNET)
