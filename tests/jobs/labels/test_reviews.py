"""Review tables as training and evaluation read them, and the verb `evaluate`."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from jobs.labels import reviews as labelled_reviews
from jobs.labels.reviews import LabelledInput, LabelledReviews, add_label_arguments, read_labelled
from jobs.verbs.settings import settings_from
from sentiment_core.artifact import save_model
from sentiment_core.behaviour.suite import evaluate_behaviour
from sentiment_core.dataset.holdout import Split, held_out_mask
from sentiment_core.dataset.labelled import Labelled, without_texts_of
from sentiment_core.errors import InputError
from sentiment_core.evaluation.metrics import evaluate_probabilities
from sentiment_core.scoring.scorer import Scorer
from sentiment_core.text.familiarity import Familiarity
from tests.support.models import tiny_model

TEXTS = [f'It broke, "again"\n\nafter {index} days\n' for index in range(200)]
TABLE = pa.table({"text": TEXTS, "label": [index % 2 for index in range(200)]})


def read(path: Path, *options: str) -> LabelledReviews:
    parser = argparse.ArgumentParser()
    add_label_arguments(parser)
    return read_labelled(settings_from(parser.parse_args(["--input", str(path), *options]), LabelledInput))


# Texts.


def test_a_text_in_csv_may_have_lines(tmp_path: Path) -> None:
    pyarrow.csv.write_csv(TABLE, tmp_path / "in.csv")
    found = read(tmp_path / "in.csv")
    assert found.reviews.texts.to_pylist() == TEXTS
    assert found.reviews.positive.tolist() == [index % 2 == 1 for index in range(200)]


def test_a_csv_of_several_megabytes_is_read_with_all_its_lines(tmp_path: Path) -> None:
    texts = [text * 200 for text in TEXTS] * 4
    pyarrow.csv.write_csv(pa.table({"text": texts, "label": [0, 1] * 400}), tmp_path / "in.csv")
    assert (tmp_path / "in.csv").stat().st_size > 3 << 20
    assert read(tmp_path / "in.csv").reviews.texts.to_pylist() == texts


def test_labels_of_a_large_csv_may_be_whole_at_first(tmp_path: Path) -> None:
    """Types are guessed from the first block: all of the labels in it are whole here, up to the first megabyte."""
    labels = [4.0] * 150_000 + [4.5, 1.0]
    text = "".join(f"fine kettle,{label:g}\n" for label in labels)
    (tmp_path / "in.csv").write_text("text,label\n" + text)
    assert len(text) > 2 << 20
    found = read(tmp_path / "in.csv", "--positive-above", "4.2")
    assert found.reviews.grades is not None
    assert found.reviews.grades.tolist() == labels
    assert found.reviews.positive.sum() == 1


def test_labels_of_a_csv_that_are_no_numbers_are_refused_wherever_they_stand(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text,label\n" + "fine kettle,4\n" * 500 + "fine kettle,four\n")
    with pytest.raises(InputError, match="labels are numbers or booleans"):
        read(tmp_path / "in.csv")


def test_labels_of_a_csv_may_be_missing_or_truth_values(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text,label\na,True\nb,false\nc,\nd,NA\n")
    found = read(tmp_path / "in.csv")
    assert found.reviews.positive.tolist() == [True, False]
    assert found.n_unlabelled == 2


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary()], ids=str)
def test_texts_are_of_one_kind(tmp_path: Path, kind: pa.DataType) -> None:
    pq.write_table(TABLE.set_column(0, "text", TABLE["text"].cast(kind)), tmp_path / "in.parquet", row_group_size=30)
    texts = read(tmp_path / "in.parquet").reviews.texts
    assert texts.type == pa.large_string()
    assert texts.to_pylist() == TEXTS


# What is held out.


@pytest.mark.parametrize(("n_products", "column"), [(49, "text"), (50, "product_id")])
@pytest.mark.parametrize("batch", [7, 1000])
def test_products_decide_if_there_are_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_products: int, column: str, batch: int
) -> None:
    monkeypatch.setattr(labelled_reviews, "ROWS_PER_BATCH", batch)
    products = pa.array([None, *(f"product {index % n_products}" for index in range(199))])
    table = TABLE.append_column("product_id", products)
    pq.write_table(table, tmp_path / "in.parquet")
    found = read(tmp_path / "in.parquet", "--validation-fraction", "0.3")
    assert found.split == Split(column=column, fraction=0.3)
    keys = [key or text for key, text in zip(table[column].to_pylist(), TEXTS)]
    assert found.held_out.tolist() == held_out_mask(pa.array(keys), fraction=0.3).tolist()
    assert sum(len(part) for part in found.parts()) == 200


def test_counting_products_ends_when_there_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labelled_reviews, "ROWS_PER_BATCH", 30)
    pq.write_table(TABLE.append_column("product_id", pa.array(range(200))), tmp_path / "in.parquet")
    batches: list[int] = []
    original = labelled_reviews.read_batches

    def counting(*arguments: Any, **options: Any) -> Any:
        for batch in original(*arguments, **options):
            batches.append(len(batch))
            yield batch

    monkeypatch.setattr(labelled_reviews, "read_batches", counting)
    assert labelled_reviews.holdout_column(tmp_path / "in.parquet", product_column="product_id") == "product_id"
    assert batches == [30, 30]


def test_a_text_that_is_measured_is_not_learnt() -> None:
    data = Labelled(texts=pa.array(["a", None, "b", "a", ""]), positive=np.array([0.1, 0.2, 0.3, 0.4, 0.5]))
    validation = Labelled(texts=pa.array([b"a", b"c", None]), positive=np.array([True, False, True]))
    assert without_texts_of(data, validation).positive.tolist() == [0.2, 0.3, 0.5]
    assert without_texts_of(data, validation.take(np.array([1, 2]))) is data, "without a copy"


# `evaluate`.


def test_a_review_without_a_token_is_counted_and_not_measured(sentiment: Any, tmp_path: Path) -> None:
    """It has no probability, so it is neither right nor wrong."""
    model, texts = tiny_model(), ["good", "bad", "great film", "boring", "hate it"]
    save_model(model, tmp_path / "model")
    labels = [1, 0, 0, 0, 1]
    empty = pa.table(
        {"text": [*texts, None, "", "\u200b"], "label": [*labels, 1, 1, 0], "shop": ["a", "b", "a", "b", "a", *"abc"]}
    )
    pq.write_table(empty, tmp_path / "in.parquet")
    options = ["--model", tmp_path / "model", "--input", tmp_path / "in.parquet", "--slices", "--by", "shop"]
    code, (found,), sentence = sentiment("evaluate", *options)
    assert code == 0, sentence
    probabilities = Scorer(model).score_texts(texts).positive_probability
    expected = evaluate_probabilities(np.array(labels) == 1, probabilities).as_dict()
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert (found["n"], found["empty"]) == (5, 3)
    rows = {(row["slice"], row["value"]): row["n"] for row in found["slices"]}
    assert {value: n for (name, value), n in rows.items() if name == "shop"} == {"a": 3, "b": 2}
    assert ("length", "no token") not in rows
    assert "on 5 reviews" in sentence


def test_the_behaviour_tests_need_no_reviews_and_stand_beside_them(sentiment: Any, tmp_path: Path) -> None:
    model = tiny_model(familiarity=Familiarity(typical_rarity=2.0, limit=5.0))
    save_model(model, tmp_path / "model")
    code, (alone,), sentence = sentiment("evaluate", "--model", tmp_path / "model", "--behaviour")
    assert code == 0, sentence
    assert alone.keys() == {"behaviour", "model_sha256"}
    assert alone["behaviour"] == evaluate_behaviour(
        lambda texts: Scorer(model).score_texts(texts).positive_probability, negative_below=0.4, positive_from=0.6
    )
    assert re.fullmatch(
        r"sentiment evaluate: done: behaviour tests that failed: minimum functionality [\d.]+% of [\d,]+, "
        r"invariance [\d.]+% of [\d,]+, direction [\d.]+% of [\d,]+",
        sentence,
    )
    reviews = pa.table({"text": ["good", "bad", "xqzt zorblat"], "label": [1, 0, 1]})
    pq.write_table(reviews, tmp_path / "in.parquet")
    options = ["--model", tmp_path / "model", "--input", tmp_path / "in.parquet", "--behaviour"]
    code, (both,), sentence = sentiment("evaluate", *options)
    assert code == 0, sentence
    assert both["behaviour"] == alone["behaviour"]
    assert (both["n"], both["unfamiliar"]) == (3, 1)


@pytest.mark.parametrize("options", [[], ["--behaviour", "--slices"], ["--behaviour", "--by", "shop"], ["--held-out"]])
def test_nothing_to_measure_is_refused(sentiment: Any, options: list[str]) -> None:
    code, found, sentence = sentiment("evaluate", *options)
    assert (code, found) == (2, [])
    assert "--input" in sentence


def test_labels_are_numbers_or_words(sentiment: Any, tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["good", "bad"], "label": [1.0, 0.0]}), tmp_path / "in.parquet")
    both = ("--soft-labels", "--positive-label", "good")
    code, found, sentence = sentiment("evaluate", "--input", tmp_path / "in.parquet", *both)
    assert (code, found) == (2, [])
    assert "give one of the two" in sentence
