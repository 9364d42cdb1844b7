"""Training in PyTorch is training in MXNet: the same network, loss and update, and a run that was killed goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.with_mxnet import mx  # noqa: F401, what is compared, or trains on the CPU
from sentiment_core.artifact import Model
from sentiment_core.dataset.batches import Dataset
from sentiment_core.errors import InputError, UsageError
from sentiment_core.language_model import run as language_model
from sentiment_core.language_model.run import pretrain
from sentiment_core.training import run as training
from sentiment_core.training.recipes import PretrainSettings, TrainSettings
from sentiment_core.training.run import train
from sentiment_core.training.steps.corpus import Corpus
from sentiment_core.training.steps.fine_tuning import FineTuning
from sentiment_core.training.steps.pretraining import Pretraining
from tests.support.models import tiny_model
from tests.support.runs import Killed, assert_same_run, kill_at, labelled_reviews, note_steps, rows_of

torch = pytest.importorskip("torch", reason="PyTorch, the extra `gpu`, is not installed")
torch_training = pytest.importorskip("sentiment_core.training.steps.torch")

REVIEWS = labelled_reviews(240, seed=3)
DATA, HELD_OUT = rows_of(REVIEWS, slice(180)), rows_of(REVIEWS, slice(180, 240))
PLAIN = TrainSettings(
    dropout=0.0, encoder_dropout=0.0, word_dropout=0.0, batch_tokens=600, num_buckets=4, learning_rate=0.01
)
PLAIN_PRETRAINING = PretrainSettings(dropout=0.0, batch_size=4, bptt=10, negatives=20, learning_rate=0.01)
START = tiny_model(1, max_tokens=60)


def assert_same_gradients(found: Any, expected: Any) -> None:
    """After one step Adam's means are a tenth of the clipped gradients."""
    means = {name: array for name, array in expected.arrays().items() if name.startswith("adam/mean/")}
    assert len(means) > 5
    for name, array in means.items():
        np.testing.assert_allclose(found.arrays()[name], array, rtol=1e-3, atol=1e-6, err_msg=name)
    assert max(np.abs(array).max() for array in means.values()) > 1e-4


@pytest.mark.parametrize(
    "changed",
    [{}, {"adversarial_epsilon": 2.0}, {"layer_decay": 0.4, "unfreeze_fraction": 0.5}, {"clip_norm": 0.01}],
    ids=str,
)
def test_fine_tuning_takes_the_steps_of_mxnet(changed: dict[str, float]) -> None:
    settings = replace(PLAIN, **changed)
    data, held_out = (Dataset.of(part, START.text, name="some") for part in (DATA, HELD_OUT))
    runs: list[Any] = [
        kind(data, held_out, architecture=START.architecture, settings=settings, device="cpu")
        for kind in (FineTuning, torch_training.TorchFineTuning)
    ]
    for run in runs:
        run.load(START.weights)
        run.start()
    ours, theirs = runs
    # Schedules count steps, and the two cut an epoch into batches in their own ways.
    theirs.layer_rates = ours.optimizer.layer_rates
    np.testing.assert_allclose(theirs._logits(held_out), ours._logits(held_out), atol=1e-4)
    # Always the same words: MXNet leaves those that a step has not seen as they are, PyTorch moves them further.
    batch = np.array([0, 5, 9, 7, 20])
    for step in range(6):
        expected, n_tokens = ours.step(batch.tolist(), step=step, learning_rate=0.01)
        assert theirs.step(batch, step=step, learning_rate=0.01) == (pytest.approx(expected, abs=2e-3), n_tokens)
        if not step:
            assert_same_gradients(theirs, ours)
    for part in ("weights", "average"):
        found, same = ({name: run.arrays()[f"{part}/{name}"] for name in START.weights} for run in (theirs, ours))
        for name, array in same.items():
            # Adam divides by the size of the gradient: where it is nearly 0, rounding decides.
            assert np.median(np.abs(found[name] - array)) < 2e-3, name
            assert part == "average" or name != "output.weight" or np.abs(array - START.weights[name]).max() > 0.02
    assert [run.finish_epoch(0, 0.5) for run in runs] == [False, False]
    assert theirs.history[0] == pytest.approx(ours.history[0], abs=1e-3)


