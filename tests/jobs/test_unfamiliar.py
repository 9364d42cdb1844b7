"""Texts that the model does not know, through the job, its report, the marts and their questions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from sentiment_core.artifact import Model, save_model
from sentiment_core.scoring.scorer import Scorer
from sentiment_core.text.familiarity import fit_familiarity

UNKNOWN = ("这家餐厅的菜很好吃", "xqzt zorblat qwrtz", "🪼🦧🪬")


@pytest.mark.slow
def test_they_keep_their_probability_and_are_in_no_share(
    sentiment: Any, spark: SparkSession, reviews: pa.Table, model: Model, tmp_path: Path
) -> None:
    known = fit_familiarity(model.text.encode(reviews["text"]), model.text.vocabulary)
    assert known is not None
    save_model(replace(model, familiarity=known), tmp_path / "model")
    texts = pa.chunked_array([[*UNKNOWN, *reviews["text"].to_pylist()[len(UNKNOWN) :]]])
    table = reviews.set_column(reviews.schema.get_field_index("text"), "text", texts)
    pq.write_table(table, tmp_path / "in.parquet")
    columns = ("--keep-columns", "product_id", "--run-date", "2026-11-23")
    model_and_input = ("--model", tmp_path / "model", "--input", tmp_path / "in.parquet")
    code, (report,), sentence = sentiment("score", *model_and_input, "--output", tmp_path / "scores", *columns)
    assert code == 0, sentence

    scored = ds.dataset(tmp_path / "scores", partitioning="hive").to_table().sort_by("review_id")
    of_input = table.sort_by("review_id")
    expected = Scorer(model, threads=1).score_texts(of_input["text"])
    status = np.array(scored["score_status"].to_pylist())
    assert set(status[np.isin(of_input["text"].to_pylist(), UNKNOWN)]) == {"unfamiliar"}
    np.testing.assert_array_equal(scored["positive_probability"].to_numpy(), expected.positive_probability)
    assert scored["sentiment"].to_pylist() == expected.sentiment.tolist()

    counted = np.isin(status, ["ok", "truncated"])
    unfamiliar = int((status == "unfamiliar").sum())
    positive = int((expected.sentiment[counted] == "positive").sum())
    assert report["counts"]["unfamiliar"] == unfamiliar
    assert report["rates"]["unfamiliar"] == unfamiliar / len(table)
    assert report["rates"]["positive"] == positive / counted.sum()
    assert sum(report["score_histogram"]) == counted.sum()

    marts = tmp_path / "marts"
    code, _, sentence = sentiment("summarize", "--scores", tmp_path / "scores", "--output", marts)
    assert code == 0, sentence
    for mart in ("sentiment_daily", "sentiment_product", "model_daily", "run_history"):
        sums = "sum(reviews), sum(scored), sum(unfamiliar), sum(positive)"
        (found,) = duckdb.sql(f"SELECT {sums} FROM read_parquet('{marts}/{mart}/*/*.parquet')").fetchall()
        assert found == (len(table), counted.sum(), unfamiliar, positive), mart
    code, _, sentence = sentiment("dashboard", "--marts", marts, "--output", tmp_path / "page.html")
    assert code == 0, sentence
    assert f'<td class="number">{100 * unfamiliar / len(table):.2f} %</td>' in (tmp_path / "page.html").read_text()
