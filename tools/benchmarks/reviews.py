"""The reviews that every contestant of a benchmark reads: real ones from DATA, or generated ones.

DATA is a directory with the Large Movie Review Dataset as two tables: imdb_train.parquet (product_id, stars, text) and
imdb_unsup.parquet (text).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.demo.sample_reviews import generate_reviews
from sentiment_core.dataset.holdout import held_out_mask
from sentiment_core.errors import InputError

__all__ = ["labelled_reviews", "prepare_reviews", "training_reviews", "write_reviews"]

# Stars above it are positive, of ten and of five.
_REAL_ABOVE, _GENERATED_ABOVE = 5, 3


def labelled_reviews(data: Path | None, n_reviews: int) -> pa.Table:
    """The reviews to score, in random order.

    Parameters
    ----------
    data : Path, optional
        DATA; generated reviews without it.
    n_reviews : int
        At most; the held-out ones come first, then the other labelled ones, then the unlabelled.

    Returns
    -------
    Table
        ``review_id``, ``text``, ``positive`` (null: unlabelled) and ``held_out``: the bundled model and the linear peer
        were not trained on it, so that accuracy is measured there.
    """
    rng = np.random.default_rng(0)
    if data is None:
        table = generate_reviews(min(n_reviews, 20_000), seed=70, odd_texts=False)
        table = _labelled(table, above=_GENERATED_ABOVE, held_out=np.ones(len(table), dtype=bool))
    else:
        table = _real(data)
        table = table.take(rng.permutation(len(table)))
        table = table.take(pc.sort_indices(table, [("held_out", "descending")]))
        if len(table) < n_reviews:
            texts = pq.read_table(_file(data, "imdb_unsup.parquet"), columns=["text"]).cast(
                table.select(["text"]).schema
            )
            others = pa.table({"text": texts["text"]}, table.select(["text"]).schema)
            table = pa.concat_tables([table, others.take(rng.permutation(len(others)))], promote_options="default")
    table = table.slice(0, n_reviews)
    table = table.take(rng.permutation(len(table)))
    return table.add_column(0, "review_id", pa.array(np.arange(len(table))))


def training_reviews(data: Path | None) -> pa.Table:
    """``text`` and ``positive`` of the labelled reviews that are not held out."""
    if data is None:
        table = generate_reviews(2_000, seed=71, odd_texts=False)
        table = _labelled(table, above=_GENERATED_ABOVE, held_out=np.zeros(len(table), dtype=bool))
    else:
        table = _real(data)
    return table.filter(pc.invert(table["held_out"])).select(["text", "positive"])


def write_reviews(table: pa.Table, path: Path, *, n_reviews: int) -> None:
    """Write so many rows; beyond the table's they repeat, each text with its repeat's number at its end.

    Thus no text is there twice, and none is scored once for many.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_suffix(".new")
    with pq.ParquetWriter(staging, table.schema, compression="zstd") as writer:
        for repeat, start in enumerate(range(0, n_reviews, len(table))):
            part = table.slice(0, n_reviews - start)
            if repeat:
                numbered = pc.binary_join_element_wise(part["text"], pa.scalar(str(repeat), part["text"].type), " ")
                part = part.set_column(part.schema.get_field_index("text"), "text", numbered)
                identifiers = pa.array(np.arange(start, start + len(part)))
                part = part.set_column(0, "review_id", identifiers)
            writer.write_table(part, row_group_size=10_000)
    staging.replace(path)


def prepare_reviews(directory: Path, *, data: Path | None, n_reviews: int) -> Path:
    """The file of so many reviews to score, written if it is not there."""
    path = directory / f"{'generated' if data is None else 'real'}-{n_reviews}.parquet"
    if not path.exists():
        write_reviews(labelled_reviews(data, n_reviews), path, n_reviews=n_reviews)
    return path


def _real(data: Path) -> pa.Table:
    table = pq.read_table(_file(data, "imdb_train.parquet"), columns=["product_id", "stars", "text"])
    return _labelled(table, above=_REAL_ABOVE, held_out=held_out_mask(table["product_id"]))


def _labelled(table: pa.Table, *, above: int, held_out: npt.NDArray[np.bool_]) -> pa.Table:
    positive = pc.greater(table["stars"], above)
    return pa.table({"text": table["text"].cast(pa.string()), "positive": positive, "held_out": held_out})


def _file(data: Path, name: str) -> Path:
    if not (data / name).is_file():
        raise InputError(f"DATA={data} holds no {name}; name the directory of the reviews, or leave DATA out")
    return data / name
