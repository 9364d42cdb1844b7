"""Whether a cluster's processes know each other and talk in private, which Spark leaves off unless it is told to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["check_cluster"]

# What is checked, the settings of which one has to be on, and what is open without it.
_CHECKS = (
    (
        "authentication",
        ("spark.authenticate",),
        "whoever reaches the driver's port may run code in the job; set spark.authenticate=true, and on a standalone "
        "cluster a secret, see SECURITY.md",
    ),
    (
        "encryption",
        ("spark.network.crypto.enabled", "spark.ssl.rpc.enabled"),
        "reviews pass between machines in the clear; set spark.network.crypto.enabled=true",
    ),
    (
        "encryption of shuffle files",
        ("spark.io.encryption.enabled",),
        "reviews lie on the executors' disks in the clear; set spark.io.encryption.enabled=true",
    ),
)


def check_cluster(settings: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """One object a check; nothing on this machine alone, where no port is open to others.

    Parameters
    ----------
    settings : mapping
        Spark's.
    """
    master = settings.get("spark.master", "local")
    if master.startswith("local"):
        return
    for name, wanted, cure in _CHECKS:
        is_on = any(settings.get(setting, "").lower() == "true" for setting in wanted)
        check = {"check": f"cluster {name}", "status": "ok" if is_on else "warning", "master": master}
        yield check if is_on else check | {"cure": cure}
