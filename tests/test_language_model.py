from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import lstm

from jobs.sample_reviews import generate_reviews
from sentiment_core import language_model
from sentiment_core.artifact import Model, load_model, save_model
from sentiment_core.errors import InputError, UsageError
from sentiment_core.language_model import PretrainSettings, pretrain
from sentiment_core.text import END_ID, SPECIAL_TOKENS, TextPipeline, TextSettings, Vocabulary

SETTINGS = PretrainSettings(
    vocab_size=600, max_tokens=77, hidden_size=16, epochs=3, batch_size=8, bptt=20, negatives=64, learning_rate=0.02
)
_TEXTS = generate_reviews(300, seed=2, odd_texts=False)["text"].combine_chunks()
CORPUS, HELD_OUT = _TEXTS[:240], _TEXTS[240:]


class Killed(Exception):  # noqa: N818, it is no error
    """Stands for a kill: nothing of the run survives but its checkpoint."""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Model]:
    def run(*, corpus: pa.Array = CORPUS, held_out: pa.Array = HELD_OUT, **options: Any) -> Model:
        options = {"checkpoint_path": tmp_path / "checkpoint", "settings": SETTINGS} | options
        middle = len(corpus) // 2
        return pretrain(lambda: [corpus[:middle], corpus[middle:]], held_out=lambda: [held_out], **options)

    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = tmp_path_factory.mktemp("pretraining") / "checkpoint"
    return pretrain(lambda: [CORPUS], held_out=lambda: [HELD_OUT], checkpoint_path=path, settings=SETTINGS)


def kill_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    original = language_model._Run._step

    def dying(run: Any, *args: Any, **options: Any) -> Any:
        if options["step"] == step:
            raise Killed
        return original(run, *args, **options)

    monkeypatch.setattr(language_model._Run, "_step", dying)


def assert_same_run(left: Model, right: Model) -> None:
    """The same curve and weights, but for what MXNet's kernels round by the alignment of their memory."""
    assert len(left.metrics["history"]) == len(right.metrics["history"])
    for ours, theirs in zip(left.metrics["history"], right.metrics["history"]):
        assert ours == pytest.approx(theirs, rel=1e-6)
    for name, tensor in left.weights.items():
        np.testing.assert_allclose(tensor, right.weights[name], atol=1e-3)


def corpus_of(rows: list[list[int]]) -> language_model._Corpus:
    """Texts of the given ids, each with its end."""
    with_ends = [[*row, END_ID] for row in rows]
    return language_model._Corpus(
        token_ids=np.array([token for row in with_ends for token in row], np.uint16),
        offsets=np.cumsum([0] + [len(row) for row in with_ends]),
    )


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
    measured = language_model._Corpus.encode([HELD_OUT], pipeline)
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
    assert loaded.text.settings == TextSettings(max_tokens=77)
    assert loaded.provenance["corpus_reviews"] == 240
    assert loaded.provenance["held_out_reviews"] == 60
    assert loaded.provenance["settings"]["hidden_size"] == 16
    assert "Held-out perplexity" in loaded.card


def test_a_seed_decides_everything(run: Callable[..., Model], trained: Model) -> None:
    assert_same_run(run(), trained)
    other = run(settings=replace(SETTINGS, seed=2, epochs=1))
    assert not np.array_equal(other.weights["embedding.weight"], trained.weights["embedding.weight"])


@pytest.mark.parametrize(("killed_at", "weight_drop"), [(1, 0.0), (70, 0.3)])
def test_a_killed_run_goes_on_as_if_nothing_had_been(
    run: Callable[..., Model], monkeypatch: pytest.MonkeyPatch, killed_at: int, weight_drop: float
) -> None:
    settings = replace(SETTINGS, epochs=2, checkpoint_seconds=0.0, weight_drop=weight_drop)
    whole = run(settings=settings)
    with monkeypatch.context() as patch:
        kill_at(patch, killed_at)
        with pytest.raises(Killed):
            run(settings=settings)
    assert_same_run(run(settings=settings, resume=True), whole)


