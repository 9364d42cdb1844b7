"""What one would take instead, trained on the same reviews: accuracy by kind of text, speed and price.

    python -m tools.benchmarks.peers --prepared DIRECTORY --teacher DIRECTORY

DIRECTORY of ``--prepared`` is what ``tools.bundled_model.prepare`` writes; that of ``--teacher`` is a transformer that
``sentiment teach`` fine-tuned on it. Each contestant is fitted once and scores in a process of its own, in rounds of
alternating order.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sentiment_core.artifact import bundled_model_path, load_model
from sentiment_core.dataset.holdout import held_out_mask
from sentiment_core.mxnet_setup import available_cores
from tools.benchmarks.command import run
from tools.benchmarks.figures import Spread, markdown_table, price_per_million
from tools.benchmarks.memory import peak_memory

__all__ = ["CONTESTANTS", "KINDS", "main", "table"]

_LOGGER = logging.getLogger(__name__)
Score = Callable[[list[str]], npt.NDArray[np.float64]]
# Sources that no contestant learnt from; films are held out film by film.
KINDS = {
    "films": ("imdb",),
    "products": ("amazon_memcard", "amazon_mixed_tz", "flipkart"),
    "places": ("zomato", "tripadvisor_restaurants", "yelp_2021"),
    "apps": ("chatgpt_app", "netflix_app"),
}
_SHORT = "at most 12 words"
_MOST_SHORT_WORDS = 12
_TRANSFORMER_BATCH, _TRANSFORMER_PIECES = 64, 256


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """Someone's way to score.

    Attributes
    ----------
    scorer : callable
        Of the prepared directory, the transformer's, and one to store in, makes what scores texts.
    packages : tuple of str
        What it imports beyond the project's needs.
    transformer : bool
        Whether it needs one.
    """

    scorer: Callable[[Path, Path | None, Path], Score]
    packages: tuple[str, ...] = ()
    transformer: bool = False


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, save ``peers.json`` and ``peers.svg``; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepared", type=Path, required=True)
    parser.add_argument("--teacher", type=Path)
    parser.add_argument("--directory", type=Path, default=Path("build/benchmarks/peers"))
    parser.add_argument("--reviews", type=int, default=1_000, help="of each kind; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--hourly-price", type=float, default=0.10, help="of this machine")
    parser.add_argument("--contestant", choices=CONTESTANTS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if options.contestant:
        print(json.dumps(_measured(options)))
        return 0
    return run(lambda: _report(options))


def _report(options: argparse.Namespace) -> None:
    options.directory.mkdir(parents=True, exist_ok=True)
    if not (options.directory / "reviews.parquet").exists():
        pq.write_table(sampled_reviews(options.prepared, options.reviews), options.directory / "reviews.parquet")
    measured: dict[str, list[dict[str, Any]]] = {}
    for attempt in range(options.rounds):
        for name in list(CONTESTANTS) if attempt % 2 == 0 else reversed(CONTESTANTS):
            contestant = CONTESTANTS[name]
            lacks = [package for package in contestant.packages if find_spec(package) is None]
            if contestant.transformer and options.teacher is None:
                lacks.append("a transformer (--teacher)")
            if lacks:
                _LOGGER.info("%s: left out, it needs %s", name, ", ".join(lacks))
                continue
            command = [sys.executable, "-m", "tools.benchmarks.peers", "--contestant", name]
            command += ["--prepared", str(options.prepared), "--directory", str(options.directory)]
            command += ["--teacher", str(options.teacher)] if options.teacher else []
            # By path, since Python may be told to import nothing from where it is started.
            environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
            done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=True)
            measured.setdefault(name, []).append(json.loads(done.stdout.splitlines()[-1]))
            _LOGGER.info("%s, round %d: %.1f s", name, attempt + 1, measured[name][-1]["seconds"])
    reviews = pq.read_table(options.directory / "reviews.parquet")
    rows = {}
    for name in (name for name in CONTESTANTS if name in measured):
        speed = Spread.of([len(reviews) / one["seconds"] for one in measured[name]])
        rows[name] = {
            "reviews_per_second": asdict(speed),
            "price_per_million": price_per_million(speed.median, hourly_price=options.hourly_price),
            "peak_memory_bytes": max(one["peak_memory_bytes"] for one in measured[name]),
            "accuracy": measured[name][0]["accuracy"],
        }
    counts = measured and next(iter(measured.values()))[0]["counts"]
    found = {"cores": available_cores(), "hourly_price": options.hourly_price, "reviews": counts, "contestants": rows}
    (options.directory / "peers.json").write_text(json.dumps(found, indent=1) + "\n")
    print(table(found))
    if find_spec("matplotlib") is not None:
        _plot(found, options.directory / "peers.svg")


def table(found: dict[str, Any]) -> str:
    """What was found as Markdown."""
    kinds = list(found["reviews"])
    return markdown_table(
        ["contestant", "reviews/s", "price of 1e6", "peak MB", *(f"{kind}, %" for kind in kinds)],
        [
            [
                name,
                f"{Spread(**row['reviews_per_second']):,.0f}",
                f"{row['price_per_million']:.3f}",
                f"{row['peak_memory_bytes'] / 1e6:,.0f}",
                *(f"{100 * row['accuracy'][kind]:.1f}" for kind in kinds),
            ]
            for name, row in found["contestants"].items()
        ],
    )


def sampled_reviews(prepared: Path, n_each: int) -> pa.Table:
    """Labelled reviews that no contestant learns from: ``text``, ``positive`` and ``kind``."""
    elsewhere = pq.read_table(prepared / "elsewhere.parquet").rename_columns(["text", "label", "source"])
    held_out = labelled_reviews(prepared, held_out=True).select(["text", "label", "source"])
    table = pa.concat_tables([elsewhere, held_out], promote_options="permissive")
    random = np.random.default_rng(3)
    n_words = pc.list_value_length(pc.ascii_split_whitespace(table["text"])).to_numpy()
    source = np.asarray(table["source"].to_pylist())
    rows = {kind: np.flatnonzero(np.isin(source, names)) for kind, names in KINDS.items()}
    rows[_SHORT] = np.flatnonzero((n_words <= _MOST_SHORT_WORDS) & (source != "templates"))
    chosen = {kind: random.permutation(of_kind)[:n_each] for kind, of_kind in rows.items()}
    kinds = np.repeat(list(chosen), [len(one) for one in chosen.values()])
    part = table.take(pa.array(np.concatenate(list(chosen.values()))))
    reviews = pa.table({"text": part["text"], "positive": pc.greater(part["label"], 0.5), "kind": kinds})
    return reviews.take(pa.array(random.permutation(len(reviews))))


def labelled_reviews(prepared: Path, *, held_out: bool) -> pa.Table:
    """Clearly labelled reviews, held out or not."""
    table = pq.read_table(prepared / "labelled.parquet").combine_chunks()
    held = held_out_mask(pc.coalesce(table["product_id"].combine_chunks(), table["text"].combine_chunks()))
    clear = np.abs(table["label"].to_numpy() - 0.5) >= 1 / 6
    return table.filter(pa.array((held if held_out else ~held) & clear))


def _measured(options: argparse.Namespace) -> dict[str, Any]:
    """One contestant's speed and accuracy; fitting and a first batch are not timed."""
    reviews = pq.read_table(options.directory / "reviews.parquet")
    texts = reviews["text"].to_pylist()
    score = CONTESTANTS[options.contestant].scorer(options.prepared, options.teacher, options.directory)
    score(texts[:_TRANSFORMER_BATCH])
    started = time.perf_counter()
    probability = score(texts)
    seconds = time.perf_counter() - started
    right = (np.nan_to_num(probability, nan=0.5) >= 0.5) == reviews["positive"].to_numpy()
    kind = np.asarray(reviews["kind"].to_pylist())
    kinds = [*KINDS, _SHORT]
    return {
        "seconds": seconds,
        "peak_memory_bytes": peak_memory(),
        "accuracy": {one: float(right[kind == one].mean()) for one in kinds},
        "counts": {one: int((kind == one).sum()) for one in kinds},
    }


