"""Draw the scored reviews that are worth a label of one's own, with their weights, as a sheet to fill in."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.labels.sheet import BIN, LABEL, MOST_CHARACTERS, WEIGHT, guarded, guarded_name, sheet_bytes
from jobs.raw.options import add_reading_arguments
from jobs.spark.session import spark_session
from jobs.tables.reading import INPUT_FORMATS, open_input, open_table, refusing_unreadable
from jobs.tables.scores import column
from jobs.verbs.settings import reading_from
from sentiment_core.dataset.sample import BINS, FEWEST_OF_A_BIN, allocate, draw_cells
from sentiment_core.durable import make_parent, replace_durably
from sentiment_core.errors import EnvironmentFault, InputError, UsageError
from sentiment_core.scoring.status import COUNTED
from sentiment_core.text.pipeline import valid_utf8

__all__ = ["add_arguments", "run"]

_FEWEST = BINS * FEWEST_OF_A_BIN
_MOST = 100_000
# With more, products are not looked at one by one.
_MOST_CELLS = 500_000
_NEEDED = ("positive_probability", "score_status")
_ID_TYPES = (T.StringType, T.IntegralType, T.DecimalType)


@dataclass(frozen=True, kw_only=True)
class _Drawn:
    """The sample: id, product, probability bin, weight; in an order that says nothing of the scores."""

    rows: pa.Table
    scored: int
    strata: int
    by_product: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the ``sample`` verb."""
    parser.add_argument("--scores", required=True, metavar="PATH", help="the output of `sentiment score`")
    parser.add_argument("--n", type=int, default=300, metavar="N", help="reviews to draw; default: %(default)s")
    parser.add_argument(
        "--output", required=True, type=Path, metavar="FILE.csv", help="the sheet to fill in; must not exist"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="default: %(default)s")
    parser.add_argument("--id-column", default="review_id", metavar="NAME", help="default: %(default)s")
    parser.add_argument(
        "--product-column", default="product_id", metavar="NAME", help="drawn from in proportion; default: %(default)s"
    )
    parser.add_argument(
        "--input", nargs="+", metavar="PATH|TABLE", help="the reviews, for their texts (default: texts that were kept)"
    )
    parser.add_argument("--input-format", choices=INPUT_FORMATS, help="default: by the name, else parquet")
    parser.add_argument("--text-column", default="text", metavar="NAME", help="default: %(default)s")
    add_reading_arguments(parser)


def run(options: argparse.Namespace, emit: Callable[[dict[str, Any]], None]) -> str:
    """Draw and write the sheet; emits what it holds.

    Raises
    ------
    InputError, UsageError
        With nothing written.
    """
    if not _FEWEST <= options.n <= _MOST:
        raise UsageError(f"--n must be from {_FEWEST} to {_MOST:,}, not {options.n}")
    if options.seed < 0:
        raise UsageError(f"--seed must be 0 or more, not {options.seed}")
    if options.output.suffix.lower() != ".csv":
        raise UsageError(f"{options.output}: name a file that ends in .csv with --output")
    if options.output.exists():
        raise UsageError(f"{options.output} exists and may hold labels; name another file with --output")
    make_parent(options.output)
    session = spark_session("sentiment sample")
    with refusing_unreadable(options.scores):
        scores = _open_scores(session, options)
        counts = _counts(scores, options)
        drawn = _draw(scores, options)
        texts = _texts(session, scores, drawn, options)
    columns: dict[str, list[Any]] = {options.id_column: list(map(guarded_name, _values(drawn, "id")))}
    if texts is not None:
        columns["text"] = [guarded(text[:MOST_CHARACTERS]) for text in texts]
    columns[LABEL] = [""] * drawn.rows.num_rows
    if drawn.by_product:
        columns[options.product_column] = [
            "" if product is None else guarded_name(product) for product in _values(drawn, "product")
        ]
    weights = drawn.rows["weight"].to_numpy()
    columns[WEIGHT] = [repr(float(weight)) for weight in weights]
    columns[BIN] = [f"{step / BINS:g} to {(step + 1) / BINS:g}" for step in _values(drawn, "bin")]
    _write(options.output, sheet_bytes(columns))
    no_text = 0 if texts is None else sum(not text for text in texts)
    emit(
        {
            "output": str(options.output),
            "reviews": len(weights),
            "scored": drawn.scored,
            "weights_sum": float(weights.sum()),
            "strata": drawn.strata,
            "by_product": drawn.by_product,
            "without_id": counts["without_id"],
            "ids_of_several": counts["scored"] - counts["without_id"] - drawn.scored,
            "with_text": texts is not None,
            "without_text": no_text,
            "cut_texts": 0 if texts is None else sum(len(text) > MOST_CHARACTERS for text in texts),
            "seed": options.seed,
        }
    )
    return _sentence(options, drawn, counts=counts, texts=texts, no_text=no_text)


