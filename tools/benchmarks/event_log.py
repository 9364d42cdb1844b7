"""What Spark's event log says of the tasks of a session."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["read_event_log"]


def read_event_log(directory: Path) -> dict[str, Any]:
    """Sum up the one log below a directory.

    Returns
    -------
    dict
        ``shuffle_bytes``: written by all shuffles. ``stages``: one object each with ``tasks``, ``task_seconds`` (sum),
        ``longest_task_seconds``, ``seconds`` (from its first task's start to its last one's end), ``shuffle_bytes``,
        ``output_bytes``.
    """
    (log,) = (path for path in directory.rglob("*") if path.is_file() and not path.name.startswith("."))
    stages: dict[int, dict[str, Any]] = {}
    with log.open() as lines:
        for line in lines:
            event = json.loads(line)
            if event["Event"] != "SparkListenerTaskEnd" or not event.get("Task Metrics"):
                continue
            info, metrics = event["Task Info"], event["Task Metrics"]
            stage = stages.setdefault(
                event["Stage ID"], {"durations": [], "starts": [], "ends": [], "shuffle": 0, "output": 0}
            )
            stage["durations"].append((info["Finish Time"] - info["Launch Time"]) / 1e3)
            stage["starts"].append(info["Launch Time"] / 1e3)
            stage["ends"].append(info["Finish Time"] / 1e3)
            stage["shuffle"] += metrics["Shuffle Write Metrics"]["Shuffle Bytes Written"]
            stage["output"] += metrics["Output Metrics"]["Bytes Written"]
    return {
        "shuffle_bytes": sum(stage["shuffle"] for stage in stages.values()),
        "stages": [
            {
                "tasks": len(stage["durations"]),
                "task_seconds": sum(stage["durations"]),
                "longest_task_seconds": max(stage["durations"]),
                "seconds": max(stage["ends"]) - min(stage["starts"]),
                "shuffle_bytes": stage["shuffle"],
                "output_bytes": stage["output"],
            }
            for _, stage in sorted(stages.items())
        ],
    }
