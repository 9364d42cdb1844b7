"""The verbs of a distillation: `label`, and `train` with the labels that it wrote."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from jobs.demo.sample_reviews import generate_reviews
from jobs.verbs.models import label as label_reviews
from sentiment_core.artifact import load_model, save_model
from sentiment_core.dataset.holdout import held_out_mask
from sentiment_core.dataset.labelled import Labelled
from sentiment_core.text.pipeline import valid_utf8
from sentiment_core.training.distillation import Ensemble, WordSequenceModel, member_of_models
from tests.support.models import tiny_model
from tests.support.packages import NO_MXNET

FRACTION = 0.2
SCHEMA = pa.schema({"text": pa.large_string(), "teacher_probability": pa.float64()})


def reviews_of(n_products: int, *, seed: int, n_reviews: int = 200) -> pa.Table:
    """Reviews with some odd texts, spread over products."""
    products = pa.array([f"product {index % n_products}" for index in range(n_reviews)])
    return generate_reviews(n_reviews, seed=seed).set_column(1, "product_id", products)


LABELLED = reviews_of(50, seed=1)
UNLABELLED = reviews_of(60, seed=2)


def held_out(reviews: pa.Table, key: str = "product_id") -> npt.NDArray[np.bool_]:
    return held_out_mask(reviews[key], fraction=FRACTION)


def texts_to_label(reviews: pa.Table, key: str = "product_id") -> pa.Array:
    """What a model may learn from, in its order."""
    texts = reviews.filter(pa.array(~held_out(reviews, key)))["text"]
    return valid_utf8(texts.drop_null())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables and models."""
    place = tmp_path_factory.mktemp("labels")
    pq.write_table(LABELLED, place / "labelled.parquet")
    pq.write_table(UNLABELLED, place / "unlabelled.parquet")
    for seed in (1, 2):
        save_model(tiny_model(seed), place / f"model-{seed}")
    save_model(tiny_model(kind="language_model"), place / "language_model")
    return place


@pytest.fixture
def label(sentiment: Any, place: Path, tmp_path: Path) -> Any:
    """Run the verb; an option that is given replaces the usual one."""

    def label(**options: Any) -> tuple[int, list[dict[str, Any]], str]:
        usual = {
            "input": place / "labelled.parquet",
            "label_column": "stars",
            "positive_above": 3,
            "validation_fraction": FRACTION,
            "unlabelled": [place / "unlabelled.parquet"],
            "models": [place / "model-1"],
            "output": tmp_path / "labels.parquet",
        }
        arguments: list[Any] = []
        for name, value in (usual | options).items():
            if value is None:
                continue
            arguments += ["--" + name.replace("_", "-"), *(value if isinstance(value, list) else [value])]
        result: tuple[int, list[dict[str, Any]], str] = sentiment("label", *arguments)
        return result

    return label


# Labels.


def test_labels_are_the_ensembles_probabilities(label: Any, place: Path, tmp_path: Path) -> None:
    output = tmp_path / "new" / "labels.parquet"
    code, rows, sentence = label(models=[place / "model-1", place / "model-2"], output=output)
    assert code == 0, sentence
    assert [file.name for file in output.parent.iterdir()] == ["labels.parquet"]
    table = pq.read_table(output)
    assert table.schema.equals(SCHEMA)

    assert table["text"].combine_chunks() == texts_to_label(UNLABELLED)

    known = LABELLED.filter(pc.is_valid(LABELLED["stars"]))
    rows_held_out = held_out(known)
    parts = [
        Labelled(
            texts=known["text"].filter(pa.array(part)).combine_chunks(), positive=known["stars"].to_numpy()[part] > 3
        )
        for part in (~rows_held_out, rows_held_out)
    ]
    members = {
        "models": member_of_models([tiny_model(1), tiny_model(2)]),
        "linear": WordSequenceModel().fit(parts[0]).logits,
    }
    ensemble = Ensemble.fit(members, held_out=parts[1])
    found = table["teacher_probability"].to_numpy()
    np.testing.assert_allclose(found, ensemble.probabilities(table["text"].combine_chunks()), atol=1e-6)
    assert ((found >= 0) & (found <= 1)).all()

    report = rows[0]
    assert report["texts"] == len(table)
    assert report["weights"] == pytest.approx(ensemble.weights.tolist(), rel=1e-3)
    assert {report[name]["n"] for name in ("models", "linear", "ensemble")} == {int(rows_held_out.sum())}
    assert f"labelled {len(table)} texts" in sentence