def _ours(prepared: Path, teacher: Path | None, store: Path, *, precision: str) -> Score:
    from sentiment_core.scoring import Scorer

    scorer = Scorer(load_model(bundled_model_path()), engine="onnx", precision=precision)
    return lambda texts: scorer.score_texts(texts).positive_probability


def _linear(prepared: Path, teacher: Path | None, store: Path) -> Score:
    from tools.benchmarks.peer_linear import fit_linear, linear_scorer

    if not (store / "linear" / "words.json").exists():
        training = labelled_reviews(prepared, held_out=False)
        positive = pc.greater(training["label"], 0.5)
        fit_linear(pa.table({"text": training["text"], "positive": positive}), store / "linear")
    return linear_scorer(store / "linear")


def _fasttext(prepared: Path, teacher: Path | None, store: Path) -> Score:
    import fasttext

    from sentiment_core.text import TextSettings, tokenize

    def words(texts: Sequence[str]) -> list[str]:
        return [" ".join(tokens) for tokens in tokenize(pa.array(texts, pa.large_string()), settings=TextSettings())]

    place = store / "fasttext.bin"
    if not place.exists():
        training = labelled_reviews(prepared, held_out=False)
        lines = (
            f"__label__{int(label > 0.5)} {text}\n"
            for text, label in zip(words(training["text"].to_pylist()), training["label"].to_pylist())
        )
        (store / "fasttext.txt").write_text("".join(lines))
        model = fasttext.train_supervised(
            str(store / "fasttext.txt"),
            wordNgrams=2,
            dim=50,
            epoch=5,
            lr=0.25,
            minCount=2,
            thread=available_cores(),
            verbose=0,
        )
        model.save_model(str(place))
    model = fasttext.load_model(str(place))

    def score(texts: list[str]) -> npt.NDArray[np.float64]:
        labels, shares = model.predict(words(texts), k=2)
        return np.array([share[label.index("__label__1")] for label, share in zip(labels, shares)], np.float64)

    return score


