from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from models import tiny_model
from reference import reference_probability

from jobs.sample_reviews import generate_reviews
from sentiment_core import training
from sentiment_core.artifact import Model, load_model, save_model
from sentiment_core.errors import InputError, UsageError
from sentiment_core.evaluation import evaluate_probabilities
from sentiment_core.scoring import Scorer
from sentiment_core.training import Labelled, TrainSettings, train

SETTINGS = TrainSettings(
    vocab_size=2_000, max_tokens=80, hidden_size=16, batch_tokens=1_200, num_buckets=4, epochs=4, learning_rate=0.01
)
ALL_OF_IT = {"weight_drop": 0.2, "adversarial_epsilon": 1.0, "excerpt_share": 0.3, "layer_decay": 0.8}

_TABLE = generate_reviews(400, seed=1, odd_texts=False)
_POSITIVE = _TABLE["stars"].to_numpy() > 3
_TEXTS = _TABLE["text"].combine_chunks()
DATA = Labelled(texts=_TEXTS[:300], positive=_POSITIVE[:300])
VALIDATION = Labelled(texts=_TEXTS[300:], positive=_POSITIVE[300:])


class Killed(Exception):  # noqa: N818, it is no error
    """Stands for a kill: nothing of the run survives but its checkpoint."""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Model]:
    def run(**options: Any) -> Model:
        options = {"validation": VALIDATION, "checkpoint_path": tmp_path / "checkpoint", "settings": SETTINGS} | options
        return train(options.pop("data", DATA), **options)

    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = tmp_path_factory.mktemp("training") / "checkpoint"
    return train(DATA, validation=VALIDATION, checkpoint_path=path, settings=SETTINGS)


def kill_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    original = training._Run._step

    def dying(run: Any, token_ids: Any, lengths: Any, positive: Any, at: int, rate: float) -> float:
        if at == step:
            raise Killed
        return original(run, token_ids, lengths, positive, at, rate)

    monkeypatch.setattr(training._Run, "_step", dying)


def script_losses(monkeypatch: pytest.MonkeyPatch, losses: list[float]) -> None:
    """Let the epochs have these validation losses."""
    script: Iterator[float] = iter(losses)

    def scripted(labels: Any, probabilities: Any) -> Any:
        metrics = evaluate_probabilities(labels, probabilities)
        return replace(metrics, log_loss=next(script, metrics.log_loss))

    monkeypatch.setattr(training, "evaluate_probabilities", scripted)


def weights_by_epoch(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The averaged weights at the end of each epoch, as they will be."""
    epochs: list[dict[str, Any]] = []
    original = training._Run._finish_epoch

    def noting(run: Any, *args: Any, **options: Any) -> None:
        epochs.append({name: array.asnumpy() for name, array in run.average.items()})
        original(run, *args, **options)

    monkeypatch.setattr(training._Run, "_finish_epoch", noting)
    return epochs


def same_weights(left: Any, right: Any) -> bool:
    """In half precision, in which weights are stored."""
    return left.keys() == right.keys() and all(
        np.array_equal(left[name].astype(np.float16), right[name].astype(np.float16)) for name in left
    )


def assert_same_run(left: Model, right: Model) -> None:
    """The same curve and weights, but for what MXNet's kernels round by the alignment of their memory."""
    assert len(left.metrics["history"]) == len(right.metrics["history"])
    for ours, theirs in zip(left.metrics["history"], right.metrics["history"]):
        assert ours == pytest.approx(theirs, rel=1e-6)
    for name, tensor in left.weights.items():
        np.testing.assert_allclose(tensor, right.weights[name], atol=1e-3)


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
    scores = Scorer(model, threads=1).score_texts(VALIDATION.texts)
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


# Reproducible, and resumable.


def test_a_seed_decides_everything(run: Callable[..., Model], trained: Model) -> None:
    assert_same_run(run(), trained)
    other = run(settings=replace(SETTINGS, seed=2))
    assert not same_weights(other.weights, trained.weights)


@pytest.mark.parametrize(("killed_at", "recipe"), [(1, {}), (20, {}), (21, ALL_OF_IT)])
def test_a_killed_run_goes_on_as_if_nothing_had_been(
    run: Callable[..., Model], monkeypatch: pytest.MonkeyPatch, killed_at: int, recipe: dict[str, float]
) -> None:
    settings = replace(SETTINGS, epochs=2, checkpoint_seconds=0.0, **recipe)
    whole = run(settings=settings)
    with monkeypatch.context() as patch:
        kill_at(patch, killed_at)
        with pytest.raises(Killed):
            run(settings=settings)
    assert_same_run(run(settings=settings, resume=True), whole)


def test_a_run_killed_between_checkpoints_repeats_some_steps(
    run: Callable[..., Model], monkeypatch: pytest.MonkeyPatch, trained: Model
) -> None:
    with monkeypatch.context() as patch:
        kill_at(patch, 30)
        with pytest.raises(Killed):
            run()
    assert_same_run(run(resume=True), trained)


def test_resuming_a_finished_run_gives_its_model(run: Callable[..., Model], trained: Model) -> None:
    run()
    assert_same_run(run(resume=True), trained)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"settings": replace(SETTINGS, learning_rate=0.02, checkpoint_seconds=0.0)}, "a run with other settings"),
        ({"settings": replace(SETTINGS, epochs=5, checkpoint_seconds=0.0)}, "a run with other settings"),
        ({"data": Labelled(texts=DATA.texts[:299], positive=DATA.positive[:299])}, "a run on other reviews"),
        ({"data": Labelled(texts=DATA.texts, positive=~DATA.positive)}, "a run on other reviews"),
        ({"validation": Labelled(texts=DATA.texts[:50], positive=DATA.positive[:50])}, "a run on other reviews"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(
    run: Callable[..., Model], monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], fault: str
) -> None:
    settings = replace(SETTINGS, checkpoint_seconds=0.0)
    with monkeypatch.context() as patch:
        kill_at(patch, 2)
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
        kill_at(patch, 35)
        with pytest.raises(Killed):
            run(settings=settings)
    script_losses(monkeypatch, [0.4, 0.3, 0.2])
    model = run(settings=settings, resume=True)
    assert model.metrics["history"][0]["validation_loss"] == 0.1
    assert same_weights(model.weights, epochs[0])