def test_held_out_products_and_texts_are_not_labelled(label: Any, place: Path, tmp_path: Path) -> None:
    """Of several tables: by product, and by text where a table has no products."""
    without = reviews_of(1, seed=5).drop_columns(["product_id"])
    pq.write_table(without, tmp_path / "texts.parquet")
    tables = [place / "labelled.parquet", tmp_path / "texts.parquet"]
    code, _, sentence = label(unlabelled=tables)
    assert code == 0, sentence
    labelled = pq.read_table(tmp_path / "labels.parquet")["text"]
    expected = [texts_to_label(LABELLED), texts_to_label(without, "text")]
    assert labelled.combine_chunks() == pa.concat_arrays(expected)
    assert 0 < held_out(LABELLED).sum() < len(LABELLED)
    assert 0 < held_out(without, "text").sum() < len(without)


@pytest.mark.parametrize("n_products", [5, 50])
def test_a_sample_of_few_products_holds_out_the_same_ones(label: Any, tmp_path: Path, n_products: int) -> None:
    """The model that learns from the labels is measured on the held-out products of the labelled table."""
    if n_products == 5:  # a table of few products that the labelled one has too
        some = LABELLED["product_id"].filter(pa.array(held_out(LABELLED))).unique()[:2].to_pylist()
        sample = LABELLED.filter(pc.is_in(LABELLED["product_id"], pa.array([*some, "product 1", "product 2"])))
        measured = LABELLED.filter(pa.array(held_out(LABELLED)))["text"].to_pylist()
        options = {}
    else:  # the labelled table has too few products, and holds out by text
        sample, few = LABELLED, LABELLED.set_column(1, "product_id", pa.array(["one"] * len(LABELLED)))
        pq.write_table(few, tmp_path / "few.parquet")
        measured = few.filter(pa.array(held_out(few, "text")))["text"].to_pylist()
        options = {"input": tmp_path / "few.parquet"}
    pq.write_table(sample, tmp_path / "sample.parquet")
    assert set(measured) & set(sample["text"].to_pylist())
    code, _, sentence = label(unlabelled=[tmp_path / "sample.parquet"], **options)
    assert code == 0, sentence
    labelled = pq.read_table(tmp_path / "labels.parquet")["text"].to_pylist()
    assert labelled
    assert not set(measured) & set(labelled)


# Targets of labelled reviews, sentences, teachers.


@pytest.mark.parametrize("by_column", [False, True])
def test_labelled_reviews_are_written_with_a_share_of_their_label(label: Any, tmp_path: Path, by_column: bool) -> None:
    stars = LABELLED["stars"].to_numpy(zero_copy_only=False)
    soft = pa.array(np.where(np.isnan(stars), np.nan, (stars - 1) / 4), from_pandas=True)
    rows = np.arange(len(LABELLED))
    shares = np.where(rows % 2, 0.75, 1.0)
    table = LABELLED.append_column("soft", soft).append_column("share", pa.array(shares))
    pq.write_table(table, tmp_path / "soft.parquet")
    options: dict[str, Any] = {"input": tmp_path / "soft.parquet", "label_column": "soft", "soft_labels": []}
    options |= {"label_share_column": "share"} if by_column else {"label_share": 0.75}
    code, (report,), sentence = label(**options)
    assert code == 0, sentence
    written = pq.read_table(tmp_path / "labels.parquet")
    known = ~np.isnan(stars) & ~held_out(LABELLED)
    measured = set(LABELLED["text"].filter(pa.array(~np.isnan(stars) & held_out(LABELLED) & (stars != 3))).to_pylist())
    own = [
        (text, (star - 1) / 4, share if by_column else 0.75)
        for text, star, share, takes_part in zip(LABELLED["text"].to_pylist(), stars, shares, known)
        if takes_part and (text is None or text not in measured)
    ]
    n_own = len(own)
    assert n_own > 80
    assert report["texts"] == len(written) == n_own + len(texts_to_label(UNLABELLED))
    assert written["text"][:n_own].to_pylist() == [text for text, _, _ in own]
    probabilities = written["teacher_probability"].to_numpy()[:n_own]
    of_ensemble = []
    for probability, (_, target, share) in zip(probabilities, own):
        if share == 1:
            assert probability == pytest.approx(target)
        else:
            of_ensemble.append((probability - share * target) / (1 - share))
    assert 0 < min(of_ensemble) < 0.3 < 0.7 < max(of_ensemble) < 1


