"""Put together what the bundled model learns in its second pass: labels of films, a part of all others, and templates.

    python -m tools.bundled_model.second_pass FILM_LABELS OTHER_LABELS TEMPLATES OUTPUT

The first two are tables that ``sentiment label`` wrote, the third one that ``sentiment_core.behaviour.lessons`` wrote.
OUTPUT is a table for ``train --teacher-labels``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

__all__ = ["main"]

_FILMS, _OTHERS = 50_000, 360_000
_SEED = 9
_COLUMNS = ["text", "teacher_probability"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("films", "others", "templates", "output"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args(arguments)
    random = np.random.default_rng(_SEED)
    films, others = (pq.read_table(path, columns=_COLUMNS) for path in (options.films, options.others))
    templates = pq.read_table(options.templates, columns=["text", "positive"]).rename_columns(_COLUMNS)
    # Films have better labels in their own table, and templates are there anew.
    for known in (films, templates):
        others = others.filter(pc.invert(pc.is_in(others["text"], value_set=known["text"].cast(others["text"].type))))
    parts = (_sample(films, _FILMS, random), _sample(others, _OTHERS, random), templates)
    table = pa.concat_tables([part.cast(films.schema) for part in parts])
    pq.write_table(_sample(table, len(table), random), options.output, compression="zstd")
    return 0


def _sample(table: pa.Table, n: int, random: np.random.Generator) -> pa.Table:
    """That many rows at most, in an order of chance."""
    return table.take(pa.array(random.permutation(len(table))[:n]))


if __name__ == "__main__":
    sys.exit(main())
