"""How far a model's mean probability lies from the true share of positive reviews, from one domain to the next.

A model that is well calibrated on all domains together still errs by some points on each of them. Whoever estimates
the share of a domain that nobody labelled has to add this error to that of sampling.

Axes: N reviews, D domains.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sentiment_core.evaluation.metrics import calibration_table

__all__ = [
    "FEWEST_DOMAINS",
    "FEWEST_REVIEWS",
    "calibration_errors",
    "domain_shift",
    "random_effects",
    "share_correction",
]

Floats = npt.NDArray[np.float64]

# With fewer, their spread is not known.
FEWEST_DOMAINS = 3
# With fewer, most of a calibration error is chance.
FEWEST_REVIEWS = 200
# With fewer, two coefficients are fitted to chance.
_FEWEST_TO_CORRECT = 6


def domain_shift(
    domains: pa.Array | pa.ChunkedArray, positive: npt.NDArray[np.bool_], probabilities: Floats
) -> dict[str, Any] | None:
    """Mean and spread of true share less mean probability over domains.

    Parameters
    ----------
    domains : Arrow array of string, shape (N,)
        Reviews without a domain are left out.
    positive : array of bool, shape (N,)
    probabilities : array of float, shape (N,), 0 to 1

    Returns
    -------
    dict or None
        ``domains`` is their number; ``mean`` with its ``standard_error``, and ``standard_deviation``, are those of the
        shift of a domain, without the noise of its sample, as shares from -1 to 1; ``correction`` is that of
        `share_correction`, if there is one. None for fewer than 3 domains.
    """
    encoded = pc.dictionary_encode(domains.combine_chunks() if isinstance(domains, pa.ChunkedArray) else domains)
    if len(encoded.dictionary) < FEWEST_DOMAINS:
        return None
    known = encoded.indices.is_valid().to_numpy(zero_copy_only=False)
    codes = encoded.indices.drop_null().to_numpy()
    errors = positive[known].astype(np.float64) - probabilities[known]
    counts = np.bincount(codes)
    shifts = np.bincount(codes, errors) / counts  # (D,)
    # Around 0, not around the shift: a domain of equal errors, or of one review, has a variance too.
    variances = np.bincount(codes, np.maximum(errors**2, 1e-12)) / counts**2
    mean, standard_error, standard_deviation = random_effects(shifts, variances)
    correction = share_correction(encoded.indices, positive, probabilities)
    return {
        "domains": len(counts),
        "mean": mean,
        "standard_error": standard_error,
        "standard_deviation": standard_deviation,
        **({"correction": correction} if correction is not None else {}),
    }


def share_correction(
    domains: pa.Array | pa.ChunkedArray, positive: npt.NDArray[np.bool_], probabilities: Floats
) -> dict[str, Any] | None:
    """How the true share of a domain follows from the probabilities of its reviews.

    The true share is taken for the mean probability plus ``shift`` times the mean of p (1 - p), plus ``sharpness``
    times the mean of p (1 - p) (1 - 2 p), by least squares over the domains. Probabilities of 0 and 1 add nothing:
    where the model is sure, it errs by little. The first term moves all doubtful reviews to one side. The second moves
    those of each half towards its end or to the middle: a model that was fitted to domains of balanced labels is too
    close to the middle where they are not.

    Parameters
    ----------
    domains : Arrow array, shape (N,)
    positive : array of bool, shape (N,)
    probabilities : array of float, shape (N,), 0 to 1

    Returns
    -------
    dict or None
        ``domains``, of at least 200 reviews; ``shift`` and ``sharpness``, which are 0 unless they bring domains that
        they are not fitted to nearer to the truth; ``standard_deviation`` of the error of such domains (each left out
        in turn), without the noise of their samples; ``mean_absolute_error``, with it, and
        ``mean_absolute_error_uncorrected``. None for fewer than 6 domains.
    """
    encoded = pc.dictionary_encode(domains.combine_chunks() if isinstance(domains, pa.ChunkedArray) else domains)
    known = encoded.indices.is_valid().to_numpy(zero_copy_only=False)
    codes = encoded.indices.drop_null().to_numpy()
    counts = np.bincount(codes)
    large = counts >= FEWEST_REVIEWS
    if np.count_nonzero(large) < _FEWEST_TO_CORRECT:
        return None
    p = probabilities[known]
    errors, doubt = positive[known].astype(np.float64) - p, p * (1 - p)

    def means(values: Floats) -> Floats:
        found: Floats = np.bincount(codes, values)[large] / counts[large]
        return found

    shifts, noise = means(errors), means(errors**2) / counts[large]  # (D,)
    moments = np.column_stack([means(doubt), means(doubt * (1 - 2 * p))])  # (D, 2)
    left = np.empty_like(shifts)
    for one in range(len(shifts)):
        others = np.arange(len(shifts)) != one
        left[one] = shifts[one] - moments[one] @ _least_squares(moments[others], shifts[others])
    helps = np.mean(left**2) < np.mean(shifts**2)
    shift, sharpness = _least_squares(moments, shifts) if helps else (0.0, 0.0)
    if not helps:
        left = shifts
    return {
        "domains": len(shifts),
        "shift": float(shift),
        "sharpness": float(sharpness),
        "standard_deviation": float(np.sqrt(max(0.0, np.mean(left**2) - np.mean(noise)))),
        "mean_absolute_error": float(np.mean(np.abs(left))),
        "mean_absolute_error_uncorrected": float(np.mean(np.abs(shifts))),
    }


def _least_squares(moments: Floats, shifts: Floats) -> Floats:
    solution: Floats = np.linalg.lstsq(moments, shifts, rcond=None)[0]
    return solution


def calibration_errors(
    domains: pa.Array | pa.ChunkedArray, positive: npt.NDArray[np.bool_], probabilities: Floats
) -> list[dict[str, Any]]:
    """Expected calibration error of each domain of at least 200 reviews, over 15 bins: ``domain``, ``n``, ``ece``.

    Parameters
    ----------
    domains : Arrow array of string, shape (N,)
    positive : array of bool, shape (N,)
    probabilities : array of float, shape (N,), 0 to 1
    """
    encoded = pc.dictionary_encode(domains.combine_chunks() if isinstance(domains, pa.ChunkedArray) else domains)
    codes = encoded.indices.fill_null(-1).to_numpy()
    errors = []
    for code, domain in enumerate(encoded.dictionary.to_pylist()):
        rows = codes == code
        n = int(rows.sum())
        if n >= FEWEST_REVIEWS:
            table = calibration_table(positive[rows], probabilities[rows])
            distance = sum(abs(row["mean_probability"] - row["positive_share"]) * row["n"] for row in table)
            errors.append({"domain": domain, "n": n, "ece": distance / n})
    return sorted(errors, key=lambda row: row["domain"])


def random_effects(effects: Floats, variances: Floats) -> tuple[float, float, float]:
    """Mean, its standard error, and standard deviation between groups (DerSimonian and Laird 1986).

    Parameters
    ----------
    effects, variances : arrays of float, shape (D,)
        What each of at least two groups measured, and the variance of that measurement, above 0.
    """
    weights = 1 / variances
    fixed = np.average(effects, weights=weights)
    heterogeneity = float(weights @ (effects - fixed) ** 2)
    scale = weights.sum() - (weights**2).sum() / weights.sum()
    between = max(0.0, (heterogeneity - (len(effects) - 1)) / scale)
    weights = 1 / (variances + between)
    return float(np.average(effects, weights=weights)), float(weights.sum() ** -0.5), float(np.sqrt(between))
