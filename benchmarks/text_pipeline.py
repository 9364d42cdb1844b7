"""How many reviews a second the text pipeline encodes on one core.

Usage: ``taskset -c 0 python benchmarks/text_pipeline.py REVIEWS.parquet [TEXT_COLUMN]``
"""

from __future__ import annotations

import json
import statistics
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq

from sentiment_core.artifact import bundled_model_path, load_model


def main(path: str, text_column: str = "text") -> None:
    """Encode the first 20,000 reviews seven times."""
    pa.set_cpu_count(1)
    texts = pq.read_table(path, columns=[text_column])[text_column].combine_chunks().slice(0, 20_000)
    pipeline = load_model(bundled_model_path()).text
    seconds = []
    for _ in range(7):
        started = time.perf_counter()
        encoded = pipeline.encode(texts)
        seconds.append(time.perf_counter() - started)
    print(
        json.dumps(
            {
                "reviews": len(texts),
                "tokens": int(encoded.n_tokens.sum()),
                "reviews_per_second": {
                    "median": round(len(texts) / statistics.median(seconds)),
                    "best": round(len(texts) / min(seconds)),
                    "worst": round(len(texts) / max(seconds)),
                },
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
