from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.support.with_mxnet import mx  # noqa: F401, what trains on the CPU
from sentiment_core.artifact import Model, load_model, save_model
from sentiment_core.behaviour.suite import evaluate_behaviour
from sentiment_core.dataset.holdout import Split
from sentiment_core.dataset.labelled import Labelled
from sentiment_core.errors import InputError, UsageError
from sentiment_core.evaluation.metrics import evaluate_probabilities
from sentiment_core.scoring.scorer import Scorer
from sentiment_core.text.familiarity import fit_familiarity
from sentiment_core.training import run as training
from sentiment_core.training.run import TrainSettings, train
from sentiment_core.training.steps import fine_tuning
from sentiment_core.training.steps import loop as training_loop
from tests.support.models import tiny_model
from tests.support.reference import reference_logit, reference_probability
from tests.support.runs import Killed, assert_same_run, kill_at, labelled_reviews, note_steps, rows_of

SETTINGS = TrainSettings(
    vocab_size=2_000, max_tokens=80, hidden_size=16, batch_tokens=1_200, num_buckets=4, epochs=4, learning_rate=0.01
)
ALL_OF_IT = {
    "weight_drop": 0.2,
    "adversarial_epsilon": 1.0,
    "excerpt_share": 0.3,
    "layer_decay": 0.8,
    "unfreeze_fraction": 0.6,
}

_REVIEWS = labelled_reviews(400, seed=3)  # no text is in both parts
DATA, VALIDATION = rows_of(_REVIEWS, slice(300)), rows_of(_REVIEWS, slice(300, 400))
OTHERS = labelled_reviews(100, seed=2)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Model]:
    """Train in a directory of its own, anew unless told; without what takes as long as an epoch here."""
    monkeypatch.setattr(training, "reliability_plot", lambda *_, **__: "")
    monkeypatch.setattr(training, "evaluate_behaviour", lambda *_, **__: {})

    def run(**options: Any) -> Model:
        options = {"validation": VALIDATION, "checkpoint_path": tmp_path / "checkpoint", "settings": SETTINGS} | options
        if not options.get("resume"):
            options["checkpoint_path"].unlink(missing_ok=True)
        return train(options.pop("data", DATA), **options)

    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = tmp_path_factory.mktemp("training") / "checkpoint"
    return train(DATA, validation=VALIDATION, checkpoint_path=path, settings=SETTINGS)


def test_a_trained_model_knows_its_behaviour_and_what_it_does_not_know(trained: Model) -> None:
    scorer = Scorer(trained)
    decision = trained.decision
    assert trained.metrics["behaviour"] == evaluate_behaviour(
        lambda texts: scorer.score_texts(texts).positive_probability,
        negative_below=decision.negative_below,
        positive_from=decision.positive_from,
    )
    assert "## Behaviour" in trained.card
    assert trained.familiarity == fit_familiarity(trained.text.encode(VALIDATION.texts), trained.text.vocabulary)
    assert scorer.score_texts(["这家餐厅的菜很好吃", "xqzt zorblat"]).status.tolist() == ["unfamiliar"] * 2
    share = scorer.score_texts(VALIDATION.texts).unfamiliar.mean()
    assert trained.metrics["unfamiliar_share"] == share < 0.1
    assert "## Texts that it does not know" in trained.card


def script_losses(monkeypatch: pytest.MonkeyPatch, losses: list[float]) -> None:
    """Let the epochs have these validation losses."""
    script: Iterator[float] = iter(losses)

    def scripted(labels: Any, probabilities: Any) -> Any:
        metrics = evaluate_probabilities(labels, probabilities)
        return replace(metrics, log_loss=next(script, metrics.log_loss))

    monkeypatch.setattr(training_loop, "evaluate_probabilities", scripted)