def test_pre_training_takes_the_steps_of_mxnet() -> None:
    start = tiny_model(2, kind="language_model")
    corpus = Corpus.encode([REVIEWS.texts], start.text)
    runs: list[Any] = [
        kind(corpus, corpus, architecture=start.architecture, settings=PLAIN_PRETRAINING, device="cpu")
        for kind in (Pretraining, torch_training.TorchPretraining)
    ]
    ours, theirs = runs
    np.testing.assert_allclose(
        theirs.arrays()["weights/decoder.bias"], ours.arrays()["weights/decoder.bias"], rtol=1e-6
    )
    for run in runs:
        run.load(start.weights)
    assert theirs.held_out_loss() == pytest.approx(ours.held_out_loss(), rel=1e-5)
    assert theirs.steps_per_epoch == ours.steps_per_epoch
    batches = [list(run.batches(0, 0)) for run in runs]
    np.testing.assert_array_equal(batches[0], batches[1])
    for step in range(6):  # always the same words, sampled ones too, as above; the states are carried on
        expected = ours.step(batches[0][0], step=3, learning_rate=0.01)
        assert theirs.step(batches[0][0], step=3, learning_rate=0.01) == pytest.approx(expected, abs=2e-3)
        if not step:
            assert_same_gradients(theirs, ours)
    for name, array in ours.weights().items():
        assert np.median(np.abs(theirs.weights()[name] - array)) < 2e-3, name
    assert theirs.held_out_loss() == pytest.approx(ours.held_out_loss(), rel=1e-3)
    assert np.abs(ours.weights()["embedding.weight"] - start.weights["embedding.weight"]).max() > 0.02


# Runs that are killed.


@pytest.fixture
def fine_tune(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Model]:
    monkeypatch.setattr(training, "fine_tuning_on", lambda _: torch_training.TorchFineTuning)

    def fine_tune(**options: Any) -> Model:
        return train(DATA, validation=HELD_OUT, checkpoint_path=tmp_path / "checkpoint", **options)

    return fine_tune


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Model]:
    monkeypatch.setattr(language_model, "pretraining_on", lambda _: torch_training.TorchPretraining)

    def read(**options: Any) -> Model:
        return pretrain(
            lambda: [DATA.texts], held_out=lambda: [HELD_OUT.texts], checkpoint_path=tmp_path / "checkpoint", **options
        )

    return read


SMALL = TrainSettings(
    hidden_size=8,
    vocab_size=300,
    max_tokens=60,
    epochs=2,
    batch_tokens=900,
    adversarial_epsilon=1.0,
    learning_rate=0.02,
)
SMALL_PRETRAINING = PretrainSettings(
    hidden_size=8, vocab_size=300, epochs=2, batch_size=8, bptt=20, negatives=30, learning_rate=0.02
)