def _sentence(
    options: argparse.Namespace, drawn: _Drawn, *, counts: dict[str, int], texts: list[str] | None, no_text: int
) -> str:
    said = f"drew {drawn.rows.num_rows:,} of {drawn.scored:,} scored reviews to {options.output}"
    if counts["scored"] > drawn.scored:
        said += f", {counts['scored'] - drawn.scored:,} others have no id or share one and cannot be drawn"
    if not drawn.by_product:
        said += f", products are not looked at ({options.product_column} is not in the scores, or has too many values)"
    if texts is None:
        said += ", without texts: name the reviews with --input"
    elif no_text:
        said += f", {no_text:,} of them without a text"
    return f"{said}; fill in the column {LABEL} with 1 or 0"


def _values(drawn: _Drawn, name: str) -> list[Any]:
    values: list[Any] = drawn.rows[name].to_pylist()
    return values


def _open_scores(session: SparkSession, options: argparse.Namespace) -> DataFrame:
    scores = open_table(session, options.scores, input_format="parquet")
    for name in (options.id_column, *_NEEDED):
        if name not in scores.columns:
            raise InputError(
                f"{options.scores}: the column {name!r} is missing, the table has: {', '.join(scores.columns)}; name "
                "the output of `sentiment score`, and its id with --id-column"
            )
    kind = scores.schema[options.id_column].dataType
    if not isinstance(kind, _ID_TYPES):
        raise InputError(
            f"{options.scores}: the id column {options.id_column!r} is of type {kind.simpleString()}, which a sheet "
            "cannot hold; name another with --id-column"
        )
    return scores.where(F.col("score_status").isin(*COUNTED) & F.col("positive_probability").isNotNull())


def _counts(scores: DataFrame, options: argparse.Namespace) -> dict[str, int]:
    row = scores.agg(
        F.count(F.lit(1)).alias("scored"), F.count_if(column(options.id_column).isNull()).alias("without_id")
    ).collect()[0]
    counts: dict[str, int] = row.asDict()
    if not counts["scored"]:
        raise InputError(f"{options.scores}: no review has a probability that counts in shares; nothing can be drawn")
    return counts


def _draw(scores: DataFrame, options: argparse.Namespace) -> _Drawn:
    """Count the cells, decide how many reviews of each are drawn, and draw those of the smallest hashes."""
    by_product = options.product_column in scores.columns
    single = _single(scores, options, by_product=by_product)
    cells = _cells(single)
    if cells.num_rows > _MOST_CELLS:
        by_product = False
        single = _single(scores, options, by_product=False)
        cells = _cells(single)
    if not cells.num_rows:
        raise InputError(
            f"{options.scores}: no review has an id of its own, so none can be labelled; name another with --id-column"
        )
    cells = cells.sort_by([("bin", "ascending"), ("product", "ascending")])
    sizes, bins = cells["reviews"].to_numpy(), cells["bin"].to_numpy()
    of_bin = np.bincount(bins, sizes, BINS).astype(np.int64)
    variances = np.bincount(bins, cells["variance"].cast(pa.float64()).to_numpy(), BINS).astype(np.float64)
    drawn = allocate(of_bin, variances, n=options.n)
    draws = draw_cells(sizes, bins, drawn=drawn, seed=options.seed)
    rows = _smallest(single, cells.append_column("draws", pa.array(draws)), seed=options.seed)
    rows = rows.append_column("weight", pa.array((of_bin / np.maximum(1, drawn))[rows["bin"].to_numpy()]))
    return _Drawn(rows=rows, scored=int(sizes.sum()), strata=int(np.count_nonzero(draws)), by_product=by_product)


