"""The verbs `train` and `pretrain`: what they refuse, in one sentence each, and how they go on after a kill."""

from __future__ import annotations

import argparse
import errno
import hashlib
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.with_mxnet import mx  # noqa: F401, what is compared, or trains on the CPU
from jobs.demo.sample_reviews import generate_reviews
from jobs.verbs.models.settings import add_settings
from sentiment_core import artifact
from sentiment_core.artifact import load_model, save_model
from sentiment_core.dataset.holdout import held_out_mask
from sentiment_core.text.pipeline import SPECIAL_TOKENS
from sentiment_core.training.recipes import PretrainSettings, TrainSettings
from sentiment_core.training.steps.fine_tuning import FineTuning
from sentiment_core.training.steps.pretraining import Pretraining
from tests.support.models import tiny_model
from tests.support.runs import assert_same_run, note_steps

REVIEWS = generate_reviews(300, seed=3, odd_texts=False)
LABELS = ["--label-column", "stars", "--positive-above", 3]
USUAL = {
    "train": ["--hidden-size", 8, "--max-tokens", 60, "--batch-tokens", 1500, *LABELS],
    "pretrain": ["--hidden-size", 8, "--batch-size", 8, "--bptt", 20, "--negatives", 20],
}
RUNS: dict[str, type[Any]] = {"train": FineTuning, "pretrain": Pretraining}
BOTH = pytest.mark.parametrize("verb", list(USUAL))


@pytest.fixture
def teach(sentiment: Any, tmp_path: Path) -> Any:
    """Run a verb on a table."""

    def teach(verb: str, *options: Any, reviews: pa.Table = REVIEWS) -> tuple[int, list[dict[str, Any]], str]:
        pq.write_table(reviews, tmp_path / "in.parquet")
        where = ["--input", tmp_path / "in.parquet", "--output", tmp_path / "out", "--validation-fraction", 0.2]
        result: tuple[int, list[dict[str, Any]], str] = sentiment(verb, *where, *USUAL[verb], "--epochs", 1, *options)
        return result

    return teach


@pytest.fixture
def refuses(teach: Any, tmp_path: Path) -> Any:
    """Check that a verb refuses in one sentence, and writes nothing."""

    def refuses(verb: str, *options: Any, says: str, code: int = 3, reviews: pa.Table = REVIEWS) -> None:
        before = {*tmp_path.iterdir(), tmp_path / "in.parquet"}
        found, rows, sentence = teach(verb, *options, reviews=reviews)
        assert (found, rows) == (code, []), sentence
        assert sentence.startswith(f"sentiment {verb}: failed: ")
        assert says in sentence
        assert set(tmp_path.iterdir()) == before

    return refuses


@BOTH
def test_a_table_without_texts_is_refused(refuses: Any, verb: str) -> None:
    refuses(verb, reviews=REVIEWS.drop_columns(["text"]), says="the column 'text' is missing among 4; name it")
    refuses(verb, "--text-column", "body", says="the column 'body' is missing among 5; name it")
    refuses(verb, "--text-column", "review_id", says="texts must be strings, not int64")


@pytest.mark.parametrize("above", [0, 5])
def test_labels_of_one_class_are_refused(refuses: Any, above: int) -> None:
    refuses("train", "--positive-above", above, says="it needs both classes: check --label-column, --positive-above")


def test_too_few_reviews_for_two_batches_are_refused(refuses: Any) -> None:
    few = REVIEWS[:60]
    refuses("train", "--batch-tokens", 100_000, "--num-buckets", 1, reviews=few, says="are one batch only")
    refuses("pretrain", "--batch-size", 64, reviews=few, says="are too few for two steps of 64 x 20 tokens")
    refuses("pretrain", reviews=few, says="held-out tokens are too few to measure, 816 are needed")