@pytest.mark.parametrize("killed_at", [1, 9])
def test_a_killed_fine_tuning_goes_on_as_if_nothing_had_been(
    fine_tune: Callable[..., Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    kind = torch_training.TorchFineTuning
    whole = fine_tune(settings=SMALL)
    (tmp_path / "checkpoint").unlink()
    with monkeypatch.context() as patch:
        kill_at(patch, kind, killed_at)
        with pytest.raises(Killed):
            fine_tune(settings=replace(SMALL, checkpoint_seconds=0.0))
    steps = note_steps(monkeypatch, kind)
    assert_same_run(fine_tune(settings=SMALL, resume=True), whole)
    assert steps[0] == killed_at < steps[-1]
    losses = [epoch["train_loss"] for epoch in whole.metrics["history"]]
    assert losses[1] < losses[0]


@pytest.mark.parametrize("killed_at", [1, 12])
def test_a_killed_pre_training_goes_on_as_if_nothing_had_been(
    read: Callable[..., Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    kind = torch_training.TorchPretraining
    whole = read(settings=SMALL_PRETRAINING)
    (tmp_path / "checkpoint").unlink()
    with monkeypatch.context() as patch:
        kill_at(patch, kind, killed_at)
        with pytest.raises(Killed):
            read(settings=replace(SMALL_PRETRAINING, checkpoint_seconds=0.0))
    steps = note_steps(monkeypatch, kind)
    assert_same_run(read(settings=SMALL_PRETRAINING, resume=True), whole)
    assert steps[0] == killed_at < steps[-1]


def test_word_dropout_hides_whole_words_and_keeps_the_mean(fine_tune: Callable[..., Model]) -> None:
    """Seen by what the network is given in a step."""
    data = Dataset.of(DATA, START.text, name="some")
    settings = replace(PLAIN, word_dropout=0.3)
    run: Any = torch_training.TorchFineTuning(
        data, data, architecture=START.architecture, settings=settings, device="cpu"
    )
    given: list[Any] = []
    forward = run.net.forward
    run.net.forward = lambda embedded, lengths: (given.append(embedded.detach()), forward(embedded, lengths))[1]
    run.start()
    hidden = []
    for step in range(20):
        batch = np.arange(40)
        ids, _ = run._padded(data, run._token_ids, batch)
        plain = run.net.embedding(ids).detach()
        run.step(batch, step=step, learning_rate=0.0)
        factors = (given[-1] / plain).mean(dim=2).numpy()
        values = {round(float(value), 4) for value in factors.ravel()}
        assert values == {0.0, round(1 / 0.7, 4)}
        seen = {word: set(factors[ids.numpy() == word].round(4).tolist()) for word in np.unique(ids)}
        assert {len(factor) for factor in seen.values()} == {1}
        hidden += [factor == {0.0} for factor in seen.values()]
    assert np.mean(hidden) == pytest.approx(0.3, abs=0.06)


def test_weight_drop_is_refused(fine_tune: Callable[..., Model], read: Callable[..., Model]) -> None:
    for run, settings in ((fine_tune, SMALL), (read, SMALL_PRETRAINING)):
        with pytest.raises(
            UsageError,
            match=r"weight_drop must be 0 with PyTorch on cpu, not 0.2; .* with MXNet",
        ):
            run(settings=replace(settings, weight_drop=0.2))  # type: ignore[type-var]


def test_a_loss_that_is_not_finite_changes_nothing_and_ends_the_run(
    fine_tune: Callable[..., Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = torch_training.TorchSentimentNet.forward
    monkeypatch.setattr(
        torch_training.TorchSentimentNet, "forward", lambda net, *inputs: broken(net, *inputs) * float("nan")
    )
    with pytest.raises(InputError, match=r"the loss is not finite at step 0 of [0-9]+; .* lower --learning-rate"):
        fine_tune(settings=SMALL)


def test_locked_dropout_shares_its_mask_over_time() -> None:
    from sentiment_core.training.steps.torch_network import locked_dropout

    torch.manual_seed(0)
    states = torch.ones(50, 200, 30)
    dropped = locked_dropout(states, 0.25, training=True)
    assert bool((dropped == dropped[0]).all())
    assert dropped[0].unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert float((dropped[0] == 0).float().mean()) == pytest.approx(0.25, abs=0.02)
    assert locked_dropout(states, 0.25, training=False) is states


def test_a_text_has_the_same_logit_alone_and_beside_longer_ones() -> None:
    data = Dataset.of(DATA, START.text, name="some")
    run: Any = torch_training.TorchFineTuning(data, data, architecture=START.architecture, settings=PLAIN, device="cpu")
    run.load(START.weights)
    together = run._logits(data)
    run.settings = replace(PLAIN, batch_tokens=1)
    np.testing.assert_allclose(run._logits(data), together, atol=1e-5)
    assert np.ptp(together) > 0.1
