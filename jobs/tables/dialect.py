"""The dialect of a CSV file: what is given wins, the rest is found by trying each on the head of the file, strictly."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from jobs.tables.csv_records import Dialect, Scan, scan
from sentiment_core.errors import InputError, UsageError

__all__ = ["GivenDialect", "Header", "detect_dialect"]
