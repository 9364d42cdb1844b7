"""From scores to counts: DataFrame -> DataFrame, native Spark SQL only.

Counts reduce the scores of some days to one row a product and day, or a model and day. They are part of the marts, and
whatever else a mart holds follows from them, so the scores of a day are read once. All sums are of whole numbers, so
the result does not depend on the order of the rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.statistics.corrections import ShareCorrection, corrected_probability, spread_of
from jobs.statistics.estimates import LABEL_SUMS
from jobs.statistics.sketches import collect_sketch, length_bin, probability_bin, step_of
from sentiment_core.scoring.status import COUNTED, EMPTY, FAILED, OK, TRUNCATED, UNFAMILIAR

__all__ = [
    "COUNTS",
    "ESTIMATE_SUMS",
    "HISTOGRAM_BINS",
    "MODEL_COUNTS",
    "PRODUCT_COUNTS",
    "add_up",
    "model_counts",
    "month_of",
    "product_counts",
]

# Those of `sentiment_core.evaluation.metrics.calibration_table`, which holds the model's validation histogram.
HISTOGRAM_BINS = 15

COUNTS = ("reviews", "scored", EMPTY, FAILED, UNFAMILIAR, TRUNCATED, "negative", "neutral", "positive")
_LABEL_SUM = "decimal(28,9)"
_DECIMAL_SUMS = ("probability_sum", "variance_sum", "corrected_sum", "corrected_square_sum", "spread_sum")
# From which the estimated share follows.
ESTIMATE_SUMS = (*_DECIMAL_SUMS, "labelled_count", "label_sums")
# The columns of the marts from which the others follow.
PRODUCT_COUNTS = ("product", "day", *COUNTS, *ESTIMATE_SUMS, "probability_sketch")
MODEL_COUNTS = (
    *("model_sha256", "day", *COUNTS, *ESTIMATE_SUMS, "score_histogram"),
    *("tokens", "tokens_ok", "unknown_ok", "tokens_sketch"),
)


def product_counts(scores: DataFrame, *, corrections: Mapping[str, ShareCorrection]) -> DataFrame:
    """Counts of each product and day.

    Parameters
    ----------
    scores : DataFrame
        The score columns of the contract, and ``product`` and ``day``; where labels are used ``label``, 1 or 0, NULL
        where there is none, and ``weight``.
    corrections : mapping
        By the model's SHA-256.
    """
    by_bin = scores.groupBy("product", "day", probability_bin(_counted_probability()).alias("bin")).agg(
        *_status_counts(), *_estimate_sums(scores, corrections)
    )
    return by_bin.groupBy("product", "day").agg(
        *_added_up(labelled="label" in scores.columns),
        collect_sketch(F.col("bin"), F.col("scored")).alias("probability_sketch"),
    )


def model_counts(scores: DataFrame, *, corrections: Mapping[str, ShareCorrection]) -> DataFrame:
    """Counts of each model and day, of the same frame as `product_counts`."""
    probability, n_tokens, ok = _counted_probability(), F.col("n_tokens"), F.col("score_status") == OK
    step = step_of(probability, HISTOGRAM_BINS)
    steps = [f"step_{index}" for index in range(HISTOGRAM_BINS)]
    token_counts = ("tokens", "tokens_ok", "unknown_ok")
    length = F.when(_is_scored() & (n_tokens > 0), length_bin(n_tokens))
    by_length = scores.groupBy("model_sha256", "day", length.alias("bin")).agg(
        *_status_counts(),
        *_estimate_sums(scores, corrections),
        *(F.count_if(step == index).alias(name) for index, name in enumerate(steps)),
        *(
            F.coalesce(F.sum(tokens), F.lit(0)).alias(name)
            for name, tokens in zip(token_counts, (n_tokens, F.when(ok, n_tokens), F.when(ok, F.col("n_unknown"))))
        ),
    )
    return by_length.groupBy("model_sha256", "day").agg(
        *_added_up(labelled="label" in scores.columns),
        *(F.sum(name).alias(name) for name in token_counts),
        F.array(*(F.sum(name) for name in steps)).alias("score_histogram"),
        collect_sketch(F.col("bin"), F.col("scored")).alias("tokens_sketch"),
    )


def add_up(counts: DataFrame, *keys: str | Column) -> DataFrame:
    """`COUNTS` and `ESTIMATE_SUMS` of larger groups."""
    return counts.groupBy(*keys).agg(
        *(F.sum(name).alias(name) for name in (*COUNTS, *_DECIMAL_SUMS, "labelled_count")),
        F.struct(*(F.sum(f"label_sums.{name}").alias(name) for name in LABEL_SUMS)).alias("label_sums"),
    )


def month_of(day: Column) -> Column:
    """Month of a date, like ``2026-11``: the marts' partition."""
    return F.date_format(day, "yyyy-MM")