@BOTH
def test_a_language_model_that_lacks_a_word_is_refused(refuses: Any, tmp_path: Path, verb: str) -> None:
    """Its digests are right, as if somebody had edited the vocabulary on purpose."""
    path = tmp_path / "language_model"
    model = tiny_model(kind="language_model")
    save_model(model, path)
    words = (path / "vocabulary.txt").read_text().splitlines(keepends=True)
    (path / "vocabulary.txt").write_text("".join(words[:-1]))
    files = sorted(file for file in path.iterdir() if file.name != "SHA256SUMS")
    (path / "SHA256SUMS").write_text(
        "".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files)
    )
    says = f"vocabulary.txt: holds {len(words) - 1} words, but the weights have {len(words)} rows"
    refuses(verb, "--language-model", path, says=says)


@BOTH
def test_a_model_that_scores_is_no_language_model(refuses: Any, tmp_path: Path, verb: str) -> None:
    save_model(tiny_model(), tmp_path / "model")
    refuses(verb, "--language-model", tmp_path / "model", says="is a sentiment artifact, but a language_model artifact")


@BOTH
def test_a_loss_that_is_no_number_is_refused(refuses: Any, verb: str) -> None:
    refuses(verb, "--learning-rate", "9e37", says="the loss is not finite at step 1 of ")


@pytest.mark.parametrize(
    ("verb", "rate"),
    [
        ("pretrain", "1000"),
        ("train", "1e5"),
        ("pretrain", "1e300"),
        ("train", "1e300"),
    ],
)
def test_a_rate_that_is_far_too_high_is_named(teach: Any, tmp_path: Path, verb: str, rate: str) -> None:
    """Weights and losses may become huge before they are no numbers."""
    code, rows, sentence = teach(verb, "--learning-rate", rate)
    assert code in (2, 3), sentence
    assert rows == []
    assert "learning" in sentence.lower()
    assert not (tmp_path / "out").exists()


@BOTH
@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--epochs", 0], "epochs must be at least 1"),
        (["--learning-rate", "nan"], "learning_rate must be above 0"),
        (["--seed", -1], "seed must be from 0"),
        (["--dropout", 1], "dropout must be from 0 to below 1"),
        (["--validation-fraction", 1], "held-out fraction must be from 0 to below 1"),
    ],
    ids=str,
)
def test_options_out_of_range_are_refused(refuses: Any, verb: str, options: list[Any], says: str) -> None:
    refuses(verb, *options, says=says, code=2)


