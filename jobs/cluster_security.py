"""Whether a cluster's processes know each other and talk in private, which Spark leaves off unless it is told to."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["check_cluster", "submit_settings"]

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


def submit_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Settings of the session that would be started: of `spark-submit.sh`'s options and Spark's own file of defaults.

    Parameters
    ----------
    environment : mapping
        Of the process; ``PYSPARK_SUBMIT_ARGS`` holds the options.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--conf", "-c", action="append", default=[])
    parser.add_argument("--master")
    parser.add_argument("--properties-file")
    options, _ = parser.parse_known_args(shlex.split(environment.get("PYSPARK_SUBMIT_ARGS", "")))
    folder = environment.get("SPARK_CONF_DIR") or Path(environment.get("SPARK_HOME", "."), "conf")
    file = Path(options.properties_file or Path(folder, "spark-defaults.conf"))
    found: dict[str, str] = {}
    if file.is_file():
        lines = (re.split(r"[\s=]+", line.strip(), maxsplit=1) for line in file.read_text().splitlines())
        found = {line[0]: line[1] for line in lines if len(line) == 2 and not line[0].startswith("#")}
    found |= dict(setting.split("=", 1) for setting in options.conf if "=" in setting)
    return found | ({"spark.master": options.master} if options.master else {})


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
