"""Our GPU engine beside its peers on one card: speed by batch size, agreement with the oracle, where the time goes.

    .venv/bin/python -m benchmarks.gpu --data DIRECTORY

Batches grow until they hold all reviews or the card is full. Without a CUDA GPU: one sentence and exit code 6.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.command import benchmark_parser, parse, run
from benchmarks.figures import Spread, markdown_table
from benchmarks.report import machine
from benchmarks.reviews import prepare_reviews
from sentiment_core.artifact import Model, load_model
from sentiment_core.batching import token_batches
from sentiment_core.engines.onnx_graph import onnx_graph
from sentiment_core.errors import AuditError, EnvironmentFault
from sentiment_core.scoring import Scorer
from tests.reference import reference_probability

__all__ = ["TOLERANCES", "main", "measure_engine", "measure_peer"]

_LOGGER = logging.getLogger(__name__)
# Of a probability, against the float64 oracle.
TOLERANCES = {"float32": 1e-4, "float16": 2e-3}
_SMALLEST_BATCH = 1 << 14
_ORACLE_REVIEWS = 100
_PEER_REVIEWS = 5_000
_PEER_BATCH_SIZE = 64


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    options = parse(benchmark_parser(__doc__, reviews=50_000, quick_reviews=500), arguments)
    return run(lambda: report(options))


def report(options: argparse.Namespace) -> None:
    """Measure, save ``gpu.json`` and print the tables.

    Raises
    ------
    EnvironmentFault
        If there is no GPU.
    AuditError
        If an engine differs from the oracle.
    """
    card = _card()
    results = {"card": card, "machine": machine(), **_measure(options)}
    (options.directory / "gpu.json").write_text(json.dumps(results, indent=2) + "\n")
    print(tables(results))
    disagreeing = [name for name, engine in results["engines"].items() if not engine["agrees"]]
    if disagreeing:
        raise AuditError(f"{', '.join(disagreeing)} differ from the oracle by too much")


def measure_engine(
    model: Model, texts: pa.Array, *, device: str, precision: str, rounds: int, smallest_batch: int = _SMALLEST_BATCH
) -> dict[str, Any]:
    """Our torch engine on all texts.

    Parameters
    ----------
    model : Model
    texts : Arrow array of string, shape (N,)
    device : str
        ``gpu:N``, or ``cpu`` to try it.
    precision : str
        ``float32`` or ``float16``.
    rounds : int
    smallest_batch : int
        Tokens of the first batches; each further size is twice the one before.
    """
    scorer = Scorer(model, engine="torch", precision=precision, device=device)
    some = texts[:_ORACLE_REVIEWS]
    change = float(
        np.nanmax(
            np.abs(scorer.score_texts(some).positive_probability - reference_probability(model, some.to_pylist()))
        )
    )
    started = time.perf_counter()
    encoded = model.text.encode(texts)
    encode_seconds = time.perf_counter() - started
    tokens = int(encoded.valid_length.sum())
    sizes: list[dict[str, Any]] = []
    stopped_by = None
    for batch_tokens in _doubled(smallest_batch, up_to=tokens):
        scorer.max_batch_tokens = batch_tokens
        try:
            whole = [_whole_way(scorer, texts, device=device) for _ in range(rounds + 1)][1:]  # the first warms up
            started = time.perf_counter()
            batches = list(token_batches(encoded, max_batch_tokens=batch_tokens, length_step=scorer.engine.length_step))
            batch_seconds = time.perf_counter() - started
            started = time.perf_counter()
            for batch in batches:
                scorer.engine.logits(batch.token_ids, batch.valid_length)
            engine_seconds = time.perf_counter() - started
        except RuntimeError as error:  # out of memory is one; cuDNN has limits of its own
            if not sizes:
                raise
            stopped_by = str(error).splitlines()[0]
            _LOGGER.info("%s, %s tokens a batch: %s", precision, f"{batch_tokens:,}", stopped_by)
            break
        seconds = Spread.of([one["seconds"] for one in whole])
        sizes.append(
            {
                "batch_tokens": batch_tokens,
                "seconds": asdict(seconds),
                "reviews_per_second": len(texts) / seconds.median,
                "tokens_per_second": tokens / seconds.median,
                "gpu_memory_bytes": max(one["gpu_memory_bytes"] for one in whole),
                "parts": {
                    "text to ids": encode_seconds,
                    "batches": batch_seconds,
                    "engine, with both transfers": engine_seconds,
                    "equal texts, decisions, the rest": seconds.median
                    - encode_seconds
                    - batch_seconds
                    - engine_seconds,
                },
            }
        )
        _LOGGER.info(
            "%s, %s tokens a batch: %.0f reviews/s", precision, f"{batch_tokens:,}", len(texts) / seconds.median
        )
    return {
        "largest_change_from_oracle": change,
        "agrees": change <= TOLERANCES[precision],
        "tokens": tokens,
        "sizes": sizes,
        "stopped_by": stopped_by,
    }


def measure_peer(
    score: Callable[[list[str]], npt.NDArray[np.float64]], texts: pa.Array, *, rounds: int
) -> dict[str, Any]:
    """Reviews a second of another way to score."""
    given = texts.to_pylist()
    score(given[:_PEER_BATCH_SIZE])
    speeds = []
    for _ in range(rounds):
        started = time.perf_counter()
        score(given)
        speeds.append(len(given) / (time.perf_counter() - started))
    return {"reviews": len(given), "reviews_per_second": asdict(Spread.of(speeds))}


def onnx_scorer(model: Model, *, provider: str) -> Callable[[list[str]], npt.NDArray[np.float64]]:
    """The float32 graph in ONNX Runtime, sorted batches, on a provider such as ``CUDAExecutionProvider``."""
    session = onnxruntime.InferenceSession(onnx_graph(model, precision="float32"), providers=[provider])

    def score(texts: list[str]) -> npt.NDArray[np.float64]:
        encoded = model.text.encode(pa.array(texts, pa.large_string()))
        logits = np.zeros(len(texts), np.float32)
        for batch in token_batches(encoded, max_batch_tokens=1 << 18):
            inputs = {"token_ids": batch.token_ids, "valid_length": batch.valid_length}
            (logits[batch.rows],) = session.run(["logits"], inputs)
        return model.decision.probability(logits)

    return score


def tables(results: dict[str, Any]) -> str:
    """Engines, parts of the time and peers as Markdown."""
    sizes = [
        [
            precision,
            f"{size['batch_tokens']:,}",
            f"{size['reviews_per_second']:,.0f}",
            f"{size['tokens_per_second']:,.0f}",
            f"{size['gpu_memory_bytes'] / 1e9:.1f}",
            ", ".join(f"{name} {seconds:.2f}" for name, seconds in size["parts"].items()),
        ]
        for precision, engine in results["engines"].items()
        for size in engine["sizes"]
    ]
    peers = [
        [name, f"{peer['reviews']:,}", f"{Spread(**peer['reviews_per_second']):,.0f}"]
        for name, peer in results["peers"].items()
    ]
    agreement = [
        f"{precision}: {engine['largest_change_from_oracle']:.1e} from the oracle at most, {TOLERANCES[precision]:.0e} "
        "allowed"
        for precision, engine in results["engines"].items()
    ]
    header = ["precision", "tokens a batch", "reviews/s", "tokens/s", "GPU memory, GB", "where the seconds go"]
    return "\n\n".join(
        [
            f"{results['reviews']:,} reviews from text to probability on one {results['card']}",
            markdown_table(header, sizes),
            "\n".join(agreement),
            markdown_table(["peer", "reviews", "reviews/s"], peers),
        ]
    )


def _card() -> str:
    """The GPU's name.

    Raises
    ------
    EnvironmentFault
        If there is none that PyTorch can use.
    """
    if find_spec("torch") is None:
        raise EnvironmentFault("the GPU benchmark needs PyTorch; pip install 'sentiment-warehouse[gpu]'")
    import torch

    if not torch.cuda.is_available():
        raise EnvironmentFault("there is no CUDA GPU that PyTorch can use; run `make bench` for the CPU")
    return str(torch.cuda.get_device_name(0))


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    from benchmarks.peer_torch import torch_loop

    model = load_model(options.model)
    reviews = prepare_reviews(options.directory, data=options.data, n_reviews=options.reviews)
    texts = pq.read_table(reviews, columns=["text"])["text"].cast(pa.large_string()).combine_chunks()
    some = texts[:_PEER_REVIEWS]
    engines = {
        precision: measure_engine(model, texts, device="gpu:0", precision=precision, rounds=options.rounds)
        for precision in TOLERANCES
    }
    loop = torch_loop(model, batch_size=_PEER_BATCH_SIZE, device="cuda:0")
    peers = {
        f"PyTorch loop, batches of {_PEER_BATCH_SIZE} as they come": measure_peer(loop, some, rounds=options.rounds)
    }
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        score = onnx_scorer(model, provider="CUDAExecutionProvider")
        peers["ONNX Runtime on CUDA, sorted batches"] = measure_peer(score, some, rounds=options.rounds)
    return {"reviews": len(texts), "rounds": options.rounds, "engines": engines, "peers": peers}


def _doubled(first: int, *, up_to: int) -> Iterator[int]:
    """First, twice that and so on, until one batch would hold everything."""
    yield first
    while first < up_to:
        first *= 2
        yield first


def _whole_way(scorer: Scorer, texts: pa.Array, *, device: str) -> dict[str, float]:
    """Text to probability, once."""
    import torch

    on_gpu = device != "cpu"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device.replace("gpu", "cuda"))
    started = time.perf_counter()
    scorer.score_texts(texts)
    seconds = time.perf_counter() - started
    memory = torch.cuda.max_memory_allocated(device.replace("gpu", "cuda")) if on_gpu else 0
    return {"seconds": seconds, "gpu_memory_bytes": memory}


if __name__ == "__main__":
    sys.exit(main())