def weights_by_epoch(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The averaged weights at the end of each epoch, as they will be."""
    epochs: list[dict[str, Any]] = []
    original = fine_tuning.FineTuning.finish_epoch

    def noting(run: Any, *args: Any) -> bool:
        epochs.append({name: array.asnumpy() for name, array in run.average.items()})
        return original(run, *args)

    monkeypatch.setattr(fine_tuning.FineTuning, "finish_epoch", noting)
    return epochs


def same_weights(left: Any, right: Any) -> bool:
    """In half precision, in which weights are stored."""
    return left.keys() == right.keys() and all(
        np.array_equal(left[name].astype(np.float16), right[name].astype(np.float16)) for name in left
    )


def weights_by_step(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The weights before the first and after each step, as they will be."""
    steps: list[dict[str, Any]] = []
    original = fine_tuning.FineTuning.step

    def noting(run: Any, batch: Any, **options: Any) -> tuple[float, int]:
        if not steps:
            steps.append({name: parameter.data().asnumpy() for name, parameter in run.parameters.items()})
        result = original(run, batch, **options)
        steps.append({name: parameter.data().asnumpy() for name, parameter in run.parameters.items()})
        return result

    monkeypatch.setattr(fine_tuning.FineTuning, "step", noting)
    return steps


def uncalibrated(model: Model, texts: pa.Array) -> Any:
    """Probabilities before calibration, which is fitted on labels."""
    plain = replace(model, decision=replace(model.decision, slope=1.0, intercept=0.0))
    scorer = Scorer(plain, engine="onnx", precision="float32", threads=1)
    return scorer.score_texts(texts).positive_probability


# It learns.


def test_training_from_scratch_learns(trained: Model) -> None:
    history = trained.metrics["history"]
    share = max(VALIDATION.positive.mean(), 1 - VALIDATION.positive.mean())
    assert trained.metrics["validation"]["accuracy"] > share + 0.15
    assert trained.metrics["validation"]["auc"] > 0.85
    assert history[-1]["validation_loss"] < history[0]["validation_loss"] - 0.1
    assert history[-1]["train_loss"] < history[0]["train_loss"] - 0.05
    assert [epoch["epoch"] for epoch in history] == list(range(1, len(history) + 1))


def test_the_numbers_in_the_model_are_those_of_scoring_with_it(trained: Model, tmp_path: Path) -> None:
    """Half precision weights, calibration and cut-offs included."""
    save_model(trained, tmp_path / "model")
    model = load_model(tmp_path / "model")
    scores = Scorer(model, engine="onnx", precision="float32", threads=1).score_texts(VALIDATION.texts)
    found = evaluate_probabilities(VALIDATION.positive, scores.positive_probability)
    assert found.as_dict() == pytest.approx(trained.metrics["validation"], abs=1e-4)
    np.testing.assert_allclose(
        scores.positive_probability[:20], reference_probability(model, VALIDATION.texts[:20].to_pylist()), atol=1e-5
    )
    labelled = scores.sentiment != "neutral"
    assert trained.metrics["labelled_share"] == pytest.approx(labelled.mean())
    right = (scores.sentiment == "positive") == VALIDATION.positive
    assert trained.metrics["labels_right"] == pytest.approx(right[labelled].mean())


def test_the_calibration_is_the_best_of_its_kind(trained: Model) -> None:
    assert trained.decision.method in ("temperature", "platt")
    history = trained.metrics["history"]
    assert trained.metrics["validation"]["log_loss"] <= min(epoch["validation_loss"] for epoch in history) + 1e-9
    table = trained.metrics["calibration_table"]
    assert sum(row["n"] for row in table) == len(VALIDATION)


def test_the_model_says_where_it_comes_from(trained: Model) -> None:
    assert trained.provenance["settings"] == asdict(SETTINGS)
    assert (trained.provenance["training_reviews"], trained.provenance["validation_reviews"]) == (300, 100)
    assert trained.provenance["language_model_sha256"] is None
    assert f"{trained.metrics['validation']['accuracy']:.4f}" in trained.card
    assert trained.weights["embedding.weight"].dtype == np.float16
    assert trained.text.settings.max_tokens == SETTINGS.max_tokens
    assert "<svg" in trained.reliability_plot
    of_slices: dict[str, int] = {}
    for row in trained.metrics["slices"]:
        of_slices[row["slice"]] = of_slices.get(row["slice"], 0) + row["n"]
    assert len(of_slices) >= 2
    assert set(of_slices.values()) == {100}, "no slice leaves a review out"


# Reproducible, and resumable.


@pytest.mark.slow
def test_a_seed_decides_everything(run: Callable[..., Model], trained: Model) -> None:
    assert_same_run(run(), trained)
    other = run(settings=replace(SETTINGS, seed=2))
    assert not same_weights(other.weights, trained.weights)


@pytest.mark.parametrize(("killed_at", "recipe"), [(1, {}), (20, {}), (21, ALL_OF_IT)])
def test_a_killed_run_goes_on_as_if_nothing_had_been(
    run: Callable[..., Model], monkeypatch: pytest.MonkeyPatch, killed_at: int, recipe: dict[str, float]
) -> None:
    settings = replace(SETTINGS, epochs=2, checkpoint_seconds=0.0, **recipe)
    whole = run(settings=replace(settings, checkpoint_seconds=1e9))
    with monkeypatch.context() as patch:
        kill_at(patch, fine_tuning.FineTuning, killed_at)
        with pytest.raises(Killed):
            run(settings=settings)
    steps = note_steps(monkeypatch, fine_tuning.FineTuning)
    assert_same_run(run(settings=settings, resume=True), whole)
    assert steps[0] == killed_at < steps[-1]


def test_a_run_killed_between_checkpoints_repeats_some_steps(
    run: Callable[..., Model], monkeypatch: pytest.MonkeyPatch, trained: Model
) -> None:
    with monkeypatch.context() as patch:
        kill_at(patch, fine_tuning.FineTuning, 30)
        with pytest.raises(Killed):
            run()
    assert_same_run(run(resume=True), trained)


def test_resuming_a_finished_run_gives_its_model(run: Callable[..., Model]) -> None:
    settings = replace(SETTINGS, epochs=2)
    assert_same_run(run(settings=settings), run(settings=settings, resume=True))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"settings": replace(SETTINGS, learning_rate=0.02, checkpoint_seconds=0.0)}, "a run with other settings"),
        ({"settings": replace(SETTINGS, epochs=5, checkpoint_seconds=0.0)}, "a run with other settings"),
        (
            {"data": Labelled(texts=DATA.texts[:299], positive=DATA.positive[:299])},
            "a run on other reviews or from another language model",
        ),
        (
            {"data": Labelled(texts=DATA.texts, positive=~DATA.positive)},
            "a run on other reviews or from another language model",
        ),
        (
            {"validation": Labelled(texts=DATA.texts[:50], positive=DATA.positive[:50])},
            "a run on other reviews or from another language model",
        ),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(
    run: Callable[..., Model], monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], fault: str
) -> None:
    settings = replace(SETTINGS, checkpoint_seconds=0.0)
    with monkeypatch.context() as patch:
        kill_at(patch, fine_tuning.FineTuning, 2)
        with pytest.raises(Killed):
            run(settings=settings)
    with pytest.raises(InputError, match=f"belongs to {fault}; repeat its"):
        run(**{"resume": True, "settings": settings} | change)