def test_neutral_labels_teach_the_linear_model_nothing(label: Any, tmp_path: Path) -> None:
    """Of a label at 0.5 neither class is right."""
    stars = LABELLED["stars"].to_numpy(zero_copy_only=False)
    soft = pa.array(np.where(np.isnan(stars), np.nan, (stars - 1) / 4), from_pandas=True)
    pq.write_table(LABELLED.append_column("soft", soft), tmp_path / "soft.parquet")
    clear = LABELLED.filter(pa.array(stars != 3))
    pq.write_table(clear, tmp_path / "clear.parquet")
    results = []
    for options in (
        {"input": tmp_path / "soft.parquet", "label_column": "soft", "soft_labels": []},
        {"input": tmp_path / "clear.parquet"},
    ):
        code, (report,), sentence = label(**options)
        assert code == 0, sentence
        labels = pq.read_table(tmp_path / "labels.parquet")["teacher_probability"]
        results.append((report["weights"], labels.to_numpy()))
    assert results[0][0] == pytest.approx(results[1][0])
    np.testing.assert_allclose(results[0][1], results[1][1])


def test_sequences_of_the_linear_model_are_an_option(label: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, int]] = []
    init = WordSequenceModel.__init__
    monkeypatch.setattr(
        WordSequenceModel, "__init__", lambda model, **options: (made.append(options), init(model, **options))[1]
    )
    assert label(linear_words=2, linear_min_count=3)[0] == 0
    assert made == [{"n_words": 2, "min_count": 3}]
    code, (report,), _ = label(no_linear=[])
    assert (code, len(report["weights"])) == (0, 2)


class _Teacher:
    """Knows by the length of a text."""

    def __init__(self, path: Path, *, device: str) -> None:
        assert (path.name, device) == ("teacher", "cpu")

    def probabilities(self, texts: pa.Array) -> npt.NDArray[np.float64]:
        lengths = pc.utf8_length(texts.fill_null("")).to_numpy(zero_copy_only=False).astype(float)
        return 1 / (1 + lengths)


