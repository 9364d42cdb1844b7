"""Labels in words, numbers and truth values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.labels.grades import grades_of
from sentiment_core.artifact import save_model
from sentiment_core.errors import InputError
from tests.support.models import tiny_model


@pytest.mark.parametrize(
    ("labels", "word", "expected"),
    [
        (pa.array(["positive", "negative", " positive ", "", None, "neutral"]), "positive", [1, 0, 1, None, None, 0]),
        (pa.array(["pos", "neg"]).dictionary_encode(), "pos", [1, 0]),
        (pa.array([1, 2, None]), "2", [0, 1, None]),
        (pa.array([1.0, 2.0, float("nan")]), "2", [0, 1, None]),
        (pa.array([True, False, None]), "True", [1, 0, None]),
        (pa.array([True, False, None]), "false", [0, 1, None]),
        (pa.array([4, 5, None]), None, [4, 5, None]),
    ],
)
def test_the_positive_label_is_1_and_every_other_0(labels: pa.Array, word: str | None, expected: list[Any]) -> None:
    grades, above = grades_of(pa.chunked_array([labels]), positive_above=4.5, positive_label=word)
    assert grades.to_pylist() == expected
    assert above == (0.5 if word else 4.5)


@pytest.mark.parametrize(
    ("labels", "word", "says"),
    [
        (["positive"], None, "--positive-label"),
        (["positive"], "Positive", "no label is 'Positive'"),
        ([1, 2], "good", "'good' is none"),
        ([True, False], "yes", "'yes' is neither"),
        ([["positive"]], "positive", "numbers, booleans or words"),
    ],
)
def test_what_says_nothing_is_refused(labels: list[Any], word: str | None, says: str) -> None:
    with pytest.raises(InputError, match=says):
        grades_of(pa.chunked_array([labels]), positive_above=0.5, positive_label=word)


def test_evaluate_reads_labels_in_words(sentiment: Any, tmp_path: Path) -> None:
    save_model(tiny_model(), tmp_path / "model")
    words = ["liked", "disliked"] * 10
    texts = ["good film", "bad film"] * 10
    pq.write_table(pa.table({"text": texts, "sentiment": words}), tmp_path / "words.parquet")
    pq.write_table(pa.table({"text": texts, "sentiment": [1, 0] * 10}), tmp_path / "numbers.parquet")
    options = ["--model", tmp_path / "model", "--label-column", "sentiment", "--engine", "onnx"]
    code, (by_number,), _ = sentiment("evaluate", "--input", tmp_path / "numbers.parquet", *options)
    assert code == 0
    word = ["--positive-label", "liked"]
    code, (by_word,), sentence = sentiment("evaluate", "--input", tmp_path / "words.parquet", *options, *word)
    assert code == 0, sentence
    assert by_word | {"reviews_per_second": 0} == by_number | {"reviews_per_second": 0}
    code, _, sentence = sentiment("evaluate", "--input", tmp_path / "words.parquet", *options)
    assert (code, "--positive-label" in sentence) == (3, True), sentence
    clear = pa.table({"text": texts, "sentiment": ["Positive", " negative"] * 10})
    pq.write_table(clear, tmp_path / "clear.parquet")
    code, (by_clear_word,), sentence = sentiment("evaluate", "--input", tmp_path / "clear.parquet", *options)
    assert code == 0, sentence  # these two words need no explanation
    assert by_clear_word | {"reviews_per_second": 0} == by_number | {"reviews_per_second": 0}
