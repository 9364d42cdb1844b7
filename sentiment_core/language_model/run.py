"""Pre-train a word language model on reviews.

Embedding, LSTM layers and an output tied to the embedding predict the next word; SentimentNet then takes over the
embedding and the LSTM. The softmax over the vocabulary is sampled: each step contrasts the true next words with
words drawn from the unigram distribution and corrects for the draw (Bengio and Senecal 2008).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from sentiment_core.artifact import Architecture, Model
from sentiment_core.dataset.holdout import Split
from sentiment_core.errors import InputError
from sentiment_core.text.pipeline import MOST_TOKENS, TextPipeline, TextSettings, Vocabulary, build_vocabulary
from sentiment_core.training.recipes import PretrainSettings
from sentiment_core.training.steps.checkpoint import data_digest
from sentiment_core.training.steps.corpus import MEASURED_LANES, MEASURED_STEPS, Corpus
from sentiment_core.training.steps.device import pretraining_on
from sentiment_core.training.steps.loop import run_loop

__all__ = ["PretrainSettings", "pretrain"]

_LOGGER = logging.getLogger(__name__)


def pretrain(
    corpus: Callable[[], Iterable[pa.Array]],
    *,
    held_out: Callable[[], Iterable[pa.Array]],
    checkpoint_path: Path,
    split: Split | None = None,
    language_model: Model | None = None,
    vocabulary: Vocabulary | None = None,
    settings: PretrainSettings | None = None,
    resume: bool = False,
    device: str = "cpu",
) -> Model:
    """Train a language model.

    Parameters
    ----------
    corpus : callable returning an iterable of Arrow arrays of string
        The texts; read twice, in the same order.
    held_out : callable returning an iterable of Arrow arrays of string
        Texts that are only measured.
    checkpoint_path : Path
        Where the run is kept, so that it can be resumed.
    split : Split
        What decided on the held-out texts.
    language_model : Model
        One to train further, say on other reviews; gives vocabulary, sizes and weights. None starts anew.
    vocabulary : Vocabulary
        Its words, the most frequent first; counted in the corpus if None.
    settings : PretrainSettings
        Recipe; vocabulary and sizes count only without a language model.
    resume : bool
        Go on from the checkpoint; a run that was killed then follows the same curve.
    device : str
        ``cpu`` (MXNet, or PyTorch where MXNet is not installed) or ``gpu:N`` (PyTorch).

    Raises
    ------
    InputError
        If the corpus is too small for one step, the loss is not finite, or the checkpoint is another run's.
    """
    settings = settings or PretrainSettings()
    of_split = split.provenance(language_model.provenance if language_model else {}) if split else {}
    if language_model is None:
        whole = TextSettings(max_tokens=MOST_TOKENS)
        if vocabulary is None:
            vocabulary, _ = build_vocabulary(
                corpus(), settings=whole, max_size=settings.vocab_size, min_count=settings.min_count
            )
        architecture = Architecture(
            vocab_size=len(vocabulary),
            embed_size=settings.hidden_size,
            hidden_size=settings.hidden_size,
            num_layers=settings.num_layers,
        )
    else:
        whole = replace(language_model.text.settings, max_tokens=MOST_TOKENS)
        vocabulary, architecture = language_model.text.vocabulary, language_model.architecture
    pipeline = TextPipeline(settings=whole, vocabulary=vocabulary)
    data = Corpus.encode(corpus(), pipeline)
    measured = Corpus.encode(held_out(), pipeline)
    run = pretraining_on(device)(data, measured, architecture=architecture, settings=settings, device=device)
    if run.steps_per_epoch < 2:
        raise InputError(
            f"{len(data.token_ids):,} tokens are too few for two steps of {settings.batch_size} x "
            f"{settings.bptt} tokens; give more reviews or a smaller --batch-size"
        )
    if len(measured.token_ids) // MEASURED_LANES <= MEASURED_STEPS:
        raise InputError(
            f"{len(measured.token_ids):,} held-out tokens are too few to measure, "
            f"{MEASURED_LANES * (MEASURED_STEPS + 1)} are needed; hold out a larger --validation-fraction"
        )
    _LOGGER.info(
        "%s reviews, %s tokens, %s words; %s steps an epoch",
        f"{len(data.offsets) - 1:,}", f"{len(data.token_ids):,}", f"{len(vocabulary):,}", f"{run.steps_per_epoch:,}",
    )  # fmt: skip
    if language_model is not None:
        run.load(language_model.weights)
    run_loop(
        run,
        steps_per_epoch=run.steps_per_epoch,
        settings=settings,
        data_sha256=data_digest(
            data.token_ids,
            data.offsets,
            measured.token_ids,
            also=language_model.sha256 if language_model else "",
        ),
        checkpoint_path=checkpoint_path,
        resume=resume,
    )
    return Model(
        kind="language_model",
        architecture=architecture,
        text=pipeline,
        weights={name: array.astype(np.float16) for name, array in run.weights().items()},
        metrics={"history": run.history, "held_out_perplexity": run.history[-1]["held_out_perplexity"]},
        provenance={
            **of_split,
            "corpus_reviews": len(data.offsets) - 1,
            "corpus_tokens": len(data.token_ids),
            "held_out_reviews": len(measured.offsets) - 1,
            "settings": asdict(settings),
            "language_model_sha256": language_model.sha256 if language_model else None,
        },
        card=f"# Word language model\n\nTrained on {len(data.offsets) - 1:,} reviews; see `config.json` for the "
        f"recipe. Held-out perplexity {run.history[-1]['held_out_perplexity']:.1f}.\n",
    )