def test_without_a_checkpoint_there_is_nothing_to_resume(run: Callable[..., Model], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no checkpoint to resume from .* start without --resume"):
        run(resume=True)
    (tmp_path / "checkpoint").write_bytes(b"\x80\x04N.")
    with pytest.raises(InputError, match=r"no checkpoint to resume from .* start without --resume"):
        run(resume=True)


# Which weights are kept.


def test_the_epoch_of_lowest_loss_is_kept_and_patience_ends_the_run(
    run: Callable[..., Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    script_losses(monkeypatch, [0.6, 0.5, 0.55, 0.52, 0.1])
    epochs = weights_by_epoch(monkeypatch)
    model = run(settings=replace(SETTINGS, epochs=6, patience=2))
    assert [epoch["validation_loss"] for epoch in model.metrics["history"]] == [0.6, 0.5, 0.55, 0.52]
    assert same_weights(model.weights, epochs[1])
    assert not same_weights(model.weights, epochs[3])


def test_a_resumed_run_remembers_its_best_epoch(run: Callable[..., Model], monkeypatch: pytest.MonkeyPatch) -> None:
    epochs = weights_by_epoch(monkeypatch)
    settings = replace(SETTINGS, patience=4)
    with monkeypatch.context() as patch:
        script_losses(patch, [0.1, 0.5])
        kill_at(patch, fine_tuning.FineTuning, 35)
        with pytest.raises(Killed):
            run(settings=settings)
    script_losses(monkeypatch, [0.4, 0.3, 0.2])
    model = run(settings=settings, resume=True)
    assert model.metrics["history"][0]["validation_loss"] == 0.1
    assert same_weights(model.weights, epochs[0])


def test_the_average_is_that_of_all_steps(run: Callable[..., Model], monkeypatch: pytest.MonkeyPatch) -> None:
    """Exponential, with a memory that is short at first."""
    steps = weights_by_step(monkeypatch)
    epochs = weights_by_epoch(monkeypatch)
    run(settings=replace(SETTINGS, epochs=1, weight_average=0.9))
    expected = {name: array.astype(float) for name, array in steps[0].items()}
    for step, weights in enumerate(steps[1:]):
        kept = min(0.9, (1 + step) / (10 + step))
        expected = {name: kept * average + (1 - kept) * weights[name] for name, average in expected.items()}
    assert len(steps) > 10
    for name, weights in epochs[0].items():
        np.testing.assert_allclose(weights, expected[name], atol=1e-6)


def test_measuring_does_not_change_what_is_trained(run: Callable[..., Model], monkeypatch: pytest.MonkeyPatch) -> None:
    """The averaged weights are measured, and training goes on with its own."""
    original = fine_tuning.FineTuning.finish_epoch
    unchanged: list[bool] = []

    def comparing(run: Any, *args: Any) -> bool:
        before = {name: parameter.data().asnumpy() for name, parameter in run.parameters.items()}
        result = original(run, *args)
        unchanged.extend(np.array_equal(run.parameters[name].data().asnumpy(), before[name]) for name in before)
        return result

    monkeypatch.setattr(fine_tuning.FineTuning, "finish_epoch", comparing)
    run(settings=replace(SETTINGS, epochs=2))
    assert len(unchanged) == 2 * 11
    assert all(unchanged)


def test_the_weights_that_are_stored_are_the_ones_that_were_measured(trained: Model) -> None:
    """The loss of the best epoch is that of the stored weights before calibration."""
    probabilities = uncalibrated(trained, VALIDATION.texts)
    best = min(epoch["validation_loss"] for epoch in trained.metrics["history"])
    assert evaluate_probabilities(VALIDATION.positive, probabilities).log_loss == pytest.approx(best, abs=1e-5)


# What goes in.


def test_a_language_model_gives_vocabulary_sizes_and_first_weights(run: Callable[..., Model]) -> None:
    words = ["good", "bad", "the", "kettle", "film", "love", "it", "not", ".", "!"]
    language_model = tiny_model(3, kind="language_model", words=words, embed_size=6, hidden_size=9, max_tokens=30)
    model = run(language_model=language_model, settings=replace(SETTINGS, learning_rate=1e-12, epochs=1))
    assert (model.kind, model.architecture) == ("sentiment", language_model.architecture)
    assert model.text.vocabulary == language_model.text.vocabulary
    assert model.text.settings == replace(language_model.text.settings, max_tokens=SETTINGS.max_tokens)
    assert model.provenance["language_model_sha256"] == language_model.sha256
    for name in model.weights.keys() & language_model.weights.keys():
        np.testing.assert_array_equal(model.weights[name], language_model.weights[name].astype(np.float16))
    assert model.weights.keys() - language_model.weights.keys() == {"output.weight", "output.bias"}


def test_a_model_is_trained_further_from_where_it_is(run: Callable[..., Model]) -> None:
    former = tiny_model(3, words=["good", "bad", "the", "kettle"], provenance={"language_model_sha256": "1" * 64})
    model = run(language_model=former, settings=replace(SETTINGS, learning_rate=1e-12, epochs=1))
    for name in former.weights:
        np.testing.assert_array_equal(model.weights[name], former.weights[name].astype(np.float16))
    assert model.provenance["language_model_sha256"] == "1" * 64
    assert model.provenance["trained_further_sha256"] == former.sha256
    assert model.card is not None
    assert f"and, as `{former.sha256[:12]}`, trained further," in " ".join(model.card.split())


@pytest.mark.parametrize("part", ["data", "validation"])
@pytest.mark.parametrize(
    ("texts", "positive"),
    [
        (["good", "bad"], [True, True]),
        (["good", "bad"], [False, False]),
        (["good", None, " "], [True, False, False]),
        ([], []),
        ([None], [True]),
    ],
)
def test_labels_of_one_class_are_refused(
    run: Callable[..., Model], part: str, texts: list[str | None], positive: list[bool]
) -> None:
    labelled = Labelled(texts=pa.array(texts, pa.string()), positive=np.array(positive, bool))
    name = "training" if part == "data" else part
    with pytest.raises(InputError, match=f"the {name} part has .* it needs both classes"):
        run(**{part: labelled})


def test_reviews_without_a_token_are_left_out(run: Callable[..., Model]) -> None:
    texts = pa.array([None, "", *VALIDATION.texts.to_pylist(), "\u200b"])
    positive = np.array([True, False, *VALIDATION.positive, True])
    validation = Labelled(texts=texts, positive=positive)
    model = run(validation=validation, settings=replace(SETTINGS, epochs=1))
    assert model.provenance["validation_reviews"] == 100
    assert model.metrics["validation"]["n"] == 100


def test_an_epoch_sees_each_review_excerpt_and_teachers_text_once(
    run: Callable[..., Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[list[int]] = []
    original = fine_tuning.FineTuning.step

    def noting(run: Any, batch: Any, **options: Any) -> tuple[float, int]:
        batches.append(batch)
        return original(run, batch, **options)

    monkeypatch.setattr(fine_tuning.FineTuning, "step", noting)
    run(settings=replace(SETTINGS, epochs=2, excerpt_share=0.5), teacher_labels=OTHERS)
    half = len(batches) // 2
    for epoch in (batches[:half], batches[half:]):
        assert sorted(index for batch in epoch for index in batch) == list(range(600))
    assert batches[:half] != batches[half:], "in another order"


@pytest.mark.parametrize("n_reviews", [4, 16])
def test_fewer_than_two_batches_are_refused(run: Callable[..., Model], n_reviews: int) -> None:
    settings = replace(SETTINGS, batch_tokens=10_000, num_buckets=1)
    with pytest.raises(InputError, match=f"{n_reviews} reviews are one batch only, .* smaller --batch-tokens"):
        run(data=rows_of(DATA, slice(n_reviews)), settings=settings)


def test_the_adversary_makes_the_loss_larger(run: Callable[..., Model], monkeypatch: pytest.MonkeyPatch) -> None:
    losses: list[float] = []
    original = fine_tuning.FineTuning.backward

    def noting(run: Any, *args: Any, **options: Any) -> Any:
        loss, gradient = original(run, *args, **options)
        losses.append(float(loss.asscalar()))
        return loss, gradient

    monkeypatch.setattr(fine_tuning.FineTuning, "backward", noting)
    run(settings=replace(SETTINGS, epochs=1, adversarial_epsilon=1.0))
    plain, adversarial = np.array(losses).reshape(-1, 2).T
    assert (adversarial > plain).all()


def test_word_dropout_hides_whole_words_and_scales_the_others(
    run: Callable[..., Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    factors: list[Any] = []
    ids: list[Any] = []
    step, backward = fine_tuning.FineTuning.step, fine_tuning.FineTuning.backward

    def noting_ids(run: Any, batch: Any, **options: Any) -> tuple[float, int]:
        ids.append(run.data.batch(batch)[0])
        return step(run, batch, **options)

    def noting_factors(run: Any, embedded: Any, kept: Any, *args: Any, **options: Any) -> Any:
        factors.append(kept.asnumpy()[:, :, 0])
        return backward(run, embedded, kept, *args, **options)

    monkeypatch.setattr(fine_tuning.FineTuning, "step", noting_ids)
    monkeypatch.setattr(fine_tuning.FineTuning, "backward", noting_factors)
    run(settings=replace(SETTINGS, epochs=1, word_dropout=0.2))
    hidden = []
    for token_ids, factor in zip(ids, factors):
        assert set(np.unique(factor)) == {0.0, np.float32(1 / 0.8)}
        by_word = {word: set(factor[token_ids == word]) for word in np.unique(token_ids)}
        assert {len(seen) for seen in by_word.values()} == {1}
        hidden += [seen == {0.0} for seen in by_word.values()]
    assert np.mean(hidden) == pytest.approx(0.2, abs=0.04)


def test_reviews_of_other_domains_are_measured_with_the_model_as_it_is_stored(run: Callable[..., Model]) -> None:
    domains = pa.array(["kitchen", "film"] * 50)
    model = run(elsewhere=replace(OTHERS, groups={"domain": domains}), settings=replace(SETTINGS, epochs=1))
    probabilities = Scorer(model, threads=1).score_texts(OTHERS.texts).positive_probability
    found = dict(model.metrics["elsewhere"])
    slices = {row["value"]: row for row in found.pop("slices") if row["slice"] == "domain"}
    assert found == pytest.approx(evaluate_probabilities(OTHERS.positive, probabilities).as_dict(), abs=1e-5)
    assert {value: row["n"] for value, row in slices.items()} == {"kitchen": 50, "film": 50}
    right = (probabilities >= 0.5) == OTHERS.positive
    assert slices["film"]["accuracy"] == pytest.approx(right[1::2].mean())


def test_a_review_from_elsewhere_without_a_token_is_not_measured(run: Callable[..., Model]) -> None:
    elsewhere = Labelled(
        texts=pa.array(["good", None, "bad", "\u200b"]),
        positive=np.array([True, True, False, True]),
        groups={"domain": pa.array(["tea", "tea", "soap", "soap"])},
    )
    found = run(elsewhere=elsewhere, settings=replace(SETTINGS, epochs=1)).metrics["elsewhere"]
    assert found["n"] == 2
    assert {row["value"]: row["n"] for row in found["slices"] if row["slice"] == "domain"} == {"tea": 1, "soap": 1}


def test_other_domains_of_one_class_are_refused_before_training(run: Callable[..., Model], tmp_path: Path) -> None:
    elsewhere = Labelled(texts=pa.array(["good", "fine", None]), positive=np.array([True, True, False]))
    with pytest.raises(InputError, match="the elsewhere part has 2 positive reviews of 2; it needs both classes"):
        run(elsewhere=elsewhere)
    assert not (tmp_path / "checkpoint").exists()


@pytest.mark.parametrize("kind", ["language_model", "sentiment"])
@pytest.mark.parametrize(("column", "another"), [("film", True), ("product", False)])
def test_a_start_of_another_split_is_in_the_card(
    run: Callable[..., Model], kind: Any, column: str, another: bool
) -> None:
    start = tiny_model(kind=kind, words=["good", "bad"], provenance={"held_out_by": column, "held_out_fraction": 0.2})
    split = Split(column="product", fraction=0.2)
    model = run(language_model=start, split=split, data_name="Reviews of a shop", settings=replace(SETTINGS, epochs=1))
    assert split.differs_from(model.provenance) == another
    assert (model.provenance["held_out_by"], model.provenance["held_out_fraction"]) == ("product", 0.2)
    assert ("some of those measured may have been learnt before" in model.card) == another
    assert "Source: Reviews of a shop." in model.card


# Layers.


def learning_since(steps: list[dict[str, Any]]) -> dict[str, int]:
    """The step at which each parameter first changed."""
    return {
        name: next(step for step, weights in enumerate(steps[1:]) if not np.array_equal(weights[name], before))
        if not np.array_equal(steps[-1][name], before)
        else len(steps)
        for name, before in steps[0].items()
    }


@pytest.mark.parametrize("fraction", [0.0, 0.5, 1.0])
def test_layers_begin_to_learn_one_after_another_if_asked(
    run: Callable[..., Model], monkeypatch: pytest.MonkeyPatch, fraction: float
) -> None:
    steps = weights_by_step(monkeypatch)
    averages = weights_by_epoch(monkeypatch)
    run(settings=replace(SETTINGS, epochs=1, unfreeze_fraction=fraction))
    since = learning_since(steps)
    last = fraction * (len(steps) - 1)
    layers = ("output.weight", "lstm.1.h2h_weight", "lstm.0.i2h_bias", "embedding.weight")
    assert [since[name] for name in layers] == [math.ceil(last * depth / 3) for depth in range(3)] + [
        len(steps) if fraction == 1 else math.ceil(last)
    ]
    frozen = np.array_equal(averages[0]["embedding.weight"], steps[0]["embedding.weight"])
    assert frozen == (fraction == 1), "nor does the average of a frozen layer move"


def test_lower_layers_learn_more_slowly_if_asked(run: Callable[..., Model], monkeypatch: pytest.MonkeyPatch) -> None:
    """The first step of Adam is the rate, whatever the gradient."""
    steps = weights_by_step(monkeypatch)
    run(settings=replace(SETTINGS, epochs=1, layer_decay=0.5))
    moved = {name: np.abs(steps[1][name] - before).max() for name, before in steps[0].items()}
    rate = moved["output.weight"]
    assert moved["output.bias"] == pytest.approx(rate, rel=0.01)
    for depth, layer in enumerate(("lstm.1", "lstm.0"), 1):
        for name in ("i2h_weight", "h2h_weight", "i2h_bias", "h2h_bias"):
            assert moved[f"{layer}.{name}"] == pytest.approx(rate * 0.5**depth, rel=0.01)
    assert moved["embedding.weight"] == pytest.approx(rate * 0.125, rel=0.01)


# A teacher's labels.


def test_the_loss_of_a_soft_label_is_the_cross_entropy_with_it(
    run: Callable[..., Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the first step, by the oracle's logits."""
    losses: list[float] = []
    batches: list[tuple[Any, Any]] = []
    original = fine_tuning.FineTuning.step

    def noting(run: Any, batch: Any, **options: Any) -> tuple[float, int]:
        batches.append((run.data.batch(batch), run.data.positive[batch]))
        loss, n_tokens = original(run, batch, **options)
        losses.append(loss)
        assert n_tokens == batches[-1][0][1].sum()
        return loss, n_tokens

    monkeypatch.setattr(fine_tuning.FineTuning, "step", noting)
    steps = weights_by_step(monkeypatch)
    teacher_labels = Labelled(texts=DATA.texts, positive=np.random.default_rng(0).random(300))
    plain = {"dropout": 0.0, "encoder_dropout": 0.0, "word_dropout": 0.0}
    settings = replace(SETTINGS, epochs=1, **plain)  # type: ignore[arg-type]
    model = run(settings=settings, teacher_labels=teacher_labels)
    (token_ids, lengths), positive = batches[0]
    assert len(set(positive.tolist()) - {0.0, 1.0}) > 3
    first = replace(model, weights=steps[0])
    logits = [reference_logit(first, token_ids[: int(length), row]) for row, length in enumerate(lengths)]
    expected = np.mean([math.log1p(math.exp(logit)) - share * logit for logit, share in zip(logits, positive)])
    assert losses[0] == pytest.approx(expected, abs=1e-5)


def test_a_teachers_labels_are_learnt_and_its_doubts_too(run: Callable[..., Model]) -> None:
    """One who knows teaches what a few labels could not; one who hardly does, probabilities of about a half."""
    few, settings = rows_of(DATA, slice(60)), replace(SETTINGS, min_count=1)
    teachers = {"sure": np.where(DATA.positive, 0.97, 0.03), "unsure": np.where(DATA.positive, 0.501, 0.499)}
    models = {
        name: run(data=few, teacher_labels=Labelled(texts=DATA.texts, positive=positive), settings=settings)
        for name, positive in teachers.items()
    }
    found = {name: uncalibrated(model, VALIDATION.texts) for name, model in models.items()}
    assert evaluate_probabilities(VALIDATION.positive, found["sure"]).auc > 0.8
    assert np.abs(found["unsure"] - 0.5).mean() < 0.2 * np.abs(found["sure"] - 0.5).mean()
    assert models["sure"].provenance["training_reviews"] == 60
    assert models["sure"].provenance["teacher_labelled_reviews"] == 300


def test_neither_a_copy_nor_a_teacher_gives_away_what_is_measured(
    run: Callable[..., Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[fine_tuning.FineTuning] = []
    original = fine_tuning.FineTuning.start
    monkeypatch.setattr(fine_tuning.FineTuning, "start", lambda run: (seen.append(run), original(run))[1])
    labels = Labelled(
        texts=pa.concat_arrays([VALIDATION.texts, OTHERS.texts]),
        positive=np.concatenate([VALIDATION.positive, OTHERS.positive]),
    )
    copied = Labelled(
        texts=pa.concat_arrays([DATA.texts, VALIDATION.texts[:9]]), positive=np.append(DATA.positive, [True] * 9)
    )
    run(data=copied, settings=replace(SETTINGS, epochs=1), teacher_labels=labels)
    expected = sum(text not in set(VALIDATION.texts.to_pylist()) for text in OTHERS.texts.to_pylist())
    assert len(seen[0].data) == len(DATA) + expected


def test_a_teachers_labels_belong_to_the_run(run: Callable[..., Model], monkeypatch: pytest.MonkeyPatch) -> None:
    settings = replace(SETTINGS, epochs=1, checkpoint_seconds=0.0)
    labels = Labelled(texts=OTHERS.texts, positive=np.where(OTHERS.positive, 0.9, 0.2))
    with monkeypatch.context() as patch:
        kill_at(patch, fine_tuning.FineTuning, 5)
        with pytest.raises(Killed):
            run(settings=settings, teacher_labels=labels)
    for other in (None, rows_of(labels, slice(99)), replace(labels, positive=np.where(OTHERS.positive, 0.9, 0.3))):
        with pytest.raises(InputError, match="belongs to a run on other reviews"):
            run(settings=settings, teacher_labels=other, resume=True)
    resumed = run(settings=settings, teacher_labels=labels, resume=True)
    assert_same_run(resumed, run(settings=settings, teacher_labels=labels))


def test_a_teacher_of_one_opinion_is_refused(run: Callable[..., Model]) -> None:
    labels = Labelled(texts=OTHERS.texts, positive=np.full(100, 0.4))
    with pytest.raises(InputError, match="the teacher's part has 0 positive reviews of 100; it needs both classes"):
        run(teacher_labels=labels)


# What is refused.


@pytest.mark.parametrize("broken", ["loss", "gradient"])
def test_a_loss_that_is_not_finite_ends_the_run(
    run: Callable[..., Model], monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    original = fine_tuning.FineTuning.backward
    calls = []

    def breaking(run: Any, *args: Any, **options: Any) -> Any:
        loss, gradient = original(run, *args, **options)
        calls.append(loss)
        if len(calls) > 3:
            return (loss * math.nan, gradient) if broken == "loss" else (loss, gradient * math.inf)
        return loss, gradient

    monkeypatch.setattr(fine_tuning.FineTuning, "backward", breaking)
    with pytest.raises(InputError, match=r"the loss is not finite at step 3 of [0-9]+; .* lower --learning-rate"):
        run()


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0}, {"patience": 0}, {"batch_tokens": -1}, {"num_layers": 0}, {"dropout": 1.0}, {"dropout": -0.1},
        {"word_dropout": math.nan}, {"weight_average": 1.0}, {"layer_decay": 0.0}, {"adversarial_epsilon": -1.0},
        {"unfreeze_fraction": -0.1}, {"unfreeze_fraction": 1.1}, {"unfreeze_fraction": math.nan},
        {"excerpt_share": math.inf}, {"learning_rate": 0.0}, {"seed": -1},
    ],
    ids=str,
)  # fmt: skip
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    (name,) = wrong
    with pytest.raises(UsageError, match=f"{name} must be"):
        TrainSettings(**wrong)  # type: ignore[arg-type]
