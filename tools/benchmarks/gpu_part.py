"""A part of the GPU benchmark, in a process of its own: a part that fails or hangs costs the others nothing.

    python -m tools.benchmarks.gpu_part PART --reviews FILE --result FILE.json --seconds 60

What it has found is in the result after each step, also when it is ended in the middle.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from sentiment_core.artifact import Model, bundled_model_path, load_model
from sentiment_core.engines.cuda import CudaEngine
from sentiment_core.scoring.batching import TokenBatch, token_batches
from sentiment_core.scoring.lanes import in_order
from sentiment_core.scoring.scorer import Scorer
from tests.support.reference import reference_probability
from tools.benchmarks.gpu_engines import ENGINES
from tools.benchmarks.gpu_workers import Workers
from tools.benchmarks.peer_torch import torch_loop

__all__ = ["PARTS", "TOLERANCES", "Part", "main"]

_LOGGER = logging.getLogger(__name__)
_ROOT = Path(__file__).parents[2]
# Of a probability, against the float64 oracle.
TOLERANCES = {"float32": 1e-4, "float16": 2e-3}
# Rows of an Arrow batch, as the score job hands them to a worker.
_SLICE = 4_000
_PEER_BATCH = 64
_USUAL = next(iter(ENGINES))
_MINILM_TOKENS = 256


class Part:
    """What the steps of a part share, and what they have found.

    Parameters
    ----------
    model : Model
    reviews : Path
        Parquet: ``text``, and ``oracle`` where the oracle's probability of this model is known.
    result : Path
        Where the findings go.
    device : str
        ``gpu:0``, or ``cpu`` to try the benchmark.
    seconds : float
        No step begins later.
    scale : float
        Share of the full number of reviews.
    """

    def __init__(self, *, model: Model, reviews: Path, result: Path, device: str, seconds: float, scale: float) -> None:
        self.model, self.reviews, self.device, self.scale = model, reviews, device, scale
        table = pq.read_table(reviews)
        self.texts: pa.LargeStringArray = table["text"].cast(pa.large_string()).combine_chunks()
        self.oracle = (
            table["oracle"].to_numpy() if "oracle" in table.column_names else np.full(len(table), np.nan)
        )  # (reviews,), NaN where it is not known
        known = (table.schema.metadata or {}).get(b"model_sha256", b"").decode()
        if known not in ("", self.model.sha256):
            self.oracle = np.full(len(table), np.nan)  # of another model
        self.form = _USUAL
        self._deadline = time.monotonic() + seconds
        self._result = result
        self.found: dict[str, Any] = {}

    def step(self, name: str, measure: Callable[[], dict[str, Any]]) -> bool:
        """Note what a step finds, or what it raises: the next step goes on; returns whether it found something."""
        started = time.perf_counter()
        try:
            if not self.in_time:
                raise TimeoutError("the part's time was used up")
            found = measure()
        except Exception as error:  # noqa: BLE001, the other steps are wanted all the same
            found = {"failed": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"}
        found["seconds"] = round(time.perf_counter() - started, 3)
        self.found[name] = found
        self.save()
        _LOGGER.info("%s took %.1f s%s", name, found["seconds"], f": {found['failed']}" if "failed" in found else "")
        return "failed" not in found

    def save(self) -> None:
        """Write what was found so far."""
        beside = self._result.with_suffix(".new")
        beside.write_text(json.dumps(self.found, indent=1) + "\n")
        beside.replace(self._result)

    @property
    def in_time(self) -> bool:
        """Whether there is time to measure more."""
        return time.monotonic() < self._deadline

    def engine(self, *, precision: str, streams: int = 2, form: str = "packed, layers together") -> CudaEngine:
        """One of `ENGINES`."""
        gpu = None if self.device == "cpu" else int(self.device[4:])
        return ENGINES[form](self.model, precision=precision, gpu=gpu, streams=streams)

    def scorer(self, *, precision: str = "float16", threads: int = 1, model: Model | None = None) -> Scorer:
        """As a worker has it."""
        model = model or self.model
        if self.device == "cpu":
            scorer = Scorer(model, engine="torch", threads=threads)
            scorer.engine = CudaEngine(model, precision="float32", gpu=None)
            return scorer
        scorer = Scorer(model, engine="torch", precision=precision, device=self.device, threads=threads)
        if self.form != _USUAL:
            scorer.engine = ENGINES[self.form](model, precision=precision, gpu=int(self.device[4:]))
        return scorer

    def films(self, n_slices: int) -> list[pa.LargeStringArray]:
        """Arrow batches without a text twice: beyond those of the file texts repeat, with a number at the end."""
        films = self.texts.filter(pa.array(np.arange(len(self.texts)) >= self.short_texts))
        rows = max(1, int(_SLICE * self.scale))
        slices = []
        per_pass = max(1, len(films) // rows)
        for number in range(n_slices):
            repeat, place = divmod(number, per_pass)
            part = films.slice(place * rows, rows)
            if repeat:
                part = pc.binary_join_element_wise(part, pa.scalar(str(repeat), part.type), pa.scalar(" ", part.type))
            slices.append(part)
        return slices

    @property
    def short_texts(self) -> int:
        """Reviews of all kinds, the oracle's, that stand in front of the long ones; they are compared, not timed."""
        return min(2_500, len(self.texts) // 2)

    def reset_memory(self) -> None:
        """Begin to count the GPU's peak anew."""
        if self.device != "cpu":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def peak_memory(self) -> int:
        """Bytes of tensors at most since then."""
        return 0 if self.device == "cpu" else int(torch.cuda.max_memory_allocated())


def the_engine(part: Part) -> None:
    """Agreement with the oracle, forms, sizes, streams, threads, and a card that is too small."""
    part.step("card", lambda: card(part.device))
    part.step("form", lambda: usable_form(part))
    for precision in TOLERANCES:
        part.step(f"oracle, {precision}", partial(agreement, part, precision))
    part.step("out of memory", lambda: out_of_memory(part, part.films(1)[0]))
    part.step("worker, nothing at the same time", lambda: one_worker(part, threads=1, n_slices=8, lanes=1))
    for threads, n_slices in ((1, 8), (16, 48)):
        part.step(f"worker, {threads} threads", partial(one_worker, part, threads=threads, n_slices=n_slices))
    part.step("forms", lambda: {"rows": list(forms(part, part.films(4)))})
    for threads, n_slices in ((4, 24), (8, 32), (2, 12)):
        part.step(f"worker, {threads} threads", partial(one_worker, part, threads=threads, n_slices=n_slices))


def the_peers(part: Part) -> None:
    """The same weights in PyTorch as a user would write it, and a small transformer."""
    given = pa.concat_arrays(part.films(2)).slice(0, 5_000).to_pylist()
    device = part.device.replace("gpu", "cuda")
    for name, batch_size, by_length, half in (
        ("PyTorch float32, batches of 64 as they come", _PEER_BATCH, False, False),
        ("PyTorch float32, batches of 64, sorted by length", _PEER_BATCH, True, False),
        ("PyTorch float16, batches of 64, sorted by length", _PEER_BATCH, True, True),
        ("PyTorch float16, batches of 1,024, sorted by length", 1_024, True, True),
    ):
        if half and part.device == "cpu":
            continue
        options = {"batch_size": batch_size, "device": device, "by_length": by_length, "half": half}
        part.step(name, lambda options=options: timed_peer(part, torch_loop(part.model, **options), given))  # type: ignore[misc]
    part.step("all-MiniLM-L6-v2 float16, transformers, sorted by length", lambda: minilm(part, given))


def the_workers(part: Part) -> None:
    """Processes that share the card, as Spark's Python workers do."""
    most = 8 if part.scale == 1 else 2
    workers: list[Workers] = []

    def start() -> dict[str, Any]:
        workers.append(Workers(most, model=part.model, device=part.device, reviews=part.reviews, scale=part.scale))
        return {"workers": most, "worker_function": workers[0].function}

    if not part.step("start of the workers", start):
        return
    try:
        for count, n_slices in ((1, 12), (2, 12), (4, 12), (most, 8)) if most > 2 else ((1, 2), (most, 2)):
            part.step(f"{count} workers", partial(workers[0].run, count, n_slices=n_slices))
    finally:
        workers[0].close()


PARTS: dict[str, Callable[[Part], None]] = {"engine": the_engine, "peers": the_peers, "workers": the_workers}


def card(device: str) -> dict[str, Any]:
    """Card, driver and versions."""
    found: dict[str, Any] = {"cores": len(os.sched_getaffinity(0)), "python": sys.version.split()[0]}
    for package in ("torch", "numpy", "pyarrow", "transformers"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    processors = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    found["processor"] = processors[0].split(":", 1)[1].strip() if processors else None
    if device == "cpu":
        return found
    properties = torch.cuda.get_device_properties(0)
    asked = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.max.sm", "--format=csv,noheader"]
    there = shutil.which(asked[0]) is not None
    smi = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=False).stdout if there else ""
    return found | {
        "card": properties.name,
        "memory_bytes": properties.total_memory,
        "multiprocessors": properties.multi_processor_count,
        "nvidia_smi": smi.strip(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }


def usable_form(part: Part) -> dict[str, Any]:
    """Let the part use the first form that computes at all; the usual one, unless cuDNN refuses it."""
    if part.device == "cpu":
        return {"form": part.form}
    refused = {}
    encoded = part.model.text.encode(part.films(1)[0])
    batch = next(token_batches(encoded, max_batch_tokens=CudaEngine.batch_tokens))
    for part.form in ENGINES:
        try:
            part.engine(precision="float16", form=part.form).logits(batch.token_ids, batch.valid_length)
        except RuntimeError as error:
            refused[part.form] = str(error)[:300]
        else:
            return {"form": part.form, "refused": refused}
    raise RuntimeError(f"no form computes: {refused}")


def agreement(part: Part, precision: str) -> dict[str, Any]:
    """Largest change of a probability from the oracle, on golden and real reviews, and what else moves a score."""
    known = np.flatnonzero(~np.isnan(part.oracle))[: max(1, int(5_000 * part.scale))]
    scorer = part.scorer(precision=precision)
    texts = part.texts.take(pa.array(known))
    found = scorer.score_texts(texts).positive_probability
    change = np.abs(found - part.oracle[known])
    again = scorer.score_texts(texts).positive_probability
    alone = scorer.score_texts(texts.slice(0, 64)).positive_probability
    rows = json.loads((_ROOT / "tests/golden/reviews.json").read_text())
    golden_texts = [row["text"] for row in rows]
    golden = part.scorer(precision=precision, model=load_model(_ROOT / "tests/golden/model"))
    golden_found = golden.score_texts(golden_texts).positive_probability
    golden_expected = np.array([row["positive_probability"] for row in rows], np.float64)
    bundled = scorer.score_texts(golden_texts).positive_probability
    bundled_expected = reference_probability(part.model, golden_texts)
    largest = {
        "real": float(change.max()) if len(change) else None,
        "golden": float(np.nanmax(np.abs(golden_found - golden_expected))),
        "golden reviews, bundled model": float(np.nanmax(np.abs(bundled - bundled_expected))),
    }
    same_empty = bool((np.isnan(golden_found) == np.isnan(golden_expected)).all())
    measured = [value for value in largest.values() if value is not None]
    return {
        "engine": scorer.engine.name,
        "real_reviews": len(known),
        "golden_reviews": len(golden_texts),
        "largest_change": largest,
        "change_99.9_percentile": float(np.quantile(change, 0.999)) if len(change) else None,
        "mean_change": float(change.mean()) if len(change) else None,
        "labels_changed": int(((found >= 0.5) != (part.oracle[known] >= 0.5)).sum()),
        "scored_again_changed": int((found != again).sum()),
        "largest_change_by_neighbours": float(np.abs(found[:64] - alone).max()) if len(change) else None,
        "tolerance": TOLERANCES[precision],
        "agrees": bool(max(measured) <= TOLERANCES[precision] and same_empty),
    }


def forms(part: Part, slices: Sequence[pa.LargeStringArray]) -> Iterator[dict[str, Any]]:
    """Tokens a second of the engine alone, of batches that are ready, by form, precision, size and streams."""
    encoded = [part.model.text.encode(texts) for texts in slices]
    tokens = sum(int(one.valid_length.sum()) for one in encoded)
    usual = _USUAL
    plan: list[tuple[str, str, int, int]] = [
        *((usual, "float16", 20, streams) for streams in (1, 2, 4)),
        *((usual, "float16", 22, streams) for streams in (1, 2)),
        *((usual, "float16", 18, streams) for streams in (1, 2, 4, 8)),
        *((usual, "float16", size, 2) for size in (16, 17, 19, 21)),
        *((form, "float16", size, 2) for form in list(ENGINES)[1:] for size in (20, 18)),
        *((usual, precision, 20, 2) for precision in ("float32", "bfloat16")),
        ("padded, layer by layer", "float32", 18, 1),  # what the engine was before
    ]
    if part.device == "cpu":
        plan = [(usual, "float32", 12, 1), ("padded, layer by layer", "float32", 12, 1)]
    by_size: dict[int, list[TokenBatch]] = {}
    for form, precision, size, streams in plan:
        if not part.in_time:
            return
        row = {"form": form, "precision": precision, "batch_tokens": 1 << size, "streams": streams}
        if size not in by_size:
            by_size.clear()
            by_size[size] = [batch for one in encoded for batch in token_batches(one, max_batch_tokens=1 << size)]
        batches = by_size[size]
        try:
            part.reset_memory()
            engine = part.engine(precision=precision, streams=streams, form=form)
            run_engine(engine, batches[: max(2, len(batches) // 4)])
            seconds = median(run_engine(engine, batches) for _ in range(2))
            row |= {"tokens_per_second": tokens / seconds, "batches": len(batches)}
            row["gpu_memory_bytes"] = part.peak_memory()
        except RuntimeError as error:  # out of memory is one; cuDNN has limits of its own
            row["failed"] = str(error).splitlines()[0]
        engine = None  # type: ignore[assignment]
        _LOGGER.info("%s", row)
        yield row


def run_engine(engine: CudaEngine, batches: Sequence[TokenBatch]) -> float:
    """Seconds for all batches, as many at a time as the engine has streams."""
    started = time.perf_counter()
    computed = in_order(
        lambda batch: engine.logits(batch.token_ids, batch.valid_length), batches, lanes=engine.concurrency
    )
    for _ in computed:
        pass
    return time.perf_counter() - started


def one_worker(part: Part, *, threads: int, n_slices: int, lanes: int | None = None) -> dict[str, Any]:
    """One process from text to probability."""
    scorer = part.scorer(threads=threads)
    lanes = lanes or scorer.lanes
    slices = part.films(n_slices)
    n_reviews = sum(map(len, slices))
    part.reset_memory()
    tokens = 0

    def score() -> tuple[float, float]:
        nonlocal tokens
        tokens = 0
        busy = cpu_seconds()
        started = time.perf_counter()
        for scores in in_order(scorer.score_texts, slices, lanes=lanes):
            tokens += int(np.minimum(scores.n_tokens, part.model.text.settings.max_tokens).sum())
        return time.perf_counter() - started, cpu_seconds() - busy

    for _ in in_order(scorer.score_texts, slices[:lanes], lanes=lanes):
        pass
    rounds = [score() for _ in range(2)]
    seconds = min(seconds for seconds, _ in rounds)
    encoded = [part.model.text.encode(texts) for texts in islice(slices, 4)]
    batches = [batch for one in encoded for batch in token_batches(one, max_batch_tokens=scorer.max_batch_tokens)]
    assert isinstance(scorer.engine, CudaEngine)
    run_engine(scorer.engine, batches)
    engine_seconds = run_engine(scorer.engine, batches) * tokens / sum(int(one.valid_length.sum()) for one in encoded)
    return {
        "threads": threads,
        "lanes": lanes,
        "reviews": n_reviews,
        "tokens": tokens,
        "batch_tokens": scorer.max_batch_tokens,
        "streams": scorer.engine.concurrency,
        "rounds": rounds,
        "reviews_per_second": n_reviews / seconds,
        "tokens_per_second": tokens / seconds,
        "engine_share": min(1.0, engine_seconds / seconds),
        "engine_tokens_per_second": tokens / engine_seconds,
        "gpu_memory_bytes": part.peak_memory(),
    }


def cpu_seconds() -> float:
    """Of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def out_of_memory(part: Part, texts: pa.LargeStringArray) -> dict[str, Any]:
    """Score with a card that is too small for the batches, and compare."""
    scorer = part.scorer()
    part.reset_memory()
    expected = scorer.score_texts(texts).positive_probability
    calls: list[int] = []
    logits = scorer.engine.logits

    def counted(token_ids: npt.NDArray[np.int32], valid_length: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
        calls.append(token_ids.shape[1])
        return logits(token_ids, valid_length)

    scorer.engine.logits = counted  # type: ignore[method-assign]
    scorer.score_texts(texts)
    batches = len(calls)
    calls.clear()
    if part.device != "cpu":
        peak = part.peak_memory()
        torch.cuda.empty_cache()
        held = torch.cuda.memory_reserved()
        limit = held + max(64 << 20, int(0.2 * (peak - torch.cuda.memory_allocated())))
        torch.cuda.set_per_process_memory_fraction(limit / torch.cuda.get_device_properties(0).total_memory)
    try:
        scores = scorer.score_texts(texts, mark_failed=True)
    finally:
        if part.device != "cpu":
            torch.cuda.set_per_process_memory_fraction(1.0)
            torch.cuda.empty_cache()
    found: dict[str, Any] = {
        "reviews": len(texts),
        "batches": batches,
        "calls_of_the_engine": len(calls),
        "smallest_batch": min(calls),
        "failures": dict(scores.failures()),
        "largest_change": float(np.nanmax(np.abs(scores.positive_probability - expected))),
    }
    if part.device != "cpu":
        found |= {"peak_bytes": peak, "limit_bytes": limit, "halved": len(calls) > batches}
    return found


def timed_peer(
    part: Part, score: Callable[[list[str]], npt.NDArray[np.float64]], texts: list[str], *, rounds: int = 2
) -> dict[str, Any]:
    """Reviews a second of another way to score."""
    part.reset_memory()
    score(texts[:_PEER_BATCH])
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        score(texts)
        seconds.append(time.perf_counter() - started)
    return {
        "reviews": len(texts),
        "rounds": seconds,
        "reviews_per_second": len(texts) / min(seconds),
        "gpu_memory_bytes": part.peak_memory(),
    }


def minilm(part: Part, texts: list[str]) -> dict[str, Any]:
    """The transformer of the directory ``$MINILM`` with a head of random weights: its speed, not its judgement."""
    directory = os.environ.get("MINILM")
    if not directory or find_spec("transformers") is None:
        return {"skipped": "MINILM names no directory, or there is no transformers"}
    os.environ["TRANSFORMERS_OFFLINE"] = os.environ["HF_HUB_OFFLINE"] = "1"
    from transformers import AutoModel, AutoTokenizer

    device = "cpu" if part.device == "cpu" else "cuda:0"
    tokenizer = AutoTokenizer.from_pretrained(directory)
    kind = torch.float32 if part.device == "cpu" else torch.float16
    body = AutoModel.from_pretrained(directory).to(device, kind).eval()
    head = torch.nn.Linear(body.config.hidden_size, 1, device=device, dtype=kind)
    tokens = 0

    def score(given: list[str], batch_size: int) -> npt.NDArray[np.float64]:
        nonlocal tokens
        tokens = 0
        order = sorted(range(len(given)), key=lambda index: -len(given[index]))
        found = []
        with torch.inference_mode():
            for start in range(0, len(order), batch_size):
                some = [given[index] for index in order[start : start + batch_size]]
                batch = tokenizer(
                    some, padding=True, truncation=True, max_length=_MINILM_TOKENS, return_tensors="pt"
                ).to(device)
                states = body(**batch).last_hidden_state  # (N, T, H)
                mask = batch["attention_mask"][..., None].to(kind)
                pooled = (states * mask).sum(dim=1) / mask.sum(dim=1)
                found.append(head(pooled)[:, 0].float().sigmoid())
                tokens += int(batch["attention_mask"].sum())
            probabilities = np.empty(len(given))
            probabilities[order] = torch.cat(found).cpu().numpy()
        return probabilities

    best: dict[str, Any] = {}
    for batch_size in (64, 512) if part.scale == 1 else (8,):
        result = timed_peer(part, partial(score, batch_size=batch_size), texts, rounds=1)
        result |= {"batch_size": batch_size, "most_tokens": _MINILM_TOKENS, "tokens": tokens}
        if result["reviews_per_second"] > best.get("reviews_per_second", 0):
            best = result
    return best


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure one part; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--model", type=Path, default=bundled_model_path())
    parser.add_argument("--reviews", type=Path, required=True)
    parser.add_argument("--result", type=Path, required=True)
    parser.add_argument("--device", default="gpu:0")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--scale", type=float, default=1.0)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    part = Part(
        model=load_model(options.model),
        reviews=options.reviews,
        result=options.result,
        device=options.device,
        seconds=options.seconds,
        scale=options.scale,
    )
    PARTS[options.part](part)
    return 0


if __name__ == "__main__":
    sys.exit(main())
