"""What each option of the fine-tuning brings: one change at a time, several seeds, a table.

    .venv/bin/python -m tools.benchmarks.ablations imdb_train.parquet build/ablations --seeds 1 2

Trains on a third of the films, so that overfitting shows within two epochs; measures on the films held out as always.
Finished runs are kept in the directory and not repeated; a killed one goes on from its checkpoint.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from jobs.labels.reviews import LabelledInput, LabelledReviews, add_label_arguments, read_labelled, read_table
from jobs.verbs.settings import settings_from
from sentiment_core.artifact import bundled_model_path, load_model
from sentiment_core.dataset.holdout import held_out_mask
from sentiment_core.dataset.labelled import Labelled
from sentiment_core.evaluation.metrics import evaluate_probabilities
from sentiment_core.scoring.scorer import Scorer
from sentiment_core.training.run import TrainSettings, train
from sentiment_core.training.steps.checkpoint import data_digest

SHORT_REVIEWS = Path(__file__).with_name("short_reviews.csv")
BASE = TrainSettings(epochs=2, word_dropout=0.15)
VARIANTS: dict[str, dict[str, Any]] = {
    "base": {},
    "no language model": {"language_model": None},
    "no word dropout": {"word_dropout": 0.0},
    "word dropout 0.3": {"word_dropout": 0.3},
    "no moving average": {"weight_average": 0.0},
    "layer-wise rates, factor 0.4": {"layer_decay": 0.4},
    "gradual unfreezing over 30 % of the steps": {"unfreeze_fraction": 0.3},
    "weight drop 0.2": {"weight_drop": 0.2},
    "adversarial loss, epsilon 5": {"adversarial_epsilon": 5.0},
    "a third of the learning rate": {"learning_rate": 1.3e-3},
    "two sentences cut from each review": {"excerpt_share": 2.0},
}


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("input")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2])
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options.directory.mkdir(parents=True, exist_ok=True)
    training, validation = _parts(options.input)
    results = [
        _result(name, seed, training, validation, options.directory) for seed in options.seeds for name in VARIANTS
    ]
    print("| change | accuracy % | log loss | AUC | short reviews, accuracy % |\n|---|---|---|---|---|")
    for name, runs in pd.DataFrame(results).groupby("name", sort=False):
        average, spread = runs.mean(numeric_only=True), runs.std(numeric_only=True, ddof=min(1, len(runs) - 1))
        print(
            f"| {name} | {100 * average.accuracy:.2f} +- {100 * spread.accuracy:.2f} | {average.log_loss:.4f} "
            f"| {average.auc:.4f} | {100 * average.short_accuracy:.1f} |"
        )


def _result(name: str, seed: int, training: Labelled, validation: Labelled, directory: Path) -> dict[str, Any]:
    """Quality of one run, from its file if the same run has been done before."""
    change: dict[str, Any] = {"language_model": "language_model", "seed": seed} | VARIANTS[name]
    kind = change.pop("language_model")
    settings = replace(BASE, **change)
    language_model = load_model(bundled_model_path(kind), kind=kind) if kind else None
    sha256 = data_digest(
        training.positive,
        validation.positive,
        also=repr((settings, language_model and language_model.sha256, training.texts.nbytes, validation.texts.nbytes)),
    )
    file = directory / f"{sha256[:16]}.json"
    if not file.exists():
        logging.info("%s, seed %d", name, seed)
        checkpoint = file.with_suffix(".checkpoint")
        model = train(
            training,
            validation=validation,
            checkpoint_path=checkpoint,
            language_model=language_model,
            settings=settings,
            resume=checkpoint.exists(),
        )
        short, _ = _labelled("--input", str(SHORT_REVIEWS))
        probabilities = Scorer(model).score_texts(short.reviews.texts).positive_probability
        accuracy = evaluate_probabilities(short.reviews.positive, probabilities).accuracy
        result = {"name": name, "seed": seed, **model.metrics["validation"], "short_accuracy": accuracy}
        staging = file.with_suffix(".new")
        staging.write_text(json.dumps(result))
        staging.replace(file)
        checkpoint.unlink()
    read: dict[str, Any] = json.loads(file.read_text())
    return read


def _labelled(*arguments: str) -> tuple[LabelledReviews, argparse.Namespace]:
    parser = argparse.ArgumentParser()
    add_label_arguments(parser)
    options = parser.parse_args(arguments)
    return read_labelled(settings_from(options, LabelledInput)), options


def _parts(source: str) -> tuple[Labelled, Labelled]:
    labelled, options = _labelled("--input", source, "--label-column", "stars", "--positive-above", "5")
    products = read_table(source, [options.product_column])[options.product_column]
    # The mask of a larger fraction holds that of a smaller one: the films held out, and a third of the others.
    some = held_out_mask(products, fraction=options.validation_fraction + 0.3)
    return labelled.reviews.where(some & ~labelled.held_out), labelled.reviews.where(labelled.held_out)


if __name__ == "__main__":
    main()
