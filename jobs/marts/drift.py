"""The drift gate: whether the last day's scores are distributed as those before, and in words what moved.

The population stability index compares two histograms: ``sum((p - q) * log(p / q))`` over the steps of probability.
Below 0.1 nothing of note moved, above 0.25 the reviews or the model are others than before. It needs no labels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.marts.counts import HISTOGRAM_BINS
from sentiment_core.errors import UsageError

__all__ = ["DRIFT_REFERENCES", "DriftLimits", "Finding", "judge", "validation_histogram"]

DRIFT_REFERENCES = ("week", "validation")
_PHRASES = {"week": "the 7 days before", "validation": "the model's validation reviews"}
_LEVELS = ("ok", "not judged", "warn", "fail")


@dataclass(frozen=True, kw_only=True)
class DriftLimits:
    """When a stability index is worth a warning or closes the gate.

    Attributes
    ----------
    warn, fail : float
    min_rows : int
        Scored reviews that both histograms need. Without any drift the index of n and m reviews is about
        ``(1 / n + 1 / m)`` times a chi-squared value of 14 degrees of freedom, 95 % of which are below 23.7; of 500
        reviews on both sides that is 0.095, below the warning.
    """

    warn: float = 0.1
    fail: float = 0.25
    min_rows: int = 500

    def __post_init__(self) -> None:
        if not 0 < self.warn <= self.fail < math.inf:
            raise UsageError(f"--drift-warn {self.warn} and --drift-fail {self.fail} must be above 0 and in this order")
        if self.min_rows < 1:
            raise UsageError(f"--drift-min-rows must be 1 or more, not {self.min_rows}")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One model's day against one reference.

    Attributes
    ----------
    level : str
        ``ok``, ``not judged``, ``warn`` or ``fail``.
    index : float or None
    sentence : str
    """

    model_sha256: str
    reference: str
    level: str
    index: float | None
    sentence: str


def judge(
    days: Sequence[Mapping[str, Any]],
    *,
    limits: DriftLimits,
    references: Sequence[str],
    validation: Mapping[str, Sequence[int]],
) -> list[Finding]:
    """Judge the last day of rows of ``model_daily``.

    Parameters
    ----------
    days : sequence of mapping
        The rows of the last day and of the week before it.
    limits : DriftLimits
    references : sequence of str
        Of `DRIFT_REFERENCES`.
    validation : mapping
        Validation histograms by the model's SHA-256.
    """
    last = max((row["day"] for row in days), default=None)
    findings = []
    for row in (row for row in days if row["day"] == last):
        before = [other for other in days if other["model_sha256"] == row["model_sha256"] and other["day"] < last]
        for reference in references:
            histogram = validation.get(row["model_sha256"]) if reference == "validation" else _added(before)
            findings.append(_judged(row, before, reference=reference, histogram=histogram, limits=limits))
    return sorted(findings, key=lambda finding: _LEVELS.index(finding.level), reverse=True)


def validation_histogram(metrics: Mapping[str, Any]) -> list[int] | None:
    """Reviews of the validation part by step of probability, from a model's calibration table.

    None without such a table, or if it has other steps.
    """
    table = metrics.get("calibration_table")
    if not table:
        return None
    counts, n_reviews = [0] * HISTOGRAM_BINS, sum(row["n"] for row in table)
    for row in table:
        step = round(row["from"] * HISTOGRAM_BINS)
        if abs(row["from"] * HISTOGRAM_BINS - step) > 1e-6 or abs(row["to"] * HISTOGRAM_BINS - step - 1) > 1e-6:
            return None
        # With weights, a table tells what share of all reviews those of a step stand for.
        counts[step] += round(row["share"] * n_reviews) if "share" in row else int(row["n"])
    return counts


def _judged(
    row: Mapping[str, Any],
    before: Sequence[Mapping[str, Any]],
    *,
    reference: str,
    histogram: Sequence[int] | None,
    limits: DriftLimits,
) -> Finding:
    index, others = row[f"psi_{reference}"], row[f"{reference}_scored"]
    name = f"{row['day']}, model {row['model_sha256'][:12]}"
    if index is None or histogram is None:
        level, said = "not judged", f"no reviews to compare with: {_PHRASES[reference]} are not known"
    elif min(row["scored"], others) < limits.min_rows:
        few = f"{row['scored']:,} reviews against {others:,}"
        level, said = "not judged", f"{few}, fewer than the {limits.min_rows:,} that --drift-min-rows asks for"
    else:
        level = "fail" if index >= limits.fail else "warn" if index >= limits.warn else "ok"
        limit = limits.fail if level == "fail" else limits.warn
        side = "below" if level == "ok" else "at or above"
        said = f"stability index {index:.3f} against {_PHRASES[reference]}, {side} {limit:g}"
        if level != "ok":
            said += f"; {_moved(row['score_histogram'], histogram)}"
            said += _also(row, before) if reference == "week" else ""
    sentence = f"{name}: {said}"
    return Finding(model_sha256=row["model_sha256"], reference=reference, level=level, index=index, sentence=sentence)


def _moved(counts: Sequence[int], reference: Sequence[int]) -> str:
    """The step of probability that contributes most to the index."""
    n, m = sum(counts) + HISTOGRAM_BINS / 2, sum(reference) + HISTOGRAM_BINS / 2
    pairs = [((count + 0.5) / n, (other + 0.5) / m) for count, other in zip(counts, reference)]
    step = max(range(HISTOGRAM_BINS), key=lambda i: (pairs[i][0] - pairs[i][1]) * math.log(pairs[i][0] / pairs[i][1]))
    now, then = counts[step] / sum(counts), reference[step] / sum(reference)
    low, high = step / HISTOGRAM_BINS, (step + 1) / HISTOGRAM_BINS
    return f"reviews of probability {low:.2f} to {high:.2f} went from {then:.1%} to {now:.1%}"


def _also(row: Mapping[str, Any], before: Sequence[Mapping[str, Any]]) -> str:
    """What the texts themselves did meanwhile."""
    tokens, tokens_ok = sum(other["tokens"] for other in before), sum(other["tokens_ok"] for other in before)
    reviews = sum(other["reviews"] for other in before)
    parts = []
    if row["reviews"] and reviews:
        parts.append(f"tokens a review from {tokens / reviews:.0f} to {row['tokens'] / row['reviews']:.0f}")
    if row["tokens_ok"] and tokens_ok:
        unknown = sum(other["unknown_ok"] for other in before) / tokens_ok
        parts.append(f"unknown words from {unknown:.1%} to {row['unknown_rate']:.1%}")
    return f" ({', '.join(parts)})" if parts else ""


def _added(days: Sequence[Mapping[str, Any]]) -> list[int] | None:
    return [sum(steps) for steps in zip(*(row["score_histogram"] for row in days))] if days else None
