"""Time and memory of `sentiment summarize` on made-up scores: full, twice the rows, and one day refreshed.

    python tools/benchmarks/marts.py --rows 2000000 --products 1000 --days 365

Prints one JSON object a step: wall seconds of the whole command, and the peak memory and the processor seconds of the
Spark driver's JVM and of its Python process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sentiment_core.scoring.status import STATUSES, UNSCORED

FIRST_DAY = date(2025, 11, 1)
MODEL = "ab" * 32


def made_up_scores(n_rows: int, *, n_products: int, day: date, rng: np.random.Generator, first_id: int) -> pa.Table:
    """Scores of one day: products of different popularity and quality, a few rows without a probability."""
    popularity = rng.zipf(1.3, n_rows) % n_products
    product = np.where(rng.random(n_rows) < 0.5, popularity, rng.integers(0, n_products, n_rows))
    quality = ((product * 2654435761) % 1000) / 1000
    probability = rng.beta(0.4 + quality, 0.4 + 1 - quality)
    status = rng.choice(STATUSES, n_rows, p=[0.895, 0.08, 0.005, 0.015, 0.005])
    unscored = np.isin(status, UNSCORED)
    label = np.select([probability < 0.45, probability < 0.55], ["negative", "neutral"], "positive")
    n_tokens = np.where(status == "empty", 0, rng.lognormal(5, 0.7, n_rows).astype(int) + 1)
    return pa.table(
        {
            "review_id": np.arange(first_id, first_id + n_rows),
            "product_id": pa.array([f"product-{number:05}" for number in product]),
            "stars": pa.array(np.clip(np.round(1 + 4 * probability + rng.normal(0, 0.7, n_rows)), 1, 5), pa.int8()),
            "positive_probability": pa.array(probability, mask=unscored),
            "sentiment": pa.array(label, mask=unscored),
            "score_status": status,
            "n_tokens": pa.array(n_tokens, pa.int32()),
            "n_unknown": pa.array((n_tokens * 0.03).astype(int), pa.int32()),
            "model_sha256": pa.array([MODEL] * n_rows),
            "run_id": pa.array([f"{day}-0123456789ab"] * n_rows),
        }
    )


def write_scores(folder: Path, *, n_rows: int, n_products: int, n_days: int, seed: int = 5) -> None:
    """Write a scores table partitioned by ``run_date``, with a run report a day."""
    rng = np.random.default_rng(seed)
    (folder / "_runs").mkdir(parents=True)
    for number in range(n_days):
        write_day(folder, FIRST_DAY + timedelta(number), n_rows=n_rows // n_days, n_products=n_products, rng=rng)


def write_day(folder: Path, day: date, *, n_rows: int, n_products: int, rng: np.random.Generator) -> None:
    """Write or replace one day."""
    table = made_up_scores(n_rows, n_products=n_products, day=day, rng=rng, first_id=day.toordinal() * 10**7)
    target = folder / f"run_date={day}"
    target.mkdir(exist_ok=True)
    pq.write_table(table, target / "part-0.parquet", compression="zstd")
    report = {
        "run_id": f"{day}-0123456789ab",
        "run_date": str(day),
        "model": {"sha256": MODEL, "validation_histogram": [140] * 15},
        "counts": dict.fromkeys(STATUSES, 0) | {"rows": n_rows, "ok": n_rows, "positive": n_rows // 2},
        "seconds": {"score": n_rows / 400},
        "throughput": {"reviews_per_second": 400.0},
        "cost_inputs": {"cores": 2, "core_seconds": n_rows / 200},
    }
    (folder / "_runs" / f"{day}-0123456789ab.json").write_text(json.dumps(report))


def measured(step: str, *options: str) -> dict[str, Any]:
    """Run the verb in a process of its own and watch the memory of it and its children."""
    command = [sys.executable, "-m", "jobs.cli", "summarize", *options]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    peaks: dict[str, float] = {}
    watcher = threading.Thread(target=_watch, args=(process, peaks), daemon=True)
    watcher.start()
    out, err = process.communicate()
    seconds = time.perf_counter() - started
    watcher.join()
    last = err.strip().splitlines()[-1]
    if process.returncode:
        raise SystemExit(f"{step}: exit {process.returncode}: {last}")
    return {"step": step, "seconds": round(seconds, 1), **peaks, "days": len(json.loads(out)["days"]), "said": last}


def _watch(process: subprocess.Popen[str], peaks: dict[str, float]) -> None:
    """Peak resident memory in MB and processor seconds, by the name of the program."""
    while process.poll() is None:
        for pid in [process.pid, *_descendants(process.pid)]:
            try:
                status = Path(f"/proc/{pid}/status").read_text()
                ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
            except OSError:
                continue
            fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
            if "VmHWM" in fields:
                name = f"{fields['Name'].strip()}_mb"
                peaks[name] = max(peaks.get(name, 0.0), int(fields["VmHWM"].split()[0]) / 1024)
                name = f"{fields['Name'].strip()}_cpu_seconds"
                peaks[name] = max(peaks.get(name, 0.0), sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"))
        time.sleep(0.2)


def _descendants(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [int(child) for child in children] + [other for child in children for other in _descendants(int(child))]


def main() -> None:
    """Measure a table, one of twice the rows, and the refresh of one day in both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--products", type=int, default=1000)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--once", action="store_true", help="do not double the rows")
    options = parser.parse_args()
    os.environ["PYSPARK_SUBMIT_ARGS"] = f"--master local[{options.cores}] --driver-memory 1500m pyspark-shell"
    for rows in (options.rows,) if options.once else (options.rows, 2 * options.rows):
        with tempfile.TemporaryDirectory() as name:
            scores, marts = Path(name, "scores"), Path(name, "marts")
            write_scores(scores, n_rows=rows, n_products=options.products, n_days=options.days)
            given = ("--scores", str(scores), "--output", str(marts))
            print(json.dumps({"rows": rows} | measured("full", *given)), flush=True)
            last = FIRST_DAY + timedelta(options.days - 1)
            again = np.random.default_rng(6)
            n_rows = rows // options.days
            write_day(scores, last, n_rows=n_rows, n_products=options.products, rng=again)
            print(json.dumps({"rows": rows} | measured("one day", *given)), flush=True)
            print(json.dumps({"rows": rows} | measured("nothing changed", *given)), flush=True)


if __name__ == "__main__":
    main()