@BOTH
def test_a_model_that_cannot_be_saved_can_be_when_there_is_room(
    teach: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    def full_disk(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(artifact, "write_durably", full_disk)
        code, rows, sentence = teach(verb)
    assert (code, rows) == (6, []), sentence
    assert "out cannot be written (No space left on device); make room" in sentence
    assert {entry.name for entry in tmp_path.iterdir()} == {"in.parquet", "out.checkpoint"}
    code, rows, sentence = teach(verb)
    assert (code, "out.checkpoint: holds an earlier run; go on with it by --resume" in sentence) == (2, True), sentence
    steps = note_steps(monkeypatch, RUNS[verb])
    code, rows, sentence = teach(verb, "--resume")
    assert (code, len(rows), steps) == (0, 1, []), sentence
    assert {entry.name for entry in tmp_path.iterdir()} == {"in.parquet", "out"}


@BOTH
def test_a_place_where_nothing_can_be_written_is_refused_at_once(
    teach: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    (tmp_path / "file").write_text("precious")
    steps = note_steps(monkeypatch, RUNS[verb])
    code, rows, sentence = teach(verb, "--output", tmp_path / "file" / "model")
    assert (code, rows, steps) == (2, [], []), sentence
    assert "file/model cannot be made (" in sentence


@BOTH
def test_a_run_that_is_stopped_goes_on_with_resume(
    teach: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    kind: Any = "sentiment" if verb == "train" else "language_model"
    options = ["--epochs", 2]
    code, _, sentence = teach(verb, *options, "--resume")
    assert (code, "no checkpoint to resume from" in sentence) == (3, True), sentence
    assert teach(verb, *options)[0] == 0
    whole = load_model(tmp_path / "out", kind=kind)
    original = RUNS[verb].step

    def stopped(run: Any, batch: Any, **of_step: Any) -> tuple[float, int]:
        if of_step["step"] == run.steps_per_epoch + 3:
            raise KeyboardInterrupt
        result: tuple[float, int] = original(run, batch, **of_step)
        return result

    with monkeypatch.context() as patch:
        patch.setattr(RUNS[verb], "step", stopped)
        code, _, sentence = teach(verb, *options)
    assert (code, sentence) == (
        1,
        f"sentiment {verb}: failed: interrupted; what was published or saved before stays, run again",
    )
    assert load_model(tmp_path / "out", kind=kind).sha256 == whole.sha256, "the model of the last time is still there"
    assert (tmp_path / "out.checkpoint").exists()
    code, _, sentence = teach(verb, *options, "--resume", "--seed", 2)
    assert (code, "belongs to a run with other settings" in sentence) == (3, True), sentence
    code, _, sentence = teach(verb, *options, "--resume", reviews=REVIEWS[1:])
    assert (code, "belongs to a run on other reviews" in sentence) == (3, True), sentence
    code, _, sentence = teach(verb, *options, "--resume")
    assert code == 0, sentence
    assert_same_run(load_model(tmp_path / "out", kind=kind), whole)
    assert {entry.name for entry in tmp_path.iterdir()} == {"in.parquet", "out"}


# What is taken.


@BOTH
def test_texts_and_products_may_be_bytes_that_are_no_utf8(teach: Any, verb: str) -> None:
    texts = pa.array([b"\xff" + text.encode() for text in REVIEWS["text"].to_pylist()])
    products = pa.array([b"\xfe%d" % (number % 60) for number in range(len(REVIEWS))])
    odd = REVIEWS.set_column(REVIEWS.column_names.index("text"), "text", texts)
    odd = odd.set_column(REVIEWS.column_names.index("product_id"), "product_id", products)
    code, _, sentence = teach(verb, reviews=odd)
    assert code == 0, sentence


@pytest.mark.slow
def test_the_card_says_what_the_reviews_are_and_how_some_were_held_out(teach: Any, tmp_path: Path) -> None:
    by_product = REVIEWS.set_column(1, "product_id", pa.array([number % 60 for number in range(len(REVIEWS))]))
    assert REVIEWS.column_names[1] == "product_id"
    for reviews, decided in ((REVIEWS, "text"), (by_product, "product_id")):
        code, _, sentence = teach("train", "--data-name", "Reviews of a shop", reviews=reviews)
        assert code == 0, sentence
        card = load_model(tmp_path / "out").card
        assert "Source: Reviews of a shop." in card
        assert f'held out by a hash of their "{decided}"' in card


@pytest.mark.slow
@pytest.mark.parametrize("n_products", [1, 60])
def test_a_language_model_knows_by_what_its_texts_were_held_out(teach: Any, tmp_path: Path, n_products: int) -> None:
    """`train` compares it with its own split."""
    reviews = REVIEWS.set_column(1, "product_id", pa.array([number % n_products for number in range(len(REVIEWS))]))
    assert teach("pretrain", "--output", tmp_path / "lm", reviews=reviews)[0] == 0
    provenance = load_model(tmp_path / "lm", kind="language_model").provenance
    decided = "text" if n_products == 1 else "product_id"
    assert (provenance["held_out_by"], provenance["held_out_fraction"]) == (decided, 0.2)
    for fraction in (0.2, 0.3):
        options = ["--language-model", tmp_path / "lm", "--validation-fraction", fraction]
        code, _, sentence = teach("train", *options, reviews=reviews)
        assert code == 0, sentence
        provenance = load_model(tmp_path / "out").provenance
        assert ("started_from_another_split" in provenance) == (fraction != 0.2)


@pytest.mark.parametrize("settings", [TrainSettings, PretrainSettings])
def test_every_option_of_a_recipe_is_explained(settings: type[Any]) -> None:
    parser = argparse.ArgumentParser()
    add_settings(parser, settings)
    shown = " ".join(parser.format_help().split())
    explained = {action.dest: action.help for action in parser._actions if action.dest != "help"}
    assert explained.keys() == {field.name for field in fields(settings)}
    for name, text in explained.items():
        assert re.fullmatch(r".{10,} \(default: %\(default\)s\)", text), f"{name}: {text}"
    assert "share of the vocabulary that a step does not see" in shown or settings is PretrainSettings
    assert "passes over the data (default: " in shown, "of the class that it inherits from"


def test_quality_elsewhere_is_in_the_card(teach: Any, tmp_path: Path) -> None:
    table = pa.table({"text": ["good", "bad"], "label": [1, 0], "domain": ["tea", "soap"]})
    pq.write_table(table, tmp_path / "elsewhere.parquet")
    code, _, sentence = teach("train", "--elsewhere", tmp_path / "elsewhere.parquet")
    assert code == 0, sentence
    model = load_model(tmp_path / "out")
    assert model.metrics["elsewhere"]["n"] == 2
    assert "| soap | 1 |" in model.card


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"label": [1, None, 0]}, "must hold 0 and 1, both and nothing else"),
        ({"label": [1, 3, 0]}, "must hold 0 and 1, both and nothing else"),
        ({"label": [1, 1, 1]}, "must hold 0 and 1, both and nothing else"),
        ({"label": ["good", "bad", "bad"]}, "label must be numbers"),
        ({"text": [1, 2, 3]}, "texts must be strings"),
        ({"domain": [["a"], [], []]}, "domain words"),
    ],
    ids=str,
)
def test_a_table_from_elsewhere_is_checked_before_training(
    refuses: Any, tmp_path: Path, columns: dict[str, Any], says: str
) -> None:
    usual = {"text": ["good", "bad", "so so"], "label": [1, 0, 0], "domain": ["tea", "soap", None]}
    pq.write_table(pa.table(usual | columns), tmp_path / "elsewhere.parquet")
    refuses("train", "--elsewhere", tmp_path / "elsewhere.parquet", says=says)


