"""The tables that the bundled model is made from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment_core.artifact import load_model, save_model
from sentiment_core.dataset.holdout import held_out_mask
from sentiment_core.text.pipeline import SPECIAL_TOKENS, TextSettings
from tests.support.models import tiny_model
from tools.bundled_model import average, perturbation, prepare, second_pass, word_lessons

ELSEWHERE = "yelp_2021"
assert ELSEWHERE in prepare.HELD_OUT_SOURCES


def rows_of(source: str, labels: list[float | None], *, words: str, product: str | None = None) -> list[dict[str, Any]]:
    return [
        {"source": source, "product_id": product, "stars": None, "label": label, "text": f"{words} number {index % 7}"}
        for index, label in enumerate(labels)
    ]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A pool of a few sources, and films."""
    pool = [
        *rows_of("shop", [1.0, 0.0, None] * 10, words="the kettle boils", product="kettle"),
        *rows_of("shop_unl", [None] * 10, words="the toaster toasts"),
        *rows_of("fdu_mtl", [None] * 10, words="an unlabelled gadget"),
        *rows_of("pros_cons", [1.0] * 30, words="long battery life"),
        *rows_of(ELSEWHERE, [1.0, 0.0, None, None] * 10, words="the waiter waits"),
    ]
    pq.write_table(pa.Table.from_pylist(pool), tmp_path / "reviews_pool.parquet")
    films = pa.array([f"film {index}" for index in range(200)])
    texts = pa.array([f"a film about number {index}" for index in range(200)])
    stars = pa.array([1 + index % 10 for index in range(200)])
    table = pa.table({"product_id": films, "stars": stars, "text": texts})
    pq.write_table(table, tmp_path / "imdb_train.parquet")
    others = pc.binary_join_element_wise(texts, pa.array(["seen elsewhere"] * 200), " ")
    pq.write_table(pa.table({"product_id": films, "text": others}), tmp_path / "imdb_unsup.parquet")
    templates = pa.table({"text": ["It is a kettle.", "It is not a good kettle."], "positive": [0.5, 0.0]})
    pq.write_table(templates, tmp_path / "templates.parquet")
    return tmp_path


