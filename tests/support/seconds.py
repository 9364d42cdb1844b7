"""How long each test takes, from the last run that stored it: what the order and the time left are computed from.

A test that is not in the file counts as a short one, so the file need not be current. ``make test-all
ARGS=--store-seconds`` writes it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from pathlib import Path

__all__ = ["SHORT_SECONDS", "file_of", "seconds_of", "store"]

FILE = Path(__file__).with_name("seconds.json")
# A test of which nothing is known; tests below the second figure are not stored.
SHORT_SECONDS, _STORED_FROM = 0.05, 0.2


def seconds_of(nodeid: str) -> float:
    """Seconds that a test takes, its fixtures included; that of a parametrised one is the mean of all its cases."""
    return known_seconds().get(_function_of(nodeid), SHORT_SECONDS)


def file_of(nodeid: str) -> str:
    return nodeid.partition("::")[0]


def store(seconds: Mapping[str, float]) -> None:
    """Keep the seconds of these tests, by node id, beside those of tests that did not run."""
    cases = defaultdict(list)
    for nodeid, value in seconds.items():
        cases[_function_of(nodeid)].append(value)
    means = {name: round(sum(values) / len(values), 1) for name, values in cases.items()}
    kept = {name: value for name, value in known_seconds().items() if name not in means}
    longer = kept | {name: value for name, value in means.items() if value >= _STORED_FROM}
    FILE.write_text(json.dumps(longer, indent=0, sort_keys=True) + "\n")


def _function_of(nodeid: str) -> str:
    return nodeid.partition("[")[0]


@cache
def known_seconds() -> dict[str, float]:
    known: dict[str, float] = json.loads(FILE.read_text()) if FILE.exists() else {}
    return known
