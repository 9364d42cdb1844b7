"""The marts' columns, types and comments: the contract of what dashboards read, as code.

`make docs` writes it into `docs/reference/marts.md` for people, and into `jobs/marts/queries/setup/tables.sql` for a
Hive metastore.
"""

from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.statistics.estimates import LABEL_SUMS

__all__ = ["COMMENTS", "MARTS", "MARTS_VERSION", "MONTH", "mart_schema", "no_rows", "shaped"]

_SKETCH = T.StructType([T.StructField("bin", T.IntegerType()), T.StructField("reviews", T.LongType())])
_LABEL_SUMS = T.StructType([T.StructField(name, T.DecimalType(28, 9)) for name in LABEL_SUMS])
_TYPES: dict[str, T.DataType] = {
    kind.simpleString(): kind
    for kind in (
        *(T.StringType(), T.DateType(), T.IntegerType(), T.LongType(), T.DoubleType(), T.DecimalType(28, 9)),
        *(T.ArrayType(T.LongType()), T.ArrayType(_SKETCH), _LABEL_SUMS),
    )
}
# Raised when a column is renamed, retyped or computed otherwise; marts of another version are made anew.
MARTS_VERSION = 3
# All marts are partitioned by it: one folder and few files a month, whatever the number of days.
MONTH = ("month", "string", "Month of the row, like 2026-11; the partition")

_COUNTS = (
    ("reviews", "bigint", "Rows of the scores table"),
    ("scored", "bigint", "Of these in the shares: score_status ok or truncated"),
    ("empty", "bigint", "Reviews without a text or a token; without a probability"),
    ("failed", "bigint", "Reviews that could not be scored; without a probability"),
    ("unfamiliar", "bigint", "Reviews of whose words the model knows too few, another language say; in no share"),
    ("truncated", "bigint", "Scored on the first part of a text that is longer than the model reads"),
    ("negative", "bigint", "Scored reviews whose text the model labels negative; counts of labels are no estimate"),
    ("neutral", "bigint", "Scored reviews whose text the model labels neutral: between its cut-offs"),
    ("positive", "bigint", "Scored reviews whose text the model labels positive"),
)
_LABELS = ("labelled_count", "bigint", "Scored reviews with a known label, of which the estimate knows more; 0 without")
_ESTIMATE = (
    ("estimated_share", "double", "Estimated share of truly positive reviews"),
    ("estimated_share_low", "double", "Lower end of its 95 % interval"),
    ("estimated_share_high", "double", "Upper end of its 95 % interval"),
    _LABELS,
)
_POSITIVE_SHARE = ("positive_share", "double", "positive / scored: a share of the model's labels, not the estimate")
_MEAN = ("mean_probability", "double", "Mean positive_probability of the scored reviews")
_SHARES = (
    *_ESTIMATE,
    _POSITIVE_SHARE,
    _MEAN,
    ("probability_p10", "double", "10th percentile of positive_probability, within 0.0005"),
    ("probability_p50", "double", "Median of positive_probability, within 0.0005"),
    ("probability_p90", "double", "90th percentile of positive_probability, within 0.0005"),
)
_LABEL_STRUCT = f"struct<{','.join(f'{name}:decimal(28,9)' for name in LABEL_SUMS)}>"
_ESTIMATE_SUMS = (
    ("probability_sum", "decimal(28,9)", "Sum of positive_probability, each rounded to 9 digits; sums merge"),
    ("variance_sum", "decimal(28,9)", "Sum of positive_probability * (1 - positive_probability); sums merge"),
    (
        "corrected_sum",
        "decimal(28,9)",
        "Sum of positive_probability, each corrected by what its model errs by on other domains; sums merge",
    ),
    ("corrected_square_sum", "decimal(28,9)", "Sum of the squares of the corrected ones; sums merge"),
    (
        "spread_sum",
        "decimal(28,9)",
        "Sum over the scored reviews of the standard deviation of their model's error between domains; sums merge",
    ),
    (
        "label_sums",
        _LABEL_STRUCT,
        "Sums over labelled reviews of products of w (weight), y (label, 1 or 0) and p (probability); sums merge",
    ),
)
_SUMS = (
    *_ESTIMATE_SUMS,
    (
        "probability_sketch",
        "array<struct<bin:int,reviews:bigint>>",
        "Reviews by step of 0.001 of positive_probability, sorted, without empty steps; sketches merge by adding",
    ),
)
_PRODUCT = (
    "product",
    "product",
    "The product column of the scores table, in its own type; rows without one count as the product NULL",
)