def test_states_are_carried_from_window_to_window_and_start_anew_each_epoch(
    run: Callable[..., Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = language_model._Run._step
    starts: list[list[npt.NDArray[np.float32]]] = []
    ends: list[list[npt.NDArray[np.float32]]] = []

    def noting(run: Any, window: Any, states: Any, **options: Any) -> Any:
        starts.append([state.asnumpy() for state in states])
        loss, states = original(run, window, states, **options)
        ends.append([state.asnumpy() for state in states])
        return loss, states

    monkeypatch.setattr(language_model._Run, "_step", noting)
    run(settings=replace(SETTINGS, epochs=2))
    for step, states in enumerate(starts):
        if step in (0, len(starts) // 2):
            assert not any(state.any() for state in states)
        else:
            assert all(state.any() for state in states)
            assert all(np.array_equal(state, end) for state, end in zip(states, ends[step - 1]))


def test_resuming_a_finished_run_gives_its_model(run: Callable[..., Model], trained: Model) -> None:
    run()
    assert_same_run(run(resume=True), trained)


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


def test_a_corpus_too_small_for_a_step_is_refused(run: Callable[..., Model]) -> None:
    with pytest.raises(InputError, match=r"tokens are too few for one step of 8 x 20 tokens"):
        run(corpus=pa.array(["a short review", "and another", None]))
    with pytest.raises(InputError, match=r"0 tokens are too few for one step"):
        run(corpus=CORPUS[:0])


@pytest.mark.parametrize("n_texts", [0, 1])
def test_a_held_out_part_too_small_to_measure_is_refused_before_training(
    run: Callable[..., Model], monkeypatch: pytest.MonkeyPatch, n_texts: int
) -> None:
    kill_at(monkeypatch, 0)
    with pytest.raises(InputError, match="held-out tokens are too few to measure, 816 are needed"):
        run(held_out=HELD_OUT[:n_texts])


def test_a_loss_that_is_not_finite_ends_the_run(run: Callable[..., Model], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(block: Any, F: Any, *inputs: Any) -> Any:
        return F.add_n(*(F.sum(array) for array in inputs)) * math.nan

    monkeypatch.setattr(language_model._NextWord, "hybrid_forward", broken)
    with pytest.raises(InputError, match=r"the loss is not finite at step 0; .* lower --learning-rate"):
        run()


def test_each_text_is_followed_by_its_end() -> None:
    pipeline = TextPipeline(settings=TextSettings(), vocabulary=Vocabulary((*SPECIAL_TOKENS, "a", "b")))
    batches = [pa.array(["a b", None, "b"]), pa.array([], pa.string()), pa.array(["", "a x"])]
    corpus = language_model._Corpus.encode(batches, pipeline)
    assert corpus.token_ids.tolist() == [4, 5, END_ID, END_ID, 5, END_ID, END_ID, 4, 0, END_ID]
    assert corpus.offsets.tolist() == [0, 3, 4, 6, 7, 10]


@given(st.lists(st.lists(st.integers(4, 99), max_size=6), min_size=1, max_size=8), st.integers(1, 4), st.randoms())
def test_lanes_are_the_texts_in_their_order_cut_into_equal_parts(
    rows: list[list[int]], n_lanes: int, random: Any
) -> None:
    order = list(range(len(rows)))
    random.shuffle(order)
    stream = [token for index in order for token in [*rows[index], END_ID]]
    lanes = corpus_of(rows).lanes(n_lanes, order=np.array(order))
    length = len(stream) // n_lanes
    assert lanes.shape == (length, n_lanes)
    assert lanes.T.ravel().tolist() == stream[: length * n_lanes]


def test_the_sampled_loss_is_that_of_a_softmax_over_the_true_word_and_the_samples() -> None:
    rng = np.random.default_rng(0)

    def array(*shape: int) -> npt.NDArray[np.float32]:
        return rng.normal(size=shape).astype(np.float32)

    hidden, true, sampled = array(5, 3), array(5, 3), array(4, 3)
    true_shift, sampled_shift = array(5), array(4)
    collides = np.zeros((5, 4), np.float32)
    collides[1, 2] = collides[3, 0] = collides[3, 1] = 1
    found = language_model._NextWord()(*map(mx.nd.array, (hidden, true, true_shift, sampled, sampled_shift, collides)))
    for row in range(5):
        logit = hidden[row] @ true[row] + true_shift[row]
        others = [hidden[row] @ sampled[k] + sampled_shift[k] for k in range(4) if not collides[row, k]]
        expected = math.log(sum(math.exp(value) for value in [logit, *others])) - logit
        assert float(found[row].asscalar()) == pytest.approx(expected, abs=1e-5)


def test_samples_follow_the_flattened_unigram_distribution() -> None:
    counts = np.array([50, 0, 0, 10, 1000, 100, 10, 1], np.int64)
    architecture = language_model.Architecture(vocab_size=8, embed_size=4, hidden_size=4)
    run = language_model._Run(architecture, counts=counts, settings=replace(SETTINGS, negatives=16), device=mx.cpu())
    expected = ((counts + 1) / (counts + 1).sum()) ** 0.75
    expected /= expected.sum()
    drawn = np.searchsorted(run.cumulative, np.random.default_rng(0).random(200_000))
    np.testing.assert_allclose(np.bincount(drawn, minlength=8) / 200_000, expected, atol=0.005)
    np.testing.assert_allclose(np.exp(run.log_draws), 16 * expected, rtol=1e-5)


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"batch_size": 0}, {"bptt": -1}, {"negatives": 0}, {"dropout": 1.0}], ids=str
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    (name,) = wrong
    with pytest.raises(UsageError, match=f"{name} must be"):
        PretrainSettings(**wrong)  # type: ignore[arg-type]