def _transformer(prepared: Path, teacher: Path | None, store: Path) -> Score:
    """As the documentation of `transformers` writes it."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(teacher)
    model = AutoModelForSequenceClassification.from_pretrained(teacher).eval()

    def score(texts: list[str]) -> npt.NDArray[np.float64]:
        found = []
        with torch.inference_mode():
            for start in range(0, len(texts), _TRANSFORMER_BATCH):
                some = texts[start : start + _TRANSFORMER_BATCH]
                batch = tokenizer(
                    some, padding=True, truncation=True, max_length=_TRANSFORMER_PIECES, return_tensors="pt"
                )
                found.append(model(**batch).logits[:, 0].sigmoid().double().numpy())
        return np.concatenate(found)

    return score


def _transformer_int8(prepared: Path, teacher: Path | None, store: Path) -> Score:
    """The best made of it: int8 weights, ONNX Runtime, batches of texts of like length, head and tail of long ones."""
    assert teacher is not None
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from tokenizers import Tokenizer

    place = store / "transformer-int8.onnx"
    if not place.exists():
        _export(teacher, store / "transformer.onnx")
        quantize_dynamic(store / "transformer.onnx", place, weight_type=QuantType.QInt8, per_channel=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = available_cores()
    session = onnxruntime.InferenceSession(str(place), options)
    tokenizer = Tokenizer.from_file(str(teacher / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    stored = json.loads((teacher / "sentiment_teacher.json").read_text())
    most, head = int(stored["max_tokens"]), int(stored["head_tokens"])

    def clipped(ids: list[int]) -> list[int]:
        return ids if len(ids) <= most else ids[:head] + ids[head - most :]

    def score(texts: list[str]) -> npt.NDArray[np.float64]:
        encoded = [clipped(one.ids) for one in tokenizer.encode_batch(texts)]
        order = np.argsort([len(ids) for ids in encoded], kind="stable")
        probabilities = np.empty(len(texts))
        for start in range(0, len(order), 32):
            rows = order[start : start + 32]
            longest = len(encoded[rows[-1]])
            ids = np.array([encoded[row] + [0] * (longest - len(encoded[row])) for row in rows], np.int64)
            mask = np.array([[1] * len(encoded[row]) + [0] * (longest - len(encoded[row])) for row in rows], np.int64)
            (logits,) = session.run(None, {"input_ids": ids, "attention_mask": mask})
            probabilities[rows] = 1 / (1 + np.exp(-logits[:, 0].astype(np.float64)))
        return probabilities

    return score


def _export(teacher: Path, place: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(teacher, attn_implementation="eager").eval()

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return self.model(input_ids=input_ids, attention_mask=attention_mask).logits

    example = torch.ones(2, 8, dtype=torch.int64)
    axes = {0: "texts", 1: "pieces"}
    torch.onnx.export(
        Logits(),
        (example, example),
        str(place),
        input_names=["input_ids", "attention_mask"],
        output_names=["logits"],
        dynamic_axes={"input_ids": axes, "attention_mask": axes, "logits": {0: "texts"}},
        opset_version=17,
        dynamo=False,
    )


def _plot(found: dict[str, Any], path: Path) -> None:
    """Mean accuracy over the kinds against the price; a line joins those that none beats in both."""
    from matplotlib.figure import Figure

    points = sorted(
        (row["price_per_million"], 100 * float(np.mean(list(row["accuracy"].values()))), name)
        for name, row in found["contestants"].items()
    )
    figure = Figure(figsize=(8, 5), layout="constrained")
    axis = figure.subplots()
    front = [
        (price, accuracy)
        for price, accuracy, _ in points
        if accuracy >= max(other for cheaper, other, _ in points if cheaper <= price)
    ]
    axis.plot(*zip(*front), color="tab:grey", linewidth=1, zorder=1)
    for place, (price, accuracy, name) in enumerate(points):
        axis.scatter(price, accuracy, color="tab:blue" if name.startswith("SentimentNet") else "black", zorder=2)
        # Above and below by turns, since neighbours are close.
        below = place % 2 == 1
        axis.annotate(
            name.replace(", ", "\n"),
            (price, accuracy),
            xytext=(0, -8 if below else 8),
            textcoords="offset points",
            fontsize=8,
            ha="center",
            va="top" if below else "bottom",
        )
    axis.set(xscale="log", xlabel="price of a million reviews", ylabel="accuracy, mean over the kinds, %")
    axis.xaxis.set_major_formatter("{x:g}")
    axis.margins(x=0.15, y=0.25)
    figure.savefig(path, metadata={"Date": None})


CONTESTANTS = {
    "SentimentNet, int8 (default)": Contestant(scorer=partial(_ours, precision="int8")),
    "SentimentNet, float32": Contestant(scorer=partial(_ours, precision="float32")),
    "TF-IDF of word pairs, logistic regression": Contestant(scorer=_linear, packages=("sklearn",)),
    "fastText, word pairs": Contestant(scorer=_fasttext, packages=("fasttext",)),
    "all-MiniLM-L6-v2, PyTorch float32, batches as they come": Contestant(
        scorer=_transformer, packages=("torch", "transformers"), transformer=True
    ),
    "all-MiniLM-L6-v2, ONNX Runtime int8, sorted by length": Contestant(
        scorer=_transformer_int8, packages=("torch", "transformers", "onnx", "tokenizers"), transformer=True
    ),
}


if __name__ == "__main__":
    sys.exit(main())
