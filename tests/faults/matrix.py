"""Run the fault matrix, or what is left of it: ``python -m tests.faults.matrix``; results lie in build/faults.

python -m tests.faults.matrix --only 'worker killed'    # some cells
python -m tests.faults.matrix --seconds 300             # as many as fit
python -m tests.faults.matrix --write                   # docs/evidence/faults.md
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.faults.cells import Cell, all_cells, sabotaged_cells
from tests.faults.cluster import cluster
from tests.faults.trial import run_cell
from tests.faults.world import World
from tools.benchmarks.figures import markdown_table

__all__ = ["main"]

_TRIES = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Run cells; returns 1 if one was violated."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("build/faults"))
    parser.add_argument("--only", default="", metavar="TEXT", help="cells whose name holds it")
    parser.add_argument("--again", action="store_true", help="also those that are done")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no cell after so many")
    parser.add_argument("--sabotage", action="store_true", help="cells of a broken product, which must be violated")
    parser.add_argument("--write", action="store_true", help="write docs/evidence/faults.md from the stored results")
    options = parser.parse_args(arguments)
    folder = options.folder.resolve()
    (folder / "cells").mkdir(parents=True, exist_ok=True)
    if options.write:
        _write(folder, Path("docs/evidence/faults.md"))
        return 0
    started = time.monotonic()
    archive = folder / "spark.jsa"  # Spark's classes as Java has loaded them, which halves its start
    cells = [cell for cell in (sabotaged_cells() if options.sabotage else all_cells()) if options.only in cell.name]
    left = [cell for cell in cells if options.again or not _file(folder, cell).exists()]
    with ExitStack() as stack:
        worlds: dict[bool, World] = {}
        master = None
        for cell in left:
            if time.monotonic() - started > options.seconds:
                break
            if cell.real_model not in worlds:
                name = "real" if cell.real_model else "stub"
                worlds[cell.real_model] = World.build(folder / "world" / name, real_model=cell.real_model)
            if cell.where == "cluster" and master is None:
                master = stack.enter_context(cluster(folder / f"cluster-{os.getpid()}"))
            for _ in range(_TRIES):
                result = run_cell(
                    cell,
                    worlds[cell.real_model],
                    folder / "run" / hashlib.sha256(cell.name.encode()).hexdigest()[:8],
                    master=master,
                    shuffle=folder / f"cluster-{os.getpid()}" / "local",
                    seconds=_usual_seconds(folder, cell),
                    java=f"-XX:{'SharedArchiveFile' if archive.exists() else 'ArchiveClassesAtExit'}={archive}",
                )
                if result["kills"] == len(cell.kills) or result["violations"]:
                    break
                # It ended before it was killed: sooner, then.
                cell = replace(cell, kills=tuple((kind, 0.8 * part) for kind, part in cell.kills))
            else:
                result["violations"] = ["the run ended before it was killed, each time"]
            _file(folder, cell).write_text(json.dumps(result, indent=2) + "\n")
            print(f"{cell.name}: {'; '.join(result['violations']) or 'ok'} ({result['seconds']} s)", flush=True)
    results = _results(folder, cells)
    red = [result for result in results if result["violations"]]
    print(f"{len(results)} of {len(cells)} cells done, {len(red)} violated")
    return int(len(red) < len(results) if options.sabotage else len(red) > 0)


def _file(folder: Path, cell: Cell) -> Path:
    return folder / "cells" / f"{hashlib.sha256(cell.name.encode()).hexdigest()[:12]}.json"


def _results(folder: Path, cells: Sequence[Cell]) -> list[dict[str, Any]]:
    return [json.loads(_file(folder, cell).read_text()) for cell in cells if _file(folder, cell).exists()]


def _usual_seconds(folder: Path, cell: Cell) -> float:
    """What runs of this kind that came to their end took lately."""
    done = sorted((folder / "cells").glob("*.json"), key=lambda path: path.stat().st_mtime)
    seconds = [
        result["seconds"]
        for result in map(json.loads, (path.read_text() for path in done))
        if result["where"] == cell.where and result["exits"] == [0] and not result["violations"]
    ]
    return statistics.median(seconds[-5:]) if seconds else 20.0


def _write(folder: Path, file: Path) -> None:
    """The table of cells as a page."""
    results, sabotaged = _results(folder, all_cells()), _results(folder, sabotaged_cells())
    fixed = [result for result in results if "random" not in result["cell"] and not result["cell"].endswith("no fault")]
    drawn = [result for result in results if "random" in result["cell"]]
    red = [result for result in results if result["violations"]]
    rows = [
        [result["cell"], ", ".join(map(str, result["exits"])), f"{result['seconds']:.0f}", _verdict(result)]
        for result in results
    ]
    broken = [[result["cell"].partition(": ")[2], "; ".join(result["violations"])] for result in sabotaged]
    head = _HEAD.format(
        fixed=len(fixed),
        kills=sum(result["kills"] for result in drawn),
        drawn=len(drawn),
        red=len(red),
        left=f"{len(all_cells()) - len(results)} of {len(all_cells())} cells have not been run.\n"
        if len(results) < len(all_cells())
        else "",
        looks=sum(result["looks"] for result in results),
        vanished=sum(result["vanished"] for result in results),
    )
    table = markdown_table(["run", "exit code", "seconds", "after it"], rows)
    text = f"{head}\n{table}\n{_SABOTAGE}\n{markdown_table(['broken', 'found'], broken)}\n"
    file.write_text(text.replace(str(folder), "build/faults"))  # of whoever ran it, no path


def _verdict(result: dict[str, Any]) -> str:
    return "; ".join(result["violations"]) or "all holds"


_HEAD = """# Faults

`make test-faults` writes this page. It runs every cell: a run on a real table, a fault, and checks. The output
holds the table of last night. Tonight's run replaces its two partitions and adds one. A reader looks every 10 ms, from
before the fault until the next run has ended. The checks:

- Tonight's rows are there once each, with the bits of a run without faults.
- At every look, each partition was that of last night or that of tonight.
- The next run ended with 0, without intervention.
- No staging folder, no lock and no process is left.

**{fixed} cells with a fault at a fixed place, {kills} kills at random times in {drawn} runs: {red} violations.**
{left}The reader looked {looks:,} times; {vanished} times a file that it had listed was gone before it opened it, an
error and no wrong data.

A driver that was killed has the exit code -9. `cluster` is a standalone master with two workers of one core each.
"""

_SABOTAGE = """
## Would it notice?

`python -m tests.faults.matrix --sabotage` breaks a part of the product on purpose. These cells then fail:
"""


if __name__ == "__main__":
    sys.exit(main())
