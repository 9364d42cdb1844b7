from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from tests.support.with_mxnet import mx
from sentiment_core.artifact import Architecture, Model, load_model, save_model
from sentiment_core.dataset.holdout import Split
from sentiment_core.errors import InputError, UsageError
from sentiment_core.language_model.run import PretrainSettings, pretrain
from sentiment_core.text.pipeline import TextPipeline, TextSettings
from sentiment_core.training.steps import pretraining
from sentiment_core.training.steps.corpus import Corpus
from tests.support.models import tiny_model
from tests.support.reference import lstm
from tests.support.runs import Killed, assert_same_run, kill_at, labelled_reviews, note_steps

SETTINGS = PretrainSettings(
    vocab_size=600, hidden_size=16, epochs=3, batch_size=8, bptt=20, negatives=64, learning_rate=0.02
)
_TEXTS = labelled_reviews(300, seed=2).texts
CORPUS, HELD_OUT = _TEXTS[:240], _TEXTS[240:]


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Model]:
    """Train in a directory of its own, anew unless told."""

    def run(*, corpus: pa.Array = CORPUS, held_out: pa.Array = HELD_OUT, **options: Any) -> Model:
        options = {"checkpoint_path": tmp_path / "checkpoint", "settings": SETTINGS} | options
        if not options.get("resume"):
            options["checkpoint_path"].unlink(missing_ok=True)
        middle = len(corpus) // 2
        return pretrain(lambda: [corpus[:middle], corpus[middle:]], held_out=lambda: [held_out], **options)

    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = tmp_path_factory.mktemp("pretraining") / "checkpoint"
    return pretrain(lambda: [CORPUS], held_out=lambda: [HELD_OUT], checkpoint_path=path, settings=SETTINGS)


def test_pretraining_learns(trained: Model) -> None:
    history = trained.metrics["history"]
    assert [epoch["epoch"] for epoch in history] == [1, 2, 3]
    assert history[-1]["sampled_loss"] < history[0]["sampled_loss"] - 0.2
    perplexities = [epoch["held_out_perplexity"] for epoch in history]
    assert perplexities == sorted(perplexities, reverse=True)
    assert 1 < perplexities[-1] < len(trained.text.vocabulary) / 5, "far better than a guess"
    assert trained.metrics["held_out_perplexity"] == perplexities[-1]


def test_the_perplexity_is_that_of_the_stored_weights_over_the_whole_vocabulary(trained: Model) -> None:
    weights = {name: tensor.astype(np.float64) for name, tensor in trained.weights.items()}
    pipeline = TextPipeline(settings=TextSettings(max_tokens=100_000), vocabulary=trained.text.vocabulary)
    measured = Corpus.encode([HELD_OUT], pipeline)
    lanes = measured.lanes(16, order=np.arange(len(HELD_OUT)))
    steps = (len(lanes) - 1) // 50 * 50
    losses = []
    for lane in lanes.T:
        states = weights["embedding.weight"][lane[:steps]]
        for layer in range(2):
            names = ("i2h_weight", "h2h_weight", "i2h_bias", "h2h_bias")
            states = lstm(states, **{name: weights[f"lstm.{layer}.{name}"] for name in names})
        logits = states @ weights["embedding.weight"].T + weights["decoder.bias"]
        logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
        losses.append(-logits[np.arange(steps), lane[1 : steps + 1]])
    assert trained.metrics["held_out_perplexity"] == pytest.approx(math.exp(np.mean(losses)), rel=0.01)


def test_the_model_is_complete_and_can_be_stored(trained: Model, tmp_path: Path) -> None:
    save_model(trained, tmp_path / "model")
    loaded = load_model(tmp_path / "model", kind="language_model")
    assert loaded.sha256 == trained.sha256
    assert loaded.text.settings == TextSettings(max_tokens=100_000)
    assert loaded.provenance["corpus_reviews"] == 240
    assert loaded.provenance["held_out_reviews"] == 60
    assert loaded.provenance["settings"]["hidden_size"] == 16
    assert "Held-out perplexity" in loaded.card


def test_the_split_is_remembered_and_that_of_the_model_before_too(run: Callable[..., Model]) -> None:
    settings, start = replace(SETTINGS, epochs=1), tiny_model(kind="language_model", words=["good", "bad"])
    for column, another in (("film", False), ("film", False), ("text", True), ("text", True)):
        split = Split(column=column, fraction=0.2)
        start = run(language_model=start, split=split, settings=settings)
        assert (start.provenance["held_out_by"], start.provenance["held_out_fraction"]) == (column, 0.2)
        assert ("started_from_another_split" in start.provenance) == another


