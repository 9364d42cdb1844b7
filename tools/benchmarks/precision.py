"""What int8 does to scores: against float32, and against the same texts among other neighbours.

Usage: ``python tools/benchmarks/precision.py REVIEWS.parquet [--reviews N] [--model DIR]``; the table has a text and a
``--label-column`` (stars), positive above ``--positive-above`` (5).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from sentiment_core.artifact import bundled_model_path, load_model
from sentiment_core.scoring.scorer import Scorer


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("input", type=Path)
    parser.add_argument("--reviews", type=int, default=5_000)
    parser.add_argument("--model", type=Path, default=bundled_model_path())
    parser.add_argument("--label-column", default="stars")
    parser.add_argument("--positive-above", type=float, default=5)
    options = parser.parse_args()

    table = pq.read_table(options.input, columns=["text", options.label_column])
    rng = np.random.default_rng(0)
    table = table.take(rng.permutation(len(table))[: options.reviews])
    texts = table["text"].combine_chunks()
    positive = table[options.label_column].to_numpy() > options.positive_above
    model = load_model(options.model)

    exact = Scorer(model, engine="onnx", precision="float32").score_texts(texts).positive_probability
    scorer = Scorer(model, engine="onnx", precision="int8")
    rounded = scorer.score_texts(texts).positive_probability
    # Other neighbours: another order, and small groups.
    elsewhere = np.empty_like(rounded)
    for rows in np.array_split(rng.permutation(len(texts)), len(texts) // 100 + 1):
        elsewhere[rows] = scorer.score_texts(texts.take(rows)).positive_probability
    print(
        json.dumps(
            {
                "model": model.sha256,
                "reviews": len(texts),
                "accuracy_float32": accuracy(exact, positive),
                "accuracy_int8": accuracy(rounded, positive),
                "labels_flipped": float(np.mean((exact >= 0.5) != (rounded >= 0.5))),
                "change_by_int8": spread(rounded - exact),
                "change_by_neighbours": spread(elsewhere - rounded),
            },
            indent=2,
        )
    )


def accuracy(probability: npt.NDArray[np.float64], positive: npt.NDArray[np.bool_]) -> float:
    """Share of right labels at 0.5; a text without a token counts as undecided."""
    return float(np.mean((np.nan_to_num(probability, nan=0.5) >= 0.5) == positive))


def spread(change: npt.NDArray[np.float64]) -> dict[str, float]:
    """Quantiles of the size of the change."""
    size = np.abs(change[np.isfinite(change)])
    median, common, rare = np.quantile(size, [0.5, 0.99, 0.999])
    return {"median": median, "p99": common, "p99_9": rare, "largest": float(size.max())}


if __name__ == "__main__":
    main()