def _window(days: int, *, of: str) -> tuple[tuple[str, str, str], ...]:
    return (
        (f"scored_{days}d", "bigint", f"Scored reviews of {of} in the {days} days that end on day"),
        (f"estimated_share_{days}d", "double", "Estimated share of truly positive reviews among them"),
        (f"estimated_share_{days}d_low", "double", "Lower end of its 95 % interval"),
        (f"estimated_share_{days}d_high", "double", "Upper end of its 95 % interval"),
        (f"labelled_count_{days}d", "bigint", "Of them with a known label"),
        (f"positive_share_{days}d", "double", "Of them the share that the model labels positive"),
        (
            f"trend_{days}d",
            "double",
            "Slope of the corrected probability in them, per day, least squares over the reviews; NULL if all are of "
            "one day",
        ),
        (f"trend_{days}d_p", "double", "Two-sided p that there is no slope (permutation test)"),
    )


_CHANGE = (
    (
        "change_7d",
        "double",
        "estimated_share_7d less that of the 7 days before; NULL if a week has no scored review",
    ),
    ("change_7d_low", "double", "Lower end of its 95 % interval; the model's error cancels in a difference"),
    ("change_7d_high", "double", "Upper end of its 95 % interval"),
    ("change_7d_p", "double", "Two-sided p that the weeks do not differ; correct it for many products"),
)
_DAY = ("day", "date", "The date column of the scores table; a timestamp's day in UTC")


