"""Digests of what texts get: two interpreters, versions of NumPy or processors are compared without having both.

    .venv/bin/python -m tests.support.digests [--store]

It computes the digests, prints those that differ from ``tests/golden/digests.json``, and stores them with ``--store``.
Store them after a change that moves scores on purpose: another bundled model, text pipeline, ONNX Runtime or mart.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import platform
import re
import sys
import tempfile
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from sentiment_core.artifact import Model, bundled_model_path, load_model
from sentiment_core.logistic import sigmoid
from sentiment_core.scoring.drivers import changes
from sentiment_core.scoring.scorer import Scorer

__all__ = ["EVERYWHERE", "RENEW", "differences", "everywhere", "of_engines", "of_job", "processor", "stored"]

GOLDEN = Path(__file__).parent.parent / "golden"
_STORED = GOLDEN / "digests.json"
EVERYWHERE = "every processor"
# What ONNX Runtime chooses its kernels by; those of float32 may add up in another order.
_INSTRUCTIONS = r"\b(avx2|avx512f|avx512_vnni|avx_vnni|amx_int8)\b"
# This mart holds seconds, which are others in each run.
_TIMED = {"run_history"}
# It names a run by its settings, too.
_NAMES = {"run_id"}
RENEW = "to store what moved on purpose: .venv/bin/python -m tests.support.digests --store"


def processor() -> str:
    """The kind of this machine's processor, as far as ONNX Runtime's kernels depend on it."""
    try:
        found = re.findall(_INSTRUCTIONS, Path("/proc/cpuinfo").read_text())
    except OSError:  # not Linux
        found = []
    return " ".join([platform.machine(), *sorted(set(found))])


def stored(kind: str) -> dict[str, str]:
    """The stored digests of a processor, or of `EVERYWHERE`; empty if there are none."""
    return _read().get(kind, {})


def differences(found: dict[str, str], kind: str) -> list[str]:
    """Names of digests that are not the stored ones, or are not stored."""
    known = stored(kind)
    return [name for name, digest in found.items() if known.get(name) != digest]


def everywhere() -> dict[str, str]:
    """Digests of what no engine computes: tokens, the logistic function, and the shares of drivers."""
    # Made by exact operations, too.
    sizes = np.concatenate([np.arange(400_000) / 10_000, np.ldexp(1.0, np.arange(-100, 11)), [np.inf]])
    logits = np.concatenate([sizes, -sizes])
    golden, sample = _golden(), _sample()
    encoded = golden[0].text.encode(pa.array(golden[1], pa.large_string()))
    contributions = np.random.default_rng(0).integers(-999, 999, len(encoded.token_ids)) / 256
    return {
        "sigmoid": _digest(sigmoid(logits)),
        "golden model, probability of logits": _digest(golden[0].decision.probability(logits.astype(np.float32))),
        "golden model, changes of the logit": _digest(changes(contributions, encoded)),
        "golden model, tokens": _tokens(*golden),
        "sample reviews, tokens": _tokens(*sample),
    }


def of_engines() -> dict[str, str]:
    """Digests of each column of `Scorer`: the golden model on its reviews, the bundled one on the sample reviews."""
    return {
        f"{name}, {precision}, {column}": digest
        for name, (model, texts) in {"golden model": _golden(), "sample reviews": _sample()}.items()
        for precision in ("int8", "float32")
        for column, digest in of_scorer(model, texts, precision=precision).items()
    }


def of_scorer(model: Model, texts: Sequence[str | None], *, precision: str) -> dict[str, str]:
    """Digests of what the ONNX engine makes of texts, by column."""
    scores = Scorer(model, engine="onnx", precision=precision, threads=1).score_texts(texts, drivers=5)
    assert scores.drivers is not None
    return {
        "positive_probability": _digest(scores.positive_probability),
        "n_tokens": _digest(scores.n_tokens),
        "n_unknown": _digest(scores.n_unknown),
        "sentiment": _digest_of_rows(scores.sentiment.tolist()),
        "score_status": _digest_of_rows(scores.status.tolist()),
        "drivers": _digest_of_rows(scores.drivers.to_pylist()),
    }


def of_job(folder: Path) -> dict[str, str]:
    """Digests of the table that ``score`` makes of the sample reviews, by column, and of each mart that follows."""
    from jobs import cli
    from jobs.demo.sample_reviews import main

    main([str(folder / "reviews.parquet")])
    kept = ["--keep-columns", "product_id,review_date,stars", "--drivers", 5, "--run-date", date(2026, 11, 1)]
    for arguments in (
        ["score", "--input", folder / "reviews.parquet", "--output", folder / "scores", *kept],
        ["summarize", "--scores", folder / "scores", "--output", folder / "marts", "--date-column", "review_date"],
    ):
        with contextlib.redirect_stdout(io.StringIO()):
            assert cli.main(list(map(str, arguments))) == 0, arguments[0]
    scores = _rows(folder / "scores").sort_by("review_id")
    digests = {
        f"scores, {name}": _digest_of_rows(scores[name].to_pylist())
        for name in scores.column_names
        if name not in _NAMES
    }
    marts = sorted(path for path in (folder / "marts").iterdir() if path.is_dir() and path.name[0] not in "._")
    return digests | {
        f"marts, {mart.name}": _digest_of_rows(sorted(map(repr, _rows(mart).to_pylist())))
        for mart in marts
        if mart.name not in _TIMED
    }


def main(arguments: Sequence[str]) -> int:
    """Print what differs from the stored digests, or store them; returns the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        found = {EVERYWHERE: everywhere(), processor(): of_engines() | of_job(Path(folder))}
    different = [name for kind, digests in found.items() for name in differences(digests, kind)]
    print("\n".join(different) or "all digests are the stored ones")
    if "--store" not in arguments:
        return 1 if different else 0
    # What moved here moved on other processors, too: their digests are stored anew there.
    moved = any(stored(kind) and differences(digests, kind) for kind, digests in found.items())
    kept = {} if moved else _read()
    _STORED.write_text(json.dumps(kept | found, indent=1) + "\n")
    return 0


def _read() -> dict[str, dict[str, str]]:
    digests: dict[str, dict[str, str]] = json.loads(_STORED.read_text()) if _STORED.exists() else {}
    return digests


def _golden() -> tuple[Model, list[str | None]]:
    return load_model(GOLDEN / "model"), [row["text"] for row in json.loads((GOLDEN / "reviews.json").read_text())]


def _sample() -> tuple[Model, list[str | None]]:
    from jobs.demo.sample_reviews import generate_reviews

    return load_model(bundled_model_path()), generate_reviews()["text"].to_pylist()


def _tokens(model: Model, texts: Sequence[str | None]) -> str:
    encoded = model.text.encode(pa.array(texts, pa.large_string()))
    return _digest(np.concatenate([encoded.token_ids.astype(np.int64), encoded.offsets.astype(np.int64)]))


def _rows(folder: Path) -> pa.Table:
    """All rows below a directory, partition columns as text."""
    return ds.dataset(folder, format="parquet", partitioning=ds.HivePartitioning(pa.schema([]))).to_table()


def _digest(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def _digest_of_rows(rows: Iterable[Any]) -> str:
    return hashlib.sha256("\n".join(map(repr, rows)).encode()).hexdigest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