def _single(scores: DataFrame, options: argparse.Namespace, *, by_product: bool) -> DataFrame:
    """The scored reviews whose id no other one has: a label belongs to one review."""
    product = column(options.product_column).cast("string") if by_product else F.lit(None).cast("string")
    probability = F.first("positive_probability")
    grouped = scores.where(column(options.id_column).isNotNull()).groupBy(column(options.id_column).alias("id"))
    rows = grouped.agg(
        F.count(F.lit(1)).alias("n"), probability.alias("probability"), F.first(product).alias("product")
    )
    return rows.where("n = 1").select(
        "id",
        "product",
        "probability",
        F.least(F.floor(F.col("probability") * BINS), F.lit(BINS - 1)).cast("int").alias("bin"),
    )


def _cells(single: DataFrame) -> pa.Table:
    # Decimals add up to the same sum in any order, so the same scores give the same sample.
    variance = (F.col("probability") * (1 - F.col("probability"))).cast("decimal(28,9)")
    counted = single.groupBy("bin", "product").agg(
        F.count(F.lit(1)).alias("reviews"), F.sum(variance).alias("variance")
    )
    return counted.limit(_MOST_CELLS + 1).toArrow()


def _smallest(single: DataFrame, cells: pa.Table, *, seed: int) -> pa.Table:
    """Of each cell the rows of the smallest hashes, as many as are to be drawn, in the order of the hashes."""
    chosen = cells.filter(pc.greater(cells["draws"], 0)).select(["bin", "product", "draws"])
    wanted = single.sparkSession.createDataFrame(chosen.rename_columns(["of_bin", "of_product", "draws"]))
    same = (F.col("bin") == F.col("of_bin")) & F.col("product").eqNullSafe(F.col("of_product"))
    hashed = single.withColumn("hash", F.xxhash64(F.lit(seed), F.col("id")))
    order = Window.partitionBy("bin", "product").orderBy("hash", "id")
    placed = hashed.join(F.broadcast(wanted), same).withColumn("place", F.row_number().over(order))
    rows = placed.where("place <= draws").select("id", "product", "bin", "hash").toArrow()
    return rows.sort_by([("hash", "ascending"), ("id", "ascending")])


def _texts(session: SparkSession, scores: DataFrame, drawn: _Drawn, options: argparse.Namespace) -> list[str] | None:
    """The texts of the drawn reviews, "" for one that has none; None if there are no texts anywhere."""
    ids = session.createDataFrame(
        drawn.rows.select(["id"]).append_column("place", pa.array(range(drawn.rows.num_rows)))
    )
    if options.input is not None:
        names = ", ".join(options.input)
        settings = reading_from(options)
        wanted = (options.id_column, options.text_column)
        with refusing_unreadable(names):
            reviews = open_input(
                session, options.input, input_format=options.input_format, settings=settings, wanted=wanted
            ).frame
            for name, option in zip(wanted, ("--id-column", "--text-column")):
                if name not in reviews.columns:
                    raise InputError(
                        f"{names}: the column {name!r} is missing, the input has: {', '.join(reviews.columns)}; name "
                        f"it with {option}"
                    )
            found = _joined(reviews, ids, options)
        if not pc.any(pc.is_valid(found["text"])).as_py():
            raise InputError(
                f"{names}: none of the drawn reviews has a text there; name the reviews that were scored with --input"
            )
    elif options.text_column in scores.columns:
        found = _joined(scores, ids, options)
    else:
        return None
    texts: npt.NDArray[np.object_] = np.full(drawn.rows.num_rows, "", object)
    texts[found["place"].to_numpy()] = pc.fill_null(valid_utf8(found["text"]), "").to_pylist()
    return list(texts)


def _joined(reviews: DataFrame, ids: DataFrame, options: argparse.Namespace) -> pa.Table:
    """Place and text of the drawn reviews; of an id with several texts there is none that is known to be right."""
    kind = ids.schema["id"].dataType
    text = column(options.text_column)
    of_input = reviews.select(column(options.id_column).try_cast(kind).alias("id"), text.cast("string").alias("text"))
    joined = of_input.join(F.broadcast(ids), "id").groupBy("place")
    one = F.when(F.min("text") == F.max("text"), F.min("text"))
    return joined.agg(one.alias("text")).toArrow()


def _write(path: Path, content: bytes) -> None:
    try:
        replace_durably(path, content)
    except OSError as error:
        raise EnvironmentFault(f"{path} cannot be written ({error.strerror}); make room and run again") from error