_COLUMNS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "sentiment_daily": (
        _PRODUCT,
        _DAY,
        *_COUNTS,
        *_SHARES,
        *_window(7, of="the product"),
        *_window(28, of="the product"),
        *_CHANGE,
        *_SUMS,
    ),
    "sentiment_overall": (
        _DAY,
        *_COUNTS,
        *_ESTIMATE,
        _POSITIVE_SHARE,
        _MEAN,
        *_window(7, of="all products"),
        *_window(28, of="all products"),
        *_CHANGE,
        *_ESTIMATE_SUMS,
    ),
    "sentiment_product": (
        _PRODUCT,
        ("first_day", "date", "First day of the month with a review"),
        ("last_day", "date", "Last day of the month with a review"),
        ("days", "bigint", "Days of the month with a review"),
        *_COUNTS,
        *_SHARES,
        *_SUMS,
    ),
    "sentiment_drivers": (
        _PRODUCT,
        ("kind", "string", "word, or pair of adjacent words"),
        ("term", "string", "The word or the two words as the model reads them, in lower case"),
        ("reviews", "bigint", "Reviews of which the term is a driver: one of their strongest"),
        (
            "contribution",
            "double",
            "What the term added to the logits of these reviews, summed up; below 0 it made them more negative",
        ),
        (
            "contribution_low",
            "double",
            "Lower end of its 95 % interval: what other reviews of the product would give; NULL for a single review",
        ),
        ("contribution_high", "double", "Upper end of its 95 % interval"),
        ("mean_contribution", "double", "contribution / reviews"),
        ("review_share", "double", "reviews / reviews of the product in the month that were scored with drivers"),
        ("rank_positive", "int", "1 for the term that lifts most, by contribution; NULL unless it is above 0"),
        ("rank_negative", "int", "1 for the term that lowers most, by contribution; NULL unless it is below 0"),
    ),
    "model_daily": (
        ("model_sha256", "string", "The model that scored the reviews"),
        _DAY,
        *_COUNTS,
        *_ESTIMATE,
        _POSITIVE_SHARE,
        _MEAN,
        *_ESTIMATE_SUMS,
        (
            "score_histogram",
            "array<bigint>",
            "Scored reviews in 15 steps of equal width of positive_probability, those of the model's calibration table",
        ),
        ("tokens", "bigint", "Tokens of all reviews before clipping"),
        ("tokens_ok", "bigint", "Tokens of the reviews with score_status ok, of which every token was scored"),
        ("unknown_ok", "bigint", "Of tokens_ok those outside the model's vocabulary"),
        ("unknown_rate", "double", "unknown_ok / tokens_ok"),
        ("truncated_share", "double", "truncated / scored"),
        ("unfamiliar_share", "double", "unfamiliar / reviews"),
        ("tokens_p10", "double", "10th percentile of the scored reviews' tokens before clipping, within 1 %"),
        ("tokens_p50", "double", "Median of the scored reviews' tokens before clipping, within 1 %"),
        ("tokens_p90", "double", "90th percentile of the scored reviews' tokens before clipping, within 1 %"),
        (
            "tokens_sketch",
            "array<struct<bin:int,reviews:bigint>>",
            "Scored reviews by step of tokens (step b ends at 1.02 to the power b), sorted; sketches merge by adding",
        ),
        ("validation_scored", "bigint", "Reviews in the model's validation histogram; NULL if it is not known"),
        (
            "psi_validation",
            "double",
            "Population stability index of score_histogram against the model's validation reviews",
        ),
        ("week_scored", "bigint", "Reviews that the same model scored in the 7 days before day"),
        ("psi_week", "double", "Population stability index of score_histogram against these; NULL if there are none"),
    ),
    "data_quality": (
        ("run_date", "date", "The run date of the scores table"),
        ("reviews", "bigint", "Rows of the scores table"),
        ("undated", "bigint", "Of these without a date in the date column; in no other mart"),
        ("misdated", "bigint", "Of these with a date that cannot be true, outside the window; in no other mart"),
    ),
    "run_history": (
        ("run_id", "string", "The scoring run, as in the scores table"),
        ("run_date", "date", "The run's date argument"),
        ("model_sha256", "string", "The model that scored"),
        ("engine", "string", "Engine option of the run"),
        ("precision", "string", "Precision option of the run"),
        ("devices", "string", "Devices that scored, separated by commas"),
        ("version", "string", "Version of the package that scored"),
        ("reviews", "bigint", "Rows of the input, all in the output"),
        ("scored", "bigint", "Of these with score_status ok or truncated"),
        ("empty", "bigint", "Reviews without a text or a token"),
        ("failed", "bigint", "Reviews that could not be scored"),
        ("unfamiliar", "bigint", "Reviews of whose words the model knows too few"),
        ("truncated", "bigint", "Reviews scored on the first part of their text"),
        ("positive", "bigint", "Scored reviews labelled positive"),
        ("tokens", "bigint", "Tokens before clipping"),
        ("unknown_tokens", "bigint", "Tokens outside the vocabulary, of those scored"),
        ("score_seconds", "double", "Seconds of scoring and staging"),
        ("total_seconds", "double", "Seconds of all timed stages, start of Spark included"),
        ("reviews_per_second", "double", "reviews / score_seconds"),
        ("tokens_per_second", "double", "tokens / score_seconds"),
        ("cores", "bigint", "Cores that the run was given"),
        ("core_hours", "double", "cores * total_seconds / 3600"),
        ("cost", "double", "core_hours * the price given with --core-hour-price; NULL without"),
        ("cost_per_million", "double", "Cost of a million reviews at that rate"),
        ("output_bytes", "bigint", "Size of the Parquet files that the run published"),
    ),
}
MARTS = tuple(_COLUMNS)
COMMENTS = {
    "sentiment_daily": "One row a product and day with reviews: sentiment, its trend, its change in a week",
    "sentiment_overall": "One row a day with reviews, all products together: sentiment, its trend, its change",
    "sentiment_product": "One row a product and month with reviews: sentiment",
    "sentiment_drivers": "One row a product, month, kind and term: what moved the sentiment, 30 terms a direction",
    "model_daily": "One row a model and day with reviews: scores, lengths, unknown words, and drift",
    "data_quality": "One row a run date: reviews without a date, or with one that cannot be true",
    "run_history": "One row a scoring run: rows, seconds, speed, cost",
}


def mart_schema(mart: str, *, product_type: T.DataType | None = None) -> T.StructType:
    """Columns of a mart with their comments, the month last.

    Parameters
    ----------
    mart : str
        One of `MARTS`.
    product_type : DataType, optional
        Of the product column; string by default.
    """
    schema = T.StructType()
    for name, kind, comment in (*_COLUMNS[mart], MONTH):
        product = (product_type or T.StringType()) if kind == "product" else None
        schema.add(name, product or _TYPES[kind], metadata={"comment": comment})
    return schema


def shaped(frame: DataFrame, schema: T.StructType) -> DataFrame:
    """The columns of a mart in their order, with their types and comments; others are dropped."""
    return frame.select(
        *(
            F.col(field.name).cast(field.dataType.simpleString()).alias(field.name, metadata=field.metadata)
            for field in schema
        )
    )


def no_rows(session: SparkSession, schema: T.StructType) -> DataFrame:
    """A mart without rows."""
    return shaped(session.range(0).select(*(F.lit(None).alias(name) for name in schema.names)), schema)
