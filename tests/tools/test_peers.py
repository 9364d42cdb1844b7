"""The benchmark of what one would take instead."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tools.benchmarks import peers

PRAISE, BLAME = "What a lovely shop, great food and great service", "What an awful shop, bad food and rude service"


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """Reviews that a few words decide, of each kind."""
    rows = [
        {"text": f"{(PRAISE, BLAME)[number % 2]} {number}", "label": float(1 - number % 2), "product_id": f"p{number}"}
        for number in range(240)
    ]
    pq.write_table(pa.Table.from_pylist([row | {"source": "imdb"} for row in rows]), tmp_path / "labelled.parquet")
    sources = [source for kind, names in peers.KINDS.items() if kind != "films" for source in names]
    elsewhere = [
        {"text": row["text"], "label": int(row["label"]), "domain": sources[number % len(sources)]}
        for number, row in enumerate(rows)
    ]
    pq.write_table(pa.Table.from_pylist(elsewhere), tmp_path / "elsewhere.parquet")
    return tmp_path


def test_each_kind_is_measured_and_who_lacks_something_is_left_out(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = "SentimentNet, int8 (default)"
    wanted = {name: peers.CONTESTANTS[name] for name in (ours, *(n for n in peers.CONTESTANTS if "MiniLM" in n))}
    monkeypatch.setattr(peers, "CONTESTANTS", wanted)
    results = tmp_path / "results"
    arguments = ["--prepared", str(prepared), "--directory", str(results), "--reviews", "12", "--rounds", "1"]
    assert peers.main(arguments) == 0
    found = json.loads((results / "peers.json").read_text())
    assert list(found["contestants"]) == [ours]
    row = found["contestants"][ours]
    assert set(row["accuracy"]) == set(found["reviews"]) == {*peers.KINDS, "at most 12 words"}
    assert all(share == 1 for share in row["accuracy"].values())
    speed = row["reviews_per_second"]["median"]
    assert row["price_per_million"] == pytest.approx(1e6 / speed / 3600 * found["hourly_price"])
    assert f"| {ours} |" in capsys.readouterr().out
    assert "<svg" in (results / "peers.svg").read_text()


def test_no_review_is_learnt_that_is_measured(prepared: Path) -> None:
    measured = set(peers.sampled_reviews(prepared, 1_000)["text"].to_pylist())
    held_out = set(peers.labelled_reviews(prepared, held_out=True)["text"].to_pylist())
    learnt = set(peers.labelled_reviews(prepared, held_out=False)["text"].to_pylist())
    assert held_out
    assert not held_out & learnt
    assert held_out < measured


def test_the_linear_model_learns_what_few_words_decide(prepared: Path, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    score = peers.CONTESTANTS["TF-IDF of word pairs, logistic regression"].scorer(prepared, None, tmp_path)
    assert np.round(score([PRAISE, BLAME])).tolist() == [1, 0]