# A vocabulary of one's own.

OWN_WORDS = ["the", "kettle", "is", "good", "bad", ".", "zorblat", "👍"]


@pytest.mark.parametrize(("between", "end"), [("\n", "\n"), ("\n", ""), ("\r\n", "\r\n")], ids=repr)
def test_a_language_model_has_the_words_of_its_vocabulary(teach: Any, tmp_path: Path, between: str, end: str) -> None:
    words = [*SPECIAL_TOKENS, *OWN_WORDS]
    (tmp_path / "words.txt").write_bytes((between.join(words) + end).encode())
    code, _, sentence = teach("pretrain", "--vocabulary", tmp_path / "words.txt")
    assert code == 0, sentence
    assert load_model(tmp_path / "out", kind="language_model").text.vocabulary.words == tuple(words)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "words.txt: the vocabulary cannot be read"),
        (b"\xff\xfe", "words.txt: the vocabulary cannot be read"),
        (b"", "words.txt: must begin with"),
        (b"good\nbad\n", "words.txt: must begin with"),
        (
            "\n".join([*SPECIAL_TOKENS, "good", "bad", "good"]).encode(),
            "words.txt: holds the word 'good' more",
        ),
        ("\n".join([*SPECIAL_TOKENS, "good", "", "bad"]).encode(), "words.txt: holds ''; a word is not empty"),
    ],
    ids=str,
)
def test_a_vocabulary_that_is_none_is_refused(refuses: Any, tmp_path: Path, content: bytes | None, says: str) -> None:
    if content is not None:
        (tmp_path / "words.txt").write_bytes(content)
    refuses("pretrain", "--vocabulary", tmp_path / "words.txt", says=says)


def test_a_language_model_to_start_from_has_its_own_words(refuses: Any, tmp_path: Path) -> None:
    save_model(tiny_model(kind="language_model"), tmp_path / "lm")
    (tmp_path / "words.txt").write_text("\n".join([*SPECIAL_TOKENS, *OWN_WORDS]))
    options = ["--language-model", tmp_path / "lm", "--vocabulary", tmp_path / "words.txt"]
    refuses("pretrain", *options, says="the language model to start from has its own words", code=2)