def test_the_average_is_that_of_all_steps(run: Callable[..., Model], monkeypatch: pytest.MonkeyPatch) -> None:
    """Exponential, with a memory that is short at first."""
    expected: dict[str, Any] = {}
    original = training._Run._step

    def following(run: Any, *args: Any) -> float:
        if not expected:
            expected.update({name: p.data().asnumpy().astype(float) for name, p in run.parameters.items()})
        step = args[3]
        loss = original(run, *args)
        kept = min(0.9, (1 + step) / (10 + step))
        for name, parameter in run.parameters.items():
            expected[name] = kept * expected[name] + (1 - kept) * parameter.data().asnumpy()
        return loss

    monkeypatch.setattr(training._Run, "_step", following)
    epochs = weights_by_epoch(monkeypatch)
    run(settings=replace(SETTINGS, epochs=1, weight_average=0.9))
    for name, weights in epochs[0].items():
        np.testing.assert_allclose(weights, expected[name], atol=1e-6)


def test_measuring_does_not_change_what_is_trained(run: Callable[..., Model], monkeypatch: pytest.MonkeyPatch) -> None:
    """The averaged weights are measured, and training goes on with its own."""
    original = training._Run._finish_epoch
    unchanged: list[bool] = []

    def comparing(run: Any, *args: Any, **options: Any) -> None:
        before = {name: parameter.data().asnumpy() for name, parameter in run.parameters.items()}
        original(run, *args, **options)
        unchanged.extend(np.array_equal(run.parameters[name].data().asnumpy(), before[name]) for name in before)

    monkeypatch.setattr(training._Run, "_finish_epoch", comparing)
    run(settings=replace(SETTINGS, epochs=2))
    assert len(unchanged) == 2 * 11
    assert all(unchanged)


def test_the_weights_that_are_stored_are_the_ones_that_were_measured(trained: Model) -> None:
    """The loss of the best epoch is that of the stored weights before calibration."""
    plain = replace(trained, decision=replace(trained.decision, slope=1.0, intercept=0.0))
    probabilities = Scorer(plain, threads=1).score_texts(VALIDATION.texts).positive_probability
    best = min(epoch["validation_loss"] for epoch in trained.metrics["history"])
    assert evaluate_probabilities(VALIDATION.positive, probabilities).log_loss == pytest.approx(best, abs=1e-5)


# What goes in.


def test_a_language_model_gives_vocabulary_sizes_and_first_weights(run: Callable[..., Model]) -> None:
    words = ["good", "bad", "the", "kettle", "film", "love", "it", "not", ".", "!"]
    language_model = tiny_model(3, kind="language_model", words=words, embed_size=6, hidden_size=9, max_tokens=30)
    model = run(language_model=language_model, settings=replace(SETTINGS, learning_rate=1e-12, epochs=1))
    assert (model.kind, model.architecture) == ("sentiment", language_model.architecture)
    assert model.text == language_model.text
    assert model.provenance["language_model_sha256"] == language_model.sha256
    for name in model.weights.keys() & language_model.weights.keys():
        np.testing.assert_array_equal(model.weights[name], language_model.weights[name].astype(np.float16))
    assert model.weights.keys() - language_model.weights.keys() == {"output.weight", "output.bias"}


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


