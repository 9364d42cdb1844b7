"""Proof that every input row came out exactly once, taken from what was written and not from counters.

Two multisets of rows are equal, but for a chance of about 2**-64, if their sizes and the sums and exclusive ors of
their row hashes are. The hash covers the id and the kept columns, so a changed value shows as well as a lost row, and
no id is there more often than in the input.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import reduce
from operator import and_

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.marts.counts import HISTOGRAM_BINS
from jobs.statistics.sketches import step_of
from jobs.tables.extras import DRIVERS, ExtraColumns, probability_of
from jobs.tables.scores import SCORE_FIELDS, ScoreColumns, column, row_hash
from sentiment_core.errors import AuditError
from sentiment_core.scoring.status import COUNTED, EMPTY, FAILED, OK, STATUSES, UNSCORED

__all__ = ["RowDigest", "ScoreAudit", "audit_records", "audit_scores", "digest_columns", "digest_rows"]


@dataclass(frozen=True, kw_only=True)
class RowDigest:
    """Order-free digest of rows: count, sum and exclusive or of their 64-bit hashes."""

    count: int
    sum: int
    xor: int

    @classmethod
    def of(cls, row: Row, *, prefix: str = "") -> RowDigest:
        """From a row of `digest_columns`."""
        return cls(count=row[f"{prefix}count"], sum=int(row[f"{prefix}sum"]), xor=row[f"{prefix}xor"])

    def __add__(self, other: RowDigest) -> RowDigest:
        """Of the rows of both."""
        return RowDigest(count=self.count + other.count, sum=self.sum + other.sum, xor=self.xor ^ other.xor)

    def as_dict(self) -> dict[str, int | str]:
        """For JSON; the sums as strings, since they pass 2**53."""
        return {"count": self.count, "sum": str(self.sum), "xor": str(self.xor)}


@dataclass(frozen=True, kw_only=True)
class ScoreAudit:
    """What the staged scores hold.

    Attributes
    ----------
    tokens_ok, unknown_ok : int
        Of the rows with the status ``ok``: of cut texts, only the unknown words of the scored part are known.
    positive, probability_sum, score_histogram
        Of the rows that count in shares, as in the mart ``model_daily``; the histogram has equal steps.
    """

    digest: RowDigest
    ok: int
    truncated: int
    unfamiliar: int
    empty: int
    failed: int
    tokens: int
    unknown_tokens: int
    tokens_ok: int
    unknown_ok: int
    positive: int
    probability_sum: float
    score_histogram: tuple[int, ...]
    failed_by_model: dict[str, int]

    def as_dict(self) -> dict[str, float]:
        """The counts for JSON, without digest, histogram and other models."""
        left_out = ("digest", "score_histogram", "failed_by_model")
        return {name: value for name, value in asdict(self).items() if name not in left_out}


def digest_columns(hashed: Column) -> list[Column]:
    """Aggregates that make a `RowDigest`, named count, sum and xor."""
    # A long would overflow; a sum of decimal(20,0) has 30 digits, enough for 10**11 rows.
    total = F.sum(hashed.cast(T.DecimalType(20, 0)))
    return [
        F.count(F.lit(1)).alias("count"),
        F.coalesce(total, F.lit(0)).cast(T.DecimalType(38, 0)).alias("sum"),
        F.coalesce(F.bit_xor(hashed), F.lit(0)).alias("xor"),
    ]


def digest_rows(rows: DataFrame, *, schema: T.StructType, columns: ScoreColumns) -> RowDigest:
    """Digest rows of the input or the output; the schema is the input's."""
    hashed = rows.select(row_hash(schema, columns.kept).alias("row_hash"))
    return RowDigest.of(hashed.agg(*digest_columns(F.col("row_hash"))).collect()[0])