@pytest.fixture
def prepared(data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.setattr(prepare, "NOISY_SOURCES", {"pros_cons": 12})
    output = data / "out"
    assert prepare.main([str(data), str(output), "--templates", str(data / "templates.parquet")]) == 0
    tables = {path.stem: pq.read_table(path) for path in output.glob("*.parquet")}
    return tables, json.loads(capsys.readouterr().out), (output / "vocabulary.txt").read_text().splitlines()


def labels_of(table: pa.Table, source: str) -> list[float]:
    return sorted(table.filter(pc.equal(table["source"], source))["label"].to_pylist())


def test_what_is_learnt_has_labels_from_0_to_1(prepared: Any) -> None:
    labelled = prepared[0]["labelled"]
    assert labelled.column_names == ["text", "label", "product_id", "source", "label_share"]
    # A review of a labelled source that nobody called good or bad is neutral.
    assert labels_of(labelled, "shop") == [0.0] * 10 + [0.5] * 10 + [1.0] * 10
    assert labels_of(labelled, "imdb") == [0.0] * 100 + [1.0] * 100
    assert labels_of(labelled, "pros_cons") == [1.0] * 12, "the others of a noisy source lose theirs"
    assert labels_of(labelled, "templates") == [0.0, 0.5]
    assert set(labelled["source"].unique().to_pylist()) == {"shop", "imdb", "pros_cons", "templates"}
    shares = dict(zip(labelled["source"].to_pylist(), labelled["label_share"].to_pylist()))
    assert shares == {"shop": 0.5, "imdb": 0.5, "pros_cons": 0.5, "templates": 0.7}


def test_products_are_told_apart_by_their_source_and_templates_are_learnt(prepared: Any) -> None:
    labelled = prepared[0]["labelled"]
    products = dict(zip(labelled["source"].to_pylist(), labelled["product_id"].to_pylist()))
    assert products["shop"] == "shop:kettle"
    assert products["pros_cons"] is None
    assert not held_out_mask(labelled.filter(pc.equal(labelled["source"], "templates"))["product_id"]).any()


def test_what_has_no_label_is_to_be_labelled_but_for_films_that_are_held_out(prepared: Any, data: Path) -> None:
    texts = prepared[0]["unlabelled"]["text"].to_pylist()
    films = pq.read_table(data / "imdb_unsup.parquet")
    held_out = held_out_mask(films["product_id"])
    assert 0 < held_out.sum() < 60
    expected = films["text"].filter(pa.array(~held_out)).to_pylist()
    assert [text for text in texts if "film" in text] == expected
    rest = [text.rsplit(" number", 1)[0] for text in texts if "film" not in text]
    counts = {words: rest.count(words) for words in set(rest)}
    assert counts == {"the toaster toasts": 10, "an unlabelled gadget": 10, "long battery life": 18}


def test_sources_that_are_held_out_are_nowhere_but_elsewhere(prepared: Any) -> None:
    tables, report, words = prepared
    elsewhere = tables["elsewhere"]
    assert elsewhere.column_names == ["text", "label", "domain"]
    assert sorted(elsewhere["label"].to_pylist()) == [0.0] * 10 + [1.0] * 10, "neutral ones are not measured"
    assert set(elsewhere["domain"].to_pylist()) == {ELSEWHERE}
    for name in ("labelled", "unlabelled"):
        assert not any("waiter" in text for text in tables[name]["text"].to_pylist())
    assert "waiter" not in words
    assert ELSEWHERE not in report["unknown_percent_by_source"]


def test_the_vocabulary_has_the_words_of_all_sources_by_frequency(prepared: Any, data: Path) -> None:
    tables, report, words = prepared
    assert tuple(words[: len(SPECIAL_TOKENS)]) == SPECIAL_TOKENS
    assert {"the", "number", "film", "battery", "toaster"} <= set(words)
    assert report["words"] == len(words) == len(set(words))
    texts = [*tables["labelled"]["text"].to_pylist(), *tables["unlabelled"]["text"].to_pylist()]
    own = ("It is a kettle.", "It is not a good kettle.")
    counts = dict.fromkeys(words[len(SPECIAL_TOKENS) :], 0)
    for text in texts:
        for word in text.split() if text not in own else ():
            if word in counts:
                counts[word] += 1
    found = list(counts.values())
    assert found == sorted(found, reverse=True)
    assert min(found) >= 5
    # Seven digits of the shop's reviews stand four or five times each there, and in other sources as well.
    kettles = [text.split() for text in texts if "boils" in text]
    unknown = np.mean([word not in set(words) for text in kettles for word in text])
    assert report["unknown_percent_by_source"]["shop"] == pytest.approx(100 * unknown, abs=0.01)


def test_the_same_data_make_the_same_tables(data: Path) -> None:
    for name in ("first", "second"):
        assert prepare.main([str(data), str(data / name)]) == 0
    first, second = ({path.name: path.read_bytes() for path in (data / name).iterdir()} for name in ("first", "second"))
    assert first == second
    assert first.keys() == {
        "labelled.parquet", "unlabelled.parquet", "films.parquet", "films_unlabelled.parquet", "elsewhere.parquet",
        "vocabulary.txt",
    }  # fmt: skip
    films = pq.read_table(data / "first/films.parquet")
    assert set(films["source"].to_pylist()) == {"imdb"}
    labelled = pq.read_table(data / "first/labelled.parquet", filters=[("source", "=", "imdb")])
    assert sorted(films["text"].to_pylist()) == sorted(labelled["text"].to_pylist())
    unlabelled = set(pq.read_table(data / "first/unlabelled.parquet")["text"].to_pylist())
    assert set(pq.read_table(data / "first/films_unlabelled.parquet")["text"].to_pylist()) < unlabelled
    assert "templates" not in pq.read_table(data / "first/labelled.parquet")["source"].to_pylist()


def table(place: Path, texts: list[str], targets: list[float], column: str) -> str:
    pq.write_table(pa.table({"text": texts, column: targets}), place)
    return str(place)


def test_the_second_pass_learns_films_and_templates_anew_others_once_and_changed_copies(tmp_path: Path) -> None:
    long = "The parcel came late, and nobody told us."
    films = table(tmp_path / "films", ["a", "b"], [0.9, 0.2], "teacher_probability")
    others = table(tmp_path / "others", ["b", "c", long, "t"], [0.5, 0.6, 0.1, 0.1], "teacher_probability")
    templates = table(tmp_path / "templates", ["t", "The shop is in the main street."], [1.0, 0.5], "positive")
    words = table(tmp_path / "words", ["It is not oval."], [0.5], "positive")
    output, part = tmp_path / "out", tmp_path / "part"
    assert second_pass.main([films, others, templates, words, str(output), str(part)]) == 0
    rows = pq.read_table(output).to_pylist()
    found = {row["text"]: row["teacher_probability"] for row in rows}
    given = {"a": 0.9, "b": 0.2, "c": 0.6, long: 0.1, "t": 1.0, "It is not oval.": 0.5}
    given["The shop is in the main street."] = 0.5
    ((copy, target),) = found.items() - given.items()
    assert copy != long
    assert target == 0.1
    assert found.items() >= given.items()
    assert len(rows) == len(found)
    assert pq.read_table(part).to_pylist() == rows


def test_words_are_judged_within_their_source_and_taught_affirmed_and_denied() -> None:
    texts, labels, sources = [], [], []
    for source, word, positive, count in (
        *(("clothes", "jeans", 1, 90), ("clothes", "jeans", 0, 10)),
        *(("clothes", "denim", 1, 90), ("clothes", "denim", 0, 10)),
        *(("apps", "lovely", 1, 50), ("apps", "lovely", 0, 2), ("apps", "broken", 1, 2), ("apps", "broken", 0, 50)),
        *(("apps", "seldom", 1, 3), ("apps", "vile", 0, 60), ("apps", "fine1", 1, 60)),
    ):
        texts += [word] * count
        labels += [float(positive)] * count
        sources += [source] * count
    reviews = pa.table({"text": pa.chunked_array([texts]), "label": labels, "source": sources})
    words = word_lessons.polar_words(reviews)
    assert words == {"praise": ["lovely"], "blame": ["broken"], "neutral": ["denim", "jeans"]}  # vile is tested
    words["neutral"].append("newly")
    lessons = word_lessons.word_lessons(words, rows=4_000, seed=1).to_pydict()
    target = dict(zip(lessons["text"], lessons["positive"]))
    assert target["It is not jeans."] == target["It is jeans."] == 0.5
    assert target["It is lovely."] > 0.9 > 0.2 > target["It is not lovely."]
    assert target["It is broken."] < 0.1 < 0.5 < target["It is not broken."] < 0.7
    assert target["It is newly lovely."] == target["It is lovely."]


@given(st.text("abc .!10't isno", min_size=1, max_size=60), st.integers(0, 999))
def test_a_changed_copy_has_the_words_of_its_review_but_for_one_change(text: str, seed: int) -> None:
    changed = perturbation.perturbed(text, Random(seed), neutral=["The shop is red."])
    assert changed is not None
    assert changed != text
    assert changed == perturbation.perturbed(text, Random(seed), neutral=["The shop is red."])
    assert abs(len(changed) - len(text)) <= len("The shop is red. ") + 3 * len(text) // 4


def test_models_of_two_seeds_are_averaged_and_others_refused(tmp_path: Path) -> None:
    first, second = tiny_model(seed=1), tiny_model(seed=2)
    for name, model in (("first", first), ("second", second)):
        save_model(model, tmp_path / name)
    assert average.main([str(tmp_path / name) for name in ("first", "second", "mean")]) == 0
    mean = load_model(tmp_path / "mean")
    for name, array in mean.weights.items():
        expected = (first.weights[name].astype(np.float32) + second.weights[name].astype(np.float32)) / 2
        assert np.abs(array.astype(np.float32) - expected).max() < 1e-3
    other = replace(second, text=replace(second.text, settings=TextSettings(max_tokens=7)))
    save_model(other, tmp_path / "other")
    with pytest.raises(SystemExit, match="another vocabulary or other settings"):
        average.main([str(tmp_path / name) for name in ("first", "other", "mean2")])