def test_an_epoch_sees_every_review_once() -> None:
    part = training._Part.of(DATA, tiny_model(max_tokens=60).text, name="training")
    for shuffle in (False, True):
        batches = list(part.sampler(settings=SETTINGS, shuffle=shuffle))
        assert sorted(index for batch in batches for index in batch) == list(range(len(part)))
    token_ids, lengths = part.batch(batches[0])
    assert token_ids.shape == (max(lengths), len(batches[0]))
    for column, index in enumerate(batches[0]):
        assert lengths[column] == part.lengths[index]
        own = part.token_ids[part.starts[index] : part.starts[index] + part.lengths[index]]
        assert token_ids[: len(own), column].tolist() == own.tolist()


def test_excerpts_are_heads_and_tails_with_the_label_of_their_review() -> None:
    part = training._Part.of(DATA, tiny_model(max_tokens=60).text, name="training")
    more = part.with_excerpts(0.5, seed=3)
    assert len(more) == 450
    ends = {int(start + length): index for index, (start, length) in enumerate(zip(part.starts, part.lengths))}
    starts = {int(start): index for index, start in enumerate(part.starts)}
    heads = 0
    for start, length, positive in zip(more.starts[300:], more.lengths[300:], more.positive[300:]):
        owner = starts.get(int(start), ends.get(int(start + length)))
        assert owner is not None
        heads += int(start) in starts
        assert positive == part.positive[owner]
        assert 5 <= length <= 40 or length == part.lengths[owner]
    assert 40 < heads < 150


def test_the_adversary_makes_the_loss_larger(run: Callable[..., Model], monkeypatch: pytest.MonkeyPatch) -> None:
    losses: list[float] = []
    original = training._Run._backward

    def noting(run: Any, *args: Any, **options: Any) -> Any:
        loss, gradient = original(run, *args, **options)
        losses.append(float(loss.asscalar()))
        return loss, gradient

    monkeypatch.setattr(training._Run, "_backward", noting)
    run(settings=replace(SETTINGS, epochs=1, adversarial_epsilon=1.0))
    plain, adversarial = np.array(losses).reshape(-1, 2).T
    assert (adversarial > plain).all()


def test_word_dropout_hides_whole_words_and_scales_the_others(
    run: Callable[..., Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    factors: list[Any] = []
    ids: list[Any] = []
    step, backward = training._Run._step, training._Run._backward

    def noting_ids(run: Any, token_ids: Any, *args: Any) -> float:
        ids.append(token_ids)
        return step(run, token_ids, *args)

    def noting_factors(run: Any, embedded: Any, kept: Any, *args: Any, **options: Any) -> Any:
        factors.append(kept.asnumpy()[:, :, 0])
        return backward(run, embedded, kept, *args, **options)

    monkeypatch.setattr(training._Run, "_step", noting_ids)
    monkeypatch.setattr(training._Run, "_backward", noting_factors)
    run(settings=replace(SETTINGS, epochs=1, word_dropout=0.2))
    hidden = []
    for token_ids, factor in zip(ids, factors):
        assert set(np.unique(factor)) == {0.0, np.float32(1 / 0.8)}
        by_word = {word: set(factor[token_ids == word]) for word in np.unique(token_ids)}
        assert {len(seen) for seen in by_word.values()} == {1}
        hidden += [seen == {0.0} for seen in by_word.values()]
    assert np.mean(hidden) == pytest.approx(0.2, abs=0.04)


def test_lower_layers_learn_more_slowly_if_asked() -> None:
    names = dict.fromkeys(tiny_model().weights)
    rates = training._rate_multipliers(names, 0.5)  # type: ignore[arg-type]
    assert rates["output.weight"] == rates["output.bias"] == 1
    assert {rates[name] for name in names if name.startswith("lstm.1.")} == {0.5}
    assert {rates[name] for name in names if name.startswith("lstm.0.")} == {0.25}
    assert rates["embedding.weight"] == 0.125


@pytest.mark.parametrize("broken", ["loss", "gradient"])
def test_a_loss_that_is_not_finite_ends_the_run(
    run: Callable[..., Model], monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    original = training._Run._backward
    calls = []

    def breaking(run: Any, *args: Any, **options: Any) -> Any:
        loss, gradient = original(run, *args, **options)
        calls.append(loss)
        if len(calls) > 3:
            return (loss * math.nan, gradient) if broken == "loss" else (loss, gradient * math.inf)
        return loss, gradient

    monkeypatch.setattr(training._Run, "_backward", breaking)
    with pytest.raises(InputError, match=r"the loss is not finite at step 3; .* lower --learning-rate"):
        run()


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0}, {"patience": 0}, {"batch_tokens": -1}, {"num_layers": 0}, {"dropout": 1.0}, {"dropout": -0.1},
        {"word_dropout": math.nan}, {"weight_average": 1.0}, {"layer_decay": 0.0}, {"adversarial_epsilon": -1.0},
    ],
    ids=str,
)  # fmt: skip
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    (name,) = wrong
    with pytest.raises(UsageError, match=f"{name} must be"):
        TrainSettings(**wrong)  # type: ignore[arg-type]