# Labels from 0 to 1.


def test_soft_labels_are_learnt_as_they_are_and_neutral_ones_not_measured(
    teach: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = np.array([0.0, 1.0, 0.5, 0.2, 0.9] * (len(REVIEWS) // 5))
    soft = pa.table({"text": REVIEWS["text"], "label": labels})
    held_out = held_out_mask(soft["text"], fraction=0.2)
    learnt: list[float] = []
    start = FineTuning.start
    monkeypatch.setattr(FineTuning, "start", lambda run: (learnt.extend(run.data.positive.tolist()), start(run))[1])
    code, (report,), sentence = teach("train", "--soft-labels", "--label-column", "label", reviews=soft)
    assert code == 0, sentence
    assert report["validation"]["n"] == np.count_nonzero(held_out & (labels != 0.5))
    assert sorted(learnt) == pytest.approx(sorted(labels[~held_out]))
    assert 0.5 in learnt


def test_labels_that_are_no_probabilities_are_refused(refuses: Any) -> None:
    labels = pa.array([0.5, 7.0, 1.0, -1.0] * (len(REVIEWS) // 4))
    reviews = REVIEWS.set_column(REVIEWS.column_names.index("stars"), "stars", labels)
    says = f"in.parquet: stars is 7 in {len(REVIEWS) // 2} rows; with --soft-labels it must be from 0 to 1"
    refuses("train", "--soft-labels", says=says, reviews=reviews)


# Teacher's labels alone.


def test_only_the_teachers_labels_are_learnt_if_asked_for(
    teach: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"a kettle of kind {number}" for number in range(60)]
    taught = pa.table({"text": texts, "teacher_probability": np.linspace(0.1, 0.9, 60)})
    pq.write_table(taught, tmp_path / "taught.parquet")
    learnt: list[list[float]] = []
    start = FineTuning.start
    monkeypatch.setattr(FineTuning, "start", lambda run: (learnt.append(run.data.positive.tolist()), start(run))[1])
    options = ["--teacher-labels", tmp_path / "taught.parquet", "--batch-tokens", 150]
    for more in (["--teacher-labels-only"], []):
        code, _, sentence = teach("train", *options, *more)
        assert code == 0, sentence
    only, both = learnt
    assert only == pytest.approx(np.linspace(0.1, 0.9, 60).tolist())
    assert len(both) > 200
    assert both[-60:] == only
    assert load_model(tmp_path / "out").provenance["teacher_labelled_reviews"] == 60


def test_the_teachers_labels_alone_are_none_without_them(refuses: Any) -> None:
    refuses("train", "--teacher-labels-only", says="--teacher-labels-only needs --teacher-labels", code=2)


def test_the_spread_of_domains_is_stored_and_in_the_card(teach: Any, tmp_path: Path) -> None:
    n = 600
    table = pa.table(
        {"text": ["good", "bad", "so so"] * (n // 3), "label": [1, 0] * (n // 2), "domain": ["tea", "soap"] * (n // 2)}
    )
    table = pa.concat_tables([table, table.set_column(2, "domain", pa.array(["app"] * n))])
    pq.write_table(table, tmp_path / "elsewhere.parquet")
    code, _, sentence = teach("train", "--elsewhere", tmp_path / "elsewhere.parquet")
    assert code == 0, sentence
    model = load_model(tmp_path / "out")
    shift = model.metrics["domain_shift"]
    assert shift.keys() == {"domains", "mean", "standard_error", "standard_deviation"}
    # Soap is never good and tea always, which the words do not say.
    assert shift["domains"] == 3
    assert shift["standard_deviation"] > 0.3
    assert f"standard deviation of {shift['standard_deviation']:.4f}" in " ".join(model.card.split())
    assert [row["domain"] for row in model.metrics["elsewhere"]["calibration_errors"]] == ["app", "soap", "tea"]
    assert "| soap | 300 | 0." in model.card.partition("Calibration error of the domains")[2]
