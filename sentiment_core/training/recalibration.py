"""Fit a model's calibration and cut-offs to labels of its user's own; the network stays as it is.

The order of the reviews by probability stays too: a calibration is a rising function of the logit. Half of the labels
fits, the other half measures, then the other way round. So every label is measured once by parameters that have not
seen it; the parameters of the new model are fitted on all labels.

Axes: N reviews.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sentiment_core.artifact import Decision, Model
from sentiment_core.behaviour.suite import evaluate_behaviour
from sentiment_core.dataset.labelled import Labelled
from sentiment_core.errors import InputError
from sentiment_core.evaluation.card import write_card
from sentiment_core.evaluation.metrics import evaluate_probabilities
from sentiment_core.evaluation.reliability import reliability_plot
from sentiment_core.logistic import logit
from sentiment_core.scoring.scorer import Scorer
from sentiment_core.scoring.scores import Scores
from sentiment_core.training.calibration import fit_decision, measure_decision

__all__ = [
    "FEWEST_LABELS",
    "FEWEST_OF_A_CLASS",
    "PRIOR_LABELS",
    "LabelledLogits",
    "Recalibration",
    "fit_to_labels",
    "recalibrate",
    "recalibrated_model",
    "score_labelled",
]

Floats = npt.NDArray[np.float64]

# With fewer, the held-out figures of before and after differ by chance.
FEWEST_LABELS = 100
# Of either class.
FEWEST_OF_A_CLASS = 10
# The model's own calibration counts as much as so many labels. A hundred labels can be parted by the logits without an
# error, and a fit to them alone would be sure of everything.
PRIOR_LABELS = 20


@dataclass(frozen=True, kw_only=True)
class LabelledLogits:
    """Labelled reviews with the network's logits.

    Attributes
    ----------
    reviews : Labelled, N reviews
        Each of at least one token.
    scores : Scores, N reviews
    logits : array of float, shape (N,)
        Before any calibration.
    half : array of bool, shape (N,)
        Which half a review is of.
    weights : array of float, shape (N,), above 0
        For how many reviews each one stands.
    """

    reviews: Labelled
    scores: Scores
    logits: Floats
    half: npt.NDArray[np.bool_]
    weights: Floats

    @property
    def positive(self) -> npt.NDArray[np.bool_]:
        """The labels, shape (N,)."""
        positive: npt.NDArray[np.bool_] = self.reviews.positive >= 0.5
        return positive


@dataclass(frozen=True, kw_only=True)
class Recalibration:
    """What a calibration to own labels would change.

    Attributes
    ----------
    before, after : mapping
        ``accuracy``, ``ece``, ``log_loss`` and others of `Metrics`, and ``share_error``: the mean probability less the
        share of positive reviews. ``after`` is of parameters that have not seen the labels.
    probabilities : array of float, shape (N,)
        Those of ``after``.
    decision : Decision
        Fitted on all labels.
    """

    before: Mapping[str, float]
    after: Mapping[str, float]
    probabilities: Floats
    decision: Decision

    @property
    def better(self) -> bool:
        """Whether the held-out log loss is lower after than before."""
        return self.after["log_loss"] < self.before["log_loss"]


def score_labelled(
    model: Model,
    reviews: Labelled,
    *,
    half: npt.NDArray[np.bool_],
    weights: Floats | None = None,
    engine: str = "auto",
    precision: str = "auto",
) -> LabelledLogits:
    """Logits of labelled reviews; those without a token are left out.

    Parameters
    ----------
    model : Model
    reviews : Labelled, N reviews
    half : array of bool, shape (N,)
    weights : array of float, shape (N,), above 0, optional
    engine, precision : str
        As of `Scorer`: those that will score later.

    Raises
    ------
    InputError
        If too few labels remain, or too few of one class.
    """
    # A scorer without a calibration: its probability is the sigmoid of the logit.
    bare = Scorer(replace(model, decision=Decision()), engine=engine, precision=precision)
    scores = bare.score_texts(reviews.texts)
    scored = np.flatnonzero(~np.isnan(scores.positive_probability))
    kept, of_kept = reviews.take(scored), scores.take(scored.astype(np.int32))
    half = half[scored]
    _refuse_few(kept.positive >= 0.5, half)
    return LabelledLogits(
        reviews=kept,
        scores=of_kept,
        logits=logit(of_kept.positive_probability),
        half=half,
        weights=np.ones(len(kept)) if weights is None else weights[scored],
    )


def _refuse_few(positive: npt.NDArray[np.bool_], half: npt.NDArray[np.bool_]) -> None:
    n, n_positive = len(positive), int(positive.sum())
    if n < FEWEST_LABELS:
        raise InputError(f"{n} labels are too few to calibrate with, {FEWEST_LABELS} are needed; label more reviews")
    for kind, found in (("positive", n_positive), ("negative", n - n_positive)):
        if found < FEWEST_OF_A_CLASS:
            raise InputError(
                f"{found} of {n} labels are {kind}, {FEWEST_OF_A_CLASS} are needed; check --label-column, "
                "--positive-above and --positive-label, or label more reviews"
            )
    for part in (positive[half], positive[~half]):
        if not part.any() or part.all():
            raise InputError("one half of the labels is of one class only; label more reviews or more products")


def recalibrate(model: Model, labelled: LabelledLogits) -> Recalibration:
    """Fit the calibration on either half and measure it on the other one; fit it on all.

    Raises
    ------
    InputError
        If the labels are the opposite of what the model says.
    """
    positive, logits, weights = labelled.positive, labelled.logits, labelled.weights
    probabilities = np.empty(len(positive))
    for fits in (labelled.half, ~labelled.half):
        fitted = fit_to_labels(model.decision, positive[fits], logits[fits], weights=weights[fits])
        probabilities[~fits] = fitted.probability(logits[~fits])
    return Recalibration(
        before=_quality(positive, model.decision.probability(logits), weights),
        after=_quality(positive, probabilities, weights),
        probabilities=probabilities,
        decision=fit_to_labels(model.decision, positive, logits, weights=weights),
    )


def fit_to_labels(before: Decision, positive: npt.NDArray[np.bool_], logits: Floats, *, weights: Floats) -> Decision:
    """Calibration and cut-offs of labelled reviews, drawn towards the former ones as if by `PRIOR_LABELS` labels more.

    Each review counts as its label, and a little as both labels by its former probability.

    Parameters
    ----------
    before : Decision
    positive : array of bool, shape (N,)
    logits : array of float, shape (N,)
    weights : array of float, shape (N,), above 0

    Raises
    ------
    InputError
        If the labels are the opposite of what the model says.
    """
    former = before.probability(logits) * PRIOR_LABELS * weights / len(positive)
    against = PRIOR_LABELS * weights / len(positive) - former
    decision = fit_decision(
        np.repeat([True, False], len(positive)),
        np.tile(logits, 2),
        weights=np.concatenate([weights * positive + former, weights * ~positive + against]),
    )
    if decision.method == "none":
        raise InputError(
            "the labels are the opposite of what the model says; check --label-column, --positive-above and "
            "--positive-label"
        )
    return decision


def _quality(positive: npt.NDArray[np.bool_], probabilities: Floats, weights: Floats) -> dict[str, float]:
    """Metrics of probabilities, and how far their mean is from the share of positive reviews."""
    share_error = float(np.average(probabilities - positive, weights=weights))
    return asdict(evaluate_probabilities(positive, probabilities, weights=weights)) | {"share_error": share_error}


def recalibrated_model(
    model: Model, labelled: LabelledLogits, found: Recalibration, *, data_name: str | None = None
) -> Model:
    """The model with its new calibration, metrics, provenance and card.

    What was measured with the former calibration on other reviews is left out: it is in the former model's card.
    """
    decision, familiarity = found.decision, model.familiarity
    metrics: dict[str, Any] = measure_decision(
        labelled.reviews,
        labelled.scores.n_tokens,
        found.probabilities,
        decision=decision,
        weights=labelled.weights,
    )
    metrics["recalibration"] = {"before": dict(found.before), "after": dict(found.after)}
    metrics["domain_shift"] = _shift(labelled, found.probabilities)
    if "history" in model.metrics:
        metrics["history"] = model.metrics["history"]
    if familiarity is not None:
        metrics["unfamiliar_share"] = float(np.average(labelled.scores.unfamiliar, weights=labelled.weights))
    provenance = {
        **model.provenance,
        "recalibrated_from_sha256": model.sha256,
        "recalibration_labels": len(labelled.reviews),
        **({"recalibration_data": data_name} if data_name else {}),
    }
    new = replace(model, decision=decision, metrics=metrics, provenance=provenance)
    scorer = Scorer(new)
    metrics["behaviour"] = evaluate_behaviour(
        lambda texts: scorer.score_texts(texts).positive_probability,
        negative_below=decision.negative_below,
        positive_from=decision.positive_from,
    )
    card = write_card(
        metrics, provenance=provenance, decision=decision, architecture=model.architecture, familiarity=familiarity
    )
    plot = reliability_plot(metrics["calibration_table"], title="Calibration on held-out reviews")
    return replace(new, metrics=metrics, card=card, reliability_plot=plot)


def _shift(labelled: LabelledLogits, probabilities: Floats) -> dict[str, Any]:
    """The error of the mean probability on these reviews, as `domain_shift` gives it over domains.

    The reviews are of one domain, whose shift the labels tell up to their standard error.
    """
    errors, weights = labelled.positive - probabilities, labelled.weights
    mean = float(np.average(errors, weights=weights))
    standard_error = float(np.sqrt((weights**2 * (errors - mean) ** 2).sum()) / weights.sum())
    return {"domains": 1, "mean": mean, "standard_error": standard_error, "standard_deviation": standard_error}
