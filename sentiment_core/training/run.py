"""Fine-tune SentimentNet on labelled reviews, from a language model or from scratch, into a calibrated model.

Axes: N reviews.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sentiment_core.artifact import Architecture, Decision, Model
from sentiment_core.behaviour.suite import evaluate_behaviour
from sentiment_core.dataset.batches import Dataset
from sentiment_core.dataset.holdout import Split
from sentiment_core.dataset.labelled import Labelled, without_texts_of
from sentiment_core.errors import UsageError
from sentiment_core.evaluation.card import write_card
from sentiment_core.evaluation.domain_shift import calibration_errors, domain_shift
from sentiment_core.evaluation.metrics import evaluate_probabilities
from sentiment_core.evaluation.reliability import reliability_plot, require_matplotlib
from sentiment_core.evaluation.slices import slice_metrics
from sentiment_core.logistic import logit
from sentiment_core.scoring.scorer import Scorer
from sentiment_core.text.familiarity import fit_familiarity, word_rarity
from sentiment_core.text.pipeline import SENTENCE_ENDS, TextPipeline, TextSettings, build_vocabulary
from sentiment_core.training.calibration import fit_decision, measure_decision
from sentiment_core.training.recipes import TrainSettings
from sentiment_core.training.robustness import average_weights, blind_to
from sentiment_core.training.steps.checkpoint import data_digest
from sentiment_core.training.steps.device import fine_tuning_on
from sentiment_core.training.steps.loop import run_loop

__all__ = ["TrainSettings", "train"]

_LOGGER = logging.getLogger(__name__)


def train(
    data: Labelled,
    *,
    validation: Labelled,
    checkpoint_path: Path,
    teacher_labels: Labelled | None = None,
    own_labels: bool = True,
    elsewhere: Labelled | None = None,
    split: Split | None = None,
    data_name: str | None = None,
    language_model: Model | None = None,
    blind_words: Sequence[str] = (),
    settings: TrainSettings | None = None,
    resume: bool = False,
    device: str = "cpu",
) -> Model:
    """Train a model; the epoch of lowest validation loss is kept and calibrated on the validation part.

    Parameters
    ----------
    data, validation : Labelled
        Trained on; measured, calibrated and stopped on. Reviews without a token are left out, and so are reviews to
        train on whose texts are in the validation part too.
    checkpoint_path : Path
        Where the run is kept, so that it can be resumed.
    teacher_labels : Labelled
        Other texts, with probabilities that a teacher gave them: trained on as well (distillation), but for those of
        the validation part.
    own_labels : bool
        Whether the training part is learnt, too; if not, what the teacher made of it is among ``teacher_labels``.
    elsewhere : Labelled
        Reviews of other domains, by group: only measured, for the model card; those without a token are left out.
    split : Split
        What decided on the validation part. If the model to start from had another one, the card says so.
    data_name : str
        What the reviews are, for the model card.
    language_model : Model
        Gives vocabulary, sizes, embedding and encoder; None starts from scratch. A sentiment model gives its output as
        well: it is trained further.
    blind_words : sequence of str
        Words that shall move no score; see `sentiment_core.training.robustness.blind_to`.
    settings : TrainSettings
        Recipe.
    resume : bool
        Go on from the checkpoint; a run that was killed then follows the same curve.
    device : str
        ``cpu`` (MXNet, or PyTorch where MXNet is not installed) or ``gpu:N`` (PyTorch).

    Raises
    ------
    InputError
        If a part has labels of one class only or is too small, the loss is not finite, or the checkpoint is another
        run's.
    UsageError
        If a model is to be averaged with one that it was not trained further from.
    """
    settings = settings or TrainSettings()
    if settings.start_share and (language_model is None or language_model.kind != "sentiment"):
        raise UsageError(
            "start_share needs a sentiment model to train further, whose weights are averaged with the new"
        )
    require_matplotlib()  # now, not after hours
    of_split = split.provenance(language_model.provenance if language_model else {}) if split else {}
    data = without_texts_of(data, validation)
    if language_model is None:
        text_settings = TextSettings(max_tokens=settings.max_tokens)
        vocabulary, _ = build_vocabulary(
            data.batches(), settings=text_settings, max_size=settings.vocab_size, min_count=settings.min_count
        )
        pipeline = TextPipeline(settings=text_settings, vocabulary=vocabulary)
        architecture = Architecture(
            vocab_size=len(vocabulary),
            embed_size=settings.hidden_size,
            hidden_size=settings.hidden_size,
            num_layers=settings.num_layers,
        )
    else:
        text_settings = replace(language_model.text.settings, max_tokens=settings.max_tokens)
        pipeline = TextPipeline(settings=text_settings, vocabulary=language_model.text.vocabulary)
        architecture = language_model.architecture
    own_part = train_part = Dataset.of(data, pipeline, name="training")
    if teacher_labels is not None:
        taught_part = Dataset.of(without_texts_of(teacher_labels, validation), pipeline, name="teacher's")
        train_part = own_part.with_others(taught_part) if own_labels else taught_part
    train_part = train_part.with_excerpts(
        settings.excerpt_share, sentence_ends=pipeline.vocabulary.ids(SENTENCE_ENDS), seed=settings.seed
    )
    validation_part = Dataset.of(validation, pipeline, name="validation")
    if elsewhere is not None:
        elsewhere = elsewhere.take(Dataset.of(elsewhere, pipeline, name="elsewhere").rows)
    run = fine_tuning_on(device)(
        train_part, validation_part, architecture=architecture, settings=settings, device=device
    )
    if language_model is not None:
        run.load(language_model.weights)
    run.start()
    run_loop(
        run,
        steps_per_epoch=run.steps_per_epoch,
        settings=settings,
        data_sha256=data_digest(
            *train_part.arrays(), *validation_part.arrays(), also=language_model.sha256 if language_model else ""
        ),
        checkpoint_path=checkpoint_path,
        resume=resume,
    )

    weights = {name: array.astype(np.float16) for name, array in run.best.weights.items()}
    measured = validation.take(validation_part.rows)
    encoded = pipeline.encode(measured.texts)
    if settings.start_share and language_model is not None:
        weights = average_weights(weights, language_model.weights, start_share=settings.start_share)
    weights, n_blind = blind_to(weights, pipeline.vocabulary, blind_words)
    logits = run.best.logits
    if settings.start_share or n_blind:
        finished = Model(kind="sentiment", architecture=architecture, text=pipeline, weights=weights)
        logits = _logits(finished, measured)
    decision = fit_decision(measured.positive >= 0.5, logits)
    metrics = measure_decision(measured, encoded.n_tokens, decision.probability(logits), decision=decision) | {
        "history": run.history
    }
    familiarity = fit_familiarity(encoded, pipeline.vocabulary)
    if familiarity is not None:
        unfamiliar = familiarity.unfamiliar(encoded, word_rarity(pipeline.vocabulary))
        metrics["unfamiliar_share"] = float(unfamiliar.mean())
    provenance = {
        **({"data": data_name} if data_name else {}),
        **of_split,
        **_started_from(language_model),
        "training_reviews": len(own_part),
        "teacher_labelled_reviews": len(taught_part) if teacher_labels is not None else 0,
        "validation_reviews": len(validation_part),
        **({"blind_words": n_blind} if n_blind else {}),
        "settings": asdict(settings),
    }
    model = Model(
        kind="sentiment",
        architecture=architecture,
        text=pipeline,
        weights=weights,
        decision=decision,
        familiarity=familiarity,
        metrics=metrics,
        provenance=provenance,
    )
    scorer = Scorer(model)
    metrics["behaviour"] = evaluate_behaviour(
        lambda texts: scorer.score_texts(texts).positive_probability,
        negative_below=decision.negative_below,
        positive_from=decision.positive_from,
    )
    if elsewhere is not None:
        metrics["elsewhere"], shift = _quality_elsewhere(scorer, elsewhere)
        if shift is not None:
            metrics["domain_shift"] = shift
    return replace(
        model,
        card=write_card(
            metrics,
            provenance=provenance,
            decision=decision,
            architecture=architecture,
            familiarity=familiarity,
        ),
        reliability_plot=reliability_plot(metrics["calibration_table"], title="Calibration on held-out reviews"),
    )


def _started_from(model: Model | None) -> dict[str, str | None]:
    """What a model grew from, for its provenance."""
    if model is None or model.kind == "language_model":
        return {"language_model_sha256": model.sha256 if model else None}
    return {
        "language_model_sha256": model.provenance.get("language_model_sha256"),
        "trained_further_sha256": model.sha256,
    }


def _logits(model: Model, measured: Labelled) -> npt.NDArray[np.float32]:
    """Logits of a model that is not calibrated."""
    scorer = Scorer(replace(model, decision=Decision()), precision="float32")
    return logit(scorer.score_texts(measured.texts).positive_probability).astype(np.float32)


def _quality_elsewhere(scorer: Scorer, elsewhere: Labelled) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Metrics of a model on other reviews, each of at least one token, and by their groups; the shift of domains."""
    scores = scorer.score_texts(elsewhere.texts)
    positive, probabilities = elsewhere.positive >= 0.5, scores.positive_probability
    quality = {
        **evaluate_probabilities(positive, probabilities).as_dict(),
        "slices": slice_metrics(elsewhere.texts, scores.n_tokens, positive, probabilities, groups=elsewhere.groups),
    }
    domains = elsewhere.groups.get("domain")
    if domains is None:
        return quality, None
    if errors := calibration_errors(domains, positive, probabilities):
        quality["calibration_errors"] = errors
    return quality, domain_shift(domains, positive, probabilities)