def audit_scores(
    staged: DataFrame,
    *,
    columns: ScoreColumns,
    schema: T.StructType,
    expected: RowDigest,
    run_columns: Mapping[str, Column],
    max_failed_ratio: float,
) -> ScoreAudit:
    """Check staged scores against the input.

    Parameters
    ----------
    staged : DataFrame
        What was written, read back.
    columns : ScoreColumns
    schema : StructType
        Of the input.
    expected : RowDigest
        Of the input's id and kept columns.
    run_columns : mapping
        What every row must have in the columns of the run.
    max_failed_ratio : float
        Largest share of ``failed`` rows, 0 to 1.

    Raises
    ------
    AuditError
        If rows were lost, doubled or changed, a value is outside its range, or too many rows failed.
    """
    probability, status = F.col("positive_probability"), F.col("score_status")
    ok, counted, models = status == OK, status.isin(*COUNTED), columns.extra.model_names
    # Infinity, which is to be found below, is in no step.
    step = step_of(F.when(counted & _is_probability(probability), probability), HISTOGRAM_BINS)
    names = (*SCORE_FIELDS.names, *(field.name for field in columns.extra.fields))
    hashed = staged.select(row_hash(schema, columns.kept).alias("row_hash"), *map(column, names))
    row = hashed.agg(
        *digest_columns(F.col("row_hash")),
        *(F.count_if(status == name).alias(name) for name in STATUSES),
        F.count_if(~F.coalesce(is_sound(columns.extra, run_columns), F.lit(False))).alias("unsound"),
        F.coalesce(F.sum("n_tokens"), F.lit(0)).alias("tokens"),
        F.coalesce(F.sum("n_unknown"), F.lit(0)).alias("unknown_tokens"),
        F.coalesce(F.sum(F.when(ok, F.col("n_tokens"))), F.lit(0)).alias("tokens_ok"),
        F.coalesce(F.sum(F.when(ok, F.col("n_unknown"))), F.lit(0)).alias("unknown_ok"),
        F.count_if(counted & (F.col("sentiment") == "positive")).alias("positive"),
        F.coalesce(F.sum(F.when(counted, probability)), F.lit(0.0)).alias("probability_sum"),
        F.array(*(F.count_if(step == index) for index in range(HISTOGRAM_BINS))).alias("score_histogram"),
        *(
            F.count_if((status != EMPTY) & F.col(probability_of(name)).isNull()).alias(f"failed by {name}")
            for name in models
        ),
    ).collect()[0]
    digest = RowDigest.of(row)
    if digest != expected:
        raise AuditError(
            f"{expected.count:,} rows went in and {digest.count:,} came out, digests {expected.as_dict()} and "
            f"{digest.as_dict()}; the input changed during the run or rows were damaged: run again, nothing was "
            "published"
        )
    if row["unsound"]:
        raise AuditError(
            f"{row['unsound']:,} rows have a score that is out of range or not of this run; nothing was published"
        )
    failed_by_model = {name: int(row[f"failed by {name}"]) for name in models}
    failed = max(row[FAILED], *failed_by_model.values(), 0)
    if failed > max_failed_ratio * digest.count:
        raise AuditError(
            f"{failed:,} of {digest.count:,} rows failed, more than --max-failed-ratio {max_failed_ratio}; "
            "nothing was published"
        )
    counts = (*STATUSES, "tokens", "unknown_tokens", "tokens_ok", "unknown_ok", "positive")
    return ScoreAudit(
        digest=digest,
        **{name: int(row[name]) for name in counts},
        probability_sum=row["probability_sum"],
        score_histogram=tuple(row["score_histogram"]),
        failed_by_model=failed_by_model,
    )


def audit_records(raw_files: Mapping[str, int], *, scored: int, is_part: bool) -> None:
    """Check that each record of the raw files was scored or set aside.

    Parameters
    ----------
    raw_files : mapping
        Of the run report: how many records were read of CSV and JSON files, and set aside.
    scored : int
        Rows.
    is_part : bool
        Whether other rows were scored as well, or conditions left rows out.

    Raises
    ------
    AuditError
    """
    read, set_aside = raw_files["records"], raw_files["set_aside"]
    if not is_part and read != scored + set_aside:
        raise AuditError(
            f"{read:,} records were read, but {scored:,} scored and {set_aside:,} set aside; run again, nothing was "
            "published"
        )


def is_sound(extra: ExtraColumns, run_columns: Mapping[str, Column]) -> Column:
    """Whether a row keeps the contract; NULL counts as no."""
    probability, status = F.col("positive_probability"), F.col("score_status")
    rules = [
        status.isin(*STATUSES),
        F.when(status.isin(*UNSCORED), probability.isNull() & F.col("sentiment").isNull()).otherwise(
            _is_probability(probability) & F.col("sentiment").isNotNull()
        ),
        F.col("n_tokens").isNotNull() & F.col("n_unknown").between(0, F.col("n_tokens")),
        *(F.col(name) == value for name, value in run_columns.items()),
    ]
    for place, name in enumerate(extra.model_names):
        named = F.col(probability_of(name))
        # Another model may fail where the first does not, and the other way round.
        other = named.isNull() | (_is_probability(named) & (status != EMPTY))
        rules.append(other if place else named.eqNullSafe(probability))
    if extra.drivers:
        drivers = F.col(DRIVERS.name)
        fine = F.forall(drivers, lambda driver: F.coalesce(_is_driver(driver), F.lit(False)))
        rules.append(F.when(probability.isNull(), drivers.isNull()).otherwise(drivers.isNotNull() & fine))
    return reduce(and_, rules)


def _is_probability(value: Column) -> Column:
    return value.between(0, 1) & ~F.isnan(value)


def _is_driver(driver: Column) -> Column:
    size = F.abs(driver["contribution"])
    return driver["kind"].isin("word", "pair") & (F.length(driver["term"]) > 0) & (size < float("inf")) & ~F.isnan(size)