@pytest.fixture
def stub_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of PyTorch and transformers."""
    monkeypatch.setitem(sys.modules, "sentiment_core.training.teacher", SimpleNamespace(Teacher=_Teacher))
    monkeypatch.setattr(label_reviews, "require_torch_device", lambda name: name)


@pytest.mark.usefixtures("stub_teacher")
def test_sentences_are_labelled_by_the_teacher_alone(label: Any, tmp_path: Path) -> None:
    code, (report,), sentence = label(teacher=["teacher"], sentences=2)
    assert code == 0, sentence
    assert report.keys() >= {"models", "teacher", "linear", "ensemble"}
    table = pq.read_table(tmp_path / "labels.parquet")
    n_whole = len(texts_to_label(UNLABELLED))
    texts, found = table["text"].to_pylist(), table["teacher_probability"].to_numpy()
    assert texts[:n_whole] == texts_to_label(UNLABELLED).to_pylist()
    sentences = texts[n_whole:]
    assert len(sentences) > 50
    assert found[n_whole:] == pytest.approx([1 / (1 + len(sentence)) for sentence in sentences])
    assert found[0] != pytest.approx(1 / (1 + len(texts[0]))), "a whole review is the ensemble's"
    known = LABELLED.filter(pc.is_valid(LABELLED["stars"]))
    wholes = [*texts_to_label(known).to_pylist(), *texts_to_label(UNLABELLED).to_pylist()]
    assert all(any(sentence in whole and sentence != whole for whole in wholes) for sentence in sentences)
    assert any(sentence not in " ".join(texts[:n_whole]) for sentence in sentences), "of labelled reviews, too"


def test_without_a_teacher_the_ensemble_labels_sentences(label: Any, tmp_path: Path) -> None:
    code, (report,), sentence = label(sentences=1)
    assert code == 0, sentence
    assert report["texts"] > len(texts_to_label(UNLABELLED)) + 50
    found = pq.read_table(tmp_path / "labels.parquet")["teacher_probability"].to_numpy()
    assert ((found >= 0) & (found <= 1)).all()


# What `label` refuses.


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        ({"text_column": "body"}, 3, "'body' is missing"),
        ({"label_column": "label"}, 3, "'label' is missing"),
        ({"label_column": "text"}, 3, "name the positive one with --positive-label"),
        ({"input": "nowhere.parquet"}, 3, "nowhere.parquet: no such file"),
        ({"models": ["nowhere"]}, 3, "no such model directory"),
        ({"models": ["language_model"]}, 3, "is a language_model artifact"),
        ({"unlabelled": ["nowhere.parquet"]}, 3, "nowhere.parquet: no such file"),
        ({"unlabelled": ["stars.parquet"]}, 3, "'text' is missing"),
        ({"unlabelled": ["half.parquet"]}, 3, "is no readable parquet"),
        ({"output": "labels.csv"}, 2, "ends in .parquet"),
        ({"output": "labels"}, 2, "ends in .parquet"),
        ({"output": "folder.parquet"}, 2, "ends in .parquet"),
        ({"validation_fraction": 1}, 2, "held-out fraction must be from 0 to below 1"),
        ({"validation_fraction": "nan"}, 2, "held-out fraction must be from 0 to below 1"),
        ({"label_share": 1.5}, 2, "--label-share must be from 0 to 1, not 1.5"),
        ({"label_share_column": "nowhere"}, 3, "'nowhere' is missing"),
        ({"label_share_column": "text"}, 3, "text must be numbers from 0 to 1"),
        ({"label_share_column": "stars"}, 3, "stars is 3 in"),
        ({"sentences": -1}, 2, "--sentences must be 0 or more, not -1"),
        ({"linear_words": 0}, 2, "--linear-words must be at least 1, not 0"),
        ({"linear_min_count": 0}, 2, "--linear-min-count must be at least 1, not 0"),
        ({"soft_labels": []}, 3, "stars is 5 in"),
        ({"models": None}, 2, "nothing labels: name models with --models, classifiers with --teacher, or both"),
        ({"positive_above": 9}, 3, "both classes"),
        ({"validation_fraction": 0}, 3, "both classes"),
        ({"input": "unlike.parquet"}, 3, "no word in common"),
        ({"unlabelled": ["numbers.parquet"]}, 3, "texts must be strings"),
        ({"output": "stars.parquet/labels.parquet"}, 2, "stars.parquet/labels.parquet cannot be made"),
        (
            {"models": ["another"]},
            3,
            "another: was trained on another split than this one (0.2 held out by 'product_id')",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_labelled_is_refused_in_one_sentence(
    label: Any,
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    code: int,
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    pq.write_table(LABELLED.select(["stars"]), "stars.parquet")
    pq.write_table(pa.table({"text": [1, 2]}), "numbers.parquet")
    unlike = pa.array([f"word{number}" for number in range(40)])  # no word is in two reviews
    pq.write_table(pa.table({"text": unlike, "stars": [1, 5] * 20}), "unlike.parquet")
    Path("half.parquet").write_bytes((place / "unlabelled.parquet").read_bytes()[:900])
    Path("folder.parquet").mkdir()
    Path("language_model").symlink_to(place / "language_model")
    save_model(tiny_model(provenance={"held_out_by": "product_id", "held_out_fraction": 0.1}), "another")
    before = sorted(tmp_path.iterdir())
    found, rows, sentence = label(**options)
    assert (found, rows) == (code, []), sentence
    assert sentence.startswith("sentiment label: failed: ")
    assert says in sentence
    assert sorted(tmp_path.iterdir()) == before, "nothing is written"


@pytest.mark.parametrize("texts", [[], [None, None]], ids=str)
def test_a_table_without_a_text_to_label_is_passed_over(
    label: Any, place: Path, tmp_path: Path, texts: list[str | None]
) -> None:
    """One partition of many may have none, or be of held-out products only."""
    pq.write_table(pa.table({"text": pa.array(texts, pa.string())}), tmp_path / "empty.parquet")
    code, rows, sentence = label(unlabelled=[tmp_path / "empty.parquet", place / "unlabelled.parquet"])
    assert code == 0, sentence
    assert rows[0]["texts"] == len(texts_to_label(UNLABELLED))


def test_a_failure_leaves_the_labels_of_the_last_time(label: Any, place: Path, tmp_path: Path) -> None:
    assert label()[0] == 0
    before = (tmp_path / "labels.parquet").read_bytes()
    code, _, _ = label(unlabelled=[place / "unlabelled.parquet", "nowhere.parquet"])
    assert code == 3
    assert (tmp_path / "labels.parquet").read_bytes() == before


def test_a_full_disk_leaves_the_labels_of_the_last_time(
    label: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    assert label()[0] == 0
    before = (tmp_path / "labels.parquet").read_bytes()
    monkeypatch.setattr(pq.ParquetWriter, "write_table", full_disk)
    code, rows, sentence = label()
    assert (code, rows) == (6, []), sentence
    assert "labels.parquet: the labels cannot be written (No space left on device); make room" in sentence
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"labels.parquet": before}


def test_the_linear_model_does_not_learn_a_copy_of_what_is_measured(
    label: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt: list[str] = []
    fit = WordSequenceModel.fit
    monkeypatch.setattr(
        WordSequenceModel, "fit", lambda model, data: (learnt.extend(data.texts.to_pylist()), fit(model, data))[1]
    )
    measured = LABELLED.filter(pc.and_(pa.array(held_out(LABELLED)), pc.is_valid(LABELLED["stars"])))
    copies = measured.set_column(1, "product_id", pa.array(["product 1"] * len(measured)))
    assert not held_out(copies).any()
    pq.write_table(pa.concat_tables([LABELLED, copies.cast(LABELLED.schema)]), tmp_path / "copied.parquet")
    code, (report,), sentence = label(input=tmp_path / "copied.parquet")
    assert code == 0, sentence
    assert report["ensemble"]["n"] == len(measured)
    assert len(learnt) > len(LABELLED) / 2
    assert not set(valid_utf8(measured["text"]).drop_null().to_pylist()) & set(learnt)


# Training with them.


@pytest.fixture
def train(sentiment: Any, place: Path, tmp_path: Path) -> Any:
    pytest.importorskip("mxnet", reason=NO_MXNET)

    def train(*options: Any) -> tuple[int, list[dict[str, Any]], str]:
        usual = ["--input", place / "labelled.parquet", "--label-column", "stars", "--positive-above", 3]
        sizes = ["--hidden-size", 8, "--max-tokens", 60, "--batch-tokens", 1500, "--epochs", 1]
        output = ["--validation-fraction", FRACTION, "--output", tmp_path / "model"]
        result: tuple[int, list[dict[str, Any]], str] = sentiment("train", *usual, *sizes, *output, *options)
        return result

    return train


def test_a_model_learns_from_the_labels(label: Any, train: Any, tmp_path: Path) -> None:
    _, (report,), _ = label()
    code, (told,), sentence = train("--teacher-labels", tmp_path / "labels.parquet")
    assert code == 0, sentence
    model = load_model(tmp_path / "model")
    assert model.sha256 == told["sha256"]
    taught = model.provenance["teacher_labelled_reviews"]
    assert taught == report["texts"] - 1, "one has no token"
    assert told["validation"]["n"] == report["ensemble"]["n"], "both are measured on the same reviews"
    code, _, _ = train()
    assert code == 0
    assert load_model(tmp_path / "model").weights["embedding.weight"].tobytes() != (
        model.weights["embedding.weight"].tobytes()
    )


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"text": ["good", "bad"]}, "'teacher_probability' is missing"),
        ({"teacher_probability": [0.1, 0.9]}, "'text' is missing"),
        ({"text": ["good", "bad"], "teacher_probability": [-0.1, 0.9]}, "is -0.1 in 1 rows, not from 0 to 1"),
        ({"text": ["good", "bad"], "teacher_probability": [1.5, 2.0]}, "is 1.5 in 2 rows, not from 0 to 1"),
        ({"text": ["good", "bad"], "teacher_probability": [0.1, float("nan")]}, "is nan in 1 rows"),
        ({"text": ["good", "bad"], "teacher_probability": [float("inf"), 0.1]}, "is inf in 1 rows"),
        ({"text": ["good", "bad"], "teacher_probability": [0.1, None]}, "is nan in 1 rows"),
        ({"text": [1, 2], "teacher_probability": [0.1, 0.9]}, "texts must be strings, not int64"),
        ({"text": ["good", "bad"], "teacher_probability": [0.1, 0.2]}, "teacher's part has 0 positive reviews of 2"),
        ({"text": [None, " "], "teacher_probability": [0.1, 0.9]}, "teacher's part has 0 positive reviews of 0"),
        *(
            ({"text": ["good", "bad"], "teacher_probability": probabilities}, "teacher_probability must be numbers")
            for probabilities in (["high", "low"], [[0.1], [0.9]])
        ),
    ],
    ids=str,
)
def test_teacher_labels_that_are_none_are_refused_in_one_sentence(
    train: Any, tmp_path: Path, columns: dict[str, Any], says: str
) -> None:
    pq.write_table(pa.table(columns), tmp_path / "teacher.parquet")
    code, rows, sentence = train("--teacher-labels", tmp_path / "teacher.parquet")
    assert (code, rows) == (3, []), sentence
    assert sentence.startswith("sentiment train: failed: ")
    assert says in sentence
    assert [entry.name for entry in tmp_path.iterdir()] == ["teacher.parquet"]


def test_a_file_of_teacher_labels_that_is_none_is_refused(train: Any, place: Path, tmp_path: Path) -> None:
    (tmp_path / "half.parquet").write_bytes((place / "unlabelled.parquet").read_bytes()[:900])
    for name, says in (("half.parquet", "is no readable parquet"), ("none.parquet", "no such file or directory")):
        code, _, sentence = train("--teacher-labels", tmp_path / name)
        assert (code, says in sentence) == (3, True), sentence


def test_held_out_reviews_of_a_table_without_products_are_not_learnt(label: Any, train: Any, tmp_path: Path) -> None:
    """There they cannot be known by their product when they are labelled, but by their text when they are learnt."""
    pq.write_table(LABELLED.drop_columns(["product_id"]), tmp_path / "texts.parquet")
    assert label(unlabelled=[tmp_path / "texts.parquet"])[0] == 0
    labelled = set(pq.read_table(tmp_path / "labels.parquet")["text"].to_pylist())
    known = pc.and_(pa.array(held_out(LABELLED)), pc.is_valid(LABELLED["stars"]))
    measured = set(valid_utf8(LABELLED.filter(known)["text"]).to_pylist())
    assert labelled & measured
    assert train("--teacher-labels", tmp_path / "labels.parquet")[0] == 0
    taught = load_model(tmp_path / "model").provenance["teacher_labelled_reviews"]
    assert 0 < taught <= len(pq.read_table(tmp_path / "labels.parquet")) - len(labelled & measured)