def test_a_seed_decides_everything(run: Callable[..., Model], trained: Model) -> None:
    assert_same_run(run(), trained)
    other = run(settings=replace(SETTINGS, seed=2, epochs=1))
    assert not np.array_equal(other.weights["embedding.weight"], trained.weights["embedding.weight"])


@pytest.mark.parametrize(("killed_at", "weight_drop"), [(1, 0.0), (40, 0.3)])
def test_a_killed_run_goes_on_as_if_nothing_had_been(
    run: Callable[..., Model], monkeypatch: pytest.MonkeyPatch, killed_at: int, weight_drop: float
) -> None:
    settings = replace(SETTINGS, epochs=2, checkpoint_seconds=0.0, weight_drop=weight_drop)
    corpus = CORPUS[:120]
    whole = run(corpus=corpus, settings=replace(settings, checkpoint_seconds=1e9))
    with monkeypatch.context() as patch:
        kill_at(patch, pretraining.Pretraining, killed_at)
        with pytest.raises(Killed):
            run(corpus=corpus, settings=settings)
    steps = note_steps(monkeypatch, pretraining.Pretraining)
    assert_same_run(run(corpus=corpus, settings=settings, resume=True), whole)
    assert steps[0] == killed_at < 0.8 * steps[-1]


def test_states_are_carried_from_window_to_window_and_start_anew_each_epoch(
    run: Callable[..., Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = pretraining.Pretraining.step
    starts: list[list[npt.NDArray[np.float32]]] = []
    ends: list[list[npt.NDArray[np.float32]]] = []

    def noting(run: Any, window: Any, **options: Any) -> tuple[float, int]:
        starts.append([state.asnumpy() for state in run.states])
        result = original(run, window, **options)
        ends.append([state.asnumpy() for state in run.states])
        return result

    monkeypatch.setattr(pretraining.Pretraining, "step", noting)
    run(settings=replace(SETTINGS, epochs=2))
    for step, states in enumerate(starts):
        if step in (0, len(starts) // 2):
            assert not any(state.any() for state in states)
        else:
            assert all(state.any() for state in states)
            assert all(np.array_equal(state, end) for state, end in zip(states, ends[step - 1]))


def test_resuming_a_finished_run_gives_its_model(run: Callable[..., Model]) -> None:
    settings = replace(SETTINGS, epochs=1)
    assert_same_run(run(settings=settings), run(settings=settings, resume=True))


def test_a_checkpoint_of_another_run_is_refused(run: Callable[..., Model]) -> None:
    settings = replace(SETTINGS, epochs=1)
    run(settings=settings)
    with pytest.raises(InputError, match="belongs to a run with other settings"):
        run(settings=SETTINGS, resume=True)
    for other in ({"corpus": CORPUS[1:]}, {"corpus": _TEXTS[1:241]}, {"held_out": HELD_OUT[1:]}):
        with pytest.raises(InputError, match="belongs to a run on other reviews"):
            run(settings=settings, resume=True, **other)


def test_without_a_checkpoint_there_is_nothing_to_resume(run: Callable[..., Model]) -> None:
    with pytest.raises(InputError, match=r"no checkpoint to resume from .* start without --resume"):
        run(resume=True)


def test_a_corpus_too_small_for_two_steps_is_refused(
    run: Callable[..., Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight lanes of two windows of 20 steps, and the row before them: 328 tokens, an end of text among them."""
    kill_at(monkeypatch, pretraining.Pretraining, 0)
    for n_tokens in (0, 1, 168, 327):
        corpus = pa.array(["word " * (n_tokens - 1)] if n_tokens else [], pa.string())
        with pytest.raises(InputError, match=f"^{n_tokens} tokens are too few for two steps of 8 x 20 tokens; give"):
            run(corpus=corpus)
    with pytest.raises(Killed):
        run(corpus=pa.array(["word " * 327]))


def test_an_epoch_is_the_stream_of_texts_in_windows() -> None:
    pipeline = tiny_model(max_tokens=1000).text
    corpus = Corpus.encode([CORPUS[:30]], pipeline)
    architecture = Architecture(vocab_size=len(pipeline.vocabulary), embed_size=4, hidden_size=4)
    run = pretraining.Pretraining(corpus, corpus, architecture=architecture, settings=SETTINGS)
    epochs = [list(run.batches(epoch, 0)) for epoch in (0, 1)]
    lanes = [np.concatenate([windows[0][:1], *(window[1:] for window in windows)]) for windows in epochs]
    for windows, lane in zip(epochs, lanes):
        assert len(windows) == run.steps_per_epoch > 2
        assert all(window.shape == (21, 8) for window in windows)
        assert all(np.array_equal(window, lane[20 * index :][:21]) for index, window in enumerate(windows))
        assert lane.size > 0.8 * len(corpus.token_ids), "little is left over at the end"
    for first in range(1, run.steps_per_epoch):
        np.testing.assert_array_equal(list(run.batches(1, first)), epochs[1][first:])
    assert not np.array_equal(*lanes), "the next epoch has another order"


@pytest.mark.parametrize("n_texts", [0, 1])
def test_a_held_out_part_too_small_to_measure_is_refused_before_training(
    run: Callable[..., Model], monkeypatch: pytest.MonkeyPatch, n_texts: int
) -> None:
    kill_at(monkeypatch, pretraining.Pretraining, 0)
    with pytest.raises(InputError, match="held-out tokens are too few to measure, 816 are needed"):
        run(held_out=HELD_OUT[:n_texts])


def test_a_language_model_is_trained_further(run: Callable[..., Model]) -> None:
    """Vocabulary, sizes and weights are its own; without it the run is another one."""
    words = ["the", "kettle", "is", "good", "bad", ".", "!", "it", "not"]
    first, other = (tiny_model(seed, kind="language_model", words=words, hidden_size=6) for seed in (3, 4))
    settings = replace(SETTINGS, epochs=1, learning_rate=1e-12)
    model = run(language_model=first, settings=settings)
    assert model.architecture == first.architecture
    assert model.text.vocabulary == first.text.vocabulary
    assert model.provenance["language_model_sha256"] == first.sha256
    for name, tensor in first.weights.items():
        np.testing.assert_array_equal(model.weights[name], tensor.astype(np.float16))
    with pytest.raises(InputError, match="or from another language model"):
        run(language_model=other, settings=settings, resume=True)
    assert_same_run(run(language_model=first, settings=settings, resume=True), model)


def test_a_loss_that_is_not_finite_ends_the_run(run: Callable[..., Model], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(block: Any, F: Any, *inputs: Any) -> Any:
        return F.add_n(*(F.sum(array) for array in inputs)) * math.nan

    monkeypatch.setattr(pretraining.NextWord, "hybrid_forward", broken)
    with pytest.raises(InputError, match=r"the loss is not finite at step 0 of [0-9]+; .* lower --learning-rate"):
        run()


def test_the_sampled_loss_is_that_of_a_softmax_over_the_true_word_and_the_samples() -> None:
    rng = np.random.default_rng(0)

    def array(*shape: int) -> npt.NDArray[np.float32]:
        return rng.normal(size=shape).astype(np.float32)

    hidden, true, sampled = array(5, 3), array(5, 3), array(4, 3)
    true_shift, sampled_shift = array(5), array(4)
    collides = np.zeros((5, 4), np.float32)
    collides[1, 2] = collides[3, 0] = collides[3, 1] = 1
    found = pretraining.NextWord()(*map(mx.nd.array, (hidden, true, true_shift, sampled, sampled_shift, collides)))
    for row in range(5):
        logit = hidden[row] @ true[row] + true_shift[row]
        others = [hidden[row] @ sampled[k] + sampled_shift[k] for k in range(4) if not collides[row, k]]
        expected = math.log(sum(math.exp(value) for value in [logit, *others])) - logit
        assert float(found[row].asscalar()) == pytest.approx(expected, abs=1e-5)


def test_samples_follow_the_flattened_unigram_distribution() -> None:
    counts = np.array([50, 0, 0, 10, 1000, 100, 10, 1], np.int64)
    texts = np.repeat(np.arange(8), counts).astype(np.uint16)
    corpus = Corpus(token_ids=texts, offsets=np.array([0, len(texts)]))
    run = pretraining.Pretraining(
        corpus,
        corpus,
        architecture=Architecture(vocab_size=8, embed_size=4, hidden_size=4),
        settings=replace(SETTINGS, negatives=16),
    )
    expected = ((counts + 1) / (counts + 1).sum()) ** 0.75
    expected /= expected.sum()
    drawn = np.searchsorted(run.sampler.cumulative, np.random.default_rng(0).random(200_000))
    np.testing.assert_allclose(np.bincount(drawn, minlength=8) / 200_000, expected, atol=0.005)
    np.testing.assert_allclose(np.exp(run.sampler.log_draws), 16 * expected, rtol=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"batch_size": 0}, {"bptt": -1}, {"negatives": 0}, {"dropout": 1.0}, {"weight_drop": -0.1}],
    ids=str,
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    (name,) = wrong
    with pytest.raises(UsageError, match=f"{name} must be"):
        PretrainSettings(**wrong)  # type: ignore[arg-type]
