"""What a model's probabilities are known to be wrong by, from one domain to the next, as columns of its scores.

A model stores it (`sentiment_core.evaluation.domain_shift`), the report of each scoring run repeats it, and the marts
apply it to the mean probability of a group of reviews.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pyspark.sql import Column
from pyspark.sql import functions as F

__all__ = ["UNKNOWN", "ShareCorrection", "corrected_probability", "correction_of", "spread_of"]


@dataclass(frozen=True, kw_only=True)
class ShareCorrection:
    """How the share of positive reviews follows from a model's probabilities where there is no label.

    Attributes
    ----------
    shift, sharpness : float
        Added to the mean probability: ``shift`` times the mean of p (1 - p), and ``sharpness`` times the mean of
        p (1 - p) (1 - 2 p).
    standard_deviation : float, above 0
        Of the error that is left from one domain to the next.
    is_known : bool
        False where the model was not measured on other domains.
    """

    shift: float = 0.0
    sharpness: float = 0.0
    standard_deviation: float
    is_known: bool = True

    def corrected(self, probability: Column) -> Column:
        """What a review adds to the corrected mean probability; of a single review it can lie outside 0 to 1."""
        return _corrected(probability, self.shift, self.sharpness)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


# Of models that were not measured on other domains. Models that were err by 0.03 to 0.09 without a correction.
UNKNOWN = ShareCorrection(standard_deviation=0.08, is_known=False)
# An error that is known to be smaller is not believed: the domains it was measured on are few.
_SMALLEST_DEVIATION = 0.005


def correction_of(domain_shift: Mapping[str, Any] | None) -> ShareCorrection:
    """The correction of a model with these metrics.

    Parameters
    ----------
    domain_shift : mapping or None
        As by `sentiment_core.evaluation.domain_shift.domain_shift`. Of a model that an earlier version trained, there
        is only the mean shift and its spread: both together are the error then.
    """
    if not domain_shift:
        return UNKNOWN
    correction = domain_shift.get("correction")
    if correction:
        return ShareCorrection(
            shift=correction["shift"],
            sharpness=correction["sharpness"],
            standard_deviation=max(_SMALLEST_DEVIATION, correction["standard_deviation"]),
        )
    parts = (domain_shift[name] for name in ("mean", "standard_error", "standard_deviation"))
    return ShareCorrection(standard_deviation=max(_SMALLEST_DEVIATION, sum(part**2 for part in parts) ** 0.5))


def corrected_probability(
    probability: Column, model_sha256: Column, corrections: Mapping[str, ShareCorrection]
) -> Column:
    """`ShareCorrection.corrected` by the model that scored the review."""
    shift = _by_model(model_sha256, {sha256: one.shift for sha256, one in corrections.items()}, UNKNOWN.shift)
    sharpness = _by_model(
        model_sha256, {sha256: one.sharpness for sha256, one in corrections.items()}, UNKNOWN.sharpness
    )
    return _corrected(probability, shift, sharpness)


def spread_of(model_sha256: Column, corrections: Mapping[str, ShareCorrection]) -> Column:
    """Standard deviation of the error between domains."""
    deviations = {sha256: one.standard_deviation for sha256, one in corrections.items()}
    return _by_model(model_sha256, deviations, UNKNOWN.standard_deviation)


def _corrected(probability: Column, shift: Column | float, sharpness: Column | float) -> Column:
    return probability + probability * (1 - probability) * (shift + sharpness * (1 - 2 * probability))


def _by_model(model_sha256: Column, values: Mapping[str, float], otherwise: float) -> Column:
    chosen = F.lit(float(otherwise))
    for sha256, value in sorted(values.items()):
        if value != otherwise:
            chosen = F.when(model_sha256 == sha256, F.lit(float(value))).otherwise(chosen)
    return chosen