def _is_scored() -> Column:
    return F.col("score_status").isin(*COUNTED)


def _counted_probability() -> Column:
    """The probability of a review that counts in shares, else NULL."""
    return F.when(_is_scored(), F.col("positive_probability"))


def _status_counts() -> list[Column]:
    status, label = F.col("score_status"), F.col("sentiment")
    counts = {"reviews": F.count(F.lit(1)), "scored": F.count_if(_is_scored())}
    counts |= {name: F.count_if(status == name) for name in (EMPTY, FAILED, UNFAMILIAR, TRUNCATED)}
    counts |= {name: F.count_if(_is_scored() & (label == name)) for name in ("negative", "neutral", "positive")}
    return [counts[name].alias(name) for name in COUNTS]


def _estimate_sums(scores: DataFrame, corrections: Mapping[str, ShareCorrection]) -> list[Column]:
    """Exact sums of what `ESTIMATE_SUMS` adds up, in billionths."""
    probability, model = _counted_probability(), F.col("model_sha256")
    corrected = corrected_probability(probability, model, corrections)
    values = (
        *(probability, probability * (1 - probability), corrected, corrected * corrected),
        F.when(probability.isNotNull(), spread_of(model, corrections)),
    )
    sums = [_nano_sum(value, name) for name, value in zip(_DECIMAL_SUMS, values)]
    if "label" not in scores.columns:
        return [*sums, F.lit(0).cast("bigint").alias("labelled_count")]
    counts = _is_scored() & F.col("label").isNotNull()
    w, y, p = F.col("weight"), F.col("label"), probability
    terms = (w, w * y, w * p, w * p * p, w * y * p)
    of_labels = (*terms, *(w * term for term in terms))
    return [
        *sums,
        F.count_if(counts).alias("labelled_count"),
        *(F.sum(F.when(counts, term).cast(_LABEL_SUM)).alias(name) for name, term in zip(LABEL_SUMS, of_labels)),
    ]


def _added_up(*, labelled: bool) -> list[Column]:
    """Sums over the groups that `_status_counts` and `_estimate_sums` counted; those of labels are NULL without."""
    label_sums = [(F.sum(name) if labelled else F.lit(None)).cast(_LABEL_SUM).alias(name) for name in LABEL_SUMS]
    return [
        *(F.sum(name).alias(name) for name in COUNTS),
        *(_from_nano(F.sum(name)).alias(name) for name in _DECIMAL_SUMS),
        F.sum("labelled_count").alias("labelled_count"),
        F.struct(*label_sums).alias("label_sums"),
    ]


def _nano_sum(value: Column, name: str) -> Column:
    """Sum in whole billionths: exact, so that it is the same in any order."""
    return F.coalesce(F.sum(F.round(value * 10**9).cast("bigint")), F.lit(0)).alias(name)


def _from_nano(total: Column) -> Column:
    return (total.cast("decimal(19,0)") * F.lit(Decimal("0.000000001"))).cast("decimal(28,9)")
